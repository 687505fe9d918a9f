//! What `map.md`, `divergences.md` and `reading-guide.md` say, and where.

use super::source::escape;

/// A row of the map.
pub struct Row {
    /// As in the first column: `Future.cancel`. Of what only this project has, a text.
    pub theirs: String,
    pub ours: Vec<String>,
    pub note: String,
    /// What has become of it in 3.14, where the map says.
    pub later: String,
    pub in_order: bool,
}

/// A section of the map that mirrors one of CPython's files, or that has what no such file does.
pub struct Section {
    /// `_base.py`; or nothing.
    pub python: Option<String>,
    /// Of what a Python after 3.13 has, and 3.13 has not.
    pub is_new: bool,
    pub title: String,
    pub rows: Vec<Row>,
}

pub struct Divergence {
    pub number: usize,
    pub title: String,
    /// "CPython", "Here", "Why", "Test", each with its text.
    pub fields: Vec<(String, String)>,
}

pub struct Stop {
    pub number: usize,
    pub title: String,
    /// An index of `Guide::stories`.
    pub story: usize,
    /// "CPython", "Here", "Look for", "Question", "Exercise", each with its text.
    pub fields: Vec<(String, String)>,
}

pub struct Guide {
    pub stories: Vec<String>,
    pub stops: Vec<Stop>,
}

/// What stands between backticks.
pub fn names(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The cells of a line of a table.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|').trim_end_matches('|');
    // A bar that belongs to the text has a backslash before it.
    let line = line.replace("\\|", "\u{0}");
    let cells = line.split('|');
    cells
        .map(|cell| cell.trim().replace('\u{0}', "|"))
        .collect()
}

/// The tables of a text, each with its heads, below the last heading of two number signs.
fn tables(text: &str) -> Vec<(String, Vec<String>, Vec<Vec<String>>)> {
    let mut tables: Vec<(String, Vec<String>, Vec<Vec<String>>)> = Vec::new();
    let (mut title, mut in_table) = (String::new(), false);
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            title = heading.to_owned();
        }
        match (line.starts_with('|'), in_table) {
            (true, false) => tables.push((title.clone(), cells(line), Vec::new())),
            (true, true) if line.starts_with("| ---") => {}
            (true, true) => tables.last_mut().unwrap().2.push(cells(line)),
            _ => {}
        }
        in_table = line.starts_with('|');
    }
    tables
}

pub fn map(text: &str) -> Vec<Section> {
    let mut sections = Vec::new();
    for (title, heads, lines) in tables(text) {
        let column = |wanted: &str| heads.iter().position(|head| head.starts_with(wanted));
        let here = match column("here") {
            Some(here) => here,
            None => continue,
        };
        let python = names(&title).into_iter().find(|name| name.ends_with(".py"));
        // `pickle.py` and `queue.py` are not in the page.
        let python = python.filter(|_| here > 0).map(str::to_owned);
        let rows = lines.iter().map(|cells| {
            let cell = |column: Option<usize>| {
                let cell = column.and_then(|column| cells.get(column));
                cell.cloned().unwrap_or_default()
            };
            let theirs = cell(column("CPython"));
            let (theirs, note) = match (&python, column("notes"), column("what it is for")) {
                (Some(_), notes, _) => {
                    let name = names(&theirs).first().map(|name| (*name).to_owned());
                    (name.unwrap_or_default(), cell(notes))
                }
                (None, _, Some(purpose)) => (String::new(), cell(Some(purpose))),
                (None, notes, None) => (theirs, cell(notes)),
            };
            Row {
                theirs,
                ours: (names(&cell(Some(here))).into_iter().map(str::to_owned)).collect(),
                in_order: !note.starts_with("Out of order"),
                note,
                later: cell(column("in 3.14")),
            }
        });
        let rows = rows.collect();
        sections.push(Section {
            python,
            is_new: title.starts_with("New in "),
            title,
            rows,
        });
    }
    sections
}

/// `- **Head:** text` is a field; what is indented is more of the last one.
fn add_field(fields: &mut Vec<(String, String)>, line: &str) {
    let field = line
        .strip_prefix("- **")
        .and_then(|rest| rest.split_once(":** "));
    if let Some((head, text)) = field {
        fields.push((head.to_owned(), text.to_owned()));
    } else if let (Some(more), Some(last)) = (line.strip_prefix("  "), fields.last_mut()) {
        last.1.push(' ');
        last.1.push_str(more.trim());
    }
}

pub fn divergences(text: &str) -> Vec<Divergence> {
    let mut divergences: Vec<Divergence> = Vec::new();
    for line in text.lines() {
        let title = line
            .strip_prefix("### ")
            .and_then(|title| title.split_once(". "));
        if let Some((number, title)) = title {
            if let Ok(number) = number.parse() {
                divergences.push(Divergence {
                    number,
                    title: title.to_owned(),
                    fields: Vec::new(),
                });
            }
        } else if let Some(last) = divergences.last_mut() {
            add_field(&mut last.fields, line);
        }
    }
    divergences
}

pub fn guide(text: &str) -> Guide {
    let mut guide = Guide {
        stories: Vec::new(),
        stops: Vec::new(),
    };
    let mut section = "";
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title;
        } else if let Some(heading) = line.strip_prefix("### ") {
            let (number, title) = match heading.split_once(". ") {
                Some((number, title)) => (number.parse(), title),
                None => continue,
            };
            if let Ok(number) = number {
                if guide.stories.last().map(String::as_str) != Some(section) {
                    guide.stories.push(section.to_owned());
                }
                guide.stops.push(Stop {
                    number,
                    title: title.to_owned(),
                    story: guide.stories.len() - 1,
                    fields: Vec::new(),
                });
            }
        } else if let Some(stop) = guide.stops.last_mut().filter(|_| !section.is_empty()) {
            add_field(&mut stop.fields, line);
        }
    }
    guide
}

/// Text with `code`, **stress** and [links](https://example.com) as HTML. `link` says where a word that is
/// code leads to in the page. A link to another file leads nowhere, since the page may be anywhere.
pub fn html(text: &str, link: &dyn Fn(&str) -> Option<String>) -> String {
    let mut html = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some((code, after)) = rest.strip_prefix('`').and_then(|it| it.split_once('`')) {
            html.push_str(&match link(code) {
                Some(id) => format!(
                    "<a href=\"#{}\"><code>{}</code></a>",
                    escape(&id),
                    escape(code)
                ),
                None => format!("<code>{}</code>", escape(code)),
            });
            rest = after;
        } else if let Some((strong, after)) =
            rest.strip_prefix("**").and_then(|it| it.split_once("**"))
        {
            html.push_str(&format!("<b>{}</b>", self::html(strong, link)));
            rest = after;
        } else if let Some((words, target, after)) = bracketed(rest) {
            let inner = self::html(words, link);
            html.push_str(&if target.starts_with("https://") {
                format!(
                    "<a href=\"{}\" rel=\"noreferrer\">{inner}</a>",
                    escape(target)
                )
            } else {
                format!(
                    "<span class=\"ref\" title=\"{}\">{inner}</span>",
                    escape(target)
                )
            });
            rest = after;
        } else {
            html.push_str(&escape(&rest[..c.len_utf8()]));
            rest = &rest[c.len_utf8()..];
        }
    }
    html
}

/// `[words](target)`, and what follows.
fn bracketed(text: &str) -> Option<(&str, &str, &str)> {
    let (words, rest) = text.strip_prefix('[')?.split_once("](")?;
    let (target, rest) = rest.split_once(')')?;
    Some((words, target, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_links_lead_into_the_page() {
        let link = |name: &str| (name == "wait").then(|| "_base.py:wait".to_owned());
        assert_eq!(
            html("a < `wait` & `b<T>` **c** [d](e.md) [f](https://g/?\"h)", &link),
            "a &lt; <a href=\"#_base.py:wait\"><code>wait</code></a> &amp; <code>b&lt;T&gt;</code> <b>c</b> \
             <span class=\"ref\" title=\"e.md\">d</span> <a href=\"https://g/?&quot;h\" rel=\"noreferrer\">f</a>"
        );
        // What is not closed is text.
        assert_eq!(html("`a **b [c](d", &link), "`a **b [c](d");
    }

    #[test]
    fn bars_in_cells_are_text() {
        assert_eq!(cells("| a \\|\\| b | `c` | |"), ["a || b", "`c`", ""]);
    }
}
