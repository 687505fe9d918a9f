//! Draws what a thread pool did: each worker is a lane, each task a bar, and before the bar, thinner,
//! the time that the task waited in the queue. Where a lane is empty, its worker was idle.
//!
//! ```sh
//! cargo run --example timeline > timeline.svg
//! ```
//!
//! A picture that this has drawn is in `docs/pictures/timeline.svg`.

#[path = "printing/pipe.rs"]
mod pipe;

use concurrent_futures::{wait, Executor, Future, SubmitError, ThreadPoolExecutor, ALL_COMPLETED};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

/// What became of one task; times count from the start of the run.
#[derive(Clone)]
struct Span {
    task: usize,
    worker: String,
    submitted: Duration,
    started: Duration,
    ended: Duration,
}

const WORKERS: usize = 4;

/// When tasks are submitted, and how long each of them takes, in milliseconds: a few, then more than
/// there are workers, then a few again.
const WAVES: [(u64, &[u64]); 3] = [
    (0, &[70, 110]),
    (180, &[90, 60, 120, 80, 70, 50, 100]),
    (460, &[60, 90]),
];

/// Submits a task that waits for something, as long as said, and tells what it knows of itself.
fn submit(
    pool: &ThreadPoolExecutor,
    task: usize,
    time: u64,
    start: Instant,
) -> Result<Future<Span>, SubmitError> {
    let submitted = start.elapsed();
    pool.submit(move || {
        let started = start.elapsed();
        thread::sleep(Duration::from_millis(time));
        Span {
            task,
            worker: thread::current().name().unwrap_or("?").to_owned(),
            submitted,
            started,
            ended: start.elapsed(),
        }
    })
}

fn run() -> Result<Vec<Span>, Box<dyn Error>> {
    let pool = ThreadPoolExecutor::builder()
        .max_workers(WORKERS)
        .thread_name_prefix("worker")
        .build()?;
    let start = Instant::now();
    let mut futures = Vec::new();
    for (at, times) in WAVES {
        thread::sleep(Duration::from_millis(at).saturating_sub(start.elapsed()));
        for &time in times {
            futures.push(submit(&pool, futures.len() + 1, time, start)?);
        }
    }
    let _ = wait(futures.clone(), None, ALL_COMPLETED);
    pool.shutdown();
    let mut spans = Vec::new();
    for future in futures {
        spans.push(future.result(None)?);
    }
    Ok(spans)
}

const LEFT: f64 = 90.0;
const WIDTH: f64 = 700.0;
const TOP: f64 = 10.0;
const LANE: f64 = 62.0;
const BAR: f64 = 26.0;

const STYLE: &str = r##"
    text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #6b747e; }
    .in { fill: #1f2933; text-anchor: middle; }
    .mid { text-anchor: middle; }
    .task { fill: #cfe3f7; stroke: #4a86c5; stroke-width: 1.2; }
    .wait { fill: #d9a520; }
    .alive { stroke: #8b949e; stroke-dasharray: 2 4; }
    .tick { stroke: #8b949e; stroke-opacity: 0.4; }
    @media (prefers-color-scheme: dark) {
      text { fill: #a7b0ba; }
      .in { fill: #1f2933; }
      .task { fill: #a9c9e8; }
    }
"##;

/// An SVG of the run.
fn draw(spans: &[Span]) -> String {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let end = spans
        .iter()
        .map(|span| milliseconds(span.ended))
        .fold(1.0, f64::max);
    let step = if end > 1500.0 { 500.0 } else { 100.0 };
    let end = (end / step).ceil() * step;
    let x = |time: Duration| LEFT + milliseconds(time) / end * WIDTH;

    let mut lanes: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        lanes.entry(&span.worker).or_default().push(span);
    }
    let bottom = TOP + LANE * lanes.len() as f64;
    let (width, height) = (LEFT + WIDTH + 30.0, bottom + 66.0);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\">\n  \
         <title>A run of {} tasks on {} workers</title>\n  <style>{STYLE}  </style>\n",
        spans.len(),
        lanes.len(),
    );
    let mut tick = 0.0;
    while tick <= end {
        let at = LEFT + tick / end * WIDTH;
        let _ = writeln!(
            svg,
            "  <path class=\"tick\" d=\"M{at:.1} {TOP}V{bottom}\"/>\n  \
             <text class=\"mid\" x=\"{at:.1}\" y=\"{:.1}\">{tick} ms</text>",
            bottom + 18.0,
        );
        tick += step;
    }
    for (number, (worker, mut tasks)) in lanes.into_iter().enumerate() {
        let y = TOP + LANE * number as f64;
        tasks.sort_by_key(|span| span.started);
        let born = x(tasks[0].started);
        let middle = y + BAR / 2.0;
        let _ = writeln!(
            svg,
            "  <text x=\"8\" y=\"{:.1}\">{worker}</text>\n  \
             <path class=\"alive\" d=\"M{born:.1} {middle:.1}H{:.1}\"/>",
            middle + 5.0,
            LEFT + WIDTH,
        );
        // Waits of the same lane may overlap in time, so each gets a line where there is room.
        let mut lines: Vec<Duration> = Vec::new();
        for span in tasks {
            let (left, right) = (x(span.started), x(span.ended));
            let free = lines.iter().position(|&until| until <= span.submitted);
            let line = free.unwrap_or_else(|| {
                lines.push(Duration::ZERO);
                lines.len() - 1
            });
            lines[line] = span.started;
            let from = x(span.submitted);
            let _ = writeln!(
                svg,
                "  <rect class=\"wait\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"4\">\
                 <title>task {} waited {:.1} ms</title></rect>\n  \
                 <rect class=\"task\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"4\">\
                 <title>task {} ran {:.1} ms</title></rect>\n  \
                 <text class=\"in\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                y + BAR + 4.0 + 7.0 * line as f64,
                (left - from).max(1.0),
                span.task,
                milliseconds(span.started - span.submitted),
                right - left,
                span.task,
                milliseconds(span.ended - span.started),
                (left + right) / 2.0,
                middle + 5.0,
                span.task,
            );
        }
    }
    let y = bottom + 40.0;
    let _ = writeln!(
        svg,
        "  <rect class=\"task\" x=\"{LEFT}\" y=\"{y}\" width=\"34\" height=\"14\" rx=\"4\"/>\n  \
         <text x=\"{:.1}\" y=\"{:.1}\">a task runs</text>\n  \
         <rect class=\"wait\" x=\"{:.1}\" y=\"{:.1}\" width=\"34\" height=\"4\"/>\n  \
         <text x=\"{:.1}\" y=\"{:.1}\">it waited in the queue</text>\n  \
         <path class=\"alive\" d=\"M{:.1} {:.1}h34\"/>\n  \
         <text x=\"{:.1}\" y=\"{:.1}\">its worker is idle</text>\n</svg>",
        LEFT + 42.0,
        y + 12.0,
        LEFT + 160.0,
        y + 5.0,
        LEFT + 202.0,
        y + 12.0,
        LEFT + 390.0,
        y + 7.0,
        LEFT + 432.0,
        y + 12.0,
    );
    svg
}

fn main() -> Result<(), Box<dyn Error>> {
    let spans = run()?;
    pipe::print(&draw(&spans));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_task_is_drawn_in_the_lane_of_its_worker() {
        let spans = run().unwrap();
        let tasks: usize = WAVES.iter().map(|wave| wave.1.len()).sum();
        assert_eq!(spans.len(), tasks);
        let workers: HashSet<_> = spans.iter().map(|span| &span.worker).collect();
        assert!(workers.len() <= WORKERS);
        for span in &spans {
            assert!(span.submitted <= span.started && span.started <= span.ended);
            let overlapping = spans
                .iter()
                .filter(|other| other.worker == span.worker)
                .filter(|other| other.started < span.ended && span.started < other.ended);
            assert_eq!(overlapping.count(), 1, "a worker does one thing at a time");
        }
        let svg = draw(&spans);
        assert_eq!(
            svg.matches("class=\"task\" x").count(),
            tasks + 1,
            "and the key"
        );
        assert_eq!(svg.matches("class=\"alive\" d").count(), workers.len() + 1);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn waits_that_overlap_do_not_hide_each_other() {
        let at = Duration::from_millis;
        let span = |task, submitted, started, ended| Span {
            task,
            worker: "worker_0".to_owned(),
            submitted: at(submitted),
            started: at(started),
            ended: at(ended),
        };
        let svg = draw(&[span(1, 0, 0, 50), span(2, 0, 50, 90), span(3, 10, 90, 100)]);
        let lines: HashSet<_> = svg
            .lines()
            .filter(|line| line.contains("<title>task") && line.contains("waited"))
            .map(|line| line.split("y=\"").nth(1).unwrap().split('"').next())
            .collect();
        assert_eq!(lines.len(), 2);
    }
}
