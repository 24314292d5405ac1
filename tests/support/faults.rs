//! Fault injection: a bundle whose commands run under the injector (`faults.c`), which makes one system call of one of
//! their processes fail, and tells afterwards which processes are left.

use crate::{Bundle, host, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A process of a command, a system call, and the how-manieth such call of it.
pub type Place = [usize; 3];

/// The process is killed instead of given an errno.
pub const KILLED: i32 = 0;
pub const EINTR: i32 = 4;
pub const EIO: i32 = 5;
pub const ENOMEM: i32 = 12;

/// How a command ended.
pub struct Answer {
    /// As in a shell; -1 if it did not end in time.
    pub status: i32,
    /// Whether the call to fail was made.
    pub hit: bool,
    pub out: String,
    pub err: String,
    /// The process, the call and the error of the fault.
    pub fault: Option<(usize, usize, i32)>,
    counts: String,
}

/// A small bundle, and its own injector, which is the parent of everything that its commands leave.
pub struct World {
    pub b: Bundle,
    injector: Child,
    jobs: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    hierarchies: Vec<PathBuf>,
    files: Vec<String>,
}

impl World {
    /// A container that sleeps, in a view with cgroup v2 alone or in the host's own.
    pub fn new(pure_v2: bool) -> World {
        let mut b = Bundle::empty();
        for dir in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir(b.rootfs().join(dir)).unwrap();
        }
        for file in ["etc/passwd", "etc/secret"] {
            fs::write(b.rootfs().join(file), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        }
        fs::hard_link(host::busybox(), b.rootfs().join("bin/busybox")).unwrap();
        for applet in ["sleep", "touch", "true"] {
            symlink("busybox", b.rootfs().join("bin").join(applet)).unwrap();
        }
        let host = b.file("host");
        fs::create_dir(&host).unwrap();
        b.args(&["sleep", "1000"])
            .bind(&host, "/tmp", &["rw"])
            .set("/linux/maskedPaths", json!(["/proc/kcore", "/etc/secret"]))
            .set("/linux/readonlyPaths", json!(["/etc"]))
            .set("/linux/resources/devices", json!([{"allow": false, "access": "rwm"}]))
            .set("/process/oomScoreAdj", json!(100))
            .set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]))
            .set("/hostname", json!("box"))
            .set(
                "/linux/seccomp",
                json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]}),
            )
            .namespace("cgroup", None);
        if pure_v2 {
            b.in_pure_v2();
        }
        b.write();
        fs::create_dir(b.state_dir()).unwrap();
        let mut words = b.launcher.iter().map(Path::new).chain([host::injector()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut injector = command.spawn().unwrap();
        let mut world = World {
            jobs: injector.stdin.take(),
            answers: BufReader::new(injector.stdout.take().unwrap()),
            injector,
            hierarchies: host::hierarchies(),
            files: Vec::new(),
            b,
        };
        world.command(&["--version"]);
        world.files = world.files();
        world
    }

    fn ask(&mut self, job: &str) -> String {
        let jobs = self.jobs.as_mut().unwrap();
        jobs.write_all(job.as_bytes()).unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the injector has ended");
        line
    }

    fn run(&mut self, target: [i32; 5], front: &[&str], words: &[&str]) -> Answer {
        let target = target.map(|n| n.to_string()).join("\t");
        let (out, err) = (self.b.file("out"), self.b.file("err"));
        let (runtime, root) = (self.b.runtime.clone(), self.b.state_dir());
        let paths = [&out, &err].map(|path| path.to_str().unwrap());
        let front = front.iter().copied().chain(runtime.to_str());
        let front = front.collect::<Vec<_>>().join("\t");
        let line = format!(
            "run\t{target}\t20\t{}\t{front}\t--root\t{}\t{}\n",
            paths.join("\t"),
            root.display(),
            words.join("\t")
        );
        let line = self.ask(&line);
        let mut words = line.trim_end().splitn(3, ' ');
        Answer {
            status: words.next().unwrap().parse().unwrap(),
            hit: words.next() == Some("1"),
            fault: None,
            counts: words.next().unwrap_or_default().into(),
            out: fs::read_to_string(out).unwrap_or_default(),
            err: fs::read_to_string(err).unwrap_or_default(),
        }
    }

    /// Runs the runtime without a fault.
    pub fn command(&mut self, words: &[&str]) -> Answer {
        self.run([-1, 0, 0, 0, 0], &[], words)
    }

    /// Runs the runtime through a program that executes its remaining arguments.
    pub fn through(&mut self, front: &[&str], words: &[&str]) -> Answer {
        self.run([-1, 0, 0, 0, 0], front, words)
    }

    /// Runs the runtime, which must succeed.
    #[track_caller]
    pub fn ok(&mut self, words: &[&str]) -> Answer {
        let answer = self.command(words);
        assert!(
            answer.status == 0,
            "{} failed: {}",
            words.join(" "),
            answer.say()
        );
        answer
    }

    /// Runs the runtime and makes one call fail. `extra` is the pid of one more process to trace, or 0.
    pub fn fail(
        &mut self,
        words: &[&str],
        [process, call, n]: Place,
        error: i32,
        extra: i32,
    ) -> Answer {
        let answer = self.run(
            [process as i32, call as i32, n as i32, error, extra],
            &[],
            words,
        );
        let fault = Some((process, call, error));
        Answer { fault, ..answer }
    }

    /// The calls of each process of a command, with their numbers.
    pub fn calls(&mut self, words: &[&str], extra: i32) -> (Answer, Vec<Place>) {
        let answer = self.run([-2, 0, 0, 0, extra], &[], words);
        let place = |word: &str| {
            let mut numbers = word.split(':').map(|n| n.parse().unwrap());
            [(); 3].map(|()| numbers.next().unwrap())
        };
        let calls = answer
            .counts
            .split(' ')
            .filter(|w| !w.is_empty())
            .map(place);
        let calls = calls.collect();
        (answer, calls)
    }

    pub fn id(&self) -> String {
        self.b.id.clone()
    }

    /// The status of the container, or why there is none.
    pub fn status(&mut self) -> String {
        let id = self.id();
        let answer = self.command(&["state", &id]);
        let state: crate::Value = serde_json::from_str(&answer.out).unwrap_or_default();
        state["status"].as_str().map_or(answer.err, Into::into)
    }

    pub fn pid(&mut self) -> i32 {
        let id = self.id();
        let state: crate::Value = serde_json::from_str(&self.ok(&["state", &id]).out).unwrap();
        state["pid"].as_i64().unwrap() as i32
    }

    /// What is in the scratch directory now belongs there.
    pub fn expect_files(&mut self) {
        self.files = self.files();
    }

    /// Every name in the scratch directory, two levels deep, and in the root's own directories.
    fn files(&self) -> Vec<String> {
        let list = |dir: PathBuf| {
            let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
            entries
                .map(|e| e.path().display().to_string())
                .collect::<Vec<_>>()
        };
        let mut all = Vec::new();
        for dir in [
            "",
            "bundle",
            "state",
            "host",
            "bundle/rootfs",
            "bundle/rootfs/etc",
            "bundle/rootfs/tmp",
        ] {
            all.extend(list(self.b.dir.join(dir)));
        }
        all.sort();
        all
    }

    /// What is left of the container: files, cgroups, mounts, processes.
    pub fn left(&mut self) -> Vec<String> {
        let mut left: Vec<String> = Vec::new();
        let pids = self.ask("left\t10\n");
        let name = |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        left.extend(
            pids.split_whitespace()
                .map(|pid| format!("process {}", name(pid))),
        );
        let files = self.files();
        left.extend(files.iter().filter(|f| !self.files.contains(f)).cloned());
        left.extend(
            self.files
                .iter()
                .filter(|f| !files.contains(f))
                .map(|f| format!("without {f}")),
        );
        let cgroups = self.hierarchies.iter().map(|h| h.join(&self.b.id));
        left.extend(
            cgroups
                .filter(|c| c.exists())
                .map(|c| format!("cgroup {}", c.display())),
        );
        let dir = self.b.dir.display().to_string();
        for table in ["self".into(), self.injector.id().to_string()] {
            let mounts = fs::read_to_string(format!("/proc/{table}/mountinfo")).unwrap();
            left.extend(
                mounts
                    .lines()
                    .filter(|l| l.contains(&dir))
                    .map(|l| format!("mount {l}")),
            );
        }
        left
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let thaw = |h: &PathBuf| {
            let _ = fs::write(h.join(&self.b.id).join("freezer.state"), "THAWED");
        };
        self.hierarchies.iter().for_each(thaw);
        // It ends everything that it has started.
        drop(self.jobs.take());
        let _ = self.injector.wait();
    }
}

impl Answer {
    pub fn say(&self) -> String {
        format!(
            "status {}, stdout {:?}, stderr {:?}",
            self.status, self.out, self.err
        )
    }
}

/// A file that collects lines of all tests: `$FAULTS_LOG`.
pub fn log(line: &str) {
    if let Some(path) = std::env::var_os("FAULTS_LOG") {
        let file = File::options().create(true).append(true).open(path);
        file.unwrap()
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }
}
