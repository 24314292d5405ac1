//! Machines of namespaces in which real engines run (`tests/engines/machine`), one with runc and one with the runtime under test.
//! A case runs on both at once: what runc cannot do there either is the engine's or this machine's own, and is told so.

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

/// What tests of engines need of Debian.
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
    /// The first process inside, by its pid out here.
    init: i32,
    /// `unshare`, whose death kills all inside.
    process: Mutex<Option<(Child, ChildStdin, BufReader<ChildStdout>)>>,
}

/// The engines, each with a turn of its own: its containers are the only ones there while a case runs.
#[derive(Clone, Copy, PartialEq)]
pub enum Engine {
    Containerd,
    Docker,
    Podman,
}

impl Engine {
    /// Removes every container of the engine.
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

/// Every directory beneath one.
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

/// The one image, made once in a run.
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
    /// Starts a machine called `name` whose only runtime is `runtime`.
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

    /// Lays a cable between two machines.
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

    /// A file of the machine, seen from here.
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

    /// Stops the daemons; the answer is what was still alive then, and cgroups that remain.
    fn stop(&self) -> String {
        let Some((mut process, stdin, mut stdout)) = self.process.lock().unwrap().take() else {
            return String::new();
        };
        drop(stdin);
        let mut left = String::new();
        let _ = stdout.read_to_string(&mut left);
        let status = process.wait();
        if !status.is_ok_and(|s| s.success()) {
            left += "the machine did not stop in order\n";
        }
        for hierarchy in host::hierarchies() {
            host::remove_cgroup(&hierarchy.join(&self.name));
        }
        left
    }

    /// What an engine's containers have left: processes, cgroups, mounts, state directories.
    fn left(&self, engine: Engine) -> Vec<String> {
        let (processes, cgroups, mounts, states) = places(engine);
        let mut left = Vec::new();
        for (pid, command) in self.processes() {
            if processes.iter().any(|p| command.contains(p)) {
                left.push(format!("process {pid}: {command}"));
            }
        }
        // What engines make for themselves. Podman 4.3 forgets its pods' in the hierarchies without controllers.
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
        // Engines mount their own directory on itself, and keep the namespace of `--network host`.
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

    /// What lives in the machine's pid namespace, by the pids out here.
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

/// One machine's side of a case. What `run` says is compared between the machines.
pub struct Shell<'m> {
    pub machine: &'m Machine,
    told: RefCell<Vec<String>>,
}

impl Shell<'_> {
    /// Runs a line of shell to its end. Its status and its stdout, ids apart, must be the same with runc.
    pub fn run(&self, line: &str) -> Output {
        let output = self.see(line);
        self.tell(format!(
            "$ {line}\n{}status {}",
            without_ids(&output.out),
            output.status
        ));
        output
    }

    /// The same for what differs from run to run: figures, times, pids.
    pub fn see(&self, line: &str) -> Output {
        self.machine.cmd(line).output()
    }

    /// Whether this side has the runtime under test, for the few things in which it does better.
    pub fn ours(&self) -> bool {
        self.machine.name.ends_with("ours")
    }

    pub fn start(&self, line: &str) -> Running {
        self.machine.cmd(line).spawn()
    }

    /// What else must be the same with runc.
    pub fn tell(&self, text: String) {
        self.told.borrow_mut().push(text);
    }

    /// Repeats a line until its output is as wanted.
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
                "still not after {patience:?}\n{last}"
            );
        }
    }

    /// Resizes a terminal until `line` shows it inside: clients miss a change that comes while they begin.
    #[track_caller]
    pub fn resize(&self, terminal: &Terminal, line: &str) {
        let mut rows = 30;
        wait_for(line, || {
            rows ^= 1;
            terminal.resize(rows, 99);
            self.see(line).out.ends_with(" 99\n")
        });
    }

    /// Runs a line on a terminal of its own.
    pub fn terminal(&self, line: &str) -> (Terminal, Running) {
        let (terminal, slave) = Terminal::open();
        terminal.resize(24, 80);
        // A session of its own, so that the terminal can become the controlling one.
        let running = self
            .machine
            .cmd(line)
            .through(["setsid", "--ctty", "--wait"])
            .stdio(&slave)
            .spawn();
        (terminal, running)
    }
}

/// Container ids are random: 64 hexadecimal digits become `ID`.
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

/// Starts two machines side by side; they run until the end of the tests.
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

/// Both machines, started by the first test that wants them: with runc, and with the runtime under test.
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
    // A case that failed has said so; the next one has its turn all the same.
    TURNS[engine as usize]
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Runs a case with runc and with ours. Ours must do what runc does, say the same, and leave nothing. A case that fails
/// with runc is wrong, or this machine is.
#[track_caller]
pub fn compare(engine: Engine, case: fn(&Shell)) {
    let machines = machines();
    let _turn = turn(engine);
    judge(play_on_both(machines, engine, |shell, _| case(shell)), None);
}

/// For what an engine cannot do on every machine: the test is skipped where runc fails with `limit` in what it says.
#[track_caller]
pub fn compare_unless(limit: &str, engine: Engine, case: fn(&Shell)) {
    let machines = machines();
    let _turn = turn(engine);
    judge(
        play_on_both(machines, engine, |shell, _| case(shell)),
        Some(limit),
    );
}

/// Runs a case of Docker on two machines with runc, and on two with ours: a first one and a second, called `worker`, which
/// are 10.9.0.1 and 10.9.0.2 on a cable between them.
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
            told: RefCell::default(),
        };
        let result = attempt(|| case(first, &second));
        if let Err(why) = result {
            second.see(Engine::Docker.tidy());
            panic!("{why}");
        }
        clean(workers[side], Engine::Docker);
        first
            .told
            .borrow_mut()
            .append(&mut second.told.into_inner());
    };
    judge(play_on_both(machines, Engine::Docker, case), None);
}

/// How a case ended, and what its lines said.
type Played = (Result<(), String>, Vec<String>);

/// With runc, and with ours.
fn play_on_both(
    machines: &[&Machine; 2],
    engine: Engine,
    case: impl Fn(&Shell, usize) + Sync,
) -> [Played; 2] {
    let play = |side: usize| {
        let shell = Shell {
            machine: machines[side],
            told: RefCell::default(),
        };
        let result = attempt(|| {
            case(&shell, side);
            clean(machines[side], engine);
        });
        if result.is_err() {
            // The next case shall not stumble over what a failed one has not removed.
            shell.see(engine.tidy());
        }
        (result, shell.told.into_inner())
    };
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| play(0));
        let ours = play(1);
        [theirs.join().unwrap(), ours]
    })
}

/// Waits until nothing of an engine's containers is left: engines clean up a little after their client has returned.
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
    let [(theirs, theirs_told), (ours, ours_told)] = played;
    match (theirs, ours) {
        (Ok(()), Ok(())) => {
            for (theirs, ours) in theirs_told.iter().zip(&ours_told) {
                assert!(theirs == ours, "with runc:\n{theirs}\nwith ours:\n{ours}");
            }
            let (theirs, ours) = (theirs_told.len(), ours_told.len());
            assert!(theirs == ours, "{theirs} lines with runc, {ours} with ours");
        }
        (Ok(()), Err(why)) => panic!("it works with runc; with ours: {why}"),
        (Err(why), ours) if limit.is_some_and(|l| why.contains(l)) => {
            let ours = if ours.is_ok() { "works" } else { "fails" };
            crate::skip!("with runc too this machine cannot do it (ours {ours}): {why}")
        }
        (Err(why), _) => panic!("the case fails with runc: {why}"),
    }
}

/// Stops every machine and says what was left alive in them; false when anything was.
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
