//! What the executor costs: `cargo bench`, or `cargo bench -- --help` for what else it can do.
//!
//! * `workloads.rs`: what is run, a function for each
//! * `measures.rs`: what is compared with what, and what the ratio is meant to be
//! * `runners.rs`: who runs it, this process or another one, such as CPython
//! * `harness.rs`: the command line, interleaved rounds, the report
//! * `chart.rs`: the report as a picture

mod chart;
mod harness;
mod measures;
mod runners;
mod workloads;

use harness::{Options, Report};
use std::io::Read;

fn main() -> std::io::Result<()> {
    let options = Options::from_arguments();
    keep_memory()?;
    if options.serve {
        return runners::serve();
    }
    let mut report = Report::new(&options.scale);
    for measure in [
        measures::workloads,
        measures::first_burst,
        measures::short_calls,
        measures::growth,
        measures::memory,
        measures::contention,
        measures::real_work,
        measures::birth_and_death,
        measures::rest,
    ] {
        measure(&mut report, &options)?;
    }
    report.finish(&options)
}

/// Has glibc keep what is freed after each round, which it else gives back to the system, to get it
/// anew, page by page, in the next: it takes the largest block freed so far for a sign of how much will
/// be needed. What new memory costs is shown by `first burst`.
fn keep_memory() -> std::io::Result<()> {
    let mut block = Vec::with_capacity(31 << 20);
    std::io::repeat(1).take(31 << 20).read_to_end(&mut block)?;
    Ok(())
}
