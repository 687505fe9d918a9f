//! One execution: threads of which exactly one runs, the objects they share, and who goes next.

use crate::hashing::{hash, Hash128};
use crate::plan::{Chosen, Plan};
use ::std::any::Any;
use ::std::cell::RefCell;
use ::std::collections::HashSet;
use ::std::panic::Location;
use ::std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use ::std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use ::std::thread;
use ::std::time::Duration;

pub(crate) type Place = &'static Location<'static>;

/// What a thread is about to do. `Obj` is an index into [`Exec::objects`], `Tid` into [`Exec::threads`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Start,
    End,
    Yield,
    Lock(Obj),
    TryLock(Obj),
    /// Whether the value was, or may have been, changed.
    Unlock(Obj, bool),
    /// Releases the mutex and begins to wait.
    Wait {
        condvar: Obj,
        mutex: Obj,
        until: Option<u64>,
    },
    /// Waits; a notification makes it `Lock(mutex)`.
    Waiting {
        condvar: Obj,
        mutex: Obj,
        until: Option<u64>,
    },
    Notify {
        condvar: Obj,
        all: bool,
    },
    ReadLock(Obj),
    TryReadLock(Obj),
    WriteLock(Obj),
    TryWriteLock(Obj),
    ReadUnlock(Obj),
    WriteUnlock(Obj),
    Send(Obj),
    TrySend(Obj),
    Recv(Obj),
    TryRecv(Obj),
    RecvUntil(Obj, u64),
    DropSender(Obj),
    DropReceiver(Obj),
    Arrive(Obj),
    Gather(Obj, u32),
    Load(Obj),
    Store(Obj),
    Spawn(Tid),
    Join(Tid),
    IsFinished(Tid),
    Park(Option<u64>),
    Unpark(Tid),
    Sleep(u64),
    Now,
}

pub(crate) type Obj = usize;
pub(crate) type Tid = usize;

/// The parts of an operation that tell it from others, for hashes and for comparing turns of a loop.
fn code(op: Op) -> (u64, Option<Obj>) {
    use Op::*;
    match op {
        Start => (1, None),
        End => (2, None),
        Yield => (3, None),
        Lock(o) => (4, Some(o)),
        TryLock(o) => (5, Some(o)),
        Unlock(o, dirty) => (6 + u64::from(dirty), Some(o)),
        Wait { condvar, until, .. } => (8 + u64::from(until.is_some()), Some(condvar)),
        Waiting { condvar, until, .. } => (10 + u64::from(until.is_some()), Some(condvar)),
        Notify { condvar, all } => (12 + u64::from(all), Some(condvar)),
        ReadLock(o) => (14, Some(o)),
        TryReadLock(o) => (15, Some(o)),
        WriteLock(o) => (16, Some(o)),
        TryWriteLock(o) => (17, Some(o)),
        ReadUnlock(o) => (18, Some(o)),
        WriteUnlock(o) => (19, Some(o)),
        Send(o) => (20, Some(o)),
        TrySend(o) => (21, Some(o)),
        Recv(o) => (22, Some(o)),
        TryRecv(o) => (23, Some(o)),
        RecvUntil(o, _) => (24, Some(o)),
        DropSender(o) => (25, Some(o)),
        DropReceiver(o) => (26, Some(o)),
        Arrive(o) => (27, Some(o)),
        Gather(o, _) => (28, Some(o)),
        Load(o) => (29, Some(o)),
        Store(o) => (30, Some(o)),
        Spawn(t) => (100 + t as u64, None),
        Join(t) => (1100 + t as u64, None),
        IsFinished(t) => (2100 + t as u64, None),
        Park(until) => (31 + u64::from(until.is_some()), None),
        Unpark(t) => (3100 + t as u64, None),
        Sleep(_) => (33, None),
        Now => (34, None),
    }
}

/// What the scheduler knows of an object.
pub(crate) enum Kind {
    Mutex {
        owner: Option<Tid>,
    },
    RwLock {
        readers: usize,
        writer: bool,
    },
    Condvar {
        waiters: Vec<Tid>,
    },
    Channel {
        len: usize,
        capacity: Option<usize>,
        senders: usize,
        receiver: bool,
    },
    Barrier {
        size: usize,
        arrived: usize,
        generation: u32,
    },
    Atomic,
}

pub(crate) struct Object {
    kind: Kind,
    /// Who made it, and as which of his: the same in every schedule that has come the same way.
    name: u64,
    /// Only one thread is known to use it, in all schedules so far.
    local: bool,
    /// Somebody may `try_lock` it.
    tried: bool,
    user: Option<Tid>,
    place: Option<Place>,
    /// Counts changes.
    version: u64,
    /// The last change, and what has looked at it since, as hashes of events.
    last: Hash128,
    looks: Hash128,
}

/// What a thread did since it last yielded.
#[derive(Default)]
struct Lap {
    /// It began with a yield at which others were offered the processor.
    offered: bool,
    /// It has changed nothing.
    clean: bool,
    /// The code of an operation, its object, what came of it, and the object's version then.
    ops: Vec<(u64, Option<Obj>, u32, u64)>,
}

/// A turn with more operations than this is no turn of a spin loop.
const LONGEST_LAP: usize = 40;
/// After so many turns without news, a thread is not run again before there are some.
const MOST_LAPS: u32 = 2_000;

pub(crate) struct Th {
    pub(crate) label: String,
    name: u64,
    pub(crate) pending: Op,
    pub(crate) place: Option<Place>,
    ended: bool,
    /// Has done nothing but start.
    fresh: bool,
    token: bool,
    objects: u64,
    children: u64,
    last: Hash128,
    /// Hashes of events of others that this one's next depends on.
    incoming: Hash128,
    lap: Lap,
    /// The lap before, while this one merely repeats it, and up to where.
    repeats: Option<(Lap, usize)>,
    laps: u32,
    /// Nothing new for it to see; runs again when there is.
    starved_at: Option<u64>,
    baton: Arc<Baton>,
}

/// One of these a thread: it runs when it was given.
pub(crate) struct Baton {
    given: AtomicBool,
    thread: Mutex<Option<thread::Thread>>,
}

impl Baton {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Baton {
            given: AtomicBool::new(false),
            thread: Mutex::new(None),
        })
    }

    pub(crate) fn own(&self) {
        *self.thread.lock().unwrap() = Some(thread::current());
    }

    pub(crate) fn give(&self) {
        self.given.store(true, Ordering::Release);
        if let Some(thread) = &*self.thread.lock().unwrap() {
            thread.unpark();
        }
    }

    pub(crate) fn wait(&self) {
        while !self.given.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

/// What went wrong in a schedule.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    pub(crate) what: String,
}

/// One line of the table.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) thread: Tid,
    pub(crate) what: String,
    pub(crate) place: Option<Place>,
}

/// Instead of the only user of an object.
const SEVERAL: Tid = Tid::MAX;

/// What is learned about the objects of a program, over all of its schedules.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) shared: HashSet<u64>,
    pub(crate) tried: HashSet<u64>,
    /// Something was added.
    pub(crate) news: bool,
}

pub(crate) struct Exec {
    pub(crate) generation: u64,
    pub(crate) threads: Vec<Th>,
    objects: Vec<Object>,
    /// Nanoseconds.
    pub(crate) clock: u64,
    clock_last: Hash128,
    clock_looks: Hash128,
    trace: Hash128,
    pub(crate) preemptions: u32,
    pub(crate) spurious: u32,
    /// Every operation is a choice, and every thread may be chosen.
    pub(crate) plain: bool,
    pub(crate) statics: bool,
    pub(crate) known: Known,
    pub(crate) plan: Plan,
    /// Who took each step, and what was chosen where it was not who goes next.
    pub(crate) steps: Vec<u8>,
    pub(crate) values: Vec<u8>,
    pub(crate) wakes: Vec<usize>,
    pub(crate) table: Option<Vec<Step>>,
    pub(crate) wrong: Option<Wrong>,
    pub(crate) panics: Vec<String>,
    frozen: bool,
    main_ended: bool,
    most_steps: usize,
    pub(crate) driver: Arc<Baton>,
    hosts: Vec<Arc<Host>>,
    pub(crate) addresses: Vec<usize>,
    /// Threads still to be refused.
    pub(crate) refuse: u32,
    pub(crate) panics_fail: bool,
}

pub(crate) struct World {
    pub(crate) exec: Mutex<Exec>,
}

/// A thread of the system, on which a model thread of each schedule runs in turn.
struct Host {
    job: Mutex<Option<Job>>,
    over: AtomicBool,
    baton: Arc<Baton>,
}

/// The hosts end with the last schedule; but those of a failed one stay where they are.
impl Drop for Exec {
    fn drop(&mut self) {
        for host in &self.hosts {
            host.over.store(true, Ordering::Relaxed);
            host.baton.give();
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    static CONTEXT: RefCell<Option<(Arc<World>, Tid)>> = const { RefCell::new(None) };
}

/// The execution that this thread is part of, if it is.
pub(crate) fn context() -> Option<(Arc<World>, Tid)> {
    CONTEXT
        .try_with(|context| context.borrow().clone())
        .ok()
        .flatten()
}

static GENERATION: AtomicU64 = AtomicU64::new(1);

/// The name by which an object outside finds its [`Object`]: a generation and an index in one.
pub(crate) struct Id(AtomicU64);

const INDEX_BITS: u32 = 20;

impl Id {
    /// Of an object that is known from its first use on.
    pub(crate) const fn unknown() -> Self {
        Id(AtomicU64::new(0))
    }

    #[track_caller]
    pub(crate) fn new(kind: impl FnOnce() -> Kind) -> Self {
        let id = Id::unknown();
        if let Some((world, me)) = context() {
            let mut exec = world.lock();
            let index = exec.register(me, kind(), false, Some(Location::caller()));
            id.0.store(
                exec.generation << INDEX_BITS | index as u64,
                Ordering::Relaxed,
            );
        }
        id
    }

    fn index(&self, exec: &mut Exec, me: Tid, kind: impl FnOnce() -> Kind) -> Obj {
        let id = self.0.load(Ordering::Relaxed);
        if id >> INDEX_BITS == exec.generation {
            return (id & ((1 << INDEX_BITS) - 1)) as usize;
        }
        // Made outside, or before. Nobody can say who will use it.
        let index = exec.register(me, kind(), true, None);
        self.0.store(
            exec.generation << INDEX_BITS | index as u64,
            Ordering::Relaxed,
        );
        index
    }

    /// The object, if this thread is part of an execution.
    pub(crate) fn find(&self, kind: impl FnOnce() -> Kind) -> Option<(Arc<World>, Tid, Obj)> {
        let (world, me) = context()?;
        let mut exec = world.lock();
        let index = self.index(&mut exec, me, kind);
        drop(exec);
        Some((world, me, index))
    }
}

impl World {
    pub(crate) fn new(plan: Plan) -> Arc<Self> {
        Arc::new(World {
            exec: Mutex::new(Exec {
                generation: 0,
                threads: Vec::new(),
                objects: Vec::new(),
                clock: 0,
                clock_last: Hash128::default(),
                clock_looks: Hash128::default(),
                trace: Hash128::default(),
                preemptions: 0,
                spurious: 0,
                plain: false,
                statics: false,
                known: Known::default(),
                plan,
                steps: Vec::new(),
                values: Vec::new(),
                wakes: Vec::new(),
                table: None,
                wrong: None,
                panics: Vec::new(),
                frozen: false,
                main_ended: false,
                most_steps: 50_000,
                driver: Baton::new(),
                hosts: Vec::new(),
                addresses: Vec::new(),
                refuse: 0,
                panics_fail: true,
            }),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Exec> {
        self.exec.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one schedule to its end, and says what was wrong, if anything.
    pub(crate) fn run(
        self: &Arc<Self>,
        program: Arc<dyn Fn() + Send + Sync>,
        spurious: u32,
    ) -> Option<Wrong> {
        let mut exec = self.lock();
        exec.generation = GENERATION.fetch_add(1, Ordering::Relaxed);
        exec.threads.clear();
        exec.objects.clear();
        exec.steps.clear();
        exec.values.clear();
        exec.wakes.clear();
        exec.panics.clear();
        exec.addresses.clear();
        exec.refuse = 0;
        exec.panics_fail = true;
        exec.clock = 0;
        exec.clock_last = Hash128::default();
        exec.clock_looks = Hash128::default();
        exec.trace = Hash128::default();
        exec.preemptions = 0;
        exec.spurious = spurious;
        exec.main_ended = false;
        exec.wrong = None;
        exec.plan.begin();
        let driver = exec.driver.clone();
        driver.own();
        let main = exec.add_thread(None, "main".to_owned());
        self.host(&mut exec, main, Box::new(move || program()));
        let baton = exec.threads[main].baton.clone();
        drop(exec);
        baton.give();
        driver.wait();
        self.lock().wrong.clone()
    }

    /// Has a host run `body` as thread `tid`.
    pub(crate) fn host(self: &Arc<Self>, exec: &mut Exec, tid: Tid, body: Job) {
        while exec.hosts.len() <= tid {
            exec.hosts.push(Host::start());
        }
        let host = &exec.hosts[tid];
        exec.threads[tid].baton = host.baton.clone();
        let world = self.clone();
        let job: Job = Box::new(move || world.body(tid, body));
        *host.job.lock().unwrap() = Some(job);
    }

    fn body(self: &Arc<Self>, me: Tid, body: Job) {
        CONTEXT.with(|context| *context.borrow_mut() = Some((self.clone(), me)));
        self.started(me);
        let panic = ::std::panic::catch_unwind(::std::panic::AssertUnwindSafe(body)).err();
        let panic = match crate::local::destroy() {
            Ok(()) => panic,
            Err(other) => Some(other),
        };
        self.ended(me, panic);
        CONTEXT.with(|context| *context.borrow_mut() = None);
    }

    fn started(&self, me: Tid) {
        let mut exec = self.lock();
        exec.perform(me);
    }

    fn ended(&self, me: Tid, panic: Option<Box<dyn Any + Send>>) {
        if let Some(payload) = panic {
            let text = message(&*payload);
            ::std::mem::forget(payload);
            let mut exec = self.lock();
            let label = exec.threads[me].label.clone();
            exec.fail(format!("thread {label} panicked: {text}"));
            drop(exec);
            freeze();
        }
        let mut exec = self.lock();
        if exec.frozen {
            drop(exec);
            freeze();
        }
        exec.threads[me].pending = Op::End;
        exec.threads[me].place = None;
        exec.perform(me);
        if exec.threads.iter().all(|thread| thread.ended) {
            let driver = exec.driver.clone();
            drop(exec);
            driver.give();
            return;
        }
        match exec.pick(me) {
            Some(next) => {
                let baton = exec.threads[next].baton.clone();
                drop(exec);
                baton.give();
            }
            None => {
                drop(exec);
                freeze();
            }
        }
    }

    /// Does `op` when it is this thread's turn.
    pub(crate) fn step(&self, me: Tid, op: Op, place: Place) -> u32 {
        let mut exec = self.lock();
        if exec.frozen {
            drop(exec);
            freeze();
        }
        exec.threads[me].pending = op;
        exec.threads[me].place = Some(place);
        match exec.pick(me) {
            Some(next) if next == me => {}
            Some(next) => {
                let (other, mine) = (
                    exec.threads[next].baton.clone(),
                    exec.threads[me].baton.clone(),
                );
                drop(exec);
                other.give();
                mine.wait();
                exec = self.lock();
            }
            None => {
                drop(exec);
                freeze();
            }
        }
        exec.perform(me)
    }
}

/// What a panic's payload says.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    match payload.downcast_ref::<&'static str>() {
        Some(text) => (*text).to_owned(),
        None => payload
            .downcast_ref::<String>()
            .cloned()
            .unwrap_or_else(|| "a payload that is no text".to_owned()),
    }
}

/// The schedule has failed, and its threads stay where they are.
fn freeze() -> ! {
    loop {
        thread::park();
    }
}

impl Host {
    fn start() -> Arc<Host> {
        let host = Arc::new(Host {
            job: Mutex::new(None),
            over: AtomicBool::new(false),
            baton: Baton::new(),
        });
        let (own, ready) = (host.clone(), Arc::new(Baton::new()));
        let started = ready.clone();
        ready.own();
        thread::Builder::new()
            .name("model".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || {
                own.baton.own();
                started.give();
                loop {
                    own.baton.wait();
                    if own.over.load(Ordering::Relaxed) {
                        return;
                    }
                    let job = own.job.lock().unwrap().take();
                    if let Some(job) = job {
                        job();
                    }
                }
            })
            .expect("a thread for the model");
        ready.wait();
        host
    }
}

/// What the scheduler may do next.
pub(crate) struct Options {
    pub(crate) threads: Vec<u8>,
    /// How many of the first of these cost nothing; the others cost a preemption.
    pub(crate) free: usize,
    /// Who has asked for others to go on.
    pub(crate) yields: Option<u8>,
}

impl Exec {
    fn register(&mut self, me: Tid, kind: Kind, outside: bool, place: Option<Place>) -> Obj {
        let thread = &mut self.threads[me];
        thread.objects += 1;
        let name = hash(&[thread.name, thread.objects, u64::from(outside)]).0;
        let index = self.objects.len();
        assert!(index < 1 << INDEX_BITS, "too many objects");
        self.objects.push(Object {
            kind,
            name,
            local: !outside && !self.plain && !self.known.shared.contains(&name),
            tried: outside || self.plain || self.known.tried.contains(&name),
            user: None,
            place,
            version: 0,
            last: hash(&[name, 7]),
            looks: Hash128::default(),
        });
        index
    }

    pub(crate) fn add_thread(&mut self, parent: Option<Tid>, label: String) -> Tid {
        let tid = self.threads.len();
        assert!(tid < 250, "too many threads");
        let name = match parent {
            None => 1,
            Some(parent) => {
                self.threads[parent].children += 1;
                hash(&[self.threads[parent].name, self.threads[parent].children, 3]).0
            }
        };
        let incoming = parent.map_or(Hash128::default(), |parent| self.threads[parent].last);
        self.threads.push(Th {
            label,
            name,
            pending: Op::Start,
            place: None,
            ended: false,
            fresh: true,
            token: false,
            objects: 0,
            children: 0,
            last: hash(&[name, 5]),
            incoming,
            lap: Lap::default(),
            repeats: None,
            laps: 0,
            starved_at: None,
            baton: Baton::new(),
        });
        tid
    }

    pub(crate) fn kind(&self, object: Obj) -> &Kind {
        &self.objects[object].kind
    }

    pub(crate) fn kind_mut(&mut self, object: Obj) -> &mut Kind {
        &mut self.objects[object].kind
    }

    pub(crate) fn fail(&mut self, what: String) {
        if self.wrong.is_none() {
            self.wrong = Some(Wrong { what });
        }
        self.frozen = true;
        self.driver.give();
    }

    /// Whether a thread could do now what it is about to.
    fn enabled(&self, tid: Tid) -> bool {
        let thread = &self.threads[tid];
        if thread.ended {
            return false;
        }
        match thread.pending {
            Op::Lock(o) => matches!(self.objects[o].kind, Kind::Mutex { owner: None }),
            Op::ReadLock(o) => matches!(self.objects[o].kind, Kind::RwLock { writer: false, .. }),
            Op::WriteLock(o) => matches!(
                self.objects[o].kind,
                Kind::RwLock {
                    writer: false,
                    readers: 0
                }
            ),
            Op::Waiting { until, .. } => until.is_some() || self.spurious > 0,
            Op::Send(o) => match self.objects[o].kind {
                Kind::Channel {
                    len,
                    capacity,
                    receiver,
                    ..
                } => {
                    !receiver
                        || match capacity {
                            None => true,
                            Some(0) => len == 0 && self.receiving(o),
                            Some(capacity) => len < capacity,
                        }
                }
                _ => true,
            },
            Op::Recv(o) => matches!(self.objects[o].kind,
                Kind::Channel { len, senders, .. } if len > 0 || senders == 0),
            Op::Gather(o, own) => {
                matches!(self.objects[o].kind, Kind::Barrier { generation, .. } if generation != own)
            }
            Op::Join(other) => self.threads[other].ended,
            Op::Park(until) => thread.token || until.is_some() || self.spurious > 0,
            Op::Yield => match thread.starved_at {
                Some(steps) => self.news_for(tid, steps),
                None => true,
            },
            _ => true,
        }
    }

    /// Whether somebody waits for an item of this channel.
    fn receiving(&self, channel: Obj) -> bool {
        self.threads.iter().any(|thread| {
            !thread.ended
                && matches!(thread.pending, Op::Recv(o) | Op::RecvUntil(o, _) if o == channel)
        })
    }

    /// Whether a thread waits: who goes on then has not taken the processor from it.
    fn waits(&self, tid: Tid) -> bool {
        match self.threads[tid].pending {
            Op::Waiting { .. } | Op::Sleep(_) => true,
            Op::Park(_) => !self.threads[tid].token,
            Op::RecvUntil(o, _) => !matches!(self.objects[o].kind,
                Kind::Channel { len, senders, .. } if len > 0 || senders == 0),
            _ => false,
        }
    }

    /// Whether what a thread saw in its last lap is what it would see now.
    fn unchanged(&self, tid: Tid) -> bool {
        self.threads[tid]
            .lap
            .ops
            .iter()
            .all(|&(_, object, _, version)| {
                object.map_or(true, |object| {
                    let object = &self.objects[object];
                    object.version == version
                        && match object.kind {
                            Kind::Mutex { owner } => owner.map_or(true, |owner| owner == tid),
                            Kind::RwLock { writer, .. } => !writer,
                            _ => true,
                        }
                })
            })
    }

    fn news_for(&self, tid: Tid, steps: u64) -> bool {
        let lap = &self.threads[tid].lap;
        if lap.ops.iter().any(|op| op.1.is_some()) {
            !self.unchanged(tid)
        } else {
            self.steps.len() as u64 != steps
        }
    }

    /// A yield is offered to others unless nothing has changed since the one before. Keeps account of
    /// the laps; the answer is whether it is a choice.
    fn lap(&mut self, me: Tid) -> bool {
        let repeats = {
            let lap = &self.threads[me].lap;
            lap.offered && lap.clean && self.unchanged(me)
        };
        let steps = self.steps.len() as u64;
        let thread = &mut self.threads[me];
        let next = Lap {
            offered: true,
            clean: true,
            ops: Vec::new(),
        };
        if repeats {
            thread.laps += 1;
            if thread.laps > MOST_LAPS {
                thread.laps = 0;
                thread.starved_at = Some(steps);
                return true;
            }
            let before = ::std::mem::replace(&mut thread.lap, next);
            thread.repeats = Some((before, 0));
            false
        } else {
            thread.laps = 0;
            thread.repeats = None;
            thread.lap = next;
            true
        }
    }

    /// Whether this operation merely repeats the one of the lap before.
    fn repeats(&mut self, me: Tid) -> bool {
        let op = code(self.threads[me].pending);
        match &mut self.threads[me].repeats {
            Some((before, at)) => {
                let same = before
                    .ops
                    .get(*at)
                    .map_or(false, |known| (known.0, known.1) == op);
                if !same {
                    self.threads[me].repeats = None;
                }
                same
            }
            None => false,
        }
    }

    /// Whether others may go on before this operation, and it would make a difference.
    fn is_choice(&mut self, me: Tid) -> bool {
        let op = self.threads[me].pending;
        if op == Op::Yield {
            return self.lap(me);
        }
        if self.repeats(me) {
            return false;
        }
        if self.plain {
            return !matches!(op, Op::Start);
        }
        let object = match op {
            // What others do meanwhile is the same if it is done a moment later: a thread that is not
            // there yet is seen by nobody, nor does one who waits for its end change anything.
            Op::Start | Op::End | Op::Spawn(_) | Op::Join(_) | Op::Now => return false,
            Op::IsFinished(_) | Op::Park(_) | Op::Unpark(_) | Op::Sleep(_) | Op::Yield => {
                return true
            }
            // The same holds for releasing a lock, but for who only tries to get it.
            Op::Unlock(o, _) => return !self.objects[o].local && self.objects[o].tried,
            Op::ReadUnlock(o) | Op::WriteUnlock(o) => {
                return !self.objects[o].local && self.objects[o].tried
            }
            Op::Gather(..) => return false,
            Op::Wait { condvar, mutex, .. } | Op::Waiting { condvar, mutex, .. } => {
                return !(self.objects[condvar].local && self.objects[mutex].local)
            }
            op => code(op).1,
        };
        object.map_or(true, |object| !self.objects[object].local)
    }

    /// Who takes the next step, or `None` if this schedule is over. `me` has arrived at its next
    /// operation, or has ended.
    fn pick(&mut self, me: Tid) -> Option<Tid> {
        if self.steps.len() > self.most_steps {
            self.fail(format!("no end after {} steps", self.most_steps));
            return None;
        }
        let ended = self.threads[me].ended;
        if !ended && self.threads[me].fresh && self.threads[me].pending != Op::Start {
            // Nothing has happened since it was chosen to run.
            self.threads[me].fresh = false;
            if self.threads[me].pending != Op::Yield
                && self.enabled(me)
                && !self.waits(me)
                && !self.plan.is_replay()
                && !self.plain
            {
                return Some(me);
            }
        }
        let choice = !ended && self.is_choice(me);
        let can = !ended && self.enabled(me);
        let waits = can && self.waits(me);
        if can && !choice && !waits && !self.plan.is_replay() {
            return Some(me);
        }
        let yields = can && self.threads[me].pending == Op::Yield;
        let leaves = !can || waits || yields;
        let mut options = Options {
            threads: Vec::with_capacity(self.threads.len()),
            free: 0,
            yields: yields.then(|| me as u8),
        };
        if can && !waits {
            options.threads.push(me as u8);
        }
        // Those that would only wake up for the time, or for nothing, come last.
        for late in [false, true] {
            for other in 0..self.threads.len() {
                if other != me && self.enabled(other) && self.waits(other) == late {
                    options.threads.push(other as u8);
                }
            }
        }
        if waits {
            options.threads.push(me as u8);
        }
        options.free = if leaves { options.threads.len() } else { 1 };
        if options.threads.is_empty() {
            if !self.threads.iter().all(|thread| thread.ended) {
                let waiting = self.waiting();
                let what = if self
                    .threads
                    .iter()
                    .any(|t| !t.ended && t.pending == Op::Yield)
                {
                    "livelock: nobody but who spins could go on"
                } else if self.main_ended {
                    "threads left behind: nobody will wake them"
                } else {
                    "deadlock: everybody waits"
                };
                self.fail(format!("{what}\n{waiting}"));
            }
            return None;
        }
        let key = self.key(me);
        let preemptions = self.preemptions;
        let step = self.steps.len();
        match self.plan.choose(&options, key, preemptions, step) {
            Ok(Chosen { index }) => {
                if index >= options.free {
                    self.preemptions += 1;
                }
                Some(usize::from(options.threads[index]))
            }
            Err(what) => {
                self.fail(what);
                None
            }
        }
    }

    /// What the schedules from here on depend on, preemptions apart.
    fn key(&self, me: Tid) -> Hash128 {
        let mut key = hash(&[
            self.threads[me].name,
            u64::from(self.threads[me].ended),
            u64::from(self.spurious),
        ]);
        key.add(self.trace);
        for thread in &self.threads {
            if thread.ended {
                continue;
            }
            let (code, object) = code(thread.pending);
            let line = thread.place.map_or(0, |place| {
                u64::from(place.line()) << 16 | u64::from(place.column())
            });
            key.add(hash(&[
                thread.name,
                code,
                object.map_or(0, |o| self.objects[o].name),
                line,
            ]));
        }
        key
    }

    /// One of `n`, where the scheduler, or the system, is free to take any.
    fn value(&mut self, n: usize) -> usize {
        if n <= 1 {
            return 0;
        }
        let value = self.plan.value(n, self.values.len());
        self.values.push(value as u8);
        value
    }

    /// An event of `me`. On an object it is a change or merely a look.
    fn event(&mut self, me: Tid, code: u64, on: Option<(Obj, bool)>) -> Hash128 {
        let thread = &mut self.threads[me];
        let mut parts = [
            thread.last.0,
            thread.last.1,
            thread.incoming.0,
            thread.incoming.1,
            code,
            0,
            0,
            0,
            0,
        ];
        if let Some((object, changes)) = on {
            let object = &self.objects[object];
            parts[5] = object.last.0;
            parts[6] = object.last.1;
            if changes {
                parts[7] = object.looks.0;
                parts[8] = object.looks.1;
            }
        }
        let event = hash(&parts);
        thread.last = event;
        thread.incoming = Hash128::default();
        if let Some((object, changes)) = on {
            let object = &mut self.objects[object];
            if changes {
                object.last = event;
                object.looks = Hash128::default();
            } else {
                object.looks.add(event);
            }
        }
        self.trace.add(event);
        event
    }

    fn uses(&mut self, me: Tid, object: Obj) {
        let known = &mut self.objects[object];
        match known.user {
            None => known.user = Some(me),
            Some(user) if user == me || user == SEVERAL => {}
            Some(_) => {
                known.user = Some(SEVERAL);
                if known.local {
                    known.local = false;
                    self.known.shared.insert(known.name);
                    self.known.news = true;
                }
            }
        }
    }

    fn tick(&mut self, me: Tid, until: u64) {
        self.clock = self.clock.max(until);
        let event = hash(&[
            self.threads[me].last.0,
            self.clock_last.0,
            self.clock_looks.0,
            until,
        ]);
        self.clock_last = event;
        self.clock_looks = Hash128::default();
        self.threads[me].incoming.add(event);
    }

    /// `me` does what it was about to; the answer depends on the operation.
    fn perform(&mut self, me: Tid) -> u32 {
        let op = self.threads[me].pending;
        let (op_code, object) = code(op);
        self.steps.push(me as u8);
        if let Some(object) = object {
            self.uses(me, object);
        }
        let spurious_before = self.spurious;
        let (answer, changes) = self.effect(me, op, op_code);
        if spurious_before != self.spurious {
            self.wakes.push(self.steps.len() - 1);
        }
        // Accounts of laps.
        let version = object.map_or(0, |object| self.objects[object].version);
        let thread = &mut self.threads[me];
        if !matches!(op, Op::Yield | Op::Start) {
            if thread.lap.ops.len() >= LONGEST_LAP || changes {
                thread.lap.clean = false;
            }
            if thread.lap.clean {
                thread.lap.ops.push((op_code, object, answer, version));
            }
            if let Some((before, at)) = &mut thread.repeats {
                if before.ops.get(*at).map_or(false, |known| known.2 == answer) && thread.lap.clean
                {
                    *at += 1;
                } else {
                    thread.repeats = None;
                }
            }
        }
        if self.table.is_some() {
            let what = self.describe(op, answer);
            let place = self.threads[me].place;
            if let Some(table) = &mut self.table {
                table.push(Step {
                    thread: me,
                    what,
                    place,
                });
            }
        }
        answer
    }

    /// What an operation does, its answer, and whether it has changed anything for those who spin.
    fn effect(&mut self, me: Tid, op: Op, op_code: u64) -> (u32, bool) {
        match op {
            Op::Start => {
                self.event(me, op_code, None);
                (0, false)
            }
            Op::End => {
                let event = self.event(me, op_code, None);
                self.threads[me].ended = true;
                if me == 0 {
                    self.main_ended = true;
                }
                let _ = event;
                (0, true)
            }
            Op::Yield => {
                self.threads[me].starved_at = None;
                self.event(me, op_code, None);
                (0, false)
            }
            Op::Lock(o) => {
                self.kind_owner(o, Some(me));
                self.event(me, op_code, Some((o, true)));
                (0, false)
            }
            Op::TryLock(o) => {
                self.is_tried(o);
                if matches!(self.objects[o].kind, Kind::Mutex { owner: None }) {
                    self.kind_owner(o, Some(me));
                    self.event(me, op_code, Some((o, true)));
                    (1, false)
                } else {
                    self.event(me, op_code, Some((o, false)));
                    (0, false)
                }
            }
            Op::Unlock(o, dirty) => {
                self.kind_owner(o, None);
                if dirty {
                    self.objects[o].version += 1;
                }
                self.event(me, op_code, Some((o, true)));
                (0, dirty)
            }
            Op::Wait { condvar, mutex, .. } => {
                self.uses(me, mutex);
                self.kind_owner(mutex, None);
                self.objects[mutex].version += 1;
                if let Kind::Condvar { waiters } = &mut self.objects[condvar].kind {
                    waiters.push(me);
                }
                self.event(me, op_code, Some((mutex, true)));
                self.event(me, op_code, Some((condvar, true)));
                (0, true)
            }
            Op::Waiting { condvar, until, .. } => {
                // For the time, or for nothing.
                if let Kind::Condvar { waiters } = &mut self.objects[condvar].kind {
                    waiters.retain(|&waiter| waiter != me);
                }
                let answer = match until {
                    Some(until) if self.spurious == 0 || self.value(2) == 0 => {
                        self.tick(me, until);
                        1
                    }
                    _ => {
                        self.spurious -= 1;
                        2
                    }
                };
                self.event(
                    me,
                    op_code + 1000 * u64::from(answer),
                    Some((condvar, true)),
                );
                (answer, true)
            }
            Op::Notify { condvar, all } => {
                let waiters = match &self.objects[condvar].kind {
                    Kind::Condvar { waiters } => waiters.clone(),
                    _ => Vec::new(),
                };
                let woken = if all {
                    waiters
                } else if waiters.is_empty() {
                    Vec::new()
                } else {
                    let chosen = self.value(waiters.len());
                    vec![waiters[chosen]]
                };
                let mut names = Hash128::default();
                for &tid in &woken {
                    names.add(hash(&[self.threads[tid].name]));
                }
                let event = self.event(me, op_code ^ names.0 << 20, Some((condvar, true)));
                if let Kind::Condvar { waiters } = &mut self.objects[condvar].kind {
                    waiters.retain(|waiter| !woken.contains(waiter));
                }
                for tid in woken {
                    if let Op::Waiting { mutex, .. } = self.threads[tid].pending {
                        self.threads[tid].pending = Op::Lock(mutex);
                        self.threads[tid].incoming.add(event);
                    }
                }
                (0, true)
            }
            Op::ReadLock(o) | Op::TryReadLock(o) | Op::WriteLock(o) | Op::TryWriteLock(o) => {
                let reads = matches!(op, Op::ReadLock(_) | Op::TryReadLock(_));
                if matches!(op, Op::TryReadLock(_) | Op::TryWriteLock(_)) {
                    self.is_tried(o);
                }
                let mut answer = 0;
                if let Kind::RwLock { readers, writer } = &mut self.objects[o].kind {
                    if !*writer && (reads || *readers == 0) {
                        *readers += usize::from(reads);
                        *writer = !reads;
                        answer = 1;
                    }
                }
                if !reads {
                    self.objects[o].version += 1;
                }
                self.event(me, op_code, Some((o, true)));
                (answer, !reads)
            }
            Op::ReadUnlock(o) | Op::WriteUnlock(o) => {
                if let Kind::RwLock { readers, writer } = &mut self.objects[o].kind {
                    match op {
                        Op::ReadUnlock(_) => *readers -= 1,
                        _ => *writer = false,
                    }
                }
                self.event(me, op_code, Some((o, true)));
                (0, matches!(op, Op::WriteUnlock(_)))
            }
            Op::Send(o) | Op::TrySend(o) => {
                let receiving = self.receiving(o);
                let mut answer = 0;
                if let Kind::Channel {
                    len,
                    capacity,
                    receiver,
                    ..
                } = &mut self.objects[o].kind
                {
                    let room = match *capacity {
                        None => true,
                        Some(0) => *len == 0 && receiving,
                        Some(capacity) => *len < capacity,
                    };
                    if !*receiver {
                        answer = 2;
                    } else if room {
                        *len += 1;
                    } else {
                        answer = 1;
                    }
                }
                let changes = answer == 0;
                self.objects[o].version += u64::from(changes);
                self.event(me, op_code, Some((o, changes)));
                (answer, changes)
            }
            Op::Recv(o) | Op::TryRecv(o) | Op::RecvUntil(o, _) => {
                let mut answer = 0;
                if let Kind::Channel { len, senders, .. } = &mut self.objects[o].kind {
                    if *len > 0 {
                        *len -= 1;
                    } else if *senders == 0 {
                        answer = 1;
                    } else {
                        answer = 2;
                    }
                }
                if let (Op::RecvUntil(_, until), 2) = (op, answer) {
                    self.tick(me, until);
                }
                let changes = answer == 0;
                self.objects[o].version += u64::from(changes);
                self.event(me, op_code, Some((o, changes)));
                (answer, changes)
            }
            Op::DropSender(o) | Op::DropReceiver(o) => {
                if let Kind::Channel {
                    senders, receiver, ..
                } = &mut self.objects[o].kind
                {
                    match op {
                        Op::DropSender(_) => *senders -= 1,
                        _ => *receiver = false,
                    }
                }
                self.objects[o].version += 1;
                self.event(me, op_code, Some((o, true)));
                (0, true)
            }
            Op::Arrive(o) => {
                let mut answer = 0;
                if let Kind::Barrier {
                    size,
                    arrived,
                    generation,
                } = &mut self.objects[o].kind
                {
                    *arrived += 1;
                    if *arrived >= *size {
                        *arrived = 0;
                        *generation = generation.wrapping_add(1);
                        answer = 1;
                    }
                }
                self.objects[o].version += 1;
                self.event(me, op_code, Some((o, true)));
                (answer, true)
            }
            Op::Gather(o, _) => {
                self.event(me, op_code, Some((o, false)));
                (0, false)
            }
            Op::Load(o) => {
                self.event(me, op_code, Some((o, false)));
                (0, false)
            }
            Op::Store(o) => {
                self.objects[o].version += 1;
                self.event(me, op_code, Some((o, true)));
                (0, true)
            }
            Op::Spawn(tid) => {
                let name = self.threads[tid].name;
                let event = self.event(me, 100 ^ name << 12, None);
                self.threads[tid].incoming = event;
                (0, true)
            }
            Op::Join(tid) => {
                let last = self.threads[tid].last;
                self.threads[me].incoming.add(last);
                self.event(me, 1100, None);
                (0, false)
            }
            Op::IsFinished(tid) => {
                let ended = self.threads[tid].ended;
                if ended {
                    let last = self.threads[tid].last;
                    self.threads[me].incoming.add(last);
                }
                self.event(me, 2100 + u64::from(ended), None);
                (u32::from(ended), false)
            }
            Op::Park(until) => {
                let answer = if self.threads[me].token {
                    self.threads[me].token = false;
                    0
                } else if let Some(until) = until {
                    self.tick(me, until);
                    1
                } else {
                    self.spurious -= 1;
                    2
                };
                self.event(me, op_code + 1000 * u64::from(answer), None);
                (answer, true)
            }
            Op::Unpark(tid) => {
                self.threads[tid].token = true;
                let name = self.threads[tid].name;
                let mut incoming = self.threads[tid].incoming;
                let event = self.event(me, 3100 ^ name << 12 ^ incoming.0, None);
                incoming.add(event);
                self.threads[tid].incoming = incoming;
                (0, true)
            }
            Op::Sleep(until) => {
                self.tick(me, until);
                self.event(me, op_code, None);
                (0, true)
            }
            Op::Now => {
                let last = self.clock_last;
                self.threads[me].incoming.add(last);
                let event = self.event(me, op_code, None);
                self.clock_looks.add(event);
                (0, false)
            }
        }
    }

    fn is_tried(&mut self, object: Obj) {
        let object = &mut self.objects[object];
        if !object.tried {
            object.tried = true;
            self.known.tried.insert(object.name);
            self.known.news = true;
        }
    }

    fn kind_owner(&mut self, mutex: Obj, new: Option<Tid>) {
        if let Kind::Mutex { owner } = &mut self.objects[mutex].kind {
            *owner = new;
        }
    }

    /// What an operation is called in the table.
    fn describe(&self, op: Op, answer: u32) -> String {
        let name = |o: Obj| self.object_name(o);
        match op {
            Op::Start => "starts".to_owned(),
            Op::End => "ends".to_owned(),
            Op::Yield => "yields".to_owned(),
            Op::Lock(o) => format!("locks {}", name(o)),
            Op::TryLock(o) if answer == 1 => format!("tries to lock {}: locked", name(o)),
            Op::TryLock(o) => format!("tries to lock {}: taken", name(o)),
            Op::Unlock(o, _) => format!("unlocks {}", name(o)),
            Op::Wait { condvar, mutex, .. } => {
                format!("unlocks {}, waits for {}", name(mutex), name(condvar))
            }
            Op::Waiting { condvar, .. } if answer == 1 => {
                format!("waits no longer for {}: time-out", name(condvar))
            }
            Op::Waiting { condvar, .. } => {
                format!("waits no longer for {}: woken for nothing", name(condvar))
            }
            Op::Notify {
                condvar,
                all: false,
            } => format!("notifies one of {}", name(condvar)),
            Op::Notify { condvar, all: true } => format!("notifies all of {}", name(condvar)),
            Op::ReadLock(o) => format!("locks {} to read", name(o)),
            Op::TryReadLock(o) => format!("tries to lock {} to read: {}", name(o), answer == 1),
            Op::WriteLock(o) => format!("locks {} to write", name(o)),
            Op::TryWriteLock(o) => format!("tries to lock {} to write: {}", name(o), answer == 1),
            Op::ReadUnlock(o) | Op::WriteUnlock(o) => format!("unlocks {}", name(o)),
            Op::Send(o) | Op::TrySend(o) => {
                format!(
                    "sends to {}{}",
                    name(o),
                    ["", ": full", ": disconnected"][answer as usize]
                )
            }
            Op::Recv(o) | Op::TryRecv(o) | Op::RecvUntil(o, _) => {
                format!(
                    "receives from {}{}",
                    name(o),
                    ["", ": disconnected", ": nothing"][answer as usize]
                )
            }
            Op::DropSender(o) => format!("drops a sender of {}", name(o)),
            Op::DropReceiver(o) => format!("drops the receiver of {}", name(o)),
            Op::Arrive(o) => format!("arrives at {}", name(o)),
            Op::Gather(o, _) => format!("goes on from {}", name(o)),
            Op::Load(o) => format!("loads {}", name(o)),
            Op::Store(o) => format!("stores {}", name(o)),
            Op::Spawn(t) => format!("starts thread {}", self.threads[t].label),
            Op::Join(t) => format!("joins thread {}", self.threads[t].label),
            Op::IsFinished(t) => format!(
                "asks whether {} has ended: {}",
                self.threads[t].label,
                answer == 1
            ),
            Op::Park(_) => "is parked".to_owned(),
            Op::Unpark(t) => format!("unparks {}", self.threads[t].label),
            Op::Sleep(_) => "has slept".to_owned(),
            Op::Now => "reads the clock".to_owned(),
        }
    }

    fn object_name(&self, object: Obj) -> String {
        let number = object;
        let object = &self.objects[object];
        let what = match object.kind {
            Kind::Mutex { .. } => "mutex",
            Kind::RwLock { .. } => "rwlock",
            Kind::Condvar { .. } => "condvar",
            Kind::Channel { .. } => "channel",
            Kind::Barrier { .. } => "barrier",
            Kind::Atomic => "atomic",
        };
        match object.place {
            Some(place) => format!("{what} {number} ({})", crate::report::place(place)),
            None => format!("{what} {number}"),
        }
    }

    /// What everybody waits for, a line each.
    pub(crate) fn waiting(&self) -> String {
        let mut text = String::new();
        for thread in self.threads.iter().filter(|thread| !thread.ended) {
            let what = match thread.pending {
                Op::Lock(o) => {
                    let owner = match self.objects[o].kind {
                        Kind::Mutex { owner: Some(owner) } => {
                            format!(", which {} holds", self.threads[owner].label)
                        }
                        _ => String::new(),
                    };
                    format!("to lock {}{}", self.object_name(o), owner)
                }
                Op::Waiting { condvar, .. } => {
                    format!("for a notification of {}", self.object_name(condvar))
                }
                Op::Join(t) => format!("for the end of {}", self.threads[t].label),
                Op::Recv(o) => format!("for an item of {}", self.object_name(o)),
                Op::Send(o) => format!("for room in {}", self.object_name(o)),
                Op::Gather(o, _) => format!("for the others at {}", self.object_name(o)),
                Op::Park(_) => "to be unparked".to_owned(),
                Op::Yield => "for something new, spinning".to_owned(),
                Op::Start => "to run at all".to_owned(),
                other => format!("{other:?}"),
            };
            let place = thread.place.map_or(String::new(), |place| {
                format!(" at {}", crate::report::place(place))
            });
            text.push_str(&format!("  {} waits {}{}\n", thread.label, what, place));
        }
        text
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_nanos().min(u128::from(u64::MAX / 4)) as u64
}
