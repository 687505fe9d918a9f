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

fn main() -> std::io::Result<()> {
    let options = Options::from_arguments();
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
