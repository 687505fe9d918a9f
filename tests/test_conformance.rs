//! Keeps `docs/conformance.md` honest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// CPython's test files that the document covers, and the files with our tests.
const FILES: [(&str, &str); 9] = [
    ("test_future.py", "tests/test_future.rs"),
    ("test_as_completed.py", "tests/test_as_completed.rs"),
    ("test_wait.py", "tests/test_wait.rs"),
    ("executor.py", "tests/test_thread_pool.rs"),
    ("test_thread_pool.py", "tests/test_thread_pool.rs"),
    ("test_shutdown.py", "tests/test_shutdown.rs"),
    ("test_init.py", "tests/test_init.rs"),
    ("test_process_pool.py", "tests/test_process_pool.rs"),
    ("test_deadlock.py", "tests/test_deadlock.rs"),
];

/// These have tests of our own, too, whose names do not begin as CPython's do.
const WITH_OURS: [&str; 2] = ["tests/test_process_pool.rs", "tests/test_deadlock.rs"];

/// The classes of CPython's that it runs on thread pools and on process pools, and the class that it makes
/// of each for process pools, with the file that it makes it in.
const ON_PROCESSES: [(&str, &str); 6] = [
    (
        "test_as_completed.py::AsCompletedTests",
        "test_as_completed.py::ProcessPoolSpawnAsCompletedTest",
    ),
    (
        "test_wait.py::WaitTests",
        "test_wait.py::ProcessPoolSpawnWaitTest",
    ),
    (
        "executor.py::ExecutorTest",
        "test_process_pool.py::ProcessPoolSpawnProcessPoolExecutorTest",
    ),
    (
        "test_shutdown.py::ExecutorShutdownTest",
        "test_shutdown.py::ProcessPoolSpawnProcessPoolShutdownTest",
    ),
    (
        "test_init.py::InitializerMixin",
        "test_init.py::ProcessPoolSpawnInitializerTest",
    ),
    (
        "test_init.py::FailingInitializerMixin",
        "test_init.py::ProcessPoolSpawnFailingInitializerTest",
    ),
];

/// Has no test methods, and should any be added, they are to be noticed.
const UTIL: &str = "util.py";

/// The mix-ins, and the files that run them.
const MIXINS: [(&str, &str); 4] = [
    ("as_completed", "tests/test_as_completed.rs"),
    ("executor", "tests/test_thread_pool.rs"),
    ("shutdown", "tests/test_shutdown.rs"),
    ("wait", "tests/test_wait.rs"),
];

const VERDICTS: [&str; 5] = ["same", "adapted", "differs", "not applicable", "fails"];

/// The release that the document is about.
const CPYTHON: &str = "3.13.0";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

struct Row {
    /// `test_future.py`
    file: String,
    /// `FutureTests.test_cancel`
    method: String,
    /// `tests/test_future.rs` and `test_cancel`, if there is a test.
    here: Option<(String, String)>,
    verdict: String,
    reason: Option<String>,
}

fn cells(line: &str) -> Option<Vec<&str>> {
    let line = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(line.split('|').map(str::trim).collect())
}

fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

fn rows() -> Vec<Row> {
    let rows: Vec<Row> = read("docs/conformance.md")
        .lines()
        .filter_map(|line| {
            let cells = cells(line)?;
            let (file, method) = code(cells[0])?.split_once("::")?;
            assert_eq!(cells.len(), 3, "{line}");
            let here = code(cells[1]).map(|here| here.split_once("::").expect(line));
            assert!(here.is_some() || cells[1] == "none", "{line}");
            let (verdict, reason) = match cells[2].split_once(": ") {
                Some((verdict, reason)) => (verdict, Some(reason)),
                None => (cells[2], None),
            };
            Some(Row {
                file: file.to_owned(),
                method: method.to_owned(),
                here: here.map(|(file, name)| (file.to_owned(), name.to_owned())),
                verdict: verdict.to_owned(),
                reason: reason.map(str::to_owned),
            })
        })
        .collect();
    assert!(!rows.is_empty(), "no rows");
    rows
}

/// The tests written in a file, with the modules they are in, and whether they are ignored. Those
/// that the macros of the mix-ins make have the names of others, and are not among them.
fn tests_of(path: &str) -> BTreeMap<String, bool> {
    let mut tests = BTreeMap::new();
    let mut module = None;
    let mut attributes: Vec<String> = Vec::new();
    for line in read(path).lines() {
        // The code is formatted: what is not indented is at the root.
        if let Some(name) = line.strip_prefix("mod ").and_then(|l| l.strip_suffix(" {")) {
            module = Some(name.to_owned());
        } else if line == "}" {
            module = None;
        }
        let line = line.trim();
        if line.starts_with("#[") {
            attributes.push(line.to_owned());
        } else if let Some(rest) = line.strip_prefix("fn ") {
            if attributes.iter().any(|attribute| attribute == "#[test]") {
                let (name, _) = rest.split_once('(').unwrap();
                let name = match &module {
                    Some(module) => format!("{module}::{name}"),
                    None => name.to_owned(),
                };
                let ignored = attributes.iter().any(|a| a.starts_with("#[ignore"));
                assert!(tests.insert(name, ignored).is_none(), "{path}: {rest}");
            }
            attributes.clear();
        } else if !line.starts_with("//") && !line.ends_with("]") {
            attributes.clear();
        }
    }
    assert!(!tests.is_empty(), "no tests in {path}");
    tests
}

fn our_files() -> BTreeSet<&'static str> {
    FILES.iter().map(|(_, here)| *here).collect()
}

#[test]
fn every_row_is_well_formed() {
    let mut seen = BTreeSet::new();
    for row in rows() {
        let name = format!("{}::{}", row.file, row.method);
        assert!(seen.insert(name.clone()), "{name} has two rows");
        assert!(VERDICTS.contains(&&*row.verdict), "{name}: {}", row.verdict);
        assert_eq!(row.reason.is_none(), row.verdict == "same", "{name}");
        assert_eq!(
            row.here.is_none(),
            row.verdict == "not applicable",
            "{name}"
        );
        let (_, expected_file) = FILES
            .iter()
            .find(|(file, _)| *file == row.file)
            .unwrap_or_else(|| panic!("{name}: no such file"));
        if let Some((file, test)) = row.here {
            // The same name, in the file with the same name.
            assert_eq!(file, *expected_file, "{name}");
            let (_, method) = row.method.split_once('.').unwrap();
            assert_eq!(test.rsplit("::").next(), Some(method), "{name}");
        }
        if row.verdict == "differs" {
            // "row 3 of the divergences", and perhaps more.
            let reason = row.reason.unwrap();
            let number = reason
                .strip_prefix("row ")
                .and_then(|rest| rest.split(' ').next())
                .unwrap_or_else(|| panic!("{name}: {reason}"));
            let divergences = read("docs/divergences.md");
            assert!(
                divergences.contains(&format!("\n### {number}. ")),
                "{name}: there is no row {number} in docs/divergences.md"
            );
        }
    }
}

#[test]
fn every_row_has_its_test() {
    let tests: BTreeMap<_, _> = our_files().into_iter().map(|f| (f, tests_of(f))).collect();
    for row in rows() {
        if let Some((file, test)) = row.here {
            let ignored = tests[&*file].get(&test);
            let ignored = *ignored.unwrap_or_else(|| panic!("there is no {file}::{test}"));
            assert_eq!(
                ignored,
                row.verdict == "fails",
                "{file}::{test}: what fails is ignored, and nothing else"
            );
        }
    }
}

#[test]
fn every_test_has_a_row() {
    let rows: BTreeSet<_> = rows().into_iter().filter_map(|row| row.here).collect();
    for file in our_files() {
        for test in tests_of(file).into_keys() {
            if WITH_OURS.contains(&file) && !test.starts_with("test_") {
                continue;
            }
            assert!(
                rows.contains(&(file.to_owned(), test.clone())),
                "{file}::{test} has no row"
            );
        }
    }
}

/// What CPython runs on both kinds of pools has a row for each, also where no CPython is at hand.
#[test]
fn every_row_of_both_pools_is_there_twice() {
    let rows = rows();
    let methods = |class: &str| -> BTreeSet<String> {
        let of_class = rows.iter().filter_map(|row| {
            let (its_class, method) = row.method.split_once('.').unwrap();
            (format!("{}::{its_class}", row.file) == class).then(|| method.to_owned())
        });
        of_class.collect()
    };
    for (both, processes) in ON_PROCESSES {
        assert!(!methods(both).is_empty(), "{both}");
        assert_eq!(methods(both), methods(processes), "{both}, {processes}");
    }
}

/// The cases that a file of the kit has.
fn cases_of(source: &str) -> BTreeSet<String> {
    let cases: BTreeSet<_> = source
        .lines()
        .filter_map(|line| {
            line.strip_prefix("pub fn ")?
                .split_once("<M: ExecutorMixin>")
        })
        .map(|(case, _)| case.to_owned())
        .collect();
    assert!(!cases.is_empty(), "no cases in {source}");
    cases
}

/// The cases of a file that the kit's macros make tests of.
fn instantiated(macros: &str, file: &str) -> BTreeSet<String> {
    let start = format!("instantiate! {{ $mixin, {file},");
    let (_, cases) = macros.split_once(&start).expect(&start);
    let (cases, _) = cases.split_once('}').unwrap();
    cases.split_whitespace().map(str::to_owned).collect()
}

/// A case that CPython does not have is in a macro, so whoever uses the macros runs it.
#[test]
fn every_case_of_ours_is_in_a_macro() {
    let macros = read("tests/executor/mod.rs");
    for file in ["calls", "ending"] {
        let cases = cases_of(&read(&format!("tests/executor/{file}.rs")));
        assert_eq!(instantiated(&macros, file), cases, "{file}");
    }
}

/// Every case of a mix-in is run on the thread pool, by the test of its name, and on whatever the
/// macro is used for.
#[test]
fn every_case_of_the_mixins_is_run() {
    let macros = read("tests/executor/mod.rs");
    for (mixin, file) in MIXINS {
        let source = read(&format!("tests/executor/{mixin}.rs"));
        let cases = cases_of(&source);
        assert!(
            cases.iter().all(|case| case.starts_with("test_")),
            "{mixin}"
        );
        assert_eq!(instantiated(&macros, mixin), cases, "the macro of {mixin}");

        // However the formatter has broken the lines.
        let tests: String = read(file).split_whitespace().collect();
        for case in cases {
            let test = format!("#[test]fn{case}(){{");
            let call = format!("::{case}::<ThreadPoolMixin>(\"{case}\"");
            let found = tests.split_once(&test).map(|(_, body)| body);
            let body = found.and_then(|body| body.split_once('}'));
            let (body, _) = body.unwrap_or_else(|| panic!("{file} has no {case}"));
            assert!(body.contains(&call), "{file} does not run {case}");
        }
        let all = format!("{mixin}_tests!(crate::util::ThreadPerTaskMixin);");
        assert!(tests.contains(&all), "{file} does not run {all}");
    }
}

#[test]
fn summary_is_counted() {
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows() {
        *expected.entry(row.verdict).or_default() += 1;
    }
    let total = expected.values().sum();
    expected.insert("total".to_owned(), total);

    let mut summary = BTreeMap::new();
    for line in read("docs/conformance.md").lines() {
        if let Some([name, count]) = cells(line).as_deref() {
            if let Ok(count) = count.parse::<usize>() {
                assert!(summary.insert((*name).to_owned(), count).is_none());
            }
        }
    }
    summary.retain(|_, count| *count > 0);
    assert_eq!(
        summary, expected,
        "the summary (left), and the rows (right)"
    );
}

/// Prints the release, then every test method of the files given, and then those that are run on thread
/// pools and on process pools, with the class that CPython makes of theirs for the latter.
const METHODS: &str = r#"
import ast, os, platform, sys, sysconfig
if sys.version_info[:2] != (3, 13):
    sys.exit("not Python 3.13")
folder = os.path.join(sysconfig.get_path("stdlib"), "test", "test_concurrent_futures")
print(platform.python_version())
for file in sys.argv[1:]:
    with open(os.path.join(folder, file), encoding="utf-8") as source:
        tree = ast.parse(source.read())
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if (isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))
                        and item.name.startswith("test")):
                    print(f"{file}::{node.name}.{item.name}")

import importlib
threads, processes = set(), {"Fork": {}, "Forkserver": {}, "Spawn": {}}
for file in sys.argv[1:]:
    module = importlib.import_module("test.test_concurrent_futures." + file.removesuffix(".py"))
    for name, value in vars(module).items():
        for test in [test for test in dir(value) if test.startswith("test")]:
            definition = getattr(value, test)
            definition = getattr(definition, "__module__", ""), getattr(definition, "__qualname__", "")
            if name.startswith("ThreadPool"):
                threads.add(definition)
            for way, tests in processes.items():
                prefix = "ProcessPool" + way
                if name.startswith(prefix) and name[len(prefix)].isupper():
                    tests[f"{file}::ProcessPoolSpawn{name[len(prefix):]}.{test}"] = definition
if not processes["Fork"].keys() == processes["Forkserver"].keys() == processes["Spawn"].keys():
    sys.exit("each way to start a process has tests of its own")
for test, definition in processes["Spawn"].items():
    if definition in threads:
        print(test)
"#;

/// What the first Python 3.13 at hand, with its tests installed, prints for [`METHODS`].
fn methods_of_cpython() -> Option<String> {
    let files = FILES.iter().map(|(file, _)| *file).chain([UTIL]);
    for (program, pyenv_version) in [
        ("python3.13", None),
        ("python3", None),
        ("python3.13", Some(CPYTHON)),
        ("python3", Some(CPYTHON)),
    ] {
        let mut command = Command::new(program);
        command.args(["-I", "-c", METHODS]).args(files.clone());
        if let Some(version) = pyenv_version {
            command.env("PYENV_VERSION", version);
        }
        match command.output() {
            Ok(output) if output.status.success() => {
                return Some(String::from_utf8(output.stdout).unwrap());
            }
            _ => {}
        }
    }
    None
}

#[test]
fn every_method_of_cpython_has_a_row() {
    let output = match methods_of_cpython() {
        Some(output) => output,
        None => {
            // Not `println!`, which is not seen when the test passes.
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                b"\nWARNING: no Python 3.13 with its tests was found, so whether docs/conformance.md \
                  lists all of CPython's test methods was NOT CHECKED\n\n",
            );
            return;
        }
    };
    let mut lines = output.lines();
    let version = lines.next().unwrap();
    let methods: BTreeSet<_> = lines.map(str::to_owned).collect();
    assert!(!methods.is_empty());
    for (_, processes) in ON_PROCESSES {
        let of_processes = methods
            .iter()
            .filter(|method| method.starts_with(processes));
        assert!(
            of_processes.count() > 0,
            "{processes} is no class of CPython's"
        );
    }
    let rows: BTreeSet<_> = rows()
        .into_iter()
        .map(|row| format!("{}::{}", row.file, row.method))
        .collect();
    let missing: Vec<_> = methods.difference(&rows).collect();
    assert!(
        missing.is_empty(),
        "CPython {version} also has {missing:#?}"
    );
    // Another release may have lost one.
    if version == CPYTHON {
        let extra: Vec<_> = rows.difference(&methods).collect();
        assert!(extra.is_empty(), "CPython {version} has no {extra:#?}");
    }
}
