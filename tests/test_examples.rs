//! Runs the examples as a user does, and looks at what they print and how they exit.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any of the programs takes on a slow machine, and shorter than patience.
const WATCHDOG: Duration = Duration::from_secs(60);

/// The program, up to date: `cargo test` builds the examples beside the tests, but
/// `cargo test --test test_examples` does not.
fn example(name: &str) -> Command {
    static BUILD: Once = Once::new();
    // target/debug/deps/test_examples-0123456789abcdef
    let test = env::current_exe().unwrap();
    let directory = test.ancestors().nth(2).unwrap();
    BUILD.call_once(|| {
        let profile = match directory.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--examples"])
            .args(["--profile", profile, "--target-dir"])
            .arg(directory.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(built.success(), "the examples do not build");
    });
    let mut command = Command::new(directory.join("examples").join(name));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs a program to its end, or fails the test if there is none.
fn run(command: &mut Command) -> Output {
    run_with(command, Stdio::piped(), Stdio::piped())
}

/// Where it does not write to a pipe, its output is empty here.
fn run_with(command: &mut Command, stdout: Stdio, stderr: Stdio) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().map(read_all);
    let stderr = child.stderr.take().map(read_all);
    let status = wait_for(&mut child, &format!("{command:?}"));
    Output {
        code: status.code(),
        stdout: stdout.map_or_else(String::new, |thread| thread.join().unwrap()),
        stderr: stderr.map_or_else(String::new, |thread| thread.join().unwrap()),
    }
}

/// Waits for the end of a program, or fails the test if there is none.
fn wait_for(child: &mut Child, what: &str) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > WATCHDOG {
            let _ = child.kill();
            panic!("{what} hangs");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A pipe whose reader is gone before anything is written.
#[cfg(unix)]
fn unread() -> Stdio {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(ours);
    Stdio::from(std::os::unix::io::OwnedFd::from(theirs))
}

/// On a thread of its own, since a program may fill one pipe while we wait at the other.
fn read_all(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    })
}

/// An empty directory.
fn scratch(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// All of them, as Cargo.toml has them.
fn examples() -> Vec<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let names = manifest.split("[[example]]").skip(1).map(|table| {
        let name = table.lines().find_map(|line| line.strip_prefix("name = "));
        name.unwrap().trim_matches('"').to_owned()
    });
    let names: Vec<String> = names.collect();
    assert!(names.len() >= 8, "{names:?}");
    names
}

/// What a shell makes of `example | true`, and of `example | head -n 1`.
#[cfg(unix)]
#[test]
fn every_example_ends_quietly_when_nobody_reads() {
    for name in examples() {
        let output = run_with(&mut example(&name), unread(), Stdio::piped());
        assert_eq!((output.code, &*output.stderr), (Some(0), ""), "{name}");

        let mut child = example(&name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut byte = [0];
        let mut stdout = child.stdout.take().unwrap();
        while stdout.read(&mut byte).unwrap() > 0 && byte != *b"\n" {}
        assert_eq!(byte, *b"\n", "{name} prints a line");
        drop(stdout);
        let stderr = read_all(child.stderr.take().unwrap());
        assert_eq!(wait_for(&mut child, &name).code(), Some(0), "{name}");
        assert_eq!(stderr.join().unwrap(), "", "{name}");
    }
}

/// A standard output that is not open at all, as after `>&-`.
#[cfg(unix)]
#[test]
fn every_example_runs_without_a_standard_output() {
    for name in examples() {
        let program = example(&name);
        let output = run(Command::new("sh")
            .args(["-c", "exec \"$PROGRAM\" >&-"])
            .env("PROGRAM", program.get_program())
            .current_dir(env!("CARGO_MANIFEST_DIR")));
        assert_eq!((output.code, &*output.stderr), (Some(0), ""), "{name}");
    }
}

/// A full disk is an error, and not a reader that has seen enough.
#[cfg(target_os = "linux")]
#[test]
fn every_example_says_when_it_cannot_print() {
    for name in examples() {
        let full = Stdio::from(fs::File::create("/dev/full").unwrap());
        let output = run_with(&mut example(&name), full, Stdio::piped());
        assert_eq!(output.code, Some(1), "{name}: {}", output.stderr);
        assert_eq!(
            output.stderr.lines().count(),
            1,
            "{name}: {}",
            output.stderr
        );
    }
}

mod word_count {
    use super::*;

    /// In the locale that is named.
    fn word_count(locale: &str, paths: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        run(example("word_count").args(paths).env("LC_ALL", locale))
    }

    /// Lines, words and bytes of the last line that ends with this name.
    fn counts(output: &str, name: &str) -> [u64; 3] {
        let line = output.lines().rfind(|line| line.ends_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in:\n{output}"));
        let numbers: Vec<u64> = line
            .split_whitespace()
            .map_while(|number| number.parse().ok())
            .collect();
        numbers.try_into().unwrap()
    }

    /// Every rule of `wc -w` that is not obvious: bytes, words in the C locale, words in C.UTF-8. The
    /// numbers are those of GNU coreutils 9.1 and glibc 2.36; `agrees_with_wc` asks them again.
    const WORDS: [(&[u8], u64, u64); 32] = [
        (b"", 0, 0),
        (b"one", 1, 1),
        (b" two  words \n", 2, 2),
        (b"a\tb\nc\x0bd\x0ce\rf g", 7, 7),
        (b"\n\n\n", 0, 0),
        // Control characters make no word, and end none.
        (b"\0 \x01 \x7f", 0, 0),
        (b"a\0b \x01c\x1bd", 2, 2),
        (b"\x08", 0, 0),
        // Nor do bytes that are no character; in the C locale, that is all but ASCII.
        (b"\xff \xfe", 0, 0),
        (b"a\xffb c", 2, 2),
        ("é à".as_bytes(), 0, 2),
        ("né à".as_bytes(), 1, 2),
        ("one — two".as_bytes(), 2, 3),
        (b"\xc3", 0, 0),
        (b"\xc3 \xa9", 0, 0),
        (b"\xe2\x82 a", 1, 1),
        (b"\xf0\x9f\x98\x80 \xf0\x9f\x98", 0, 1),
        // Overlong, a surrogate, past the last character.
        (b"\xc0\xa0 \xe0\x80\xa0", 0, 0),
        (b"\xed\xa0\x80", 0, 0),
        (b"\xf4\x90\x80\x80", 0, 0),
        // White space of Unicode's, and what looks like it.
        ("a\u{3000}b\u{2003}c\u{1680}d".as_bytes(), 1, 4),
        ("a\u{a0}b\u{2007}c\u{202f}d\u{2060}e".as_bytes(), 1, 5),
        ("a\u{85}b\u{2028}c\u{2029}d".as_bytes(), 1, 1),
        ("\u{85} \u{2028} \u{2029}".as_bytes(), 0, 0),
        // Of no width, yet printable to the C library.
        ("\u{feff}\n".as_bytes(), 0, 1),
        ("\u{200b} \u{ad} \u{301} \u{200d}".as_bytes(), 0, 4),
        // Private use; unassigned; assigned since Unicode 15.
        ("\u{e000} \u{10fffd}".as_bytes(), 0, 2),
        ("\u{378} \u{ffff} \u{10ffff}".as_bytes(), 0, 0),
        ("\u{1c89} \u{cf3}".as_bytes(), 0, 0),
        ("漢字 かな".as_bytes(), 0, 2),
        (b"\xef\xbb\xbfone\r\ntwo\r\n", 2, 2),
        (b"last line without its end", 5, 5),
    ];

    fn write_words(name: &str) -> PathBuf {
        let directory = scratch(name);
        for (number, (bytes, ..)) in WORDS.iter().enumerate() {
            fs::write(directory.join(format!("words-{number:02}")), bytes).unwrap();
        }
        directory
    }

    #[test]
    fn words_are_those_of_wc() {
        let directory = write_words("words_are_those_of_wc");
        for (number, &(bytes, c, utf8)) in WORDS.iter().enumerate() {
            let file = directory.join(format!("words-{number:02}"));
            for (locale, words) in [("C", c), ("C.UTF-8", utf8)] {
                let output = word_count(locale, [&file]);
                let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
                let expected = [lines, words, bytes.len() as u64];
                assert_eq!(
                    counts(&output.stdout, "total"),
                    expected,
                    "{bytes:?} {locale}"
                );
            }
        }
    }

    /// As `find DIRECTORY -type f | wc` has it.
    #[cfg(unix)]
    fn wc(locale: &str, directory: &Path) -> [u64; 3] {
        let output = run(Command::new("sh")
            .args(["-c", "find \"$0\" -type f -exec cat {} + | wc"])
            .arg(directory)
            .env("LC_ALL", locale));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        counts(&(output.stdout.trim_end().to_owned() + " total"), "total")
    }

    #[cfg(unix)]
    fn wc_is_the_one_described() -> bool {
        let version = Command::new("wc").arg("--version").output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        version.map_or(false, |version| version.contains("(GNU coreutils) 9.1"))
    }

    /// More files than a process may have open, in directories within directories. What is in them is
    /// random, of pieces that are hard to count; each ends with a line feed, so that one file's last
    /// word and the next one's first are two in `wc`, too.
    #[cfg(unix)]
    #[test]
    fn agrees_with_wc_on_thousands_of_files() {
        let directory = scratch("agrees_with_wc");
        let mut seed: u64 = 20_251_121;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        // Other versions of `wc` have other ideas of what is odd, but not of ASCII.
        let odd = wc_is_the_one_described();
        for number in 0..2000 {
            let file = directory.join(format!("{}/{}", number % 7, number % 91));
            fs::create_dir_all(&file).unwrap();
            let mut bytes = Vec::new();
            // A few are longer than what is read at once, with characters across the border.
            let pieces = if number % 400 == 0 {
                20_000
            } else {
                random(60)
            };
            for _ in 0..pieces {
                let (piece, ..) = WORDS[random(WORDS.len())];
                if odd || piece.is_ascii() && piece.iter().all(|byte| (9..127).contains(byte)) {
                    bytes.extend_from_slice(piece);
                }
                bytes.extend_from_slice(&b" \n"[..random(3)]);
            }
            bytes.push(b'\n');
            fs::write(file.join(format!("{number}.txt")), bytes).unwrap();
        }
        for locale in ["C", "C.UTF-8"] {
            let output = word_count(locale, [&directory]);
            assert_eq!(output.code, Some(0), "{}", output.stderr);
            assert!(output.stdout.starts_with("Largest 10 of 2000 files:"));
            assert_eq!(
                counts(&output.stdout, "total"),
                wc(locale, &directory),
                "{locale}"
            );
        }
        // With few open files allowed, the result is the same.
        let program = example("word_count");
        let output = run(Command::new("sh")
            .args(["-c", "ulimit -n 64 && exec \"$0\" \"$1\""])
            .arg(program.get_program())
            .arg(&directory)
            .env("LC_ALL", "C"));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        assert_eq!(counts(&output.stdout, "total"), wc("C", &directory));
    }

    #[test]
    fn without_a_path_it_counts_docs_and_src() {
        let output = word_count("C", &[] as &[&str]);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        assert_eq!(output.stderr, "");
        let [lines, ..] = counts(&output.stdout, "_base.rs");
        assert!(lines > 1000);
        let named = word_count("C", ["docs", "src"]);
        assert_eq!(output.stdout, named.stdout);
        // Wherever it is started.
        let elsewhere = run(example("word_count").env("LC_ALL", "C").current_dir("/"));
        assert_eq!(
            counts(&elsewhere.stdout, "total"),
            counts(&named.stdout, "total")
        );
    }

    #[test]
    fn the_largest_come_first() {
        let directory = scratch("the_largest_come_first");
        for size in 1..=20 {
            fs::write(directory.join(format!("size-{size}")), vec![b'x'; size]).unwrap();
        }
        let output = word_count("C", [&directory]);
        let names: Vec<&str> = output
            .stdout
            .lines()
            .filter_map(|line| line.split("size-").nth(1))
            .collect();
        assert_eq!(
            names,
            ["20", "19", "18", "17", "16", "15", "14", "13", "12", "11"]
        );
        assert_eq!(counts(&output.stdout, "total"), [0, 20, 210]);
    }

    #[test]
    fn what_is_missing_is_named_and_the_rest_is_counted() {
        let directory = scratch("what_is_missing");
        let there = directory.join("there");
        fs::write(&there, "three words here\n").unwrap();
        let missing = directory.join("missing");
        let output = word_count("C", [&missing, &there]);
        assert_eq!(output.code, Some(1));
        assert_eq!(counts(&output.stdout, "total"), [1, 3, 17]);
        let expected = format!("word_count: {}: ", missing.display());
        assert!(output.stderr.starts_with(&expected), "{}", output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    }

    /// Whoever may read everything cannot test this with permissions, so here it is a file that opens
    /// and cannot be read: the memory of a process, from address zero on.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_cannot_be_read_is_named_and_the_rest_is_counted() {
        let there = scratch("what_cannot_be_read").join("there");
        fs::write(&there, "three words here\n").unwrap();
        let output = word_count("C", [Path::new("/proc/self/mem"), &there]);
        assert_eq!(output.code, Some(1));
        assert_eq!(counts(&output.stdout, "total"), [1, 3, 17]);
        assert!(
            output.stderr.starts_with("word_count: /proc/self/mem: "),
            "{}",
            output.stderr
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_only_if_named_and_a_fifo_is_never_opened() {
        use std::os::unix::fs::symlink;
        let directory = scratch("links_and_fifos");
        let tree = directory.join("tree");
        fs::create_dir_all(tree.join("inner")).unwrap();
        fs::write(tree.join("inner/file"), "two words\n").unwrap();
        symlink("..", tree.join("inner/loop")).unwrap();
        symlink("inner/file", tree.join("again")).unwrap();
        symlink("nowhere", tree.join("dangling")).unwrap();
        symlink("tree", directory.join("link")).unwrap();
        let fifo = tree.join("fifo");
        assert_eq!(run(Command::new("mkfifo").arg(&fifo)).code, Some(0));

        let output = word_count("C", [&tree]);
        assert_eq!((output.code, &*output.stderr), (Some(0), ""));
        assert_eq!(counts(&output.stdout, "total"), [1, 2, 10]);

        let output = word_count("C", [directory.join("link"), tree.join("again")]);
        assert_eq!((output.code, &*output.stderr), (Some(0), ""));
        assert_eq!(counts(&output.stdout, "total"), [2, 4, 20]);

        let output = word_count("C", [&fifo, &tree.join("dangling"), &tree]);
        assert_eq!(output.code, Some(1));
        assert_eq!(output.stderr.lines().count(), 2, "{}", output.stderr);
        assert!(output
            .stderr
            .contains("fifo: neither a regular file nor a directory"));
        assert_eq!(counts(&output.stdout, "total"), [1, 2, 10]);
    }

    #[test]
    fn help_is_printed_and_options_that_there_are_not_are_named() {
        for help in [&["--help"][..], &["-h"], &["src", "--help"]] {
            let output = word_count("C", help);
            assert_eq!((output.code, &*output.stderr), (Some(0), ""));
            assert!(output.stdout.starts_with("Usage: word_count "));
        }
        let output = word_count("C", ["--heavens"]);
        assert_eq!((output.code, &*output.stdout), (Some(1), ""));
        assert_eq!(
            output.stderr,
            "word_count: no option --heavens; see --help\n"
        );
    }

    #[test]
    fn behind_two_hyphens_everything_is_a_path() {
        let directory = scratch("behind_two_hyphens");
        fs::write(directory.join("--help"), "three words here\n").unwrap();
        fs::write(directory.join("--"), "one\n").unwrap();
        let output = run(example("word_count")
            .args(["--", "--help", "--"])
            .env("LC_ALL", "C")
            .current_dir(directory));
        assert_eq!((output.code, &*output.stderr), (Some(0), ""));
        assert_eq!(counts(&output.stdout, "total"), [2, 4, 21]);
    }

    #[test]
    fn an_empty_argument_is_named() {
        let output = word_count("C", ["", "src"]);
        assert_eq!(output.code, Some(1));
        assert!(
            output.stderr.starts_with("word_count: '': "),
            "{}",
            output.stderr
        );
        assert!(counts(&output.stdout, "total")[0] > 0);
    }

    /// A name may hold anything but a slash and a zero.
    #[cfg(unix)]
    #[test]
    fn names_tell_the_terminal_nothing() {
        use std::os::unix::ffi::OsStrExt;
        let directory = scratch("names_tell_the_terminal_nothing");
        let names = [
            (&b"one\x1b[31mred"[..], "one\\u{1b}[31mred"),
            (b"two\nthree\r", "two\\nthree\\r"),
            (b"four\xc2\x9b1A", "four\\u{9b}1A"),
            ("five\u{202e}exe.txt".as_bytes(), "five\\u{202e}exe.txt"),
            (b"six\xff", "six\u{fffd}"),
            ("it's 'seven' è".as_bytes(), "it's 'seven' è"),
        ];
        for (name, _) in names {
            fs::write(directory.join(OsStr::from_bytes(name)), "word\n").unwrap();
        }
        let output = word_count("C", [&directory]);
        assert_eq!((output.code, &*output.stderr), (Some(0), ""));
        assert_eq!(output.stdout.lines().count(), 3 + names.len());
        for (_, shown) in names {
            let line = format!("/{shown}\n");
            assert!(output.stdout.contains(&line), "{shown} {}", output.stdout);
        }
        let missing = names.map(|(name, _)| OsStr::from_bytes(name));
        let output = word_count("C", missing);
        assert_eq!(output.code, Some(1));
        let expected = names.map(|(_, shown)| format!("word_count: {shown}: "));
        assert_eq!(output.stderr.lines().count(), expected.len());
        for line in expected {
            assert!(output.stderr.contains(&line), "{line} {}", output.stderr);
        }
    }

    /// All that can be seen is the same: the counts, in any locale, of files of any name; and why a file
    /// could not be read.
    #[test]
    fn processes_count_what_threads_count() {
        let directory = write_words("processes_count");
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let name = OsStr::from_bytes(b"no unicode \xff\n");
            fs::write(directory.join(name), "three words here\n").unwrap();
        }
        let directory = directory.to_str().unwrap();
        for locale in ["C", "C.UTF-8"] {
            let mut paths = vec![directory, "src", "missing"];
            if cfg!(target_os = "linux") {
                // It opens, and cannot be read.
                paths.push("/proc/self/mem");
            }
            let threads = word_count(locale, &paths);
            paths.insert(1, "--processes");
            let processes = word_count(locale, &paths);
            assert_eq!(processes.stdout, threads.stdout);
            assert_eq!(processes.stderr, threads.stderr);
            assert_eq!((processes.code, threads.code), (Some(1), Some(1)));
        }
        let output = word_count("C", ["--processes", "--", "--processes"]);
        assert_eq!(output.code, Some(1));
        assert!(
            output.stderr.starts_with("word_count: --processes: "),
            "{}",
            output.stderr
        );
    }

    /// The same, but for the command.
    #[cfg(unix)]
    #[test]
    fn processes_that_a_command_starts() {
        let threads = word_count("C", ["src", "docs"]);
        for command in ["nice -n 5", "env"] {
            let output = word_count("C", ["--command", command, "src", "docs"]);
            assert_eq!((output.code, &*output.stderr), (Some(0), ""));
            assert_eq!(output.stdout, threads.stdout);
        }
        for arguments in [&["--hosts"][..], &["--hosts", ""], &["--command", " "]] {
            let output = word_count("C", arguments);
            assert!(
                output.stderr.contains("what follows --"),
                "{}",
                output.stderr
            );
        }
        let output = word_count("C", ["--command", "false", "src"]);
        assert_eq!(output.code, Some(1));
        assert!(
            output.stderr.contains("exit status: 1"),
            "{}",
            output.stderr
        );
    }

    #[cfg(unix)]
    #[test]
    fn an_output_that_nobody_reads_is_no_error() {
        let output = run_with(
            example("word_count").args(["--processes", "src"]),
            unread(),
            Stdio::piped(),
        );
        assert_eq!((output.code, &*output.stderr), (Some(0), ""));
        let output = run_with(example("word_count").arg("--help"), unread(), unread());
        assert_eq!(output.code, Some(0));
        let output = run_with(example("word_count").arg("src"), unread(), Stdio::piped());
        assert_eq!((output.code, &*output.stderr), (Some(0), ""));
        let output = run_with(
            example("word_count").args(["missing", "src"]),
            unread(),
            unread(),
        );
        assert_eq!(output.code, Some(1));
        let output = run_with(
            example("word_count").args(["missing", "src"]),
            Stdio::piped(),
            unread(),
        );
        assert_eq!(output.code, Some(1));
        assert!(output.stdout.ends_with(" total\n"), "{}", output.stdout);
    }

    /// A full disk is an error, and not a reader that has seen enough.
    #[cfg(target_os = "linux")]
    #[test]
    fn an_output_that_takes_nothing_is_an_error() {
        let full = || Stdio::from(fs::File::create("/dev/full").unwrap());
        let output = run_with(example("word_count").arg("src"), full(), Stdio::piped());
        assert_eq!(output.code, Some(1));
        assert!(
            output.stderr.starts_with("word_count: "),
            "{}",
            output.stderr
        );
        let output = run_with(&mut example("fetch_urls"), full(), Stdio::piped());
        assert_eq!(output.code, Some(1));
        assert!(
            output.stderr.starts_with("fetch_urls: "),
            "{}",
            output.stderr
        );
    }

    /// Written and wiped out on a terminal, which `script` provides, and never to a pipe.
    #[cfg(target_os = "linux")]
    #[test]
    fn progress_is_for_terminals() {
        if Command::new("script").arg("--version").output().is_err() {
            return;
        }
        let program = example("word_count");
        let script = run(Command::new("script")
            .args(["-qec", "\"$PROGRAM\" src", "/dev/null"])
            .env("PROGRAM", program.get_program())
            .current_dir(env!("CARGO_MANIFEST_DIR")));
        assert_eq!(script.code, Some(0), "{}", script.stderr);
        assert!(script.stdout.contains("\r        "), "{:?}", script.stdout);
        let output = word_count("C", ["src"]);
        assert!(!(output.stdout + &output.stderr).contains('\r'));
    }
}

mod fetch_urls {
    use super::*;
    use std::sync::mpsc::{self, Receiver};

    fn fetch_urls(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        run(example("fetch_urls").args(arguments))
    }

    /// The only line about this address, from the colon on.
    fn line<'a>(output: &'a Output, url: &str) -> &'a str {
        let url = format!("  {url}: ");
        let mut lines = output
            .stdout
            .lines()
            .filter_map(|line| line.split_once(&url));
        let (_, line) = lines
            .next()
            .unwrap_or_else(|| panic!("no {url}in:\n{}", output.stdout));
        assert!(lines.next().is_none(), "{}", output.stdout);
        line
    }

    /// A server for one connection: what is done with it is the caller's to say. Returns the address.
    fn serve(answer: impl FnOnce(TcpStream) + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || answer(listener.accept().unwrap().0));
        format!("http://{address}")
    }

    /// Reads the request before it answers.
    fn send(mut stream: TcpStream, response: &[u8]) -> String {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
            request.push(byte[0]);
        }
        stream.write_all(response).unwrap();
        String::from_utf8(request).unwrap()
    }

    /// Answers as soon as it is told to.
    fn serve_after(signal: Receiver<()>, response: &'static str) -> String {
        serve(move |stream| {
            let _ = signal.recv_timeout(WATCHDOG);
            send(stream, response.as_bytes());
        })
    }

    /// An address at which nobody listens. Not one that was free a moment ago, which another test's
    /// server may get.
    const REFUSING: &str = "http://127.0.0.1:1";

    #[test]
    fn the_demonstration() {
        let output = fetch_urls(&[] as &[&str]);
        assert_eq!(
            (output.code, &*output.stderr),
            (Some(0), ""),
            "{}",
            output.stdout
        );
        // Nothing is said of the order: on a machine that is busy enough, it is another one.
        let mut lines: Vec<&str> = output
            .stdout
            .lines()
            .map(|line| line.rsplit_once("/").unwrap().1)
            .collect();
        lines.sort_unstable();
        let expected = [
            "broken: failed: HTTP status 500 Internal Server Error",
            "coffee: 45 bytes",
            "patience: 47 bytes",
            "quick: 42 bytes",
            "tea: 42 bytes",
        ];
        assert_eq!(lines, expected);
    }

    /// The first address is answered only once the line of the second was read from the program's
    /// output: so it printed that before the first was there.
    #[test]
    fn each_is_printed_as_it_completes() {
        let (tell, told) = mpsc::channel();
        let slow = serve_after(told, "HTTP/1.1 200 OK\r\n\r\nslow");
        let quick = serve(|stream| {
            send(stream, b"HTTP/1.1 200 OK\r\n\r\n");
        });
        let mut child = example("fetch_urls")
            .args(["--timeout", "60", &slow, &quick])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut first = String::new();
        let mut byte = [0];
        while !first.ends_with('\n') && stdout.read(&mut byte).unwrap() > 0 {
            first.push(char::from(byte[0]));
        }
        assert!(first.ends_with(&format!("  {quick}: 0 bytes\n")), "{first}");
        tell.send(()).unwrap();
        let mut second = String::new();
        stdout.read_to_string(&mut second).unwrap();
        assert!(
            second.ends_with(&format!("  {slow}: 4 bytes\n")),
            "{second}"
        );
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn each_failure_has_a_line_and_the_others_go_on() {
        let good = serve(|stream| {
            send(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
        });
        let cut_off = serve(|stream| {
            send(
                stream,
                b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
            );
        });
        let missing = serve(|stream| {
            send(stream, b"HTTP/1.1 404 Not Found\r\n\r\n");
        });
        let silent = serve(|stream| {
            send(stream, b"");
        });
        let other = serve(|stream| {
            send(stream, b"220 mail.example ESMTP\r\n\r\n");
        });
        let output = fetch_urls([
            REFUSING,
            &cut_off,
            &missing,
            &silent,
            &other,
            "https://127.0.0.1/",
            "ftp://127.0.0.1/",
            "127.0.0.1",
            "http://",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:65536/",
            "http://user@127.0.0.1/",
            "http://127.0.0.1/a b",
            "",
            &good,
        ]);
        assert_eq!(
            (output.code, &*output.stderr),
            (Some(1), ""),
            "{}",
            output.stdout
        );
        assert_eq!(output.stdout.lines().count(), 15, "{}", output.stdout);
        assert_eq!(line(&output, &good), "4 bytes");
        let expected = [
            (REFUSING, "failed: connection refused"),
            (&*cut_off, "failed: connection closed after 4 of 100 bytes"),
            (&*missing, "failed: HTTP status 404 Not Found"),
            (&*silent, "failed: the server did not answer in HTTP"),
            (&*other, "failed: the server did not answer in HTTP"),
            (
                "ftp://127.0.0.1/",
                "failed: bad address: it does not begin with http://",
            ),
            (
                "127.0.0.1",
                "failed: bad address: it does not begin with http://",
            ),
            ("''", "failed: bad address: it does not begin with http://"),
            (
                "http://",
                "failed: bad address: it has no host, or no valid port",
            ),
            (
                "http://127.0.0.1:0/",
                "failed: bad address: it has no host, or no valid port",
            ),
            (
                "http://127.0.0.1:65536/",
                "failed: bad address: it has no host, or no valid port",
            ),
            (
                "http://user@127.0.0.1/",
                "failed: bad address: user names are not supported",
            ),
        ];
        for (url, why) in expected {
            assert_eq!(line(&output, url), why, "{url}");
        }
        assert!(line(&output, "https://127.0.0.1/").contains("encryption"));
        assert!(line(&output, "http://127.0.0.1/a b").contains("%XX"));
    }

    /// Both a server that says nothing and one that never comes to an end.
    #[test]
    fn a_time_out_has_a_line_and_the_others_go_on() {
        let (_tell, told) = mpsc::channel();
        let mute = serve_after(told, "");
        let endless = serve(|mut stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let good = serve(|stream| {
            send(stream, b"HTTP/1.1 200 OK\r\n\r\ngood");
        });
        let output = fetch_urls(["--timeout", "1", &mute, &endless, &good]);
        assert_eq!(output.code, Some(1));
        assert_eq!(line(&output, &mute), "failed: timed out after 1s");
        assert_eq!(line(&output, &endless), "failed: timed out after 1s");
        assert!(output
            .stdout
            .lines()
            .next()
            .unwrap()
            .ends_with(&format!("{good}: 4 bytes")));
    }

    #[test]
    fn the_request_names_the_host_and_the_path() {
        let (tell, told) = mpsc::channel();
        let address = serve(move |stream| {
            let request = send(stream, b"HTTP/1.0 200 OK\r\n\r\n");
            tell.send(request).unwrap();
        });
        let output = fetch_urls([format!("{address}?q=1#part").replace("http", "HTTP")]);
        assert_eq!(output.code, Some(0), "{}", output.stdout);
        let host = address.trim_start_matches("http://");
        let expected = format!("GET /?q=1 HTTP/1.0\r\nHost: {host}\r\n");
        let request = told.recv_timeout(WATCHDOG).unwrap();
        assert!(request.starts_with(&expected), "{request}");
    }

    #[test]
    fn a_bad_time_out_is_an_error() {
        for seconds in ["", "x", "0", "-1", "99999999999999999999"] {
            let output = fetch_urls(["--timeout", seconds]);
            assert_eq!((output.code, &*output.stdout), (Some(1), ""));
            assert!(
                output.stderr.contains("--timeout takes"),
                "{}",
                output.stderr
            );
        }
    }

    #[test]
    fn help_is_printed() {
        for help in [&["--help"][..], &["-h"], &["http://127.0.0.1:1", "--help"]] {
            let output = fetch_urls(help);
            assert_eq!((output.code, &*output.stderr), (Some(0), ""));
            assert!(output.stdout.starts_with("Usage: fetch_urls "));
        }
    }

    /// Neither an address nor what a server answers.
    #[test]
    fn what_others_say_tells_the_terminal_nothing() {
        let rude = serve(|stream| {
            send(stream, b"HTTP/1.1 500 \x1b[2Jgone\x07\r\n\r\n");
        });
        let output = fetch_urls([&*rude, "http://\x1b[31m/\nsecond\u{202e}"]);
        assert_eq!(output.code, Some(1));
        assert_eq!(output.stdout.lines().count(), 2, "{}", output.stdout);
        let shown = line(&output, &rude);
        assert_eq!(shown, "failed: HTTP status 500 \\u{1b}[2Jgone\\u{7}");
        let shown = line(&output, "http://\\u{1b}[31m/\\nsecond\\u{202e}");
        assert!(shown.starts_with("failed: bad address"), "{shown}");
    }

    #[cfg(unix)]
    #[test]
    fn an_output_that_nobody_reads_is_no_error() {
        for argument in [None, Some("--help")] {
            let mut command = example("fetch_urls");
            let output = run_with(command.args(argument), unread(), Stdio::piped());
            assert_eq!((output.code, &*output.stderr), (Some(0), ""));
        }
    }
}

mod isolate {
    use super::*;

    fn isolate(arguments: &[&str]) -> Output {
        run(example("isolate").args(arguments))
    }

    /// What became of the call, on its only line.
    fn outcome<'a>(output: &'a Output, call: &str) -> &'a str {
        let call = format!(" s  {call:6} ");
        let mut lines = output
            .stdout
            .lines()
            .filter_map(|line| line.split_once(&call));
        let (_, outcome) = lines
            .next()
            .unwrap_or_else(|| panic!("no{call}in:\n{}", output.stdout));
        assert!(lines.next().is_none(), "{}", output.stdout);
        outcome
    }

    #[test]
    fn each_call_has_its_own_end() {
        let output = isolate(&[]);
        assert_eq!((output.code, &*output.stderr), (Some(0), ""));
        assert_eq!(output.stdout.lines().count(), 8, "{}", output.stdout);
        assert_eq!(outcome(&output, "sum"), "returned 500000500000");
        assert_eq!(
            outcome(&output, "parse"),
            "failed: invalid digit found in string"
        );
        assert_eq!(
            outcome(&output, "leak"),
            "leaked 64 MiB, which went with its process"
        );
        assert_eq!(outcome(&output, "loop"), "the call was ended after 1s");
        let panic = outcome(&output, "panic").replace('\\', "/");
        assert!(
            panic.starts_with("panicked at docs/examples/isolate.rs:"),
            "{panic}"
        );
        assert!(panic.ends_with(": 42 is not the question"), "{panic}");
        for (call, how) in [("exit", "3)"), ("abort", "SIGABRT"), ("kill", "SIGKILL")] {
            let outcome = outcome(&output, call);
            assert!(outcome.contains("terminated abruptly"), "{outcome}");
            if cfg!(target_os = "linux") {
                assert!(outcome.contains(how), "{outcome}");
            }
        }
    }

    /// On one process at a time: a call that ends badly is none of the others' business, nor is a limit.
    #[test]
    fn one_worker_makes_them_all() {
        let mut arguments = vec!["--workers", "1", "--timeout", "2"];
        arguments.extend(["abort", "loop", "exit"].repeat(2));
        arguments.push("sum");
        let output = isolate(&arguments);
        assert_eq!((output.code, &*output.stderr), (Some(0), ""));
        let ends = |what: &str| output.stdout.matches(what).count();
        assert_eq!(ends("terminated abruptly"), 4, "{}", output.stdout);
        assert_eq!(ends("the call was ended after 2s"), 2, "{}", output.stdout);
        assert_eq!(ends("returned 500000500000"), 1, "{}", output.stdout);
    }

    #[test]
    fn help_is_printed_and_bad_arguments_are_named() {
        for help in [&["--help"][..], &["-h"], &["sum", "--help"]] {
            let output = isolate(help);
            assert_eq!((output.code, &*output.stderr), (Some(0), ""));
            assert!(output.stdout.starts_with("Usage: isolate "));
        }
        for (arguments, why) in [
            (
                &["--timeout"][..],
                "--timeout takes a number, from 1 to 3600",
            ),
            (
                &["--timeout", "0"],
                "--timeout takes a number, from 1 to 3600",
            ),
            (
                &["--timeout", "x"],
                "--timeout takes a number, from 1 to 3600",
            ),
            (
                &["--workers", "65"],
                "--workers takes a number, from 1 to 64",
            ),
            (
                &["--workers", "-1"],
                "--workers takes a number, from 1 to 64",
            ),
            (&["sum", "dance"], "no call dance; see --help"),
            (&["\x1b[31m"], "no call \\u{1b}[31m; see --help"),
            (&[""], "no call ''; see --help"),
        ] {
            let output = isolate(arguments);
            assert_eq!((output.code, &*output.stdout), (Some(1), ""));
            assert_eq!(output.stderr, format!("isolate: {why}\n"));
        }
    }

    /// Whoever has seen enough does not wait for what still runs.
    #[cfg(unix)]
    #[test]
    fn an_output_that_nobody_reads_ends_the_calls() {
        let mut command = example("isolate");
        command.args(["--timeout", "3600", "--workers", "2", "loop", "sum"]);
        let output = run_with(&mut command, unread(), Stdio::piped());
        assert_eq!((output.code, &*output.stderr), (Some(0), ""));
        let output = run_with(example("isolate").arg("--help"), unread(), Stdio::piped());
        assert_eq!((output.code, &*output.stderr), (Some(0), ""));
    }
}

mod alongside {
    use super::*;

    /// In one process of its own, with whatever Python there is.
    fn alongside(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        run(example("alongside").args(arguments))
    }

    /// Three files as small as they may be.
    fn write_python(folder: &Path, base: &str) -> PathBuf {
        let futures = folder.join("Lib/concurrent/futures");
        fs::create_dir_all(&futures).unwrap();
        fs::write(futures.join("_base.py"), base).unwrap();
        fs::write(futures.join("thread.py"), "").unwrap();
        fs::write(futures.join("process.py"), "x = 1").unwrap();
        folder.to_owned()
    }

    #[test]
    fn the_page_has_both_sources() {
        let folder = scratch("the_page_has_both_sources");
        let base = "class _Waiter(object):\n    def new_name(self): return '</script><b>&amp;'\n# \0\u{202e}";
        write_python(&folder, base);
        fs::create_dir(folder.join("Include")).unwrap();
        let header = "#define PY_MINOR_VERSION 13\n#define PY_VERSION              \"3.13.99+\"\n";
        fs::write(folder.join("Include/patchlevel.h"), header).unwrap();
        let file = folder.join("page.html");
        let arguments = [
            "--python".as_ref(),
            folder.as_os_str(),
            "-o".as_ref(),
            file.as_os_str(),
        ];
        let output = alongside(arguments);
        assert_eq!((output.code, &*output.stderr), (Some(0), ""));
        assert!(output.stdout.starts_with("Wrote "), "{}", output.stdout);
        let page = fs::read_to_string(&file).unwrap();
        for part in [
            "CPython 3.13.99+",
            "href=\"#_base.py:_Waiter.new_name\"",
            "&#39;&lt;/script&gt;&lt;b&gt;&amp;amp;&#39;",
            "href=\"#_base.rs:_Waiter\"",
            "href=\"#process/state.rs:",
        ] {
            assert!(page.contains(part), "{part}");
        }
        // What the map has, and this Python has not; and the other way round.
        for row in [
            r#""py":"_base.py:Future.cancel","#,
            r#""py":"_base.py:_Waiter.new_name","#,
        ] {
            let row = page.split(row).nth(1).unwrap_or_else(|| panic!("{row}"));
            let state = row.split(r#""state":""#).nth(1).unwrap();
            assert!(state.starts_with("gone") || state.starts_with("new"));
        }
        assert_eq!(
            page.matches("<script").count(),
            2,
            "nothing gets out of its place"
        );
        assert_eq!(page.matches("</script").count(), 2);
        assert!(!page.contains('\0'));
    }

    #[test]
    fn without_a_python_there_is_still_ours() {
        let output = run(example("alongside").env("PATH", ""));
        assert_eq!((output.code, &*output.stderr), (Some(0), ""));
        assert!(output.stdout.contains("No Python was found"));
        assert!(output.stdout.contains("href=\"#_base.rs:_Waiter\""));
    }

    /// By these, the page tells what is not as in 3.13.
    #[test]
    fn the_fingerprints_are_of_the_definitions_that_the_map_has() {
        let map = fs::read_to_string("docs/map.md").unwrap();
        let prints = fs::read_to_string("docs/examples/alongside/python-3.13.txt").unwrap();
        let mut names = Vec::new();
        for section in map
            .split("\n## ")
            .filter(|it| it.contains(".py` and [`"))
            .take(3)
        {
            let file = section.split('`').nth(1).unwrap();
            let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
            names.extend(rows.map(|row| format!("{file} {}", row.split('`').next().unwrap())));
        }
        let known: Vec<&str> = (prints.lines())
            .map(|line| line.rsplit_once(' ').unwrap().0)
            .collect();
        assert_eq!(known, names);
        // And of its code, where a 3.13 is at hand; a later one may have mended a few.
        let page = alongside([] as [&str; 0]).stdout;
        if page.contains("CPython 3.13.") {
            let same = page.matches(r#""state":"same""#).count();
            assert!(same * 10 >= known.len() * 9, "{same}");
            assert_eq!(page.matches(r#""state":"new""#).count(), 0);
        } else {
            println!("no Python 3.13 at hand: the fingerprints are not compared");
        }
    }

    #[test]
    fn help_is_printed_and_bad_arguments_are_named() {
        for help in [&["--help"][..], &["-h"], &["-o", "x", "--help"]] {
            let output = alongside(help);
            assert_eq!((output.code, &*output.stderr), (Some(0), ""));
            assert!(output.stdout.starts_with("Usage: alongside "));
        }
        let empty = scratch("bad_arguments_to_alongside");
        let empty = empty.to_str().unwrap();
        let nowhere = format!("{empty}/no/page.html");
        for (arguments, why) in [
            (&["--python"][..], "--python takes a path"),
            (&["-o", ""], "-o takes a path"),
            (&["page.html"], "no option page.html; see --help"),
            (&["\x1b[31m"], "no option \\u{1b}[31m; see --help"),
            (&["--python", empty], "no concurrent/futures with"),
            (
                &["--python", "\x1b/no"],
                "\\u{1b}/no: no concurrent/futures",
            ),
            (&["-o", &nowhere], "page.html: "),
        ] {
            let output = alongside(arguments);
            assert_eq!((output.code, &*output.stdout), (Some(1), ""), "{why}");
            assert!(
                output.stderr.starts_with("alongside: "),
                "{}",
                output.stderr
            );
            assert!(output.stderr.contains(why), "{}", output.stderr);
            assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        }
    }
}
