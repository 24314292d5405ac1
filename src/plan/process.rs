//! Plans the process, from its terminal to the exec: the steps of `create`, and those after `start`. The kernel
//! dictates the order: each step may remove a privilege that an earlier step needs.

use super::namespaces::Kind;
use super::{Builder, arguments, identity, leak, leak_text, notify_socket};
use crate::error::{Result, fail};
use crate::facts::join;
use crate::spec::Process;
use crate::state;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use bpf::first_of_each;
use core::ffi::CStr;
use syscalls::calls::Arg;
use syscalls::slots::Slot;
use syscalls::step::{Console, Execute, Home, LastStep, Node, Program, Setting, Step};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The limit on the total length of the candidate paths of a program.
const CANDIDATES_MAX: usize = 1 << 20;

impl Builder<'_> {
    /// Makes process.cwd if it is missing, as runc does.
    pub fn working_directory_made(&mut self) -> Result<()> {
        let Some(process) = &self.spec.process else {
            return Ok(());
        };
        if self.namespaces.is_new(Kind::Mount) && process.cwd != "/" {
            let cwd = leak_text(&process.cwd, "process.cwd")?;
            self.steps.push(Step::Make(cwd, Node::Directory));
        }
        Ok(())
    }

    /// Plans the terminal, or the ownership of stdio. Returns the slot of the socket for the terminal.
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
        self.steps.push(Step::Console(Console {
            socket,
            name,
            size,
            uid,
            bind: self.starts,
            relayed: self.options.relays,
        }));
        Ok(Some(socket))
    }

    /// Plans the settings that can fail and last until the exec, so that `create` reports a failure, not
    /// `start`. Returns the program, if there is a process.
    pub fn before_commit(&mut self) -> Result<Option<Execute<'static>>> {
        let Some(process) = &self.spec.process else {
            return Ok(None);
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
        let umask = self.umask(process)?;
        self.steps.push(Step::Set(Setting::Umask(umask)));
        let execute = self.execute(process)?;
        if self.options.wait {
            // `create` reports a missing program, as runc does. The lookup starts at the root, so relative
            // names are prefixed with process.cwd.
            let program = program(process, &process.cwd)?;
            self.steps.push(Step::LookUp(program));
        }
        Ok(Some(execute))
    }

    /// Plans the steps from the wait for `start` to the exec.
    pub fn last_steps(&mut self, execute: Option<Execute<'static>>) -> Result<()> {
        let spec = self.spec;
        let wait = self.options.wait.then_some(LastStep::Wait);
        let (Some(process), Some(execute)) = (&spec.process, execute) else {
            self.last.extend(wait);
            // `create` succeeds without a process, and `start` reports the error (runtime.md, Start).
            let nothing = leak(Vec::from([Arg::END]));
            self.last.push(LastStep::Execute(Execute {
                program: Program {
                    name: c"",
                    candidates: &[],
                },
                argv: nothing,
                envp: nothing,
            }));
            return Ok(());
        };
        let limits = identity::limits(&process.rlimits)?;
        let identity = self.identity(process)?;
        let no_new_privileges = process.no_new_privileges == Some(true);
        let (mut early, mut late) = (None, None);
        if let Some(seccomp) = &spec.linux.seccomp {
            let (filter, before_wait) = self.filter(seccomp)?;
            // With no_new_privs the filter is the very last step. Without it, the load takes CAP_SYS_ADMIN, so
            // it precedes the drop of the capabilities.
            if before_wait && wait.is_some() {
                self.last.push(LastStep::Seccomp(filter))
            } else if no_new_privileges {
                late = Some(LastStep::Seccomp(filter))
            } else {
                early = Some(LastStep::Seccomp(filter))
            }
        }
        self.last.extend(wait);
        self.last.extend(early);
        self.last.push(LastStep::Become(identity));
        if !limits.is_empty() {
            self.last.push(LastStep::Set(Setting::Limits(limits)));
        }
        if no_new_privileges {
            self.last.push(LastStep::Set(Setting::NoNewPrivileges));
        }
        let hooks = &spec.hooks.start_container;
        if self.starts && !hooks.is_empty() {
            // startContainer hooks run with the identity and under the filter of the process.
            self.last.extend(late.take());
            let hooks =
                self.child_hooks(c"startContainer", hooks, Some(execute.envp), state::CREATED)?;
            self.last.push(LastStep::Hooks(hooks));
        }
        // A death after `Ready` looks like the end of the program, so only the filter may come between `Ready`
        // and the exec.
        let signals = LastStep::Set(Setting::Signals);
        self.last.extend([signals, LastStep::Ready]);
        self.last.extend(late);
        self.last.push(LastStep::Execute(execute));
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

    /// The program with its arguments and environment.
    fn execute(&mut self, process: &Process<'_>) -> Result<Execute<'static>> {
        for (n, entry) in process.env.iter().enumerate() {
            if entry.starts_with('=') || !entry.contains('=') {
                fail!("config.json: process.env[{n}]: expected NAME=VALUE, found {entry:?}");
            }
        }
        // Of several entries for one variable only the last is kept, as in a shell. Some programs would take
        // the first.
        let name = |entry: &'_ Cow<'_, str>| entry.find('=').unwrap_or(entry.len());
        let names = process.env.iter().rev().map(|entry| &entry[..name(entry)]);
        let last = first_of_each(names).into_iter().rev();
        let env: Vec<&str> = process
            .env
            .iter()
            .zip(last)
            // An empty HOME counts as unset.
            .filter(|(entry, last)| *last && *entry != "HOME=")
            .map(|(entry, _)| entry.as_ref())
            .collect();
        let mut envp = arguments(&env, "process.env")?.to_vec();
        if self.options.listen_fds > 0 {
            // LISTEN_PID is 1, because the process is the first of its pid namespace.
            for entry in [
                format!("LISTEN_FDS={}", self.options.listen_fds),
                "LISTEN_PID=1".into(),
            ] {
                envp.insert(envp.len() - 1, Arg::new(leak_text(&entry, "LISTEN_FDS")?));
            }
        }
        if self.notify {
            envp.insert(
                envp.len() - 1,
                Arg::new(leak_text(notify_socket::VARIABLE, "NOTIFY_SOCKET")?),
            );
        }
        if variable(process, "HOME").is_none_or(str::is_empty) {
            let entry: &'static Home = Box::leak(Box::default());
            envp.insert(envp.len() - 1, entry.arg());
            let uid = process.user.uid;
            self.steps.push(Step::Home { entry, uid });
        }
        Ok(Execute {
            program: program(process, "")?,
            argv: arguments(&process.args, "process.args")?,
            envp: leak(envp),
        })
    }
}

/// The value of an environment variable. The last entry wins.
fn variable<'p>(process: &'p Process<'_>, name: &str) -> Option<&'p str> {
    let mut entries = process.env.iter().rev();
    entries.find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

/// The program in args[0], searched as in execvp(3). Relative paths start at `base`.
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
