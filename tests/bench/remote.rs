//! What a call through a command costs, beside the bare way there and back through the same command.
//!
//! ```text
//! cargo bench --bench remote -- [--quick] ["ssh host"] ["srun -n1 -u"] ...
//! ```
//!
//! To the words of each command this program is appended. Without a command, it is `env`: two pipes. In each
//! round, all are measured one after the other. What counts is the median of the rounds' ratios, and on a busy
//! machine the ratio of the minima.

use concurrent_futures::process::{freeze_support, ProcessPoolExecutor};
use std::env;
use std::error::Error;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

const BYTES: usize = 16;
const ECHO: &str = "--echo";

fn square(n: u64) -> u64 {
    n * n
}

fn main() -> Result<(), Box<dyn Error>> {
    freeze_support(|registry| {
        registry.register(square);
    });
    let mut commands: Vec<String> = env::args().skip(1).collect();
    if commands.iter().any(|argument| argument == ECHO) {
        return Ok(echo()?);
    }
    let quick = commands.iter().any(|argument| argument == "--quick");
    commands.retain(|argument| !argument.starts_with("--"));
    if commands.is_empty() {
        commands.push("env".to_owned());
    }
    let (rounds, calls) = if quick { (5, 100) } else { (31, 500) };
    for command in commands {
        measure(&command, rounds, calls)?;
    }
    Ok(())
}

/// Sends back whatever comes, until nothing comes.
fn echo() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut bytes = [0; BYTES];
    while input.read_exact(&mut bytes).is_ok() {
        output.write_all(&bytes)?;
        output.flush()?;
    }
    Ok(())
}

struct Echo(Child, ChildStdin, ChildStdout);

impl Echo {
    fn start(words: &[String]) -> io::Result<Self> {
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .arg(ECHO)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let streams = (child.stdin.take(), child.stdout.take());
        match streams {
            (Some(stdin), Some(stdout)) => Ok(Echo(child, stdin, stdout)),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn round_trip(&mut self) -> io::Result<()> {
        let mut bytes = [7; BYTES];
        self.1.write_all(&bytes)?;
        self.2.read_exact(&mut bytes)
    }

    fn end(self) -> io::Result<()> {
        let Echo(mut child, stdin, _stdout) = self;
        drop(stdin);
        child.wait().map(drop)
    }
}

fn measure(command: &str, rounds: usize, calls: u64) -> Result<(), Box<dyn Error>> {
    let mut words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    let program = env::current_exe()?.into_os_string().into_string();
    words.push(program.map_err(|_| "this program has a strange path")?);
    let mut echo = Echo::start(&words)?;
    let pool = ProcessPoolExecutor::builder()
        .max_workers(1)
        .command(words)
        .build()?;
    // The connections are there, before the clock runs.
    echo.round_trip()?;
    pool.submit(square, 1)?.result(None)?;
    let (mut bare, mut called, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        for _ in 0..calls {
            echo.round_trip()?;
        }
        let one = start.elapsed().as_secs_f64() / calls as f64;
        let start = Instant::now();
        for n in 0..calls {
            assert_eq!(pool.submit(square, n)?.result(None)?, n * n);
        }
        let other = start.elapsed().as_secs_f64() / calls as f64;
        bare.push(one);
        called.push(other);
        ratios.push(other / one);
    }
    println!(
        "{command}: {BYTES} bytes there and back {:.1} us, a call {:.1} us, ratio {:.2}, of the minima {:.2}",
        1e6 * median(&mut bare),
        1e6 * median(&mut called),
        median(&mut ratios),
        minimum(&called) / minimum(&bare)
    );
    pool.shutdown();
    Ok(echo.end()?)
}

fn minimum(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
