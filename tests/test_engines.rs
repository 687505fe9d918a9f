//! Workers by real engines: OpenSSH, Slurm, and several hosts, which are network namespaces. They start daemons
//! and make interfaces, as root, so they run only where `ENGINES=1` asks for it: `.ci/run remote` does.
#![cfg(target_os = "linux")]

mod processes;
mod support;

use concurrent_futures::process::{
    BrokenProcessPool, OnCrash, ProcessPoolExecutor, ProcessPoolExecutorBuilder, WorkerDied,
};
use concurrent_futures::{Error, Exception, Future};
use processes::*;
use std::env;
use std::fmt::Debug;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use support::{until, watchdog, Steps};

/// Whether the tests are wanted, and these programs are there. Says so if not.
fn can(test: &str, programs: &[&str]) -> bool {
    let found = |program: &&&str| {
        let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        path.split(':')
            .any(|folder| Path::new(folder).join(program).exists())
    };
    let missing: Vec<_> = programs.iter().filter(|program| !found(program)).collect();
    let reason = if env::var_os("ENGINES").is_none() {
        "ENGINES=1 is not set".to_owned()
    } else if !missing.is_empty() {
        format!("there is no {missing:?}")
    } else if output(Command::new("id").arg("-u")).trim() != "0" {
        "only root can do that".to_owned()
    } else {
        return true;
    };
    println!("SKIPPED: {test}: {reason}");
    false
}

fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs a line of words.
fn run(line: &str) -> String {
    let mut words = line.split(' ');
    output(Command::new(words.next().unwrap()).args(words))
}

fn this() -> String {
    env::current_exe().unwrap().to_str().unwrap().to_owned()
}

fn exception<T: Clone + Debug>(future: &Future<T>) -> Exception {
    match future.result(None) {
        Err(Error::Exception(exception)) => exception,
        other => panic!("no exception, but {other:?}"),
    }
}

fn died<T: Clone + Debug>(future: &Future<T>) -> WorkerDied {
    let exception = exception(future);
    let died = exception.downcast_ref::<WorkerDied>();
    died.unwrap_or_else(|| panic!("{exception}")).clone()
}

/// Why a pool is broken.
fn broken(builder: ProcessPoolExecutorBuilder) -> String {
    let pool = builder.build().unwrap();
    let exception = exception(&pool.submit(square, 1).unwrap());
    assert!(exception.downcast_ref::<BrokenProcessPool>().is_some());
    pool.shutdown();
    exception.to_string()
}

/// What any pool can do.
fn works(steps: &Steps, pool: &ProcessPoolExecutor) {
    steps.at("small calls");
    let squares = pool.map(square, 0..50).unwrap().map(Result::unwrap);
    assert!(squares.eq((0..50).map(|n| n * n)));
    steps.at("a large call");
    let bytes: Vec<u8> = (0..2_000_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    let echoed = pool.submit(echo, bytes.clone()).unwrap();
    assert_eq!(echoed.result(None).unwrap(), bytes);
    steps.at("printing");
    pool.submit(prints_lines, ("engine".to_owned(), 3)).unwrap();
    steps.at("deaths");
    assert_eq!(
        died(&pool.submit(exits, 3).unwrap())
            .status()
            .unwrap()
            .code(),
        Some(3)
    );
    let aborted = died(&pool.submit(aborts, ()).unwrap()).to_string();
    assert!(aborted.contains("signal: 6"), "{aborted}");
    steps.at("kill_call");
    let call = pool.submit(takes_a_while, String::new()).unwrap();
    until(steps, "the call runs", || call.running());
    assert!(pool.kill_call(&call));
    assert!(exception(&call).to_string().contains("killed"));
    assert_eq!(pool.submit(square, 9).unwrap().result(None).unwrap(), 81);
}

/// The example counts the same here and by way of a command, in all but the speed.
fn counts_the_same(steps: &Steps, around: &[&str], command: &str) {
    steps.at(format!("word_count: {around:?} {command}"));
    let program = env::current_exe().unwrap();
    let program = program
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/word_count");
    let count = |around: &[&str], arguments: &[&str]| {
        let words = [around, &[program.to_str().unwrap()], arguments].concat();
        output(
            Command::new(words[0])
                .args(&words[1..])
                .args(["src", "docs"])
                .env("LC_ALL", "C")
                .current_dir(env!("CARGO_MANIFEST_DIR")),
        )
    };
    assert_eq!(count(around, &["--command", command]), count(&[], &[]));
}

/// A folder for keys, sockets and logs, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("engines-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.0.join(name), text).unwrap();
        self.file(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that is killed at the end.
struct Daemon(Child);

impl Daemon {
    fn start(line: &str) -> Self {
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap());
        // It must not hold the streams of a test that has failed.
        let child = command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Daemon(child.unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn parent_of(pid: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent: u32 = stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{parent}/comm")).ok()?;
    Some((parent, name.trim().to_owned()))
}

/// The nearest ancestor of this name.
fn ancestor(mut pid: u32, name: &str) -> u32 {
    loop {
        let (parent, its_name) = parent_of(pid).expect("there is such an ancestor");
        if its_name == name {
            return parent;
        }
        pid = parent;
    }
}

// ---- OpenSSH

/// Keys, and the configurations of daemons and of a client that has them.
struct Ssh(Folder);

impl Ssh {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        fs::create_dir_all("/run/sshd").unwrap();
        for key in ["host", "user", "stranger"] {
            let mut keygen = Command::new("ssh-keygen");
            output(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", &folder.file(key)]));
        }
        fs::copy(folder.file("user.pub"), folder.file("authorized")).unwrap();
        let host = fs::read_to_string(folder.file("host.pub")).unwrap();
        folder.write("known", &format!("* {host}"));
        for key in ["user", "stranger"] {
            let client = format!(
                "IdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {}\n\
                 BatchMode yes\nLogLevel ERROR\nCheckHostIP no\n",
                folder.file(key),
                folder.file("known"),
            );
            folder.write(&format!("client-{key}"), &client);
        }
        Ssh(folder)
    }

    /// The words that start the daemon.
    fn daemon(&self, address: &str, port: u16) -> String {
        let config = format!(
            "Port {port}\nListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nMaxStartups 100\nLogLevel QUIET\n",
            self.0.file("host"),
            self.0.file("authorized"),
        );
        let config = self.0.write(&format!("daemon-{address}"), &config);
        format!("/usr/sbin/sshd -D -f {config}")
    }

    /// The words that start a worker.
    fn words(&self, key: &str, address: &str, port: u16) -> Vec<String> {
        let config = self.0.file(&format!("client-{key}"));
        let port = port.to_string();
        let words = ["ssh", "-F", &config, "-p", &port, address, &this()];
        words.map(str::to_owned).to_vec()
    }
}

fn wait_for_port(steps: &Steps, namespace: Option<&str>, port: u16) {
    let hexadecimal = format!(":{port:04X} ");
    until(steps, "the daemon listens", || {
        let mut command = match namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, "cat"]);
                command
            }
            None => Command::new("cat"),
        };
        output(command.arg("/proc/net/tcp")).contains(&hexadecimal)
    });
}

const SSH: [&str; 3] = ["sshd", "ssh", "ssh-keygen"];

#[test]
fn workers_through_ssh() {
    if !can("workers_through_ssh", &SSH) {
        return;
    }
    watchdog("ssh", |steps| {
        let (ssh, port) = (Ssh::new("ssh"), free_port());
        let daemon = Daemon::start(&ssh.daemon("127.0.0.1", port));
        wait_for_port(steps, None, port);
        let by = |key| builder(2).command(ssh.words(key, "127.0.0.1", port));
        let pool = by("user").on_crash(OnCrash::FailCall).build().unwrap();
        works(steps, &pool);
        let words = ssh.words("user", "127.0.0.1", port);
        counts_the_same(steps, &[], &words[..words.len() - 1].join(" "));

        steps.at("the connection's processes are killed");
        let holder = Holder::new();
        let call = pool.submit(hold, holder.port()).unwrap();
        let held = holder.entered();
        let session = ancestor(held.pid, "sshd");
        assert_ne!(session, daemon.0.id());
        kill(session, "KILL");
        let text = died(&call).to_string();
        assert!(
            text.contains("exit status: 255") && text.contains("ssh"),
            "{text}"
        );
        until(steps, "the worker is gone", || !is_alive(held.pid));
        assert_eq!(pool.submit(square, 2).unwrap().result(None).unwrap(), 4);

        steps.at("run again");
        let again = by("user").on_crash(OnCrash::Retry(1)).build().unwrap();
        let call = again.submit(hold, holder.port()).unwrap();
        kill(ancestor(holder.entered().pid, "sshd"), "KILL");
        drop(holder.entered());
        call.result(None).unwrap();
        again.shutdown();

        steps.at("the client is killed");
        let call = pool.submit(hold, holder.port()).unwrap();
        let held = holder.entered();
        pool.pids().iter().for_each(|&pid| kill(pid, "KILL"));
        died(&call);
        until(steps, "the worker is gone", || !is_alive(held.pid));
        pool.shutdown();

        steps.at("a shared connection, which outlives the pool");
        let mut shared = ssh.words("user", "127.0.0.1", port);
        let path = format!("-oControlPath={}", ssh.0.file("master"));
        let options = ["-oControlMaster=auto", &path, "-oControlPersist=60"];
        for option in options {
            shared.insert(1, option.to_owned());
        }
        let pool = builder(2)
            .command(shared.clone())
            .on_crash(OnCrash::FailCall);
        let pool = pool.build().unwrap();
        works(steps, &pool);
        steps.at("its shutdown");
        pool.shutdown();
        assert!(Path::new(&ssh.0.file("master")).exists());
        shared.pop();
        output(
            Command::new("ssh")
                .args(&shared[1..4])
                .args(["-O", "exit", "any"]),
        );

        steps.at("a wrong key");
        let text = broken(by("stranger"));
        assert!(
            text.contains("exit status: 255") && text.contains("Permission denied"),
            "{text}"
        );

        steps.at("the daemon is killed, and its connections live");
        let pool = by("user").on_crash(OnCrash::FailCall).build().unwrap();
        let call = pool.submit(hold, holder.port()).unwrap();
        let held = holder.entered();
        drop(daemon);
        assert_eq!(call.running(), is_alive(held.pid));
        drop(held);
        call.result(None).unwrap();
        pool.shutdown();
        let text = broken(by("user"));
        assert!(text.contains("Connection refused"), "{text}");
    });
}

#[test]
fn an_ssh_host_that_never_speaks() {
    if !can("an_ssh_host_that_never_speaks", &SSH) {
        return;
    }
    watchdog("a mute host", |_| {
        let ssh = Ssh::new("mute");
        let mute = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let words = ssh.words("user", "127.0.0.1", mute.local_addr().unwrap().port());
        let began = Instant::now();
        let text = broken(
            builder(1)
                .command(words)
                .startup_timeout(Duration::from_secs(1)),
        );
        assert!(
            text.contains("nothing was heard of a worker for 1s"),
            "{text}"
        );
        assert!(began.elapsed() >= Duration::from_secs(1));
    });
}

// ---- Several hosts

/// A host of its own, with a daemon.
struct Host {
    name: String,
    address: String,
    _daemon: Daemon,
}

impl Host {
    const PORT: u16 = 2222;

    fn new(ssh: &Ssh, number: u32) -> Self {
        let name = format!("cf{}n{number}", std::process::id() % 10_000);
        let net = format!("10.{}.{number}", 100 + std::process::id() % 100);
        run(&format!("ip netns add {name}"));
        run(&format!(
            "ip link add {name} type veth peer name eth0 netns {name}"
        ));
        run(&format!("ip addr add {net}.1/24 dev {name}"));
        run(&format!("ip link set {name} up"));
        for line in [
            format!("ip addr add {net}.2/24 dev eth0"),
            "ip link set eth0 up".to_owned(),
            "ip link set lo up".to_owned(),
        ] {
            run(&format!("ip netns exec {name} {line}"));
        }
        let address = format!("{net}.2");
        let daemon = ssh.daemon(&address, Host::PORT);
        let daemon = Daemon::start(&format!("ip netns exec {name} {daemon}"));
        Host {
            name,
            address,
            _daemon: daemon,
        }
    }

    fn link(&self, state: &str) {
        run(&format!("ip link set {} {state}", self.name));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for pid in run(&format!("ip netns pids {}", self.name)).lines() {
            kill(pid.parse().unwrap(), "KILL");
        }
        run(&format!("ip netns del {}", self.name));
    }
}

/// A call on either host says who it is, since no port of this machine can be reached from there.
#[test]
fn several_hosts() {
    let programs = [&SSH[..], &["ip"]].concat();
    if !can("several_hosts", &programs) {
        return;
    }
    let probe = ["netns", "add", "engines-probe"];
    let made = Command::new("ip").args(probe).status().unwrap();
    if !made.success() {
        println!("SKIPPED: several_hosts: no network namespace can be made");
        return;
    }
    run("ip netns del engines-probe");
    watchdog("several hosts", |steps| {
        let ssh = Ssh::new("hosts");
        let hosts = [Host::new(&ssh, 1), Host::new(&ssh, 2)];
        for host in &hosts {
            wait_for_port(steps, Some(&host.name), Host::PORT);
        }
        let words: Vec<_> = hosts
            .iter()
            .map(|host| ssh.words("user", &host.address, Host::PORT))
            .collect();
        let by = |on_crash| {
            let words = words.clone();
            builder(2)
                .commands(move |n| words[n].clone())
                .on_crash(on_crash)
                .keep_alive(Duration::from_secs(2))
                .startup_timeout(Duration::from_secs(5))
                .build()
                .unwrap()
        };
        let begun = |call: &Future<u32>| call.running() || call.done();
        let place = |pid: u32| {
            let namespace = format!("/proc/{pid}/ns/net");
            fs::read_link(namespace).unwrap()
        };
        steps.at("both work");
        let pool = by(OnCrash::FailCall);
        works(steps, &pool);
        let mut pids = Vec::new();
        until(steps, "both have run a call", || {
            let pair = [300, 300].map(|n| pool.submit(pid_after, n).unwrap());
            pids = pair.iter().map(|call| call.result(None).unwrap()).collect();
            pids[0] != pids[1]
        });
        assert_ne!(place(pids[0]), place(pids[1]));
        assert_ne!(place(pids[0]), place(std::process::id()));

        steps.at("a link goes down, and comes back in time");
        let calls: Vec<_> = (0..2)
            .map(|_| pool.submit(pid_after, 1500).unwrap())
            .collect();
        until(steps, "they run", || calls.iter().all(begun));
        hosts[0].link("down");
        thread::sleep(Duration::from_millis(700));
        hosts[0].link("up");
        for call in &calls {
            assert!(pids.contains(&call.result(None).unwrap()));
        }

        steps.at("a link goes down, and does not come back");
        let calls: Vec<_> = (0..2)
            .map(|_| pool.submit(pid_after, 6000).unwrap())
            .collect();
        until(steps, "they run", || calls.iter().all(begun));
        hosts[0].link("down");
        let results: Vec<_> = calls.iter().map(|call| call.result(None)).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        let failed = calls
            .iter()
            .find(|call| call.result(None).is_err())
            .unwrap();
        let text = died(failed).to_string();
        assert!(text.contains("nothing was heard of it for 2s"), "{text}");
        let lost = pids.iter().filter(|&&pid| !is_alive(pid)).count();
        until(steps, "its worker has ended by itself", || {
            pids.iter().filter(|&&pid| is_alive(pid)).count() == 1
        });
        println!("{lost} of 2 had ended by then");
        steps.at("the other host has all the calls, until it is back");
        let calls: Vec<_> = (0..3).map(|_| pool.submit(pid, ()).unwrap()).collect();
        assert!(calls.iter().all(|call| call.result(None).is_ok()));
        hosts[0].link("up");
        pool.shutdown();

        steps.at("a call is run again by the other host");
        let pool = by(OnCrash::Retry(2));
        let calls: Vec<_> = (0..2)
            .map(|_| pool.submit(pid_after, 4000).unwrap())
            .collect();
        until(steps, "they run", || calls.iter().all(begun));
        hosts[1].link("down");
        assert!(calls.iter().all(|call| call.result(None).is_ok()));
        pool.shutdown();
    });
}

// ---- Slurm

/// One node of two processors, with all that belongs to it.
struct Slurm {
    folder: Folder,
    _daemons: Vec<Daemon>,
}

impl Slurm {
    fn start(steps: &Steps) -> Self {
        let folder = Folder::new("slurm");
        let host = run("hostname").trim().to_owned();
        for name in ["state", "spool"] {
            fs::create_dir(folder.file(name)).unwrap();
        }
        let key: String = (0..128)
            .map(|n| char::from(b'A' + (n * 7 % 26) as u8))
            .collect();
        let key = folder.write("munge.key", &key);
        run(&format!("chmod 600 {key}"));
        let [socket, log, pid, seed] =
            ["socket", "log", "pid", "seed"].map(|name| folder.file(&format!("munge.{name}")));
        let config = format!(
            "ClusterName=engines\nSlurmctldHost={host}(127.0.0.1)\nSlurmUser=root\nSlurmdUser=root\n\
             AuthType=auth/munge\nAuthInfo=socket={socket}\nCredType=cred/munge\n\
             StateSaveLocation={}\nSlurmdSpoolDir={}\nSlurmctldPidFile={}\nSlurmdPidFile={}\n\
             SlurmctldLogFile={}\nSlurmdLogFile={}\nSlurmctldPort={}\nSlurmdPort={}\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSwitchType=switch/none\n\
             JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n\
             MpiDefault=none\nReturnToService=2\nSelectType=select/cons_tres\n\
             SelectTypeParameters=CR_Core\nKillWait=2\nSchedulerParameters=sched_interval=5\n\
             NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN\n\
             PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP\n",
            folder.file("state"),
            folder.file("spool"),
            folder.file("ctld.pid"),
            folder.file("slurmd.pid"),
            folder.file("ctld.log"),
            folder.file("slurmd.log"),
            free_port(),
            free_port(),
        );
        let config = folder.write("slurm.conf", &config);
        env::set_var("SLURM_CONF", &config);
        let daemons = vec![
            Daemon::start(&format!(
                "/usr/sbin/munged --foreground --force --key-file={key} --socket={socket} \
                 --log-file={log} --pid-file={pid} --seed-file={seed}"
            )),
            {
                until(steps, "munge", || Path::new(&socket).exists());
                Daemon::start(&format!("/usr/sbin/slurmctld -D -f {config}"))
            },
            Daemon::start(&format!("/usr/sbin/slurmd -D -f {config}")),
        ];
        let slurm = Slurm {
            folder,
            _daemons: daemons,
        };
        until(steps, "the node is idle", || {
            let nodes = Command::new("sinfo")
                .args(["-h", "-o", "%t"])
                .output()
                .unwrap();
            String::from_utf8_lossy(&nodes.stdout).trim() == "idle"
        });
        slurm
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        if thread::panicking() {
            for log in ["ctld.log", "slurmd.log"] {
                let text = fs::read_to_string(self.folder.file(log)).unwrap_or_default();
                let lines: Vec<_> = text.lines().rev().take(15).collect();
                println!("{log}: {lines:#?}");
            }
        }
    }
}

fn srun(options: &str) -> Vec<String> {
    let words = format!("srun -n1 -u {options} {}", this());
    words.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn workers_through_slurm() {
    let programs = ["munged", "slurmctld", "slurmd", "srun", "scancel", "squeue"];
    if !can("workers_through_slurm", &programs) {
        return;
    }
    watchdog("slurm", |steps| {
        let slurm = Slurm::start(steps);
        let by = |options: &str| builder(2).command(srun(options));
        let pool = by("-J works").on_crash(OnCrash::FailCall).build().unwrap();
        works(steps, &pool);
        pool.shutdown();
        counts_the_same(steps, &[], "srun -n1 -u");
        counts_the_same(steps, &["salloc", "-Q", "-n2"], "srun --exact -n1 -u");
        let script = "#!/bin/sh\nexec \"$@\"\n";
        let script = slurm.folder.write("batch.sh", script);
        let (out, errors) = (slurm.folder.file("out"), slurm.folder.file("errors"));
        // It says which job it is; what the job prints goes to a file, which is printed then.
        let batch = format!(r#"sbatch -Q -W -n2 -o {out} -e {errors} {script} "$@" && cat {out}"#);
        let batch = ["sh", "-c", &*batch, "sh"];
        counts_the_same(steps, &batch, "srun --exact -n1 -u");

        steps.at("a time limit, which takes its time");
        let limited = by("-J limited -t 1")
            .on_crash(OnCrash::FailCall)
            .build()
            .unwrap();
        let limited_call = limited.submit(takes_a_while, String::new()).unwrap();
        until(steps, "it runs", || limited_call.running());

        steps.at("scancel");
        let pool = builder(1)
            .command(srun("-J victim"))
            .on_crash(OnCrash::FailCall);
        let pool = pool.build().unwrap();
        let holder = Holder::new();
        let call = pool.submit(hold, holder.port()).unwrap();
        let held = holder.entered();
        run("scancel -n victim");
        let text = died(&call).to_string();
        println!("scancel: {text}");
        until(steps, "the worker is gone", || !is_alive(held.pid));
        assert_eq!(pool.submit(square, 3).unwrap().result(None).unwrap(), 9);

        steps.at("srun is killed");
        let call = pool.submit(hold, holder.port()).unwrap();
        let held = holder.entered();
        kill(pool.pids()[0], "KILL");
        died(&call);
        until(steps, "the worker is gone", || !is_alive(held.pid));
        pool.shutdown();

        steps.at("a partition that there is not");
        let text = broken(builder(1).command(srun("-p nowhere")));
        assert!(text.contains("invalid partition"), "{text}");

        steps.at("the time limit");
        let text = died(&limited_call).to_string();
        println!("time limit: {text}");
        limited.shutdown();
        until(steps, "no job is left", || run("squeue -h").is_empty());
    });
}
