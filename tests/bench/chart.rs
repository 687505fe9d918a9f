//! The report as a bar chart: one bar for each row that is a time for each task.

use crate::harness::{Report, Row};
use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const BAR: f64 = 14.0;
const GAP: f64 = 12.0;
const TOP: f64 = 64.0;
/// Where the bars begin and end; the names stand before, the figures behind.
const LEFT: f64 = 250.0;
const RIGHT: f64 = 810.0;
/// Legible on white and on black, since the picture has no background of its own.
const TEXT: &str = "#768390";
const BARS: [&str; 4] = ["#2f81f7", "#db8a1a", "#2da44e", "#a371f7"];

pub fn draw(report: &Report) -> String {
    let rows: Vec<&Row> = report
        .rows
        .iter()
        .filter(|row| row.unit == "ns/task")
        .collect();
    let mut who: Vec<&str> = Vec::new();
    // What has the same label stands together, in the order of the first.
    let mut groups: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in &rows {
        if !who.contains(&row.who.as_str()) {
            who.push(&row.who);
        }
        let label = label(row);
        match groups.iter_mut().find(|group| group.0 == label) {
            Some(group) => group.1.push(row),
            None => groups.push((label, vec![row])),
        }
    }
    let largest = rows
        .iter()
        .map(|row| row.quantile(0.75))
        .fold(10.0, f64::max);
    let decades = largest.log10().ceil();
    let x = |figure: f64| LEFT + (RIGHT - LEFT) * (figure.max(1.0).log10() / decades);

    let mut bars = String::new();
    let mut y = TOP;
    for (number, heading) in PARTS.iter().enumerate() {
        let groups = groups.iter().filter(|(_, rows)| part(rows) == number);
        for (index, (label, rows)) in groups.enumerate() {
            if index == 0 {
                y += 2.0 * GAP;
                text(&mut bars, 8.0, y + 3.0, "start", heading);
            }
            y += GAP;
            text(&mut bars, LEFT - 8.0, y + BAR - 3.0, "end", label);
            for row in rows {
                let colour =
                    BARS[who.iter().position(|who| *who == row.who).unwrap_or(0) % BARS.len()];
                let _ = writeln!(
                    bars,
                    r#"<rect x="{LEFT}" y="{y:.1}" width="{:.1}" height="{:.1}" fill="{colour}"/>"#,
                    x(row.median()) - LEFT,
                    BAR - 2.0
                );
                // From quartile to quartile.
                let (low, high, middle) = (
                    x(row.quantile(0.25)),
                    x(row.quantile(0.75)),
                    y + BAR / 2.0 - 1.0,
                );
                let _ = writeln!(
                    bars,
                    r#"<path d="M{low:.1} {middle:.1}H{high:.1}" stroke="{TEXT}" stroke-width="3"/>"#
                );
                let mut figure = time(row.median());
                if row.measure == "growth" {
                    let _ = write!(figure, ", one of {}", thousands(row.tasks));
                }
                text(
                    &mut bars,
                    high.max(x(row.median())) + 6.0,
                    y + BAR - 3.0,
                    "start",
                    &figure,
                );
                y += BAR;
            }
        }
    }

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {0:.0}\" width=\"{WIDTH}\" height=\"{0:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n",
        y + 2.0 * GAP
    );
    text(
        &mut svg,
        LEFT,
        18.0,
        "start",
        &format!(
            "time for each task, shorter is better (a logarithmic scale; {} cores)",
            report.cores
        ),
    );
    let mut legend = LEFT;
    for (number, who) in who.iter().enumerate() {
        let colour = BARS[number % BARS.len()];
        let _ = writeln!(
            svg,
            r#"<rect x="{legend}" y="28" width="12" height="12" fill="{colour}"/>"#
        );
        text(&mut svg, legend + 18.0, 38.0, "start", who);
        legend += 48.0 + 7.0 * who.len() as f64;
    }
    for decade in 0..=decades as i32 {
        let at = x(10f64.powi(decade));
        let _ = writeln!(
            svg,
            r#"<path d="M{at:.1} {TOP}V{y:.1}" stroke="{TEXT}" stroke-opacity="0.4"/>"#
        );
        text(&mut svg, at, TOP - 6.0, "middle", &time(10f64.powi(decade)));
    }
    svg + &bars + "</svg>\n"
}

/// What the picture has, one part below the other.
const PARTS: [&str; 3] = [
    "The same work, by more than one",
    "Among few tasks, and among many",
    "And also",
];

/// The index in `PARTS` of a group of rows.
fn part(rows: &[&Row]) -> usize {
    if rows.iter().any(|row| row.who != rows[0].who) {
        0
    } else if rows[0].measure == "growth" {
        1
    } else {
        2
    }
}

/// What the bars of a group have in common.
fn label(row: &Row) -> String {
    match row.measure.as_str() {
        "growth" | "contention" => row.case.clone(),
        // Each of these figures has the call's own time in it.
        "short calls" => format!("calls {}, their time in it", row.case),
        measure => format!("{measure}, {}", row.case),
    }
}

/// In the unit that leaves the fewest digits: `98 ns`, `5.5 us`, `20 ms`.
fn time(nanoseconds: f64) -> String {
    let units = ["ns", "us", "ms", "s"];
    let mut figure = nanoseconds;
    let mut unit = 0;
    while figure >= 999.5 && unit + 1 < units.len() {
        figure /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(figure < 9.95 && figure.fract() > 0.05);
    format!("{figure:.digits$} {}", units[unit])
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{TEXT}">{text}</text>"#
    );
}
