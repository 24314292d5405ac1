//! Runs a program of the host that does a part for us: ps, newuidmap, newgidmap, criu. It gets stdio, PATH as its
//! whole environment, and of ours nothing else but what its caller says.

use crate::files;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use runtime::error::{During, Error, Reason, Result, fail};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use syscalls::calls::{self, Arg, Birth};

/// Which of the program's outputs we read; the other one is ours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    /// It goes into the error.
    Stderr,
}

/// Where programs are when the caller has no PATH.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What a program needs besides arguments.
#[derive(Default)]
pub struct Setup<'a> {
    /// Descriptors that it gets, which are not marked to be closed, in ascending order.
    pub descriptors: &'a [RawFd],
    /// A cgroup v2 directory to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// What is done with its pid before it begins.
    pub before: Option<&'a dyn Fn(i32) -> Result<()>>,
    /// A mount namespace of its own, in which the first of these is bound on the second.
    pub bound: Option<(&'a str, &'a str)>,
}

/// Finds `name` in `path`, runs it to its end and returns what it wrote.
pub fn run(name: &str, args: &[&str], path: Option<&str>, stream: Stream) -> Result<String> {
    run_with(name, args, path, stream, &Setup::default())
}

/// The exit status that means that no candidate could be executed.
const NOT_THERE: i32 = 127;

/// The same for a program that needs more; `name` may be a path.
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
    // Where something is to be done first, it waits until we hang up, and begins only if it has heard a byte before.
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
            let text = format!("cannot make it ready: {}", Reason(errno));
            let _ = files::write_all(calls::stderr(), text.as_bytes());
            return 1;
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
    let (pid, pidfd, gate) = calls::fork(birth, gate, child).during(what)?;
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
        Some(NOT_THERE) => fail!("cannot run {name}: there is none in PATH"),
        Some(status) => fail!("{name} failed: exit status {status}{said}"),
        None => fail!("{name} was killed"),
    }
}

fn c_string(text: &str, name: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(format!("an argument of {name} holds a zero byte")))
}

/// Where the program may lie.
fn candidates(name: &str, path: &str) -> Result<Vec<CString>> {
    if name.contains('/') {
        return Ok(Vec::from([c_string(name, name)?]));
    }
    path.split(':')
        .map(|directory| c_string(&format!("{directory}/{name}"), name))
        .collect()
}

/// In the process of the program: its output is what we read, it has the descriptors it needs, and its root is bound.
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

/// Marks what is not for the program, stdio aside.
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

/// Binds a directory with all below it, in a mount namespace that is ours: nothing of it gets out.
fn bind(from: &str, to: &str) -> rustix::io::Result<()> {
    use rustix::mount::{MountPropagationFlags, mount_bind_recursive, mount_change};
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave)?;
    mount_bind_recursive(from, to)
}
