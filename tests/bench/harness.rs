//! What every measure needs: the command line, rounds that are interleaved, and the report.

use crate::chart;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs, process, thread};

pub const USAGE: &str = "\
usage: cargo bench -- [OPTION]... [FILTER]...

Measures what matches any FILTER, a part of a name in the first two columns; by default, everything.

  --quick            fewer rounds and smaller sizes: some seconds in all
  --rounds N         how often each figure is taken
  --python PROGRAM   compare with the same workloads on CPython, such as `--python python3`
  --against COMMAND  compare with another build of this program, such as `--against '/old/performance --serve'`
  --json FILE        write the figures
  --svg FILE         draw those that are times for each task
  --serve            be the other side of `--against`: read `WORKLOAD WORKERS TASKS`, print the figure
";

/// How much is done for each figure.
pub struct Scale {
    pub mode: &'static str,
    pub rounds: usize,
    /// For each round of a workload.
    pub tasks: usize,
    /// For each round of `map`, in large chunks.
    pub mapped: usize,
    /// For each round of `real work`.
    pub items: usize,
    /// How many calls after a rest make a figure.
    pub rested: usize,
    /// How many of `mixed calls` there are.
    pub mixed: usize,
    /// How many tasks `growth` compares.
    pub sizes: &'static [usize],
    /// How many tasks `memory` queues.
    pub queued: usize,
    /// How long `rest` watches an idle pool, in milliseconds.
    pub idle_millis: u64,
}

const FULL: Scale = Scale {
    mode: "full",
    rounds: 11,
    tasks: 100_000,
    mapped: 2_000_000,
    items: 200,
    rested: 400,
    mixed: 2_000,
    sizes: &[10_000, 100_000, 1_000_000],
    queued: 1_000_000,
    idle_millis: 2_000,
};

const QUICK: Scale = Scale {
    mode: "quick",
    rounds: 5,
    tasks: 20_000,
    mapped: 400_000,
    items: 80,
    rested: 100,
    mixed: 400,
    sizes: &[10_000, 100_000],
    queued: 200_000,
    idle_millis: 500,
};

/// For `cargo test --benches`, which only wants to know that everything runs.
const TEST: Scale = Scale {
    mode: "test",
    rounds: 1,
    tasks: 400,
    mapped: 4_000,
    items: 4,
    rested: 4,
    mixed: 20,
    sizes: &[100, 400],
    queued: 10_000,
    idle_millis: 20,
};

pub struct Options {
    pub scale: Scale,
    pub serve: bool,
    pub python: Option<String>,
    pub against: Option<String>,
    json: Option<PathBuf>,
    svg: Option<PathBuf>,
    filters: Vec<String>,
}

impl Options {
    /// Ends the process when the arguments make no sense.
    pub fn from_arguments() -> Self {
        let arguments: Vec<String> = env::args().skip(1).collect();
        Options::parse(&arguments).unwrap_or_else(|error| {
            eprint!("{error}\n\n{USAGE}");
            process::exit(2);
        })
    }

    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Options {
            scale: TEST,
            serve: false,
            python: None,
            against: None,
            json: None,
            svg: None,
            filters: Vec::new(),
        };
        let has = |flag| arguments.iter().any(|argument| argument == flag);
        // `cargo bench` says so; without it this is `cargo test`, whose other arguments are not ours.
        if !has("--bench") && !has("--serve") && !has("--help") {
            return Ok(options);
        }
        options.scale = if has("--quick") { QUICK } else { FULL };
        let mut rest = arguments.iter().cloned();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--bench" | "--quick" => {}
                "--serve" => options.serve = true,
                "--rounds" => {
                    options.scale.rounds = match value()?.parse() {
                        Ok(rounds) if rounds > 0 => rounds,
                        _ => return Err("--rounds needs a number above zero".to_owned()),
                    }
                }
                "--python" => options.python = Some(value()?),
                "--against" => options.against = Some(value()?),
                "--json" => options.json = Some(value()?.into()),
                "--svg" => options.svg = Some(value()?.into()),
                "--help" => {
                    print!("{USAGE}");
                    process::exit(0);
                }
                flag if flag.starts_with('-') => return Err(format!("unknown option {flag}")),
                _ => options.filters.push(argument),
            }
        }
        Ok(options)
    }

    /// Whether this is to be measured.
    pub fn picks(&self, measure: &str, case: &str) -> bool {
        let name = format!("{measure} {case}");
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }
}

/// One of the things that are compared.
pub struct Contender<'a> {
    case: String,
    who: String,
    tasks: usize,
    run: Box<dyn FnMut() -> f64 + 'a>,
}

impl<'a> Contender<'a> {
    /// `run` runs one round and returns its figure.
    pub fn new(case: String, who: String, tasks: usize, run: impl FnMut() -> f64 + 'a) -> Self {
        Contender {
            case,
            who,
            tasks,
            run: Box::new(run),
        }
    }
}

/// What judges a contender. On a machine with other work the minimum is the steadier of the two.
#[derive(Clone, Copy)]
pub struct Figures {
    median: f64,
    minimum: f64,
}

impl Figures {
    fn with(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Figures {
            median: f(self.median, other.median),
            minimum: f(self.minimum, other.minimum),
        }
    }

    pub fn over(self, other: Self) -> Self {
        self.with(other, |a, b| a / b)
    }

    pub fn minus(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }

    pub fn times(self, factor: f64) -> Self {
        self.with(self, |a, _| a * factor)
    }

    pub fn max(self, other: Self) -> Self {
        self.with(other, f64::max)
    }

    pub fn min(self, other: Self) -> Self {
        self.with(other, f64::min)
    }
}

/// The figures of one contender, as they are reported.
pub struct Row {
    pub measure: String,
    pub case: String,
    pub who: String,
    pub tasks: usize,
    pub unit: &'static str,
    /// Ascending.
    figures: Vec<f64>,
}

impl Row {
    /// The figure that this share of the rounds stayed below.
    pub fn quantile(&self, share: f64) -> f64 {
        let last = self.figures.len() - 1;
        let position = share * last as f64;
        let (below, above) = (position.floor() as usize, position.ceil() as usize);
        let part = position - position.floor();
        self.figures[below] * (1.0 - part) + self.figures[above.min(last)] * part
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    fn minimum(&self) -> f64 {
        self.figures[0]
    }
}

/// What the figures come to, mostly a ratio of two, beside what it is meant to be.
struct Goal {
    name: String,
    figures: Figures,
    at_most: Option<f64>,
}

/// Everything measured so far; rows are printed as they come.
pub struct Report {
    pub cores: usize,
    mode: &'static str,
    rounds: usize,
    pub rows: Vec<Row>,
    goals: Vec<Goal>,
}

impl Report {
    pub fn new(scale: &Scale) -> Self {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        let (arch, os) = (env::consts::ARCH, env::consts::OS);
        println!("{cores} cores, {arch} {os}, mode {}", scale.mode);
        println!(
            "\n{:<16} {:<28} {:<20} {:>8} {:>10} {:>10} {:>10} {:>10}  unit",
            "measure", "case", "who", "tasks", "min", "quarter", "median", "3 quarters"
        );
        Report {
            cores,
            mode: scale.mode,
            rounds: scale.rounds,
            rows: Vec::new(),
            goals: Vec::new(),
        }
    }

    /// Runs the contenders in turns, so that a slow minute of the machine hits all of them alike.
    /// Returns their figures, in the order given.
    pub fn compare(
        &mut self,
        measure: &str,
        unit: &'static str,
        contenders: Vec<Contender<'_>>,
    ) -> Vec<Figures> {
        self.compare_rounds(measure, unit, self.rounds, contenders)
    }

    /// [`compare`](Report::compare) in at most so many rounds.
    pub fn compare_rounds(
        &mut self,
        measure: &str,
        unit: &'static str,
        at_most: usize,
        mut contenders: Vec<Contender<'_>>,
    ) -> Vec<Figures> {
        let count = contenders.len();
        let mut rounds = vec![Vec::new(); count];
        // The first round warms up and is not counted.
        for round in 0..=self.rounds.min(at_most) {
            for turn in 0..count {
                // Nobody is always first.
                let number = (round + turn) % count;
                let figure = (contenders[number].run)();
                if round > 0 {
                    rounds[number].push(figure);
                }
            }
        }
        let mut judged = Vec::new();
        for (contender, mut figures) in contenders.into_iter().zip(rounds) {
            figures.sort_by(f64::total_cmp);
            let row = Row {
                measure: measure.to_owned(),
                case: contender.case,
                who: contender.who,
                tasks: contender.tasks,
                unit,
                figures,
            };
            row.print();
            judged.push(Figures {
                median: row.median(),
                minimum: row.minimum(),
            });
            self.rows.push(row);
        }
        judged
    }

    /// Notes what the figures come to, and what is aimed at, if anything is.
    pub fn goal(&mut self, measure: &str, what: &str, figures: Figures, at_most: Option<f64>) {
        self.goals.push(Goal {
            name: format!("{measure}: {what}"),
            figures,
            at_most,
        });
    }

    /// Prints the goals, and writes the files that were asked for.
    pub fn finish(&self, options: &Options) -> std::io::Result<()> {
        if !self.goals.is_empty() {
            println!(
                "\n{:<64} {:>9} {:>9} {:>9}",
                "goal", "medians", "minima", "at most"
            );
        }
        for goal in &self.goals {
            goal.print();
        }
        if let Some(file) = &options.json {
            fs::write(file, self.json())?;
        }
        if let Some(file) = &options.svg {
            fs::write(file, chart::draw(self))?;
        }
        Ok(())
    }

    fn json(&self) -> String {
        let rows: Vec<String> = self.rows.iter().map(Row::json).collect();
        let goals: Vec<String> = self.goals.iter().map(Goal::json).collect();
        format!(
            "{{\n  \"cores\": {},\n  \"mode\": {},\n  \"rows\": [\n{}\n  ],\n  \"goals\": [\n{}\n  ]\n}}\n",
            self.cores,
            quoted(self.mode),
            rows.join(",\n"),
            goals.join(",\n")
        )
    }
}

impl Row {
    fn print(&self) {
        println!(
            "{:<16} {:<28} {:<20} {:>8} {:>10.1} {:>10.1} {:>10.1} {:>10.1}  {}",
            self.measure,
            self.case,
            self.who,
            self.tasks,
            self.minimum(),
            self.quantile(0.25),
            self.median(),
            self.quantile(0.75),
            self.unit
        );
    }

    fn json(&self) -> String {
        format!(
            "    {{\"measure\": {}, \"case\": {}, \"who\": {}, \"tasks\": {}, \"unit\": {}, \"rounds\": {}, \
             \"min\": {:.3}, \"quarter\": {:.3}, \"median\": {:.3}, \"three_quarters\": {:.3}}}",
            quoted(&self.measure),
            quoted(&self.case),
            quoted(&self.who),
            self.tasks,
            quoted(self.unit),
            self.figures.len(),
            self.minimum(),
            self.quantile(0.25),
            self.median(),
            self.quantile(0.75)
        )
    }
}

impl Goal {
    fn print(&self) {
        let Figures { median, minimum } = self.figures;
        print!("{:<64} {median:>9.3} {minimum:>9.3}", self.name);
        match self.at_most {
            Some(at_most) if median <= at_most => println!(" {at_most:>9}  met"),
            Some(at_most) if minimum <= at_most => println!(" {at_most:>9}  met by the minima"),
            Some(at_most) => println!(" {at_most:>9}  missed"),
            None => println!(" {:>9}", "-"),
        }
    }

    fn json(&self) -> String {
        let at_most = self
            .at_most
            .map_or("null".to_owned(), |at_most| at_most.to_string());
        format!(
            "    {{\"name\": {}, \"medians\": {:.4}, \"minima\": {:.4}, \"at_most\": {at_most}}}",
            quoted(&self.name),
            self.figures.median,
            self.figures.minimum
        )
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
