//! The floors of the house: which source file may use which. See "Floors" in `docs/map.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module's path below the crate: `["_base", "futures"]`; the crate's own is empty.
type Module = Vec<String>;

/// What file each module is in, below `src/`.
fn modules() -> BTreeMap<Module, String> {
    fn collect(directory: &Path, module: &[String], modules: &mut BTreeMap<Module, String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let stem = name.trim_end_matches(".rs");
            let mut path = module.to_vec();
            if !["lib", "mod"].contains(&stem) {
                path.push(stem.to_owned());
            }
            if entry.file_type().unwrap().is_dir() {
                collect(&entry.path(), &path, modules);
            } else {
                let file = entry.path();
                let file = file.strip_prefix(src()).unwrap().to_str().unwrap();
                modules.insert(path, file.replace('\\', "/"));
            }
        }
    }
    let mut modules = BTreeMap::new();
    collect(&src(), &[], &mut modules);
    modules
}

fn src() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The code of a file: no comments, no documentation.
fn code(file: &str) -> String {
    let text = fs::read_to_string(src().join(file)).unwrap();
    let lines = text.lines().map(|line| match line.find("//") {
        // What follows a colon is an address.
        Some(at) if !line[..at].ends_with(':') => &line[..at],
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expand(tree: &str) -> Vec<String> {
    let open = match tree.find('{') {
        Some(open) => open,
        None => return vec![tree.to_owned()],
    };
    let (prefix, inner) = (&tree[..open], tree[open + 1..].strip_suffix('}').unwrap());
    let mut depth = 0;
    let parts = inner.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    parts
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .flat_map(expand)
        .map(|path| format!("{prefix}{path}"))
        .collect()
}

/// Every path in a file that starts at `self` or `super`.
fn paths(code: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    // How visible something is, is no use of anything.
    let mut rest = code
        .replace("(in super::super::super)", "")
        .replace("(in super::super)", "");
    // Uses, which may be trees.
    while let Some(start) = rest.find("use s") {
        let end = start + rest[start..].find(';').unwrap();
        paths.extend(expand(rest[start + 4..end].trim()));
        rest.replace_range(start..=end, "");
    }
    // Everything else.
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for word in rest.split(|c| !is_path(c)) {
        if word.starts_with("super::") {
            paths.insert(word.to_owned());
        }
    }
    paths
}

/// The file of the module in which the path that stands in `from` ends.
fn resolve<'a>(path: &str, from: &Module, modules: &'a BTreeMap<Module, String>) -> &'a str {
    let mut at = from.clone();
    let mut words = path.split("::").peekable();
    while let Some(word) = words.next_if(|word| ["self", "super"].contains(word)) {
        if word == "super" {
            at.pop().expect("a path above the crate");
        }
    }
    for word in words {
        at.push(word.to_owned());
        if !modules.contains_key(&at) {
            at.pop();
            break;
        }
    }
    &modules[&at]
}

/// Which files each file uses.
fn graph() -> BTreeMap<String, BTreeSet<String>> {
    let modules = modules();
    modules
        .iter()
        .map(|(module, file)| {
            let code = code(file);
            let used = paths(&code)
                .iter()
                .map(|path| resolve(path, module, &modules).to_owned())
                .filter(|used| used != file)
                .collect();
            (file.clone(), used)
        })
        .collect()
}

fn floor(file: &str) -> u32 {
    match file.split('/').next().unwrap() {
        "lib.rs" => 4,
        "thread.rs" | "thread" | "process.rs" | "process" | "beyond" => 3,
        "_base.rs" | "_base" => 2,
        "stdlib" => 1,
        other => panic!("src/{other} is on no floor"),
    }
}

/// A file and its private children are one: `_base/futures.rs` counts as `_base.rs`, and `stdlib/mod.rs`
/// is of no account, as it only names the others.
fn whole(file: &str) -> &str {
    match file.split_once('/') {
        Some(("_base", _)) => "_base.rs",
        Some(("thread", _)) => "thread.rs",
        Some(("process", _)) => "process.rs",
        Some(("stdlib", child)) if child.starts_with("pickle/") => "stdlib/pickle.rs",
        _ => file,
    }
}

#[test]
fn no_file_uses_one_of_a_higher_floor() {
    let mut wrong = Vec::new();
    for (file, used) in graph() {
        println!("{} {file}: {used:?}", floor(&file));
        for used in used {
            if floor(&used) > floor(&file) {
                wrong.push(format!("{file} uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_two_files_use_each_other() {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, used) in graph() {
        let file = whole(&file).to_owned();
        for used in used {
            // Modules that only name their children are used by everybody, and use nobody.
            if whole(&used) != file && !used.ends_with("/mod.rs") {
                let targets = edges.entry(file.clone()).or_default();
                targets.insert(whole(&used).to_owned());
            }
        }
    }
    // What uses nothing that is left goes, until nothing is left but circles.
    loop {
        let leaves: Vec<_> = edges
            .iter()
            .filter(|(_, used)| !used.iter().any(|used| edges.contains_key(used)))
            .map(|(file, _)| file.clone())
            .collect();
        if leaves.is_empty() {
            break;
        }
        for leaf in leaves {
            edges.remove(&leaf);
        }
    }
    assert!(edges.is_empty(), "a circle among {edges:#?}");
}

/// What this would not see, it could not forbid.
#[test]
fn the_graph_has_what_there_is() {
    let graph = graph();
    let uses = |file: &str, used: &str| graph[file].contains(used);
    assert!(uses("thread.rs", "_base.rs"));
    assert!(uses("thread.rs", "stdlib/queue.rs"));
    assert!(uses("_base.rs", "stdlib/threading.rs"));
    assert!(uses("_base/futures.rs", "_base.rs"));
    assert!(uses("_base.rs", "_base/futures.rs"));
    assert!(uses("stdlib/queue.rs", "stdlib/threading.rs"));
    assert!(uses("beyond/any_future.rs", "_base.rs"));
    assert!(uses("lib.rs", "beyond/any_future.rs"));
    assert!(!uses("stdlib/queue.rs", "_base.rs"));
    assert_eq!(
        expand("super::{a::{b, c},\n    d,\n}"),
        ["super::a::b", "super::a::c", "super::d"]
    );
}

/// "Well under 1,500 lines" for the one, and 900 for every other.
#[test]
fn no_file_is_too_long_to_read() {
    for file in modules().into_values() {
        let lines = fs::read_to_string(src().join(&file))
            .unwrap()
            .lines()
            .count();
        let limit = if file == "_base.rs" { 1500 } else { 900 };
        assert!(lines <= limit, "{file} has {lines} lines");
    }
}

/// So that a file that went astray, or a copy without `LICENSE`, still says whose it is.
#[test]
fn every_file_names_its_licence_and_the_holder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let licence = fs::read_to_string(root.join("LICENSE")).unwrap();
    let holder = licence.lines().find(|line| line.starts_with("Copyright"));
    let head = format!(
        "// SPDX-License-Identifier: MIT\n// {}\n\n",
        holder.unwrap()
    );
    let mut without = Vec::new();
    for file in modules().into_values() {
        let text = fs::read_to_string(src().join(&file)).unwrap();
        if !text.replace("\r\n", "\n").starts_with(&head) {
            without.push(file);
        }
    }
    assert!(without.is_empty(), "{without:?}");
}
