//! Runs a helper program of the host: ps, newuidmap, newgidmap, criu. The program gets stdio, PATH as its whole
//! environment, and only the descriptors that the caller lists.

use crate::files;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use runtime::error::{During, Error, Reason, Result, fail};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use syscalls::calls::{self, Arg, Birth};

/// The captured output stream of the program. It shares the other one with this process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    /// The text becomes part of the error.
    Stderr,
}

/// The search path if the caller has no PATH.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The setup of a program besides its arguments.
#[derive(Default)]
pub struct Setup<'a> {
    /// Descriptors that the program inherits, in ascending order. They must not be close-on-exec.
    pub descriptors: &'a [RawFd],
    /// The cgroup v2 directory that the process is born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Called with the pid before the program is executed.
    pub before: Option<&'a dyn Fn(i32) -> Result<()>>,
    /// Gives the program its own mount namespace, with the first path bound on the second.
    pub bound: Option<(&'a str, &'a str)>,
}

/// Finds `name` in `path`, waits for its end, and returns its output.
pub fn run(name: &str, args: &[&str], path: Option<&str>, stream: Stream) -> Result<String> {
    run_with(name, args, path, stream, &Setup::default())
}

/// The exit status of the child if it could not execute any candidate.
const NOT_THERE: i32 = 127;
/// Its exit status if a call before that failed. The pipe holds the reason.
const NOT_READY: i32 = 126;

/// Like `run`, with a `Setup`. `name` may be a path.
pub fn run_with(
    name: &str,
    args: &[&str],
    path: Option<&str>,
    stream: Stream,
    setup: &Setup<'_>,
) -> Result<String> {
    let path = path.filter(|path| !path.is_empty()).unwrap_or(PATH);
    let candidates = candidates(name, path)?;
    let words = [name].into_iter().chain(args.iter().copied());
    let args: Vec<CString> = words
        .map(|word| c_string(word, name))
        .collect::<Result<_>>()?;
    let argv = args.iter().map(|arg| Arg::new(arg));
    let argv: Vec<Arg<'_>> = argv.chain([Arg::END]).collect();
    let path = c_string(&format!("PATH={path}"), name)?;
    let envp = [Arg::new(&path), Arg::END];
    let what = || format!("cannot run {name}");
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).during(what)?;
    // With `before`, the child waits on a pipe: one byte starts the program, end-of-file means failure.
    let gate = setup
        .before
        .map(|_| rustix::pipe::pipe_with(PipeFlags::CLOEXEC));
    let gate = gate.transpose().during(what)?;
    let birth = Birth {
        flags: match setup.bound {
            Some(_) => u64::from(linux_raw_sys::general::CLONE_NEWNS),
            None => 0,
        },
        cgroup: setup.cgroup,
    };
    let child = |gate: Option<(OwnedFd, OwnedFd)>| {
        let wait = gate.map(|(wait, _)| wait);
        let ready = make_ready(stream, writer.as_fd(), setup);
        if let Err(errno) = ready {
            let _ = files::write_all(writer.as_fd(), Reason(errno).to_string().as_bytes());
            return NOT_READY;
        }
        if wait.is_none_or(|wait| rustix::io::read(&wait, &mut [0; 1]) == Ok(1)) {
            calls::default_signals();
            calls::set_signal_mask(0);
            for candidate in &candidates {
                let _: Errno = calls::execve(candidate, &argv, &envp);
            }
        }
        NOT_THERE
    };
    let (pid, pidfd, gate) =
        calls::fork(birth, gate, child).during(|| format!("cannot run {name} (clone3)"))?;
    let before = setup.before.map_or(Ok(()), |before| before(pid));
    if let Some((_, go)) = gate.filter(|_| before.is_ok()) {
        let _ = rustix::io::write(&go, b"g");
    }
    drop(writer);
    let output = files::read_open(&reader).during(what)?;
    let output = String::from_utf8_lossy(&output);
    let status = crate::process::reap(pidfd.as_fd());
    before?;
    let said = match output.trim() {
        text if stream == Stream::Stderr && !text.is_empty() => format!(": {text}"),
        _ => String::new(),
    };
    match status.and_then(|status| status.exit_status()) {
        Some(0) => Ok(output.into_owned()),
        Some(NOT_READY) => fail!("cannot run {name}: {output}"),
        Some(NOT_THERE) => fail!("cannot run {name}: there is none in PATH"),
        Some(status) => fail!("{name} failed: exit status {status}{said}"),
        None => fail!("{name} was killed"),
    }
}

fn c_string(text: &str, name: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(format!("an argument of {name} holds a zero byte")))
}

/// The paths to try.
fn candidates(name: &str, path: &str) -> Result<Vec<CString>> {
    if name.contains('/') {
        return Ok(Vec::from([c_string(name, name)?]));
    }
    path.split(':')
        .map(|directory| c_string(&format!("{directory}/{name}"), name))
        .collect()
}

/// Runs in the child: redirects the output, marks other descriptors close-on-exec, and binds the directory.
fn make_ready(stream: Stream, writer: BorrowedFd<'_>, setup: &Setup<'_>) -> rustix::io::Result<()> {
    match stream {
        Stream::Stdout => rustix::stdio::dup2_stdout(writer)?,
        Stream::Stderr => rustix::stdio::dup2_stderr(writer)?,
    }
    close_all_but(setup.descriptors)?;
    match setup.bound {
        Some((from, to)) => bind(from, to),
        None => Ok(()),
    }
}

/// Marks every descriptor but stdio and the listed ones close-on-exec.
fn close_all_but(descriptors: &[RawFd]) -> rustix::io::Result<()> {
    let mut from = 3;
    for kept in descriptors.iter().filter_map(|fd| u32::try_from(*fd).ok()) {
        if kept > from {
            calls::mark_close_on_exec(from, kept - 1)?;
        }
        from = from.max(kept + 1);
    }
    calls::mark_close_on_exec(from, u32::MAX)
}

/// Binds a directory recursively. The mount namespace is private to the child, and its mounts become slaves
/// first, so that the bind does not propagate out.
fn bind(from: &str, to: &str) -> rustix::io::Result<()> {
    use rustix::mount::{MountPropagationFlags, mount_bind_recursive, mount_change};
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave)?;
    mount_bind_recursive(from, to)
}
