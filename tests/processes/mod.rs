//! What the tests of the process pool share: the functions that its workers can be asked to call, pools
//! of this test binary, and gates that reach into other processes.
#![allow(dead_code)]

use concurrent_futures::pickle::{Dump, Load, PickleError, Pickler, Unpickler};
use concurrent_futures::process::{
    freeze_support, OnCrash, ProcessPoolExecutor, ProcessPoolExecutorBuilder, Registry,
};
use concurrent_futures::{Error, Exception, Future};
use std::fmt::Debug;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Where a worker process comes to, out of `main` of the test harness.
#[test]
fn worker_entry() {
    register_all();
}

pub fn register_all() {
    freeze_support(register);
}

fn register(registry: &mut Registry) {
    registry
        .register(nothing)
        .register(square)
        .register(mul)
        .register(twelve)
        .register(pid)
        .register(sleep_ms)
        .register(echo)
        .register(bytes)
        .register(bytes_for)
        .register(exchange)
        .register(panics)
        .register(catches_a_panic)
        .register(resumes_a_panic)
        .register(parse)
        .register(exits)
        .register(exits_at)
        .register(aborts)
        .register(overflows)
        .register(kills_itself_after)
        .register(hold)
        .register(touch)
        .register(aborts_first_at)
        .register(variable)
        .register(takes_a_while)
        .register(pid_after)
        .register(prints_lines)
        .register(floods)
        .register(prints_and_holds)
        .register(grandchild)
        .register(forks)
        .register(standard_input)
        .register(prints)
        .register(bad_result)
        .register(takes_bad)
        .register(set_state)
        .register(state)
        .register(fails)
        .register(takes_counted)
        .register(counted)
        .register(stated)
        .register(counting_fails)
        .register(takes_bad_and_more)
        .register(nested)
        .register(hold_and_abort)
        .register(crash_with_data)
        .register(multiply)
        .register(divide)
        .register(divmod)
        .register(pow)
        .register(abs)
        .register(text_of)
        .register(wait_at)
        .register(fail_at)
        .register(make_object)
        .register(take_object)
        .register(say_after)
        .register(fail_in_initializer)
        .register(call_back)
        .register(touch_and_abort_at_3)
        .register(takes_half)
        .register(takes_slow)
        .register(hold_with)
        .register(late_death)
        .register(takes_bytes);
}

/// The arguments that lead to a test function of this binary, as a worker.
pub fn entry(test: &str) -> Vec<String> {
    ["--exact", test, "--nocapture", "--quiet", "--"]
        .map(str::to_owned)
        .to_vec()
}

pub fn builder(max_workers: usize) -> ProcessPoolExecutorBuilder {
    register_all();
    ProcessPoolExecutor::builder()
        .max_workers(max_workers)
        .worker_args(entry("processes::worker_entry"))
}

pub fn pool(max_workers: usize) -> ProcessPoolExecutor {
    builder(max_workers).build().unwrap()
}

/// One whose crashes are the matter of single calls.
pub fn tough_pool(max_workers: usize) -> ProcessPoolExecutor {
    builder(max_workers)
        .on_crash(OnCrash::FailCall)
        .build()
        .unwrap()
}

pub fn nothing() {}

pub fn square(n: u64) -> u64 {
    n * n
}

pub fn mul(a: u64, b: u64) -> u64 {
    a * b
}

#[allow(clippy::too_many_arguments)]
pub fn twelve(
    a: u8,
    b: u16,
    c: u32,
    d: u64,
    e: i8,
    f: i16,
    g: i32,
    h: i64,
    i: bool,
    j: char,
    k: String,
    l: (u8, u8),
) -> String {
    format!("{a} {b} {c} {d} {e} {f} {g} {h} {i} {j} {k} {l:?}")
}

pub fn pid() -> u32 {
    process::id()
}

pub fn sleep_ms(milliseconds: u64) -> u64 {
    thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

pub fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

pub fn bytes(length: usize) -> Vec<u8> {
    vec![7; length]
}

pub fn bytes_for(_: Vec<u8>, length: usize) -> Vec<u8> {
    bytes(length)
}

/// The arguments the other way round, or as an error if the first is empty.
pub fn exchange(text: String, bytes: Vec<u8>) -> Result<(Vec<u8>, String), Option<Vec<u8>>> {
    if text.is_empty() {
        return Err(Some(bytes));
    }
    Ok((bytes, text))
}

pub fn panics(text: String) -> u64 {
    panic!("{text}")
}

pub fn catches_a_panic() -> bool {
    std::panic::catch_unwind(|| panic!("caught")).is_err()
}

/// Such a panic has no place.
pub fn resumes_a_panic(text: String) {
    std::panic::resume_unwind(Box::new(text));
}

pub fn parse(text: String) -> Result<u8, std::num::ParseIntError> {
    text.parse()
}

pub fn exits(status: i32) {
    process::exit(status)
}

/// Ends the process if there is such a file.
pub fn exits_at(path: String) {
    if fs::metadata(path).is_ok() {
        process::exit(1);
    }
}

pub fn aborts() {
    process::abort()
}

pub fn overflows(n: u64) -> u64 {
    if n == u64::MAX {
        return n;
    }
    let deeper = overflows(n + 1);
    // With nothing to do here, it would be made a loop.
    *STATE.lock().unwrap() = n;
    deeper
}

/// Returns at once; the process kills itself a little later.
pub fn kills_itself_after(microseconds: u64) -> u32 {
    thread::spawn(move || {
        thread::sleep(Duration::from_micros(microseconds));
        kill(process::id(), "KILL");
    });
    process::id()
}

/// A panic, or an error, of an initializer.
pub fn fails(panic: bool) -> Result<(), Exception> {
    assert!(!panic, "the initializer panics");
    Err(Exception::msg("the initializer fails"))
}

static STATE: std::sync::Mutex<u64> = std::sync::Mutex::new(0);

/// Leaves something in the process.
pub fn set_state(n: u64) {
    *STATE.lock().unwrap() = n;
}

pub fn state() -> u64 {
    *STATE.lock().unwrap()
}

/// Appends a line to a file.
pub fn touch(path: String, line: String) {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Appends a line to a file, and dies if the line says so and stands there for the first time.
pub fn aborts_first_at(path: String, n: u64, deadly: u64) -> u64 {
    touch(path.clone(), n.to_string());
    let times = |text: String| text.lines().filter(|line| *line == n.to_string()).count();
    if n == deadly && times(fs::read_to_string(path).unwrap()) == 1 {
        process::abort();
    }
    n
}

pub fn touch_and_abort_at_3(path: String, n: u32, _: Vec<u8>) {
    touch(path, n.to_string());
    if n == 3 {
        process::abort();
    }
}

/// Dumps its bytes twice, and loads them once.
pub struct Half(pub Vec<u8>);

impl Dump for Half {
    fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
        (&self.0, &self.0).dump(pickler)
    }
}

impl Load for Half {
    fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Vec::load(unpickler).map(Half)
    }
}

pub fn takes_half(_: Half) {
    process::abort();
}

/// Takes long to be loaded, in the middle.
pub struct Slow(pub Vec<u8>, pub Vec<u8>);

impl Slow {
    pub const SECONDS: u64 = 5;
}

impl Dump for Slow {
    fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
        (&self.0, &self.1).dump(pickler)
    }
}

impl Load for Slow {
    fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        let first = Vec::load(unpickler)?;
        thread::sleep(Duration::from_secs(Slow::SECONDS));
        Ok(Slow(first, Vec::load(unpickler)?))
    }
}

pub fn takes_slow(slow: Slow) -> Vec<u8> {
    [slow.0, slow.1].concat()
}

/// Leaves a process behind that has inherited what can be inherited, and dies. Returns nothing.
pub fn grandchild(path: String) {
    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(path, child.id().to_string()).unwrap();
    process::abort();
}

/// Leaves a copy of this process behind, with all that it has open, as a foreign library may. Runs on until
/// it is killed.
pub fn forks(path: String) {
    #[cfg(unix)]
    extern "C" {
        fn fork() -> i32;
    }
    // Sound: nothing but a system call is made in the copy, which has this thread only.
    #[cfg(unix)]
    let child = unsafe { fork() };
    #[cfg(not(unix))]
    let child = 0;
    if child > 0 {
        fs::write(path, child.to_string()).unwrap();
    }
    // The copy is killed by then, unless the test has failed.
    thread::sleep(Duration::from_secs(300));
    process::abort();
}

pub fn standard_input() -> String {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    text
}

pub fn prints(text: String) {
    println!("{text}");
    print!("{text}");
    eprintln!("{text}");
}

/// A variable of the process's environment.
pub fn variable(name: String) -> Option<String> {
    std::env::var(name).ok()
}

pub fn pid_after(milliseconds: u64) -> u32 {
    sleep_ms(milliseconds);
    pid()
}

/// Prints what is no line, as much as is kept until there is one, and says so. Longer than any test.
pub fn prints_and_holds(path: String) {
    print!("{}", "last words".repeat(102));
    fs::write(path, "").unwrap();
    sleep_ms(3_600_000);
}

/// Longer than any test.
pub fn takes_a_while(_: String) {
    sleep_ms(3_600_000);
}

/// Dies, or does not, as the number of bytes says.
pub fn late_death(bytes: Vec<u8>) -> u64 {
    if bytes.len() % 3 == 0 {
        process::abort();
    }
    1
}

pub fn takes_bytes(bytes: Vec<u8>) -> u64 {
    bytes.len() as u64
}

/// Prints so many lines, each of the same text so many times, in pieces.
pub fn prints_lines(text: String, lines: usize) {
    for _ in 0..lines {
        for _ in 0..20 {
            print!("{text}");
        }
        println!();
    }
}

/// Prints so many bytes that are no text and no lines.
pub fn floods(length: usize) -> usize {
    let mut stdout = std::io::stdout().lock();
    let bytes = vec![0xfe; length];
    for piece in bytes.chunks(1000) {
        stdout.write_all(piece).unwrap();
        stdout.flush().unwrap();
    }
    length
}

static COUNT: std::sync::Mutex<i64> = std::sync::Mutex::new(0);

/// Counts itself in the process that it is in.
pub struct Counted;

impl Dump for Counted {
    fn dump(&self, _: &mut Pickler<'_>) -> Result<(), PickleError> {
        Ok(())
    }
}

impl Load for Counted {
    fn load(_: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        *COUNT.lock().unwrap() += 1;
        Ok(Counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *COUNT.lock().unwrap() -= 1;
    }
}

pub fn takes_counted(_: Counted) {}

pub fn counted() -> i64 {
    *COUNT.lock().unwrap()
}

/// The state, whatever it is asked.
pub fn stated(_: u64) -> u64 {
    state()
}

/// Counts its calls in the state; the fourth fails.
pub fn counting_fails(n: u64) -> Result<u64, Exception> {
    *STATE.lock().unwrap() += 1;
    if n == 3 {
        return Err(Exception::msg("three"));
    }
    Ok(n)
}

/// Something that cannot be dumped, or loaded, where it says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bad {
    Dump,
    Load,
    PanicInDump,
    PanicInLoad,
    ExitInDump,
    ExitInLoad,
    AbortInDump,
    AbortInLoad,
}

const BAD: [Bad; 8] = [
    Bad::Dump,
    Bad::Load,
    Bad::PanicInDump,
    Bad::PanicInLoad,
    Bad::ExitInDump,
    Bad::ExitInLoad,
    Bad::AbortInDump,
    Bad::AbortInLoad,
];

impl Bad {
    pub fn number(self) -> u8 {
        BAD.iter().position(|&bad| bad == self).unwrap() as u8
    }
}

impl Dump for Bad {
    fn dump(&self, pickler: &mut Pickler<'_>) -> Result<(), PickleError> {
        match self {
            Bad::Dump => return Err(PickleError::new("Error in pickle")),
            Bad::PanicInDump => panic!("panic in dump"),
            Bad::ExitInDump => process::exit(8),
            Bad::AbortInDump => process::abort(),
            _ => {}
        }
        self.number().dump(pickler)
    }
}

impl Load for Bad {
    fn load(unpickler: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        let bad = BAD[usize::from(u8::load(unpickler)?)];
        match bad {
            Bad::Load => Err(PickleError::new("Error in unpickle")),
            Bad::PanicInLoad => panic!("panic in load"),
            Bad::ExitInLoad => process::exit(9),
            Bad::AbortInLoad => process::abort(),
            _ => Ok(bad),
        }
    }
}

pub fn bad_result(number: u8) -> Bad {
    BAD[usize::from(number)]
}

pub fn takes_bad(_: Bad) {}

pub fn takes_bad_and_more(_: Bad, _: Vec<u8>) {}

/// Uses a pool of its own.
pub fn nested(n: u64) -> u64 {
    pool(1).submit(square, n).unwrap().result(None).unwrap()
}

/// Never registered.
pub fn unregistered() {}

/// Waits until the [`Holder`] at this port lets it go, and returns the process's id.
pub fn hold(port: u16) -> u32 {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(&process::id().to_le_bytes()).unwrap();
    let _ = stream.read(&mut [0]);
    process::id()
}

pub fn hold_with(_: Vec<u8>, port: u16) -> u32 {
    hold(port)
}

pub fn hold_and_abort(port: u16) -> u32 {
    hold(port);
    process::abort()
}

pub fn crash_with_data(_: Vec<u8>) {
    process::abort()
}

// What the cases of CPython's mix-ins call.

pub fn multiply(x: i32, y: i32) -> i32 {
    x * y
}

pub fn divide(x: i32, y: i32) -> i32 {
    x / y
}

/// Quotient and remainder; panics where Python raises `ZeroDivisionError`.
pub fn divmod(x: i32, y: i32) -> (i32, i32) {
    (x / y, x % y)
}

pub fn pow(x: i64, y: u32) -> i64 {
    x.pow(y)
}

pub fn abs(x: i32) -> i32 {
    x.abs()
}

pub fn text_of(x: i32) -> String {
    x.to_string()
}

/// Waits as [`hold`] does, or not at all if there is no port.
pub fn wait_at(port: Option<u16>) -> i32 {
    port.map(hold);
    0
}

/// Fails once it is let go.
pub fn fail_at(port: u16) -> Result<i32, Exception> {
    hold(port);
    Err(Exception::msg("this is an exception"))
}

/// Something to which there may be weak references. What arrives in another process is another one.
#[derive(Clone, Debug, Default)]
pub struct MyObject(pub std::sync::Arc<()>);

impl Dump for MyObject {
    fn dump(&self, _: &mut Pickler<'_>) -> Result<(), PickleError> {
        Ok(())
    }
}

impl Load for MyObject {
    fn load(_: &mut Unpickler<'_>) -> Result<Self, PickleError> {
        Ok(MyObject::default())
    }
}

pub fn make_object(_: u64) -> MyObject {
    MyObject::default()
}

pub fn take_object(_: MyObject) {}

/// Says something to whoever reads the standard output of the process that started this one.
pub fn say_after(milliseconds: u64, text: String) {
    sleep_ms(milliseconds);
    // The line of its own that `say` of the kit writes.
    println!("\nsaid: {text}");
}

pub fn fail_in_initializer(port: u16) -> Result<(), Exception> {
    hold(port);
    Err(Exception::msg("error in initializer"))
}

/// Has whoever listens at this port run the closure of this number, and returns when it has run.
pub fn call_back(port: u16, number: u64) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(&number.to_le_bytes()).unwrap();
    let _ = stream.read(&mut [0]);
}

/// Where calls of [`hold`] wait.
pub struct Holder(TcpListener);

impl Holder {
    pub fn new() -> Self {
        Holder(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
    }

    pub fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Whether a call has begun that nobody has waited for here.
    pub fn is_wanted(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let accepted = self.0.accept();
        self.0.set_nonblocking(false).unwrap();
        accepted.is_ok()
    }

    /// Waits until a call has begun. It is let go when what this returns is dropped.
    pub fn entered(&self) -> Held {
        let (mut stream, _) = self.0.accept().unwrap();
        let mut pid = [0; 4];
        stream.read_exact(&mut pid).unwrap();
        Held {
            pid: u32::from_le_bytes(pid),
            stream,
        }
    }
}

/// A call that has begun, and waits.
pub struct Held {
    pub pid: u32,
    stream: TcpStream,
}

impl Held {
    /// Waits until the process of the call has ended.
    pub fn ended(&mut self) {
        // An error, or no bytes: whichever the system makes of it.
        let read = self.stream.read(&mut [0]);
        assert!(!matches!(read, Ok(1)));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // To close it is not enough: in Windows, a process that has just been started may have inherited it.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Sends a signal.
pub fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok(), "there is no kill");
}

/// Whether a process of this id is there and has not ended.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

pub fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .map_or(false, |rest| rest.starts_with('T'))
}

/// What a call has failed with.
pub fn exception<T: Clone + Debug>(future: &Future<T>) -> Exception {
    match future.result(None) {
        Err(Error::Exception(exception)) => exception,
        other => panic!("no exception, but {other:?}"),
    }
}

pub fn is<E: std::error::Error + 'static>(exception: &Exception) -> bool {
    exception.downcast_ref::<E>().is_some()
}

/// Processes that have this among their arguments.
pub fn processes_with(argument: &str) -> Vec<u32> {
    processes_having("cmdline", argument)
}

/// Processes in whose file of that name this is one of the words.
pub fn processes_having(file: &str, word: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let words = fs::read(entry.path().join(file)).unwrap_or_default();
        let has = words
            .split(|&byte| byte == 0)
            .any(|it| it == word.as_bytes());
        found.extend(pid.filter(|&pid| has && is_alive(pid)));
    }
    found
}
