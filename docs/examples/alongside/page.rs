//! The page: both sources, what ties them, and the parts that the browser runs.

use super::documents::{self, Section};
use super::source::{escape, Definition, Source};
use super::{python, rust};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const BODY: &str = include_str!("page.html");
/// What CPython 3.13.0's definitions look like, in short: see `Source::fingerprint`.
const FINGERPRINTS: &str = include_str!("python-3.13.txt");
/// Which definitions each row of `divergences.md` is about.
const ROWS: &str = include_str!("rows.txt");

/// CPython's files that are mirrored, and what they are mirrored by.
pub const PAIRS: [(&str, &str); 3] = [
    ("_base.py", "_base.rs"),
    ("thread.py", "thread.rs"),
    ("process.py", "process.rs"),
];

/// CPython's side.
pub struct Python {
    /// 3.13.0, if it is known.
    pub version: Option<String>,
    pub path: String,
    /// As in `PAIRS`.
    pub texts: Vec<String>,
}

/// All that the page is made of.
pub struct Input {
    pub python: Option<Python>,
    /// Below `src`: those of the top first.
    pub ours: Vec<(String, String)>,
    pub map: String,
    pub divergences: String,
    pub guide: String,
}

/// A line for each of CPython's definitions: its file, its name, and its fingerprint.
pub fn fingerprints(python: &Python) -> String {
    let mut lines = String::new();
    for source in theirs(Some(python)) {
        for definition in &source.definitions {
            let print = source.fingerprint(definition);
            let _ = writeln!(lines, "{} {} {print:016x}", source.file, definition.name);
        }
    }
    lines
}

fn theirs(python: Option<&Python>) -> Vec<Source> {
    let texts = python.map_or(&[][..], |python| &python.texts);
    let files = PAIRS.iter().zip(texts);
    files
        .map(|((file, _), text)| python::parse(file, text.clone()))
        .collect()
}

struct Sources {
    theirs: Vec<Source>,
    ours: Vec<Source>,
    /// The names of CPython's definitions by file: from the map, where there is no Python.
    known: BTreeMap<String, Vec<String>>,
}

impl Sources {
    /// The address of one of CPython's definitions: by its whole name, or by the end of it.
    fn python(&self, file: Option<&str>, name: &str) -> Option<String> {
        let end = format!(".{name}");
        let files = || {
            PAIRS
                .iter()
                .map(|pair| pair.0)
                .filter(|it| file.map_or(true, |file| file == *it))
        };
        for whole in [true, false] {
            for file in files() {
                let names = self.known.get(file)?;
                let found = names.iter().find(|it| {
                    if whole {
                        *it == name
                    } else {
                        it.ends_with(&end)
                    }
                });
                if let Some(found) = found {
                    return Some(format!("{file}:{found}"));
                }
            }
        }
        None
    }

    /// The address of one of ours. The file that the reader is at comes first, with its parts.
    fn rust(&self, file: Option<&str>, name: &str) -> Option<String> {
        let name = match name
            .strip_prefix("impl ")
            .and_then(|name| name.split_once(" for "))
        {
            Some(("Drop", name)) => format!("{name}::drop"),
            _ => name.to_owned(),
        };
        let parts =
            file.map(|file| format!("{}/", file.trim_end_matches(".rs").trim_end_matches("/mod")));
        let near = |source: &&Source| match (file, &parts) {
            (Some(file), Some(parts)) => {
                source.file == file
                    || source.file.ends_with(&format!("/{file}"))
                    || source.file.starts_with(parts)
            }
            _ => true,
        };
        let far = self.ours.iter().filter(|it| !near(it));
        let mut sources = self.ours.iter().filter(near).chain(far);
        let whole = sources.find_map(|source| source.find(&name).map(|it| source.id(it)));
        // Without its type, where the file has one method of that name.
        let end = format!("::{name}");
        whole.or_else(|| {
            let mut near = self.ours.iter().filter(|it| file.is_some() && near(it));
            near.find_map(|source| {
                let mut found = source
                    .definitions
                    .iter()
                    .filter(|it| it.name.ends_with(&end));
                found.next().map(|it| source.id(it))
            })
        })
    }
}

/// Texts and lists as JSON, which a script element may hold.
fn string(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            // `</script>` would end the element.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json + "\""
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    format!("[{}]", items.join(","))
}

fn strings(items: &[String]) -> String {
    list(items.iter().map(|item| string(item)))
}

pub fn build(input: &Input) -> String {
    let theirs = theirs(input.python.as_ref());
    let ours: Vec<Source> = (input.ours.iter())
        .map(|(file, text)| rust::parse(file, text.clone()))
        .collect();
    let map = documents::map(&input.map);
    let mut known = BTreeMap::new();
    for section in map.iter().filter(|section| !section.is_new) {
        if let Some(file) = &section.python {
            let names = section.rows.iter().map(|row| row.theirs.clone());
            known
                .entry(file.clone())
                .or_insert_with(Vec::new)
                .extend(names);
        }
    }
    for source in &theirs {
        let names = known.entry(source.file.clone()).or_insert_with(Vec::new);
        for definition in &source.definitions {
            if !names.contains(&definition.name) {
                names.push(definition.name.clone());
            }
        }
    }
    let sources = Sources {
        theirs,
        ours,
        known,
    };
    let python = match &input.python {
        Some(Python { version, .. }) => string(version.as_deref().unwrap_or("?")),
        None => "null".to_owned(),
    };
    let data = format!(
        "{{\"python\":{python},\"pairs\":{},\"defs\":{{{}}},\"rows\":{},\"ours\":{},\"divergences\":{},\"stories\":{},\"stops\":{}}}",
        list(PAIRS.iter().map(|(theirs, ours)| list([string(theirs), string(ours)]))),
        definitions(&sources),
        rows(&sources, &map),
        only_ours(&sources, &map),
        divergences(&sources, &input.divergences),
        strings(&documents::guide(&input.guide).stories),
        stops(&sources, &input.guide),
    );
    let head = match &input.python {
        Some(Python {
            version: Some(version),
            path,
            ..
        }) => format!("CPython {version}: {path}"),
        Some(Python {
            version: None,
            path,
            ..
        }) => format!("CPython of an unknown version: {path}"),
        None => String::new(),
    };
    let missing = "<p class=\"missing\">No Python was found on this machine when this page was made, so CPython's side is \
        empty. With a Python 3.13, or the sources of one:</p>\
        <pre>cargo run --example alongside -- --python DIR -o alongside.html</pre>";
    let left = if sources.theirs.is_empty() {
        missing.to_owned()
    } else {
        articles(&sources.theirs, &head)
    };
    // Each place is filled once: what is filled in is not searched for the next one.
    let mut page = String::new();
    let mut rest = BODY;
    while let Some((before, after)) = rest.split_once("{{") {
        let (place, after) = after.split_once("}}").unwrap_or(("", after));
        page.push_str(before);
        page.push_str(match place {
            "style" => STYLE,
            "script" => SCRIPT,
            "data" => &data,
            "theirs" => &left,
            _ => "",
        });
        if place == "ours" {
            page.push_str(&articles(&sources.ours, "concurrent-futures"));
        }
        rest = after;
    }
    page + rest
}

/// `origin` says whose the files are.
fn articles(sources: &[Source], origin: &str) -> String {
    let origin = escape(origin);
    let articles = sources.iter().map(|source| {
        let file = escape(&source.file);
        let head = format!("<h2>{file} <span title=\"{origin}\">{origin}</span></h2>");
        let code = source.html();
        format!("<article data-file=\"{file}\" aria-label=\"{file}\">{head}\n<div class=\"code\">{code}</div></article>\n")
    });
    articles.collect()
}

fn definitions(sources: &Sources) -> String {
    let mut items = Vec::new();
    let mut seen = HashSet::new();
    for source in sources.theirs.iter().chain(&sources.ours) {
        for it in &source.definitions {
            let id = source.id(it);
            if seen.insert(id.clone()) {
                items.push(format!("{}:[{},{}]", string(&id), it.first, it.last));
            }
        }
    }
    items.join(",")
}

fn rows(sources: &Sources, map: &[Section]) -> String {
    let prints: HashMap<(&str, &str), &str> = (FINGERPRINTS.lines())
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some(((words.next()?, words.next()?), words.next()?))
        })
        .collect();
    let mut rows = Vec::new();
    let mut mapped = HashSet::new();
    for section in map {
        let python = match &section.python {
            Some(python) => python,
            None => continue,
        };
        let rust = PAIRS
            .iter()
            .find(|pair| pair.0 == python)
            .map(|pair| pair.1);
        let source = sources.theirs.iter().find(|source| source.file == *python);
        for row in &section.rows {
            let found = source.map(|source| (source, source.find(&row.theirs)));
            let state = match found {
                // Of what is new, only what this Python has is shown.
                Some((_, Some(_))) if section.is_new => "new",
                _ if section.is_new => continue,
                None => "same",
                Some((_, None)) => "gone",
                Some((source, Some(it))) => {
                    let print = format!("{:016x}", source.fingerprint(it));
                    match prints.get(&(&**python, &*row.theirs)) {
                        Some(known) if **known == print => "same",
                        _ => "changed",
                    }
                }
            };
            mapped.insert((python.clone(), row.theirs.clone()));
            let link = |name: &str| {
                sources
                    .rust(rust, name)
                    .or_else(|| sources.python(Some(python), name))
            };
            rows.push(format!(
                "{{\"py\":{},\"rs\":{},\"note\":{},\"later\":{},\"ordered\":{},\"state\":\"{state}\"}}",
                string(&format!("{python}:{}", row.theirs)),
                // What is not found keeps its place, so that the page's test sees it.
                list(row.ours.iter().map(|name| {
                    string(&sources.rust(rust, name).unwrap_or_else(|| format!("?:{name}")))
                })),
                string(&documents::html(&row.note, &link)),
                string(&documents::html(&row.later, &link)),
                row.in_order,
            ));
        }
    }
    for source in &sources.theirs {
        let new = |it: &&Definition| !mapped.contains(&(source.file.clone(), it.name.clone()));
        for it in source.definitions.iter().filter(new) {
            rows.push(format!(
                "{{\"py\":{},\"rs\":[],\"note\":\"\",\"later\":\"\",\"ordered\":true,\"state\":\"new\"}}",
                string(&source.id(it))
            ));
        }
    }
    list(rows)
}

/// What the map says of what is not CPython's, or not of these three files.
fn only_ours(sources: &Sources, map: &[Section]) -> String {
    let mut items = Vec::new();
    for section in map.iter().filter(|section| section.python.is_none()) {
        // Of two definitions of one name, the section's own.
        let file = documents::names(&section.title)
            .first()
            .map(|name| name.trim_end_matches(".py").to_owned());
        let file = file.map(|name| format!("stdlib/{name}.rs"));
        for row in &section.rows {
            let ids = row
                .ours
                .iter()
                .filter_map(|name| sources.rust(file.as_deref(), name));
            let text = if row.theirs.is_empty() {
                documents::html(&row.note, &|_| None)
            } else {
                format!("CPython: {}", documents::html(&row.theirs, &|_| None))
            };
            items.push(format!(
                "{{\"rs\":{},\"note\":{}}}",
                list(ids.map(|id| string(&id))),
                string(&text)
            ));
        }
    }
    list(items)
}

fn divergences(sources: &Sources, text: &str) -> String {
    let mut known: HashMap<usize, Vec<&str>> = HashMap::new();
    for line in ROWS.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        if let Some(number) = words.next().and_then(|word| word.parse().ok()) {
            known.entry(number).or_default().extend(words);
        }
    }
    list(documents::divergences(text).into_iter().map(|row| {
        let resolve = |name: &str| match name.split_once(':') {
            Some((file, name)) => sources.python(Some(file), name),
            None => sources.python(None, name),
        };
        let at: Vec<String> = match known.get(&row.number) {
            Some(names) => names.iter().filter_map(|name| resolve(name)).collect(),
            // A row that is too new for the list is where its own words lead.
            None => (std::iter::once(&row.title)
                .chain(row.fields.iter().map(|field| &field.1))
                .take(2))
            .flat_map(|text| documents::names(text))
            .filter_map(|name| {
                let word = name.split(['(', ' ']).next()?;
                resolve(word.trim_end_matches('.')).filter(|_| word.len() > 2)
            })
            .collect(),
        };
        // Of several of that name, the one that the row is about.
        let link = |name: &str| {
            let near = at.iter().find(|id| id.ends_with(&format!(".{name}")));
            near.cloned()
                .or_else(|| sources.python(None, name))
                .or_else(|| sources.rust(None, name))
        };
        let fields = row.fields.iter().map(|(head, text)| {
            format!(
                "<dt>{}</dt><dd>{}</dd>",
                escape(head),
                documents::html(text, &link)
            )
        });
        format!(
            "{{\"n\":{},\"title\":{},\"html\":{},\"at\":{}}}",
            row.number,
            string(&documents::html(&row.title, &|_| None)),
            string(&fields.collect::<String>()),
            strings(&at)
        )
    }))
}

/// Each stop with the definitions that it names, in the order in which it does.
fn stops(sources: &Sources, text: &str) -> String {
    list(documents::guide(text).stops.into_iter().map(|stop| {
        let field = |head: &str| {
            let field = stop.fields.iter().find(|field| field.0 == head);
            field.map_or("", |field| &*field.1)
        };
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        let mut missing = Vec::new();
        // A file is named behind what is in it: "`a` and `b` in `c.py`".
        let parts = |text: &str| -> Vec<String> { text.split(';').map(str::to_owned).collect() };
        for part in parts(field("CPython")) {
            let names = documents::names(&part);
            let file = names.iter().find(|name| name.ends_with(".py")).copied();
            let mut class = String::new();
            for name in names.iter().filter(|name| !name.ends_with(".py")) {
                let name = (*name).to_owned();
                let qualified = format!("{class}{name}");
                let found = file.and_then(|file| {
                    sources
                        .python(Some(file), &qualified)
                        .or_else(|| sources.python(Some(file), &name))
                });
                if let Some((before, _)) = name.rsplit_once('.') {
                    class = format!("{before}.");
                }
                match found {
                    Some(id) => theirs.push(id),
                    None => missing.push(name),
                }
            }
        }
        for part in parts(field("Here")) {
            let names = documents::names(&part);
            let file = names.iter().find(|name| name.ends_with(".rs")).copied();
            let mut class = String::new();
            for name in names.iter().filter(|name| !name.ends_with(".rs")) {
                let qualified = format!("{class}{name}");
                let found = (sources.rust(file, &qualified)).or_else(|| sources.rust(file, name));
                if let Some((before, _)) = name.rsplit_once("::") {
                    class = format!("{before}::");
                }
                match found {
                    Some(id) => ours.push(id),
                    None => missing.push((*name).to_owned()),
                }
            }
        }
        let link = |name: &str| {
            let same = |id: &&String| {
                id.rsplit(':').next() == Some(name) || id.ends_with(&format!(".{name}"))
            };
            let near = theirs.iter().chain(&ours).find(same).cloned();
            near.or_else(|| sources.python(None, name))
                .or_else(|| sources.rust(None, name))
        };
        let html = stop.fields.iter().map(|(head, text)| {
            format!(
                "<dt>{}</dt><dd>{}</dd>",
                escape(head),
                documents::html(text, &link)
            )
        });
        format!(
            "{{\"n\":{},\"title\":{},\"story\":{},\"html\":{},\"py\":{},\"rs\":{},\"missing\":{}}}",
            stop.number,
            string(&documents::html(&stop.title, &|_| None)),
            stop.story,
            string(&html.collect::<String>()),
            strings(&theirs),
            strings(&ours),
            strings(&missing),
        )
    }))
}
