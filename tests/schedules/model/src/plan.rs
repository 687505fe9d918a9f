//! Which schedules are run: all of them, one by one; random ones; or one that is given.
//!
//! # All schedules of at most P preemptions
//!
//! A preemption is a switch from a thread that could go on. Switches from one that waits, ends or yields
//! are free. The search is depth first; each schedule is run from its beginning, which needs no copies of a
//! program's state.
//!
//! Three things make the number of schedules small, and none of them loses a state that could have been
//! reached, nor a way in which it could have gone on:
//!
//! **States are visited once.** Steps of different threads that touch different objects, or only look at the same one,
//! commute: whichever is first, the state after both is the same. So a state is known by the partial order of
//! the steps that led to it: every step is hashed with the hashes of the steps that it depends on (the one before of
//! its own thread, the last change of its object, for a change also all looks since), and the hashes of all steps are
//! added up, in whichever order they came. What may follow depends on that state, on whose turn it is, and
//! on how many preemptions are left. If the same state was met before, with the same thread's turn and at least as many
//! preemptions left, then whatever follows was, or will be, explored from there, and nothing is explored here. This is
//! where sleep sets and classic dynamic partial-order reduction have to be careful when preemptions are bounded: they
//! leave out an order of two steps for the sake of an equivalent one, which may need one preemption more and
//! so be out of bounds. A set of visited states leaves nothing out for the sake of something else: the
//! number of preemptions is part of the question. (It does not reduce as much. It is enough here.)
//!
//! `Arc` is std's own, since no other can be made into an `Arc<dyn Trait>`, so how its counts change is not
//! seen. They do so together with a thread's step before. Who drops the last reference runs the destructor:
//! to tell such states apart, what each thread is about to do next, and where in the source, is part of a state's hash.
//!
//! **Steps on what only one thread uses are no choices.** Whatever others do before such a step, they could do after
//! it. Which objects these are is not known beforehand. It is assumed of all objects, and when a schedule shows
//! that a second thread uses one, the object's name is noted and the search begins anew. The name says which thread has
//! made it, as which of its objects. At the end, no schedule has shown anything of the kind. Could a schedule that was left out?
//! Take the shortest in which a second thread comes to use an object that passes for local. Up to that step, whatever was
//! left out were choices before local steps, so the same step can be reached with these moved up to the step before, without a
//! further preemption; and that schedule was run, and has shown it.
//! For the same reason releasing a lock is no choice, unless somebody was seen to *try* to lock it: the others that could
//! run before the release cannot do anything with the lock but wait for it. Starting a thread and joining
//! one are none either: nobody can tell whether they have happened yet.
//!
//! **A loop that spins is one choice.** A thread that yields, looks at something and yields again, having changed nothing, while
//! nothing that it looked at was changed by others, is where it was before, but for its own count of rounds. Others who could go on
//! now could at the first yield, so they are offered the processor there only, and these repetitions run through. That
//! leaves out how many rounds exactly a bounded spin had left when something changed; a round that sees a change is always
//! offered, and so is the end of the spin. (A critical section changes what a lock protects if it takes the value mutably.)
//! A spin that goes on for thousands of rounds waits: for a change of what it looks at.

use crate::exec::Options;
use crate::hashing::{Hash128, Rng};
use ::std::collections::HashMap;
use ::std::hash::{BuildHasherDefault, Hasher};

pub(crate) struct Chosen {
    pub(crate) index: usize,
}

pub(crate) enum Plan {
    All(All),
    Random(Rng),
    Pct(Pct),
    Replay(Replay),
}

impl Plan {
    pub(crate) fn begin(&mut self) {
        match self {
            Plan::All(all) => {
                all.depth = 0;
                all.redundant = false;
            }
            Plan::Pct(pct) => pct.begin(),
            Plan::Random(_) | Plan::Replay(_) => {}
        }
    }

    pub(crate) fn is_replay(&self) -> bool {
        matches!(self, Plan::Replay(_))
    }

    pub(crate) fn choose(
        &mut self,
        options: &Options,
        key: Hash128,
        preemptions: u32,
        step: usize,
    ) -> Result<Chosen, String> {
        let index = match self {
            Plan::All(all) => all.choose(options, key, preemptions)?,
            Plan::Random(rng) => rng.below(options.threads.len()),
            Plan::Pct(pct) => pct.choose(options, step),
            Plan::Replay(replay) => replay.choose(options, step)?,
        };
        Ok(Chosen { index })
    }

    pub(crate) fn value(&mut self, n: usize, number: usize) -> usize {
        match self {
            Plan::All(all) => all.value(n),
            Plan::Random(rng) | Plan::Pct(Pct { rng, .. }) => rng.below(n),
            Plan::Replay(replay) => usize::from(replay.values.get(number).copied().unwrap_or(0)),
        }
    }
}

/// What is a hash already.
#[derive(Default)]
pub(crate) struct Ready(u64);

impl Hasher for Ready {
    fn write(&mut self, _bytes: &[u8]) {}
    fn write_u64(&mut self, part: u64) {
        self.0 ^= part;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// One choice of the schedule that is being run.
struct Node {
    options: u8,
    index: u8,
    key: Hash128,
}

pub(crate) struct All {
    pub(crate) bound: Option<u32>,
    /// Visit each state once.
    pub(crate) reduce: bool,
    stack: Vec<Node>,
    depth: usize,
    visited: HashMap<Hash128, u8, BuildHasherDefault<Ready>>,
    /// From here on everything was explored before.
    pub(crate) redundant: bool,
}

impl All {
    pub(crate) fn new(bound: Option<u32>, reduce: bool) -> Self {
        All {
            bound,
            reduce,
            stack: Vec::new(),
            depth: 0,
            visited: HashMap::default(),
            redundant: false,
        }
    }

    pub(crate) fn states(&self) -> usize {
        self.visited.len()
    }

    fn choose(
        &mut self,
        options: &Options,
        key: Hash128,
        preemptions: u32,
    ) -> Result<usize, String> {
        if self.redundant {
            return Ok(0);
        }
        let allowed = match self.bound {
            Some(bound) if preemptions >= bound => options.free,
            _ => options.threads.len(),
        };
        if let Some(node) = self.stack.get(self.depth) {
            if allowed == 1 {
                return Ok(0);
            }
            if node.key != key {
                return Err(format!(
                    "the program is not the same in every run: choice {} has come about in another way",
                    self.depth
                ));
            }
            self.depth += 1;
            return Ok(usize::from(node.index));
        }
        if self.reduce {
            let preemptions = preemptions.min(255) as u8;
            match self.visited.get_mut(&key) {
                Some(known) if *known <= preemptions => {
                    self.redundant = true;
                    return Ok(0);
                }
                Some(known) => *known = preemptions,
                None => drop(self.visited.insert(key, preemptions)),
            }
        }
        if allowed > 1 {
            self.stack.push(Node {
                options: allowed as u8,
                index: 0,
                key,
            });
            self.depth += 1;
        }
        Ok(0)
    }

    fn value(&mut self, n: usize) -> usize {
        if self.redundant {
            return 0;
        }
        if let Some(node) = self.stack.get(self.depth) {
            self.depth += 1;
            return usize::from(node.index);
        }
        self.stack.push(Node {
            options: n as u8,
            index: 0,
            key: Hash128::default(),
        });
        self.depth += 1;
        0
    }

    /// Goes on to the next schedule, if there is one.
    pub(crate) fn advance(&mut self) -> bool {
        while let Some(node) = self.stack.last_mut() {
            if node.index + 1 < node.options {
                node.index += 1;
                return true;
            }
            self.stack.pop();
        }
        false
    }
}

/// Probabilistic concurrency testing: random priorities, and a few random steps at which whoever runs loses
/// its own (Burckhardt and others, ASPLOS 2010).
pub(crate) struct Pct {
    rng: Rng,
    depth: usize,
    priorities: Vec<u64>,
    changes: Vec<usize>,
    lowest: u64,
    longest: usize,
}

impl Pct {
    pub(crate) fn new(rng: Rng, depth: usize) -> Self {
        Pct {
            rng,
            depth,
            priorities: Vec::new(),
            changes: Vec::new(),
            lowest: 0,
            longest: 50,
        }
    }

    fn begin(&mut self) {
        self.priorities.clear();
        self.lowest = 1 << 32;
        let (rng, longest) = (&mut self.rng, self.longest);
        self.changes = (1..self.depth).map(|_| rng.below(longest)).collect();
    }

    fn choose(&mut self, options: &Options, step: usize) -> usize {
        self.longest = self.longest.max(step);
        while self.priorities.len() < 256 {
            self.priorities.push((1 << 33) + (self.rng.next() >> 20));
        }
        let lowered = options.yields.or_else(|| {
            let position = self.changes.iter().position(|&change| step >= change)?;
            self.changes.swap_remove(position);
            Some(options.threads[0])
        });
        if let Some(thread) = lowered {
            self.lowest -= 1;
            self.priorities[usize::from(thread)] = self.lowest;
        }
        let priority = |index: &usize| self.priorities[usize::from(options.threads[*index])];
        (0..options.threads.len()).max_by_key(priority).unwrap_or(0)
    }
}

/// One schedule, step by step.
#[derive(Clone, Default)]
pub(crate) struct Replay {
    pub(crate) steps: Vec<u8>,
    pub(crate) values: Vec<u8>,
    pub(crate) spurious: u32,
}

impl Replay {
    fn choose(&self, options: &Options, step: usize) -> Result<usize, String> {
        let thread = match self.steps.get(step) {
            Some(&thread) => thread,
            // It was cut off: goes on as it comes.
            None => return Ok(0),
        };
        options
            .threads
            .iter()
            .position(|&option| option == thread)
            .ok_or_else(|| {
                format!(
                    "this is not a schedule of this program: thread {} cannot take step {step}",
                    letter(thread)
                )
            })
    }

    /// `a12b3a4/0,1/1`: twelve steps of the first thread, three of the second, and so on; then what was chosen
    /// where it was not who goes next; then how many wake-ups for nothing were allowed.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        let mut at = 0;
        while at < self.steps.len() {
            let thread = self.steps[at];
            let run = self.steps[at..]
                .iter()
                .take_while(|&&other| other == thread)
                .count();
            text.push_str(&format!("{}{}", letter(thread), run));
            at += run;
        }
        if !self.values.is_empty() || self.spurious > 0 {
            let values: Vec<_> = self.values.iter().map(u8::to_string).collect();
            text.push_str(&format!("/{}/{}", values.join(","), self.spurious));
        }
        text
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('/');
        let mut replay = Replay::default();
        let mut thread = None;
        let mut count = 0_usize;
        let mut flush = |thread: Option<u8>, count: usize| {
            if let Some(thread) = thread {
                replay.steps.extend(::std::iter::repeat(thread).take(count));
            }
        };
        for letter in parts.next()?.chars() {
            match letter {
                'a'..='z' => {
                    flush(thread, count);
                    thread = Some(letter as u8 - b'a');
                    count = 0;
                }
                'A'..='Z' => {
                    flush(thread, count);
                    thread = Some(letter as u8 - b'A' + 26);
                    count = 0;
                }
                '0'..='9' => count = count * 10 + letter as usize - '0' as usize,
                _ => return None,
            }
        }
        flush(thread, count);
        if let Some(values) = parts.next() {
            for value in values.split(',').filter(|value| !value.is_empty()) {
                replay.values.push(value.parse().ok()?);
            }
        }
        if let Some(spurious) = parts.next() {
            replay.spurious = spurious.parse().ok()?;
        }
        Some(replay)
    }
}

pub(crate) fn letter(thread: u8) -> char {
    match thread {
        0..=25 => (b'a' + thread) as char,
        26..=51 => (b'A' + thread - 26) as char,
        _ => '?',
    }
}
