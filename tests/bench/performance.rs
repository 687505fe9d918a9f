//! What the executor costs: `cargo bench`, or `cargo bench -- --help` for what else it can do.
//!
//! * `workloads.rs`: what is run, a function for each
//! * `measures.rs`: what is compared with what, and what the ratio is meant to be
//! * `after_rest.rs`: small numbers of calls, after a pause, beside a plain pool
//! * `processes.rs`: workloads and measures for process pools
//! * `runners.rs`: who runs it, this process or another one, such as CPython
//! * `harness.rs`: the command line, interleaved rounds, the report
//! * `chart.rs`: the report as a picture

mod after_rest;
mod chart;
mod harness;
mod measures;
mod processes;
mod runners;
mod workloads;

use harness::{Options, Report};
use std::process::{self, Command};
use std::{env, io};

fn main() -> io::Result<()> {
    processes::register();
    let options = Options::from_arguments();
    if options.serve {
        return runners::serve();
    }
    if env::var_os(KEEP_MEMORY[0].0).is_none() {
        return run_with(KEEP_MEMORY);
    }
    let mut report = Report::new(&options.scale);
    for measure in [
        measures::workloads,
        measures::first_burst,
        measures::short_calls,
        measures::map,
        measures::helped_calls,
        measures::one_channel,
        after_rest::one_call,
        after_rest::burst,
        after_rest::mixed_calls,
        measures::growth,
        measures::memory,
        measures::contention,
        measures::real_work,
        measures::birth_and_death,
        measures::rest,
        processes::processes,
    ] {
        measure(&mut report, &options)?;
    }
    report.finish(&options)
}

/// Has glibc keep what is freed after each round, which it else gives back to the system, to get it
/// anew, page by page, in the next: a gibibyte, in blocks of up to 32 MiB, the most that it takes.
/// Other libraries ignore it. What new memory costs is shown by `first burst`.
const KEEP_MEMORY: [(&str, &str); 2] = [
    ("MALLOC_TRIM_THRESHOLD_", "1073741824"),
    ("MALLOC_MMAP_THRESHOLD_", "33554432"),
];

/// Runs this program with these variables, which glibc reads when a process starts; the processes that
/// it starts in turn inherit them. Whoever has set the first keeps their own.
fn run_with(variables: [(&str, &str); 2]) -> io::Result<()> {
    let mut again = Command::new(env::current_exe()?);
    let status = again
        .args(env::args_os().skip(1))
        .envs(variables)
        .status()?;
    process::exit(status.code().unwrap_or(1))
}
