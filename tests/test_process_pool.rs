//! Scratch.
use concurrent_futures::process::{freeze_support, CallOptions, OnCrash, Registry};
use concurrent_futures::MapOptions;
use concurrent_futures::ProcessPoolExecutor;
use std::time::{Duration, Instant};

fn add(a: u64, b: u64) -> u64 {
    a + b
}
fn square(n: u64) -> u64 {
    n * n
}
fn pid() -> u32 {
    std::process::id()
}
fn die(code: i32) -> u64 {
    std::process::exit(code)
}
fn sleep(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}
fn boom(text: String) -> u64 {
    panic!("{text}")
}
fn echo(b: Vec<u8>) -> Vec<u8> {
    b
}
fn parse(t: String) -> Result<u64, String> {
    if t.len() < 3 {
        Ok(1)
    } else {
        Err(t)
    }
}
fn register(registry: &mut Registry) {
    registry
        .register(add)
        .register(square)
        .register(pid)
        .register(die)
        .register(sleep)
        .register(echo)
        .register(parse)
        .register(boom);
}
#[test]
fn worker_entry() {
    freeze_support(register);
}
fn pool(n: usize, c: OnCrash) -> ProcessPoolExecutor {
    freeze_support(register);
    ProcessPoolExecutor::builder()
        .max_workers(n)
        .on_crash(c)
        .worker_args(["--exact", "worker_entry", "--nocapture", "--quiet", "--"])
        .build()
        .unwrap()
}
#[test]
fn smoke() {
    let pool = pool(2, OnCrash::BreakPool);
    let t = Instant::now();
    assert_eq!(pool.submit(add, (1, 2)).unwrap().result(None).unwrap(), 3);
    println!("first {:?}", t.elapsed());
    assert_eq!(pool.submit(square, 5).unwrap().result(None).unwrap(), 25);
    println!("{}", pool.submit(pid, ()).unwrap().result(None).unwrap());
    println!(
        "{:?}",
        pool.submit(boom, "hey".to_owned()).unwrap().result(None)
    );
    let n = 20000;
    let t = Instant::now();
    for i in 0..n {
        pool.submit(square, i).unwrap().result(None).unwrap();
    }
    println!("one at a time {:?}", t.elapsed() / n as u32);
    let t = Instant::now();
    let fs: Vec<_> = (0..n).map(|i| pool.submit(square, i).unwrap()).collect();
    for f in fs {
        f.result(None).unwrap();
    }
    println!("many {:?}", t.elapsed() / n as u32);
    let t = Instant::now();
    let v: Vec<u64> = pool
        .map_with(square, 0..n, MapOptions::new().chunksize(256))
        .unwrap()
        .map(|r| r.unwrap())
        .collect();
    assert_eq!(v.len(), n as usize);
    println!("map {:?}", t.elapsed());
    for size in [1 << 20, 100 << 20] {
        let t = Instant::now();
        for _ in 0..3 {
            let f = pool.submit(echo, vec![1; size]).unwrap();
            assert_eq!(f.result(None).unwrap().len(), size);
        }
        println!("{} bytes {:?}", size, t.elapsed() / 3);
    }
    let t = Instant::now();
    pool.shutdown();
    println!("shutdown {:?}", t.elapsed());
}
#[test]
fn crash() {
    let p = pool(2, OnCrash::BreakPool);
    let f = p.submit(die, 3).unwrap();
    println!("{:?}", f.result(None));
    println!("{:?}", p.submit(pid, ()).map(|_| ()));
    p.shutdown();
    let p = pool(2, OnCrash::FailCall);
    let f = p.submit(die, 3).unwrap();
    println!("{:?}", f.result(None));
    let f = p
        .submit_with(
            sleep,
            100000,
            CallOptions::new().timeout(Duration::from_millis(100)),
        )
        .unwrap();
    let t = Instant::now();
    println!("{:?} {:?}", f.result(None), t.elapsed());
    let f = p.submit(sleep, 100000).unwrap();
    while !f.running() {
        std::thread::yield_now()
    }
    assert!(p.kill_call(&f));
    println!("{:?}", f.result(None));
    let f = p.submit(sleep, 100000).unwrap();
    while !f.running() {
        std::thread::yield_now()
    }
    p.terminate_workers();
    println!("{:?}", f.result(None));
    p.shutdown();
}
