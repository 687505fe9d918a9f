//! What is printed of a schedule that failed.

use crate::exec::{Exec, Place, Step};
use crate::plan::letter;

/// `src/queue.rs:120`, from wherever the sources were copied to.
pub(crate) fn place(place: Place) -> String {
    let file = place.file().replace('\\', "/");
    let file = match file.find("/src/") {
        Some(position) => &file[position + 1..],
        None => file.rsplit('/').next().unwrap_or(&file),
    };
    format!("{}:{}", file, place.line())
}

/// The table of a replay: turns of a loop that repeat each other are one line.
pub(crate) fn table(exec: &Exec) -> String {
    let steps = exec.table.as_deref().unwrap_or(&[]);
    let width = exec
        .threads
        .iter()
        .map(|thread| thread.label.len())
        .max()
        .unwrap_or(0)
        .max(6);
    let mut text = format!(
        "{:>5}  {:width$}  operation\n",
        "step",
        "thread",
        width = width + 4
    );
    let mut at = 0;
    while at < steps.len() {
        let (length, times) = repetition(&steps[at..]);
        for (offset, step) in steps[at..at + length].iter().enumerate() {
            let label = &exec.threads[step.thread].label;
            let place = step
                .place
                .map_or(String::new(), |at| format!("  {}", place(at)));
            let times = match (offset + 1 == length, times) {
                (true, 2..) => format!("  (these {length}, {times} times)"),
                _ => String::new(),
            };
            let name = format!("({}) {}", letter(step.thread as u8), label);
            text.push_str(&format!(
                "{:>5}  {:width$}  {:<52}{}{}\n",
                at + offset + 1,
                name,
                step.what,
                place,
                times,
                width = width + 4
            ));
        }
        at += length * times;
    }
    text
}

/// How long the shortest pattern is that these steps begin with, and how often it comes; a pattern that comes once
/// is one step.
fn repetition(steps: &[Step]) -> (usize, usize) {
    let same = |a: &Step, b: &Step| {
        a.thread == b.thread
            && a.what == b.what
            && a.place.map(|p| (p.file(), p.line())) == b.place.map(|p| (p.file(), p.line()))
    };
    for length in 1..=12 {
        if steps.len() < 3 * length {
            break;
        }
        let mut times = 1;
        while (times + 1) * length <= steps.len()
            && (0..length).all(|offset| same(&steps[offset], &steps[times * length + offset]))
        {
            times += 1;
        }
        if times >= 3 {
            return (length, times);
        }
    }
    (1, 1)
}
