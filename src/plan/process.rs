//! The last part of the walk, from the commit to the exec: limits, labels, the filter, the identity,
//! the program. Its order is the kernel's: each step may take away what the ones before it needed.

use super::namespaces::Kind;
use super::{Builder, arguments, identity, leak, leak_text, notify_socket};
use crate::error::{Result, fail};
use crate::facts::join;
use crate::spec::Process;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::CStr;
use syscalls::calls::Arg;
use syscalls::slots::Slot;
use syscalls::step::{Execute, Home, Program, Step};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// As many bytes as the paths may take that a program is looked for at.
const CANDIDATES_MAX: usize = 1 << 20;

/// The entry of the environment that the child completes, and the user it is for.
type HomeOf = (&'static Home, u32);

impl Builder<'_> {
    /// The terminal, or the ownership of stdio; the slot of the socket the terminal goes to.
    pub fn console(&mut self) -> Result<Option<Slot>> {
        let Some(process) = &self.spec.process else {
            return Ok(None);
        };
        let uid = process.user.uid;
        if !process.terminal {
            self.steps.push(Step::Stdio { uid });
            return Ok(None);
        }
        if self.starts && !self.namespaces.is_new(Kind::Mount) {
            fail!(
                "config.json: process.terminal: needs a new namespace of type \"mount\" in linux.namespaces"
            );
        }
        let side = |name: &str, n: u64| match u16::try_from(n) {
            Ok(n) => Ok(n),
            Err(_) => {
                fail!("config.json: process.consoleSize.{name}: expected at most 65535, found {n}")
            }
        };
        let size = match &process.console_size {
            Some(size) => Some((side("height", size.height)?, side("width", size.width)?)),
            None => self.options.console_size,
        };
        let socket = self.slot();
        let name = leak_text(self.options.id, "id")?;
        self.steps.push(Step::Console {
            socket,
            name,
            size,
            uid,
            bind: self.starts,
            relayed: self.options.relays,
        });
        Ok(Some(socket))
    }

    /// What can fail and holds until the exec: `create` tells of it, not only `start`.
    pub fn before_commit(&mut self) -> Result<()> {
        let Some(process) = &self.spec.process else {
            return Ok(());
        };
        if !process.cwd.starts_with('/') {
            fail!(
                "config.json: process.cwd: expected an absolute path, found {:?}",
                process.cwd
            );
        }
        self.scheduling(process)?;
        self.memory_policy()?;
        self.labels(process)?;
        let cwd = leak_text(&process.cwd, "process.cwd")?;
        self.steps.push(Step::WorkingDirectory(cwd));
        Ok(())
    }

    /// `wait` is the step that waits for `start`.
    pub fn process(&mut self, wait: Option<Step<'static>>) -> Result<()> {
        let spec = self.spec;
        let Some(process) = &spec.process else {
            self.steps.extend(wait);
            // `create` works without a process, `start` then says so (runtime.md, Start).
            let nothing = leak(Vec::from([Arg::END]));
            let execute = Execute {
                program: Program {
                    name: c"",
                    candidates: &[],
                },
                argv: nothing,
                envp: nothing,
                filter: None,
            };
            self.steps.push(Step::Execute(execute));
            return Ok(());
        };
        let limits = identity::limits(&process.rlimits)?;
        let identity = self.identity(process)?;
        let (mut early, mut late) = (None, None);
        if let Some(seccomp) = &spec.linux.seccomp {
            let (filter, before_wait) = self.filter(seccomp)?;
            // With no_new_privs the filter can be the very last thing; without, loading it takes
            // CAP_SYS_ADMIN, so it goes before that is dropped.
            if before_wait && wait.is_some() {
                self.steps.push(Step::Seccomp(filter))
            } else if process.no_new_privileges == Some(true) {
                late = Some(filter)
            } else {
                early = Some(filter)
            }
        }
        self.steps.extend(wait);
        self.steps.push(Step::Umask(self.umask(process)?));
        let (execute, home) = self.execute(process)?;
        self.steps.push(Step::Close {
            preserve: self.options.preserve_fds,
            home,
        });
        self.steps.extend(early.map(Step::Seccomp));
        self.steps.push(Step::Become(identity));
        if !limits.is_empty() {
            self.steps.push(Step::Limits(limits));
        }
        if process.no_new_privileges == Some(true) {
            self.steps.push(Step::NoNewPrivileges);
        }
        let hooks = &spec.hooks.start_container;
        if self.starts && !hooks.is_empty() {
            // They run as the process does, under its filter.
            self.steps.extend(late.take().map(Step::Seccomp));
            self.child_hooks(c"startContainer", hooks, Some(execute.envp))?;
        }
        self.steps.push(Step::Execute(Execute {
            filter: late,
            ..execute
        }));
        Ok(())
    }

    fn umask(&self, process: &Process<'_>) -> Result<u32> {
        match process.user.umask {
            Some(mask) if mask > 0o777 => {
                fail!("config.json: process.user.umask: expected at most 511 (0777), found {mask}")
            }
            Some(mask) => Ok(mask),
            None => Ok(0o022),
        }
    }

    /// The check that `create` makes of the program, so that one that is missing is told of at once, as runc does.
    pub fn look_up(&mut self) -> Result<()> {
        let Some(process) = &self.spec.process else {
            return Ok(());
        };
        // The working directory is entered later.
        let program = program(process, &process.cwd)?;
        self.steps.push(Step::LookUp(program));
        Ok(())
    }

    /// The last step, and the entry of its environment that the child completes.
    fn execute(&mut self, process: &Process<'_>) -> Result<(Execute<'static>, Option<HomeOf>)> {
        for (n, entry) in process.env.iter().enumerate() {
            if entry.starts_with('=') || !entry.contains('=') {
                fail!("config.json: process.env[{n}]: expected NAME=VALUE, found {entry:?}");
            }
        }
        let kept = last_of_each(&process.env);
        let env: Vec<&str> = process
            .env
            .iter()
            .map(AsRef::as_ref)
            .zip(kept)
            // An empty HOME is as good as none.
            .filter(|(entry, kept)| *kept && *entry != "HOME=")
            .map(|(entry, _)| entry)
            .collect();
        let mut envp = arguments(&env, "process.env")?.to_vec();
        if self.options.listen_fds > 0 {
            // For the process, which is the first of its pid namespace.
            for entry in [
                format!("LISTEN_FDS={}", self.options.listen_fds),
                "LISTEN_PID=1".into(),
            ] {
                envp.insert(envp.len() - 1, Arg::new(leak_text(&entry, "LISTEN_FDS")?));
            }
        }
        if self.notify.is_some() {
            envp.insert(
                envp.len() - 1,
                Arg::new(leak_text(notify_socket::VARIABLE, "NOTIFY_SOCKET")?),
            );
        }
        let mut home = None;
        if variable(process, "HOME").is_none_or(str::is_empty) {
            let entry: &'static Home = Box::leak(Box::default());
            envp.insert(envp.len() - 1, entry.arg());
            home = Some((entry, process.user.uid));
        }
        let execute = Execute {
            program: program(process, "")?,
            argv: arguments(&process.args, "process.args")?,
            envp: leak(envp),
            filter: None,
        };
        Ok((execute, home))
    }
}

/// Which entries of an environment count: the last of several of one name wins, as in every shell, also for programs that take
/// the first.
fn last_of_each(env: &[Cow<'_, str>]) -> Vec<bool> {
    let names = env
        .iter()
        .map(|entry| entry.split('=').next().unwrap_or(entry));
    let sorted = BinaryHeap::from_iter(names.zip(0..)).into_sorted_vec();
    let mut kept = vec![false; env.len()];
    for same in sorted.chunk_by(|a, b| a.0 == b.0) {
        if let Some((_, last)) = same.last() {
            kept[*last] = true;
        }
    }
    kept
}

/// The value of a variable of the environment; of several the last.
fn variable<'p>(process: &'p Process<'_>, name: &str) -> Option<&'p str> {
    let mut entries = process.env.iter().rev();
    entries.find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

/// What args[0] names, as execvp(3) takes it; `base` is where what is relative begins.
fn program(process: &Process<'_>, base: &str) -> Result<Program<'static>> {
    let Some(name) = process.args.first() else {
        fail!("config.json: process.args: expected at least one argument");
    };
    if name.is_empty() {
        fail!("config.json: process.args[0]: expected the name of a program, found \"\"");
    }
    let field = "process.args[0]";
    let mut candidates: Vec<&'static CStr> = Vec::new();
    let mut add = |path: &str| -> Result<()> {
        candidates.push(match base.is_empty() || path.starts_with('/') {
            true => leak_text(path, field)?,
            false => leak_text(&join(base, path), field)?,
        });
        Ok(())
    };
    if name.contains('/') {
        add(name)?;
    } else {
        let mut size = 0;
        for dir in variable(process, "PATH").unwrap_or(PATH).split(':') {
            let dir = if dir.is_empty() { "." } else { dir };
            size += base.len() + dir.len() + name.len() + 16;
            if size > CANDIDATES_MAX {
                fail!("config.json: process.env: PATH names too many directories");
            }
            add(&format!("{dir}/{name}"))?;
        }
    }
    Ok(Program {
        name: leak_text(name, field)?,
        candidates: leak(candidates),
    })
}
