//! A command with a deadline. Its output goes to files, so that a container that keeps our stdout open cannot block
//! us.
//! Its processes are killed by pid when the deadline passes or when the handle drops.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

static SERIAL: AtomicUsize = AtomicUsize::new(0);

pub struct Cmd {
    words: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
    /// The directory of the output files.
    scratch: PathBuf,
    deadline: Duration,
}

impl Cmd {
    pub fn new(scratch: &Path, program: impl AsRef<OsStr>) -> Cmd {
        Cmd {
            words: vec![program.as_ref().to_owned()],
            env: Vec::new(),
            dir: None,
            stdin: None,
            stdout: None,
            stderr: None,
            scratch: scratch.to_owned(),
            deadline: crate::harness::patience(),
        }
    }

    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Cmd {
        self.words.push(word.as_ref().to_owned());
        self
    }

    pub fn args<W: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = W>) -> Cmd {
        self.words
            .extend(words.into_iter().map(|w| w.as_ref().to_owned()));
        self
    }

    /// Runs the command through another one that executes its remaining arguments: `setsid`, `unshare`, the helper.
    pub fn through<W: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = W>) -> Cmd {
        let front: Vec<OsString> = words.into_iter().map(|w| w.as_ref().to_owned()).collect();
        self.words.splice(0..0, front);
        self
    }

    pub fn env(mut self, key: &str, value: &str) -> Cmd {
        self.env.push((key.into(), value.into()));
        self
    }

    pub fn dir(mut self, dir: impl AsRef<Path>) -> Cmd {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    pub fn stdin(mut self, file: impl Into<File>) -> Cmd {
        self.stdin = Some(file.into());
        self
    }

    pub fn stdin_text(self, text: &str) -> Cmd {
        let path = self
            .scratch
            .join(format!("in.{}", SERIAL.fetch_add(1, Ordering::Relaxed)));
        fs::write(&path, text).unwrap();
        self.stdin(File::open(path).unwrap())
    }

    pub fn stdout(mut self, file: impl Into<File>) -> Cmd {
        self.stdout = Some(file.into());
        self
    }

    /// Uses one file as stdin, stdout and stderr, usually the slave end of a terminal.
    pub fn stdio(mut self, file: &File) -> Cmd {
        self.stdin = Some(file.try_clone().unwrap());
        self.stdout = Some(file.try_clone().unwrap());
        self.stderr = Some(file.try_clone().unwrap());
        self
    }

    pub fn deadline(mut self, seconds: u64) -> Cmd {
        self.deadline = Duration::from_secs(seconds);
        self
    }

    #[track_caller]
    pub fn spawn(self) -> Running {
        let n = SERIAL.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (
            self.scratch.join(format!("out.{n}")),
            self.scratch.join(format!("err.{n}")),
        );
        let open = |path: &Path| {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .unwrap()
        };
        let shown = self
            .words
            .iter()
            .map(|w| w.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ");
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).env_clear();
        // The caller's environment must not reach the program under test. PATH is for the launchers.
        command.env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command.stdin(self.stdin.map(Stdio::from).unwrap_or_else(Stdio::null));
        command.stdout(self.stdout.unwrap_or_else(|| open(&out)));
        command.stderr(self.stderr.unwrap_or_else(|| open(&err)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let child = command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {shown}: {e}"));
        Running {
            child,
            out,
            err,
            shown,
            deadline: self.deadline,
            ended: false,
        }
    }

    /// Runs the command until it exits.
    #[track_caller]
    pub fn output(self) -> Output {
        self.spawn().wait()
    }

    /// Runs the command and expects status 0.
    #[track_caller]
    pub fn ok(self) -> Output {
        let output = self.output();
        output.ok();
        output
    }
}

/// A running command. Dropping it kills it.
pub struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    shown: String,
    deadline: Duration,
    ended: bool,
}

fn read(path: &Path) -> String {
    fs::read(path)
        .map(|b| String::from_utf8_lossy(&b).into_owned())
        .unwrap_or_default()
}

impl Running {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn out(&self) -> String {
        read(&self.out)
    }

    pub fn err(&self) -> String {
        read(&self.err)
    }

    /// Whether the process exits within `time`. Waits on a pidfd, not by polling.
    fn ends_within(&self, time: Duration) -> bool {
        let pid = Pid::from_child(&self.child);
        let fd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let timeout = Timespec {
            tv_sec: time.as_secs() as i64,
            tv_nsec: i64::from(time.subsec_nanos()),
        };
        loop {
            match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
                Ok(n) => return n == 1,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => panic!("poll: {e}"),
            }
        }
    }

    #[track_caller]
    pub fn wait(mut self) -> Output {
        let ended = self.ends_within(self.deadline);
        if !ended {
            let _ = self.child.kill();
        }
        let status = self.child.wait().unwrap();
        self.ended = true;
        let output = Output {
            status: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            out: self.out(),
            err: self.err(),
            command: self.shown.clone(),
        };
        assert!(ended, "did not exit within {:?}\n{output}", self.deadline);
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

pub struct Output {
    /// The exit status, or 128 plus the number of the signal that killed it.
    pub status: i32,
    pub out: String,
    pub err: String,
    pub command: String,
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "$ {}\nstatus: {}\n--- stdout\n{}--- stderr\n{}---",
            self.command, self.status, self.out, self.err
        )
    }
}

impl Output {
    #[track_caller]
    pub fn ok(&self) -> &Output {
        self.ends(0)
    }

    #[track_caller]
    pub fn ends(&self, status: i32) -> &Output {
        assert!(self.status == status, "expected status {status}\n{self}");
        self
    }

    #[track_caller]
    pub fn prints(&self, text: &str) -> &Output {
        assert!(self.out == text, "expected {text:?} on stdout\n{self}");
        self
    }

    /// Expects an error of the runtime itself: status 1 and one line on stderr that contains all of `words`.
    #[track_caller]
    pub fn fails(&self, words: &[&str]) -> &Output {
        self.ends(1);
        let lines = self.err.lines().filter(|l| !l.trim().is_empty()).count();
        assert!(
            lines == 1,
            "expected one line on stderr, found {lines}\n{self}"
        );
        self.says(words)
    }

    /// Expects all of `words` on stderr. Case is ignored, because engines compare in lower case.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> &Output {
        let err = self.err.to_lowercase();
        for word in words {
            assert!(
                err.contains(&word.to_lowercase()),
                "expected {word:?} on stderr\n{self}"
            );
        }
        self
    }

    pub fn lines(&self) -> Vec<&str> {
        self.out.lines().collect()
    }

    /// The rest of the first line of stdout that starts with `key`.
    #[track_caller]
    pub fn field(&self, key: &str) -> &str {
        let line = self.out.lines().find_map(|l| l.strip_prefix(key));
        line.unwrap_or_else(|| panic!("no line starts with {key:?}\n{self}"))
            .trim()
    }
}
