//! Machines made of namespaces (`tests/engines/machine`) for real engines: one with runc, one with the runtime under
//! test.
//! Each case runs on both at once. If it also fails with runc, the engine or this machine is at fault, and the report
//! says so.

use crate::harness::{attempt, patience, wait_for};
use crate::terminal::Terminal;
use crate::{Cmd, Output, Running, host};
use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Instant;

/// The programs that the engine tests need.
const PROGRAMS: [&str; 8] = [
    "runc",
    "containerd",
    "dockerd",
    "podman",
    "conmon",
    "buildah",
    "busybox",
    "nsenter",
];

pub struct Machine {
    name: String,
    /// The pid of the machine's init, in our pid namespace.
    init: i32,
    /// The `unshare` process. Its death kills everything inside.
    process: Mutex<Option<(Child, ChildStdin, BufReader<ChildStdout>)>>,
}

/// The engines. Only one case of an engine runs at a time, so that all its containers belong to that case.
#[derive(Clone, Copy, PartialEq)]
pub enum Engine {
    Containerd,
    Docker,
    Podman,
}

impl Engine {
    /// A command that removes every container of the engine.
    fn tidy(self) -> &'static str {
        match self {
            Engine::Containerd => {
                "for c in $(ctr c ls -q); do ctr t kill -s KILL $c; ctr t rm -f $c; ctr c rm $c; done"
            }
            Engine::Docker => "docker swarm leave --force; docker ps -aq | xargs -r docker rm -f",
            Engine::Podman => "podman pod rm -a -f -t 0; podman rm -a -f -t 0; buildah rm -a",
        }
    }
}

/// All directories below one.
fn directories(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.extend(directories(&entry.path()));
            found.push(entry.path());
        }
    }
    found
}

/// A script of `tests/engines`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("engines")
        .join(name)
}

/// The image for all engines, built once per run.
pub fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let path = host::scratch().join("image.tar");
        Cmd::new(host::scratch(), script("image"))
            .arg(&path)
            .arg(host::busybox())
            .ok();
        path
    })
}

/// What may be left of an engine's containers: parts of command lines, parents of cgroups, mount points, directories.
type Places = (Words, Words, Words, Words);
type Words = &'static [&'static str];

fn places(engine: Engine) -> Places {
    match engine {
        Engine::Containerd => (
            &["-namespace default"],
            &["default"],
            &["/run/containerd/io.containerd.runtime.v2.task/default"],
            &[
                "/run/engines/ctr/default",
                "/run/containerd/io.containerd.runtime.v2.task/default",
            ],
        ),
        Engine::Docker => (
            &["-namespace moby", "docker-proxy"],
            &["docker"],
            &["/var/lib/docker/overlay2", "/run/docker/netns"],
            &[
                "/run/docker/runtime-runc/moby",
                "/run/containerd/io.containerd.runtime.v2.task/moby",
                "/run/docker/containerd",
            ],
        ),
        Engine::Podman => (
            &["conmon", "/podman", "buildah"],
            &["libpod_parent"],
            &["/var/lib/containers", "/run/netns"],
            &["/run/runtime", "/run/runc"],
        ),
    }
}

impl Machine {
    /// Starts a machine called `name` in which `runtime` is the only runtime.
    pub fn start(name: &str, runtime: &Path) -> Machine {
        let name = format!("{}{}-{name}", host::PREFIX, std::process::id());
        let mut process = Command::new("unshare")
            .args(
                "--mount --propagation private --net --uts --ipc --pid --fork --kill-child"
                    .split(' '),
            )
            .arg(script("machine"))
            .arg(&name)
            .args([runtime, image()])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line == "ready\n", "the machine {name}: {line}");
        let init = host::children_of(process.id() as i32)[0].0;
        Machine {
            name,
            init,
            process: Mutex::new(Some((process, stdin, stdout))),
        }
    }

    /// Connects two machines with a veth pair.
    #[track_caller]
    fn connect(&self, worker: &Machine) {
        let net = |machine: &Machine, line: &str| {
            let init = machine.init.to_string();
            Cmd::new(host::scratch(), "nsenter")
                .args(["-t", &init, "-n", "-u", "sh", "-c", line])
                .ok();
        };
        net(
            self,
            &format!(
                "ip link add cable type veth peer name cable netns {}",
                worker.init
            ),
        );
        net(
            self,
            "ip addr add 10.9.0.1/24 dev cable && ip link set cable up",
        );
        net(
            worker,
            "ip addr add 10.9.0.2/24 dev cable && ip link set cable up && hostname worker",
        );
    }

    /// The path of a machine's file, as seen from here.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    fn cmd(&self, line: &str) -> Cmd {
        let dir = host::scratch().join(&self.name);
        fs::create_dir_all(&dir).unwrap();
        let init = self.init.to_string();
        Cmd::new(&dir, "nsenter")
            .args(["-t", &init, "-m", "-n", "-u", "-i", "-p", "-C"])
            .args(["/run/engines/enter", "sh", "-c", line])
    }

    /// Stops the daemons. Returns the processes that were still alive then, and the remaining cgroups.
    fn stop(&self) -> String {
        let Some((mut process, stdin, mut stdout)) = self.process.lock().unwrap().take() else {
            return String::new();
        };
        drop(stdin);
        let mut left = String::new();
        let _ = stdout.read_to_string(&mut left);
        let status = process.wait();
        if !status.is_ok_and(|s| s.success()) {
            left += "the machine did not stop cleanly\n";
        }
        for hierarchy in host::hierarchies() {
            host::remove_cgroup(&hierarchy.join(&self.name));
        }
        left
    }

    /// What the containers of an engine left behind: processes, cgroups, mounts, state directories.
    fn left(&self, engine: Engine) -> Vec<String> {
        let (processes, cgroups, mounts, states) = places(engine);
        let mut left = Vec::new();
        for (pid, command) in self.processes() {
            if processes.iter().any(|p| command.contains(p)) {
                left.push(format!("process {pid}: {command}"));
            }
        }
        // Cgroups that engines create for themselves. Podman 4.3 leaves those of its pods in hierarchies without
        // controllers.
        let own = ["conmon", "buildkit"];
        let pods = |path: &Path| {
            let in_bare = ["systemd", "unified"].map(|h| Path::new("/sys/fs/cgroup").join(h));
            engine == Engine::Podman && in_bare.iter().any(|h| path.starts_with(h))
        };
        for hierarchy in host::hierarchies() {
            let top = fs::read_dir(hierarchy.join(&self.name));
            for entry in top.into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if engine == Engine::Podman && name.starts_with("buildah-") {
                    left.push(format!("cgroup {}", entry.path().display()));
                }
            }
            for parent in cgroups {
                for path in directories(&hierarchy.join(&self.name).join(parent)) {
                    let name = path.file_name().unwrap().to_string_lossy().into_owned();
                    let forgotten = pods(&path) && !name.starts_with("libpod-");
                    if !own.contains(&name.as_str()) && !forgotten {
                        left.push(format!("cgroup {}", path.display()));
                    }
                }
            }
        }
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", self.init)).unwrap();
        // Engines bind-mount their own directories on themselves, and keep the namespace of `--network host`.
        let own = [
            "/var/lib/containers/storage/overlay",
            "/run/docker/netns/default",
        ];
        let points = table.lines().filter_map(|l| l.split(' ').nth(4));
        for point in points {
            let beneath = |m: &str| point.strip_prefix(m).is_some_and(|r| r.starts_with('/'));
            if mounts.iter().any(|m| beneath(m)) && !own.contains(&point) {
                left.push(format!("mount {point}"));
            }
        }
        for state in states {
            for entry in fs::read_dir(self.path(state))
                .into_iter()
                .flatten()
                .flatten()
            {
                left.push(format!(
                    "state {state}/{}",
                    entry.file_name().to_string_lossy()
                ));
            }
        }
        left
    }

    /// The processes in the machine's pid namespace, with their pids in ours.
    fn processes(&self) -> Vec<(i32, String)> {
        let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = space(&self.init.to_string());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().to_string_lossy().into_owned();
            if pid.parse::<i32>().is_ok() && space(&pid) == ours {
                let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                found.push((pid.parse().unwrap(), command));
            }
        }
        found
    }
}

/// One machine's side of a case. The output of `run` is compared between the machines.
pub struct Shell<'m> {
    pub machine: &'m Machine,
    transcript: RefCell<Vec<String>>,
}

impl Shell<'_> {
    /// Runs a shell command. Its status and its stdout (without ids) must be the same as with runc.
    pub fn run(&self, line: &str) -> Output {
        let output = self.see(line);
        self.record(format!(
            "$ {line}\n{}status {}",
            without_ids(&output.out),
            output.status
        ));
        output
    }

    /// Runs a shell command whose output is not compared, because it contains figures, times or pids.
    pub fn see(&self, line: &str) -> Output {
        self.machine.cmd(line).output()
    }

    /// Whether this side runs the runtime under test, for the few cases in which it does better than runc.
    pub fn ours(&self) -> bool {
        self.machine.name.ends_with("ours")
    }

    pub fn start(&self, line: &str) -> Running {
        self.machine.cmd(line).spawn()
    }

    /// Adds a line that must be the same as with runc.
    pub fn record(&self, text: String) {
        self.transcript.borrow_mut().push(text);
    }

    /// Repeats a command until its output is as expected.
    #[track_caller]
    pub fn wait(&self, line: &str, wanted: impl Fn(&Output) -> bool) -> Output {
        let (begin, patience) = (Instant::now(), patience());
        loop {
            let last = self.see(line);
            if wanted(&last) {
                return last;
            }
            assert!(
                begin.elapsed() < patience,
                "timed out after {patience:?}; last output:\n{last}"
            );
        }
    }

    /// Resizes a terminal until `line` reports the new size: clients miss a change that arrives while they start.
    #[track_caller]
    pub fn resize(&self, terminal: &Terminal, line: &str) {
        let mut rows = 30;
        wait_for(line, || {
            rows ^= 1;
            terminal.resize(rows, 99);
            self.see(line).out.ends_with(" 99\n")
        });
    }

    /// Runs a command on a terminal of its own.
    pub fn terminal(&self, line: &str) -> (Terminal, Running) {
        let (terminal, slave) = Terminal::open();
        terminal.resize(24, 80);
        // The command needs a session of its own, so that the terminal can become its controlling terminal.
        let running = self
            .machine
            .cmd(line)
            .through(["setsid", "--ctty", "--wait"])
            .stdio(&slave)
            .spawn();
        (terminal, running)
    }
}

/// Replaces container ids, which are random: 64 hexadecimal digits become `ID`.
fn without_ids(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_hexdigit() {
            word.push(c);
            continue;
        }
        out += if word.len() == 64 { "ID" } else { &word };
        word.clear();
        out.push(c);
    }
    out.pop();
    out
}

static STARTED: Mutex<Vec<&'static Machine>> = Mutex::new(Vec::new());

/// Starts two machines side by side. They run until the end of the tests.
fn pair(name: &str) -> Result<[&'static Machine; 2], String> {
    let runc = host::program("runc").canonicalize().unwrap();
    let start = |side: &str, runtime: &Path| -> Result<&'static Machine, String> {
        let machine = attempt(|| Machine::start(&format!("{name}{side}"), runtime))?;
        let machine: &'static Machine = Box::leak(Box::new(machine));
        STARTED.lock().unwrap().push(machine);
        Ok(machine)
    };
    image();
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| start("runc", &runc));
        let ours = start("ours", host::runtime());
        Ok([theirs.join().unwrap()?, ours?])
    })
}

/// Both machines, started by the first test that needs them: one with runc, one with the runtime under test.
fn machines() -> &'static [&'static Machine; 2] {
    static PAIR: OnceLock<Result<[&'static Machine; 2], String>> = OnceLock::new();
    PROGRAMS.iter().for_each(|p| drop(host::program(p)));
    match PAIR.get_or_init(|| pair("")) {
        Ok(pair) => pair,
        Err(why) => panic!("{why}"),
    }
}

fn turn(engine: Engine) -> MutexGuard<'static, ()> {
    static TURNS: [Mutex<()>; 3] = [const { Mutex::new(()) }; 3];
    // A case that panicked has been reported, so the next one may run.
    TURNS[engine as usize]
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Runs a case with runc and with our runtime. Ours must produce the same output and leave nothing behind. If the
/// case fails with runc, the case or this machine is at fault.
#[track_caller]
pub fn compare(engine: Engine, case: fn(&Shell)) {
    let machines = machines();
    let _turn = turn(engine);
    judge(play_on_both(machines, engine, |shell, _| case(shell)), None);
}

/// Like `compare`, but skips the test if runc fails with `limit` in its output, as an engine may not support it here.
#[track_caller]
pub fn compare_unless(limit: &str, engine: Engine, case: fn(&Shell)) {
    let machines = machines();
    let _turn = turn(engine);
    judge(
        play_on_both(machines, engine, |shell, _| case(shell)),
        Some(limit),
    );
}

/// Runs a Docker case on two machines with runc, and on two with our runtime. The first machine is 10.9.0.1; the
/// second, called `worker`, is 10.9.0.2. A veth pair connects them.
#[track_caller]
pub fn compare_clusters(case: fn(&Shell, &Shell)) {
    static WORKERS: OnceLock<Result<[&'static Machine; 2], String>> = OnceLock::new();
    let machines = machines();
    let _turn = turn(Engine::Docker);
    let workers = WORKERS.get_or_init(|| {
        let workers = pair("worker")?;
        for (first, second) in machines.iter().zip(workers) {
            first.connect(second);
        }
        Ok(workers)
    });
    let workers = workers.as_ref().unwrap_or_else(|why| panic!("{why}"));
    let case = |first: &Shell, side: usize| {
        let second = Shell {
            machine: workers[side],
            transcript: RefCell::default(),
        };
        let result = attempt(|| case(first, &second));
        if let Err(why) = result {
            second.see(Engine::Docker.tidy());
            panic!("{why}");
        }
        clean(workers[side], Engine::Docker);
        first
            .transcript
            .borrow_mut()
            .append(&mut second.transcript.into_inner());
    };
    judge(play_on_both(machines, Engine::Docker, case), None);
}

/// The result of a case, and the lines to compare.
type Played = (Result<(), String>, Vec<String>);

/// Runs a case with runc and with our runtime.
fn play_on_both(
    machines: &[&Machine; 2],
    engine: Engine,
    case: impl Fn(&Shell, usize) + Sync,
) -> [Played; 2] {
    let play = |side: usize| {
        let shell = Shell {
            machine: machines[side],
            transcript: RefCell::default(),
        };
        let result = attempt(|| {
            case(&shell, side);
            clean(machines[side], engine);
        });
        if result.is_err() {
            // Remove what the failed case left, so that the next one starts clean.
            shell.see(engine.tidy());
        }
        (result, shell.transcript.into_inner())
    };
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| play(0));
        let ours = play(1);
        [theirs.join().unwrap(), ours]
    })
}

/// Waits until nothing of an engine's containers is left. Engines finish cleaning up after their client has returned.
#[track_caller]
fn clean(machine: &Machine, engine: Engine) {
    let mut left = Vec::new();
    let clean = attempt(|| {
        wait_for("nothing is left", || {
            left = machine.left(engine);
            left.is_empty()
        });
    });
    assert!(clean.is_ok(), "left behind: {left:#?}");
}

#[track_caller]
fn judge(played: [Played; 2], limit: Option<&str>) {
    let [(theirs, their_lines), (ours, our_lines)] = played;
    match (theirs, ours) {
        (Ok(()), Ok(())) => {
            for (theirs, ours) in their_lines.iter().zip(&our_lines) {
                assert!(theirs == ours, "with runc:\n{theirs}\nwith ours:\n{ours}");
            }
            let (theirs, ours) = (their_lines.len(), our_lines.len());
            assert!(theirs == ours, "{theirs} lines with runc, {ours} with ours");
        }
        (Ok(()), Err(why)) => panic!("works with runc, fails with ours: {why}"),
        (Err(why), ours) if limit.is_some_and(|l| why.contains(l)) => {
            let ours = if ours.is_ok() { "works" } else { "fails" };
            crate::skip!("fails with runc on this machine (ours {ours}): {why}")
        }
        (Err(why), _) => panic!("fails with runc: {why}"),
    }
}

/// Stops every machine and reports the processes left in it. Returns false if there were any.
pub fn stop() -> bool {
    let mut clean = true;
    for machine in STARTED.lock().unwrap().drain(..) {
        let left = machine.stop();
        if !left.is_empty() {
            eprintln!("LEFT BEHIND in {}:\n{left}", machine.name);
            clean &= machine.name.ends_with("runc");
        }
    }
    clean
}
