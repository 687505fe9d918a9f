//! Keeps `docs/map.md` complete: on our side always, and on CPython's side where a Python 3.13 is at
//! hand. And the two-window test: definitions stand in CPython's order, or the map says why not; and
//! not much farther apart than there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A definition of ours.
struct Definition {
    /// Below `src/`.
    file: String,
    line: usize,
    /// The same, counting only lines of code.
    code_line: usize,
    visibility: Visibility,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Visibility {
    Public,
    /// For the other files.
    Super,
    Private,
}

/// Our definitions by name: `wait`, `Future::cancel`, `State::Pending`. Of the methods of one name that
/// a type has from several traits, one counts.
type Definitions = BTreeMap<String, Definition>;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    &text[..end.unwrap_or(text.len())]
}

/// How visible what a line defines is, and the line without that.
fn visibility(text: &str) -> (Visibility, &str) {
    if let Some(rest) = text.strip_prefix("pub ") {
        (Visibility::Public, rest)
    } else if let Some(rest) = text.strip_prefix("pub(super) ") {
        (Visibility::Super, rest)
    } else if let Some(rest) = text.strip_prefix("pub(in super::super) ") {
        (Visibility::Super, rest)
    } else if let Some(rest) = text.strip_prefix("pub(in super::super::super) ") {
        (Visibility::Super, rest)
    } else {
        (Visibility::Private, text)
    }
}

/// The name that this line defines, if it does define one, and the keyword.
fn defined(text: &str) -> Option<(&str, &str)> {
    let keywords = [
        "struct", "enum", "trait", "fn", "const", "static", "type", "mod",
    ];
    keywords.iter().find_map(|&keyword| {
        let rest = text.strip_prefix(keyword)?.strip_prefix(' ')?;
        Some((keyword, identifier(rest)))
    })
}

/// The type that an `impl` is for: of `impl<T> fmt::Debug for Future<T> {`, it is `Future`.
fn implementor(line: &str) -> &str {
    let mut rest = &line["impl".len()..];
    if rest.starts_with('<') {
        let mut depth = 0;
        let mut previous = ' ';
        let end = rest.find(|c| {
            match c {
                '<' => depth += 1,
                '>' if previous != '-' => depth -= 1,
                _ => {}
            }
            previous = c;
            depth == 0
        });
        rest = &rest[end.expect("balanced") + 1..];
    }
    let rest = rest.split(" for ").last().unwrap().trim();
    // `&X` and `()` have no name, and need none.
    identifier(rest)
}

/// A scanner of lines, which is enough for sources that `rustfmt` has formatted.
fn scan(file: &str, definitions: &mut Definitions) {
    // What the lines with four spaces before them belong to: its keyword, its name, its visibility.
    let mut inside: Option<(&str, String, Visibility)> = None;
    let text = read(&format!("src/{file}"));
    let mut code_line = 0;
    for (number, line) in text.lines().enumerate() {
        code_line += usize::from(!(line.is_empty() || line.trim_start().starts_with("//")));
        let mut define = |name: String, visibility| {
            definitions.entry(name).or_insert(Definition {
                file: file.to_owned(),
                line: number + 1,
                code_line,
                visibility,
            });
        };
        if line.starts_with("impl") {
            inside = Some(("impl", implementor(line).to_owned(), Visibility::Private));
        } else if line.starts_with('}') {
            inside = None;
        } else if let Some(member) = line.strip_prefix("    ") {
            let (keyword, owner, owners) = match &inside {
                Some((keyword, owner, visibility)) => (*keyword, owner, *visibility),
                None => continue,
            };
            if member.starts_with([' ', '/', '#', '}']) || owner.is_empty() {
                continue;
            }
            let (own, rest) = visibility(member);
            // A member of a trait or of an enum is as visible as that is.
            match (defined(rest), keyword) {
                (Some(("fn", name)), "trait") => define(format!("{owner}::{name}"), owners),
                (Some(("fn", name)), _) => define(format!("{owner}::{name}"), own),
                (None, "enum") => define(format!("{owner}::{}", identifier(rest)), owners),
                (None, "struct") if rest.contains(": ") => {
                    define(format!("{owner}::{}", identifier(rest)), own)
                }
                _ => {}
            }
        } else {
            let (visibility, rest) = visibility(line);
            if let Some((keyword, name)) = defined(rest) {
                define(name.to_owned(), visibility);
                inside =
                    Some((keyword, name.to_owned(), visibility)).filter(|_| line.ends_with('{'));
            }
        }
    }
}

/// Every source file, below `src/`: those of the top first.
fn files() -> Vec<String> {
    fn collect(directory: &Path, prefix: &str, files: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                collect(&entry.path(), &format!("{name}/"), files);
            } else {
                files.push(name);
            }
        }
    }
    let mut files = Vec::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    collect(&src, "", &mut files);
    files.sort_by_key(|file| (file.matches('/').count(), file.clone()));
    files
}

fn ours() -> Definitions {
    let mut definitions = Definitions::new();
    for file in files() {
        scan(&file, &mut definitions);
    }
    definitions
}

/// What a file re-exports.
fn reexported(file: &str) -> BTreeSet<String> {
    let text = read(&format!("src/{file}"));
    let mut exported = BTreeSet::new();
    for part in text.split("\npub ").skip(1) {
        // The first is `use` or `mod`; a definition is not re-exported.
        if !part.starts_with("use ") && !part.starts_with("mod ") {
            continue;
        }
        let names = &part[..part.find(';').unwrap()];
        let names = names
            .rsplit("::")
            .next()
            .unwrap()
            .trim_start_matches("mod ");
        let names = names.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        exported.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
    }
    exported
}

/// What `lib.rs` re-exports, and so is public in the end.
fn exported() -> BTreeSet<String> {
    let mut exported = reexported("lib.rs");
    // These are public modules, so what is public in them is public.
    exported.insert("_python_exit".to_owned());
    for file in ["process.rs", "stdlib/pickle.rs"] {
        exported.extend(reexported(file));
        let defined = in_file(file).into_iter();
        let public = defined.filter(|(_, it)| it.visibility == Visibility::Public);
        exported.extend(public.map(|(name, _)| name));
    }
    exported
}

/// The rows of the table in one section of the map, each as its cells.
fn table(section: &str) -> Vec<Vec<String>> {
    let map = read("docs/map.md");
    let start = map
        .find(&format!("## {section}"))
        .unwrap_or_else(|| panic!("no section {section}"));
    let text = &map[start..];
    let end = text[2..].find("\n## ").map_or(text.len(), |end| end + 2);
    text[..end]
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            // An empty cell has a space on either side, too.
            let line = line.replace("| |", "|  |");
            let line = line.trim_start_matches("| ").trim_end_matches('|');
            line.split(" | ")
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

/// What stands between backticks.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

const BASE: &str = "`_base.py`";
const THREAD: &str = "`thread.py`";
const PROCESS: &str = "`process.py`";
const NEW_THREAD: &str = "New in 3.14: `thread.py`";
const NEW_PROCESS: &str = "New in 3.14: `process.py`";
const ONLY_OURS: &str = "What only this project has";
const PICKLE: &str = "`pickle.py`";
const MULTIPROCESSING: &str = "`multiprocessing`";
const PRIVATE: &str = "What the port needs";

/// The columns of the sections that mirror a module of CPython, behind its own names.
const IN_3_14: usize = 1;
const HERE: usize = 2;
const NOTES: usize = 3;

/// The sections that mirror a module of CPython, each with the file that does.
const SECTIONS: [(&str, &str); 3] = [
    (BASE, "_base.rs"),
    (THREAD, "thread.rs"),
    (PROCESS, "process.rs"),
];

/// The definitions of one file. Two files may have some of the same name.
fn in_file(file: &str) -> Definitions {
    let mut definitions = Definitions::new();
    scan(file, &mut definitions);
    definitions
}

/// Every name of ours that the map has.
fn mapped() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (section, column) in [
        (BASE, HERE),
        (THREAD, HERE),
        (PROCESS, HERE),
        (NEW_THREAD, 1),
        (NEW_PROCESS, 1),
        (ONLY_OURS, 0),
        (PICKLE, 0),
        (MULTIPROCESSING, 0),
        (PRIVATE, 0),
    ] {
        for row in table(section) {
            all.extend(names(&row[column]).into_iter().map(str::to_owned));
        }
    }
    all
}

#[test]
fn everything_of_ours_is_in_the_map() {
    let (mapped, exported) = (mapped(), exported());
    let is_cpythons = |name: &str| name.rsplit("::").next().unwrap().starts_with('_');
    let missing: Vec<_> = ours()
        .into_iter()
        .filter(|(name, it)| match it.visibility {
            // `log`, `Promise` and their like are neither public nor CPython's.
            Visibility::Super => {
                it.file.starts_with("stdlib/multiprocessing/")
                    || ["logging", "queue", "threading"]
                        .map(|name| format!("stdlib/{name}.rs"))
                        .contains(&it.file)
            }
            // Or in a private module, for the sake of a signature.
            Visibility::Public => exported.contains(name.split("::").next().unwrap()),
            Visibility::Private => is_cpythons(name) && it.file != "lib.rs",
        })
        .filter(|(name, _)| !mapped.contains(name))
        .map(|(name, it)| format!("{name} ({}:{})", it.file, it.line))
        .collect();
    assert!(missing.is_empty(), "not in docs/map.md: {missing:#?}");
}

#[test]
fn everything_in_the_map_is_ours() {
    let ours = ours();
    let unknown: Vec<_> = mapped()
        .into_iter()
        .filter(|name| !ours.contains_key(name))
        .collect();
    assert!(unknown.is_empty(), "not in src: {unknown:#?}");
}

/// What this would not find, it could not miss.
#[test]
fn the_scanner_sees_what_there_is() {
    let ours = ours();
    use Visibility::{Private, Public, Super};
    for (name, file, visibility) in [
        ("FIRST_COMPLETED", "_base.rs", Public),
        ("State::Pending", "_base.rs", Public),
        ("Future::cancel", "_base.rs", Public),
        ("Future::fmt", "_base.rs", Private),
        ("Executor::try_map_with", "_base.rs", Public),
        ("_result_or_cancel", "_base.rs", Private),
        ("Global::_shutdown", "thread.rs", Private),
        ("Core::run", "thread.rs", Private),
        ("ThreadPoolExecutorBuilder::build", "thread.rs", Public),
        ("SimpleQueue::get", "stdlib/queue.rs", Super),
        ("Condition::try_acquire", "stdlib/threading.rs", Private),
        ("Load::load", "stdlib/pickle.rs", Public),
        ("DispatchTable::register", "stdlib/pickle/errors.rs", Public),
        ("Global::_threads_wakeups", "process.rs", Private),
        ("Registry::register", "process/registry.rs", Public),
        ("Process::kill", "stdlib/multiprocessing/process.rs", Super),
    ] {
        let it = ours.get(name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!((&*it.file, it.visibility), (file, visibility), "{name}");
    }
    let exported = exported();
    for name in [
        "wait",
        "Future",
        "ThreadPoolExecutor",
        "thread",
        "ALL_COMPLETED",
        "BrokenProcessPool",
        "CallOptions",
        "loads",
        "RemoteError",
    ] {
        assert!(exported.contains(name), "{name}");
    }
    assert!(ours.len() > 200, "{}", ours.len());
}

#[test]
fn definitions_stand_in_cpythons_order() {
    let mut wrong = Vec::new();
    for (section, file) in SECTIONS {
        let ours = in_file(file);
        let mut rows = Vec::new();
        for row in table(section) {
            assert_eq!(row.len(), 4, "{row:?}");
            match names(&row[HERE]).first() {
                Some(name) => {
                    let it = ours.get(*name);
                    let it = it.unwrap_or_else(|| panic!("{name} has left {file}"));
                    let excuse = row[NOTES].strip_prefix("Out of order: ");
                    rows.push((it.line, excuse.map_or(false, |why| why.len() > 10), row));
                }
                // There is none, and the map says why.
                None => {
                    assert_eq!(row[HERE], "none", "{row:?}");
                    assert!(!row[NOTES].is_empty(), "{row:?}");
                }
            }
        }
        for (index, (line, excused, row)) in rows.iter().enumerate() {
            let before = rows[..index].iter().rev().find(|row| !row.1);
            let after = rows[index + 1..].iter().find(|row| !row.1);
            let in_order = before.map_or(true, |row| row.0 <= *line)
                && after.map_or(true, |row| *line <= row.0);
            if in_order == *excused {
                wrong.push(format!("{} at {file}:{line}", row[0]));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "out of order without an excuse, or excused in order: {wrong:#?}"
    );
}

/// Prints the definitions of both modules: the name of its module, its own name, and which line of code
/// it is. Lines of documentation are no lines of code.
const LIST: &str = r#"
import ast, sys
from concurrent.futures import _base, thread, process
assert sys.version_info[:2] == (3, 13)

def definitions(body, prefix, variables):
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield prefix + node.name, node.lineno
            inner = prefix + node.name + "."
            yield from definitions(node.body, inner, isinstance(node, ast.ClassDef))
        elif variables and isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id != "__author__":
                    yield prefix + target.id, node.lineno

for module in (_base, thread, process):
    with open(module.__file__) as file:
        text = file.read()
    tree = ast.parse(text)
    lines = text.split("\n")
    code = [bool(line.strip()) and line.strip()[0] != '#' for line in lines]
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            for number in range(node.lineno, node.end_lineno + 1):
                code[number - 1] = False
    for name, line in definitions(tree.body, "", True):
        print(module.__name__.split(".")[-1], name, sum(code[:line]))
"#;

/// What `LIST` prints, if there is a Python 3.13.
fn listed() -> Option<String> {
    ["python3.13", "python3", "python"]
        .iter()
        .find_map(|python| {
            // pyenv chooses by this variable, and all others ignore it.
            let output = Command::new(python)
                .args(["-c", LIST])
                .env("PYENV_VERSION", "3.13")
                .output()
                .ok()?;
            let text = String::from_utf8(output.stdout).ok()?;
            output.status.success().then_some(text)
        })
}

/// The definitions of one of CPython's modules, in order, each with its line of code.
fn theirs<'a>(listed: &'a str, module: &str) -> Vec<(&'a str, usize)> {
    let theirs: Vec<_> = listed
        .lines()
        .filter_map(|line| line.strip_prefix(module)?.split_once(' '))
        .map(|(name, line)| (name, line.parse().unwrap()))
        .collect();
    assert!(theirs.len() > 15, "{listed}");
    theirs
}

#[test]
fn everything_of_cpythons_is_in_the_map() {
    let listed = match listed() {
        Some(listed) => listed,
        None => {
            println!("no Python 3.13 at hand: CPython's side of the map is not checked");
            return;
        }
    };
    for (section, file) in SECTIONS {
        let module = &file.replace(".rs", " ");
        let theirs = theirs(&listed, module).into_iter().map(|it| it.0);
        let rows = table(section);
        let mapped: Vec<&str> = rows.iter().map(|row| names(&row[0])[0]).collect();
        assert_eq!(
            mapped,
            theirs.collect::<Vec<_>>(),
            "the rows of {section} in docs/map.md"
        );
    }
}

/// A line of these files: which file, which definition, and a number that changes with its code.
fn prints(path: &str) -> BTreeMap<String, String> {
    let text = read(path);
    let lines = text.lines().map(|line| line.rsplit_once(' ').unwrap());
    let prints: BTreeMap<_, _> = lines
        .map(|(name, print)| (name.to_owned(), print.to_owned()))
        .collect();
    assert!(prints.len() > 140, "{path}");
    prints
}

/// The second column, and the sections of what is new: against 3.14.2's definitions.
#[test]
fn what_3_14_has_changed_is_in_the_map() {
    let before = prints("docs/examples/alongside/python-3.13.txt");
    let after = prints("tests/alongside/python-3.14.txt");
    let mut mapped = BTreeSet::new();
    let mut wrong = Vec::new();
    for (section, _) in SECTIONS {
        let file = section.trim_matches('`');
        for row in table(section) {
            let name = format!("{file} {}", names(&row[0])[0]);
            let later = &row[IN_3_14];
            match after.get(&name) {
                None if later.starts_with("gone") => {}
                Some(print) if before.get(&name) == Some(print) && !later.starts_with("gone") => {}
                Some(_) if later.len() > 5 && !later.starts_with("gone") => {}
                _ => wrong.push(format!("{name}: {later}")),
            }
            mapped.insert(name);
        }
    }
    for (section, file) in [(NEW_THREAD, "thread.py"), (NEW_PROCESS, "process.py")] {
        for row in table(section) {
            let name = format!("{file} {}", names(&row[0])[0]);
            if before.contains_key(&name) || !after.contains_key(&name) {
                wrong.push(format!("{name} is not new"));
            }
            assert!(row[1] != "none" || !row[2].is_empty(), "{row:?}");
            mapped.insert(name);
        }
    }
    let missing = after.keys().filter(|name| !mapped.contains(*name));
    wrong.extend(missing.map(|name| format!("{name} is not in the map")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Two neighbours in CPython may stand so much farther apart here. A line of Python is a line and a half
/// of Rust, at the least: braces, types, `match`.
fn bound(theirs: usize) -> usize {
    40 + 2 * theirs
}

/// What stands farther from its neighbour than the bound allows, with the reason.
const FAR_APART: [(&str, &str); 3] = [
    (
        "_base Executor.map .. Executor.map.result_iterator",
        "a type cannot stand inside a trait, where `map` has four forms; it follows the trait",
    ),
    (
        "_base Executor.__exit__ .. BrokenExecutor",
        "between them stands `Map::next`, the generator that CPython has inside of `map`",
    ),
    (
        "thread ThreadPoolExecutor .. ThreadPoolExecutor._counter",
        "a type cannot have variables, so it is among those of the module",
    ),
];

/// Two windows can only be scrolled together if there are not several screens between two definitions
/// in one, and some lines in the other.
#[test]
fn neighbours_in_cpython_are_near_each_other_here() {
    let listed = match listed() {
        Some(listed) => listed,
        None => {
            println!("no Python 3.13 at hand: the distances are not checked");
            return;
        }
    };
    let mut gaps = Vec::new();
    for (section, file) in SECTIONS {
        let module = &file.replace(".rs", " ");
        let ours = in_file(file);
        let lines: BTreeMap<_, _> = theirs(&listed, module).into_iter().collect();
        let mut previous: Option<(String, usize, usize)> = None;
        for row in table(section) {
            let here = match names(&row[HERE]).first() {
                Some(name) => ours[*name].code_line,
                None => continue,
            };
            let name = names(&row[0])[0].to_owned();
            let there = lines[&*name];
            if let Some((previous, was_there, was_here)) = &previous {
                let gap = (here.max(*was_here) - here.min(*was_here), there - was_there);
                gaps.push((gap, format!("{module}{previous} .. {name}")));
            }
            // The neighbour of what follows is the last definition that stands in order.
            if row[NOTES].starts_with("Out of order") {
                continue;
            }
            previous = Some((name, there, here));
        }
    }
    gaps.sort_by_key(|((here, there), _)| std::cmp::Reverse(here.saturating_sub(*there)));
    println!("lines of code here, and in CPython, between two neighbours:");
    for ((here, there), names) in &gaps[..10] {
        println!("{here:5} {there:5}  {names}");
    }
    let too_far: Vec<_> = gaps
        .iter()
        .filter(|((here, there), _)| *here > bound(*there))
        .map(|(_, names)| &**names)
        .collect();
    let excused: Vec<_> = FAR_APART.iter().map(|(names, _)| *names).collect();
    let sorted = |mut names: Vec<&str>| {
        names.sort_unstable();
        names.join("\n")
    };
    assert_eq!(
        sorted(too_far),
        sorted(excused),
        "too far apart, and excused"
    );
}

/// What the guide's stops say under one heading, "Here" perhaps, line breaks taken out.
fn guide(heading: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut inside = false;
    for line in read("docs/reading-guide.md").lines() {
        if let Some(text) = line.strip_prefix(&format!("- **{heading}:** ")) {
            fields.push(text.to_owned());
            inside = true;
        } else if let Some(more) = line.strip_prefix("  ").filter(|_| inside) {
            let last: &mut String = fields.last_mut().unwrap();
            *last += &format!(" {}", more.trim());
        } else {
            inside = false;
        }
    }
    assert_eq!(fields.len(), 23, "a stop without {heading}");
    fields
}

/// What the guide sends its readers to: every name in "Here" is defined in the file whose link comes next.
#[test]
fn the_guide_names_what_there_is() {
    let mut count = 0;
    for field in guide("Here") {
        let mut links = field.split("](../src/").peekable();
        while let Some(before) = links.next() {
            let file = match links.peek() {
                Some(link) => &link[..link.find(')').unwrap()],
                None => break,
            };
            let defined = in_file(file);
            // `impl Drop for Pool` is `Pool::drop`.
            let names =
                names(before)
                    .into_iter()
                    .map(|name| match name.strip_prefix("impl Drop for ") {
                        Some(name) => format!("{name}::drop"),
                        None => name.to_owned(),
                    });
            for name in names.filter(|name| !name.ends_with(".rs") && name != "mpsc") {
                let end = format!("::{name}");
                let known = defined.keys().any(|it| *it == name || it.ends_with(&end));
                assert!(known, "{name} is not in {file}: {field}");
                count += 1;
            }
        }
    }
    assert!(count > 70, "{count}");
}

/// And every name in "CPython" is one of the map's, but for an attribute, and what is not of `concurrent.futures`.
#[test]
fn the_guide_names_what_there_is_in_cpython() {
    let theirs: Vec<String> = SECTIONS
        .iter()
        .flat_map(|(section, _)| table(section))
        .map(|row| names(&row[0])[0].to_owned())
        .collect();
    let mut count = 0;
    for field in guide("CPython") {
        for name in names(&field) {
            if name.ends_with(".py")
                || ["queue.SimpleQueue", "_idle_worker_semaphore", "spawn_main"].contains(&name)
            {
                continue;
            }
            let end = format!(".{name}");
            let known = theirs.iter().any(|it| it == name || it.ends_with(&end));
            assert!(known, "{name} is not in the map: {field}");
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}
