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

/// Where a step was taken, if that is a line of somebody's program: a guard that goes out of scope is dropped by std's own
/// code.
fn known_place(step: &Step) -> Option<String> {
    let place = step.place.filter(|place| {
        let file = place.file().replace('\\', "/");
        !file.contains("/library/") && !file.ends_with("src/ptr/mod.rs")
    })?;
    Some(self::place(place))
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
    let same = |a: &Step, b: &Step| {
        a.thread == b.thread && a.what == b.what && known_place(a) == known_place(b)
    };
    // The same step several times in a row is one line, with the number of its first.
    let mut lines: Vec<(usize, &Step, usize)> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        match lines.last_mut() {
            Some((_, last, times)) if same(last, step) => *times += 1,
            _ => lines.push((number + 1, step, 1)),
        }
    }
    let mut at = 0;
    while at < lines.len() {
        let (length, times) = repetition(&lines[at..], |a, b| a.2 == b.2 && same(a.1, b.1));
        for (offset, (number, step, count)) in lines[at..at + length].iter().enumerate() {
            let name = format!(
                "({}) {}",
                letter(step.thread as u8),
                exec.threads[step.thread].label
            );
            let place = known_place(step).map_or(String::new(), |place| format!("  {place}"));
            let mut notes = String::new();
            if *count > 1 {
                notes.push_str(&format!("  ({count} times)"));
            }
            if offset + 1 == length && times > 1 {
                notes.push_str(&format!("  (these {length} lines {times} times)"));
            }
            let line = format!(
                "{:>5}  {:width$}  {:<52}{}{}",
                number,
                name,
                step.what,
                place,
                notes,
                width = width + 4
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
        at += length * times;
    }
    text
}

/// How long the shortest pattern is that these begin with, and how often it comes; a pattern that comes once
/// is one of them.
fn repetition<T>(lines: &[T], same: impl Fn(&T, &T) -> bool) -> (usize, usize) {
    for length in 2..=12 {
        let mut times = 1;
        while (times + 1) * length <= lines.len()
            && (0..length).all(|offset| same(&lines[offset], &lines[times * length + offset]))
        {
            times += 1;
        }
        if times >= 3 {
            return (length, times);
        }
    }
    (1, 1)
}
