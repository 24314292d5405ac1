//! Runs a program of the host that does a part for us: ps, newuidmap, newgidmap. It gets stdio, PATH as its whole
//! environment, and nothing else of ours.

use crate::error::{During, Error, Result, fail};
use crate::files;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use syscalls::calls::{self, Arg, Clone, Cloned};

/// Which of the program's outputs we read; the other one is ours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    /// It goes into the error.
    Stderr,
}

/// Where programs are when the caller has no PATH.
const PATH: &str = "/usr/bin:/bin";

/// Finds `name` in `path`, runs it to its end and returns what it wrote.
pub fn run(name: &str, args: &[&str], path: Option<&str>, stream: Stream) -> Result<String> {
    let c_string = |text: &str| {
        CString::new(text)
            .map_err(|_| Error::new(format!("an argument of {name} holds a zero byte")))
    };
    let path = path.filter(|path| !path.is_empty()).unwrap_or(PATH);
    let candidates = path
        .split(':')
        .map(|directory| c_string(&format!("{directory}/{name}")))
        .collect::<Result<Vec<_>>>()?;
    let args = [name]
        .iter()
        .chain(args)
        .map(|arg| c_string(arg))
        .collect::<Result<Vec<_>>>()?;
    let argv: Vec<Arg<'_>> = args
        .iter()
        .map(|arg| Arg::new(arg))
        .chain([Arg::END])
        .collect();
    let path = c_string(&format!("PATH={path}"))?;
    let envp = [Arg::new(&path), Arg::END];

    let what = || format!("cannot run {name}");
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).during(what)?;
    let clone = Clone {
        exit_signal: u64::from(linux_raw_sys::general::SIGCHLD),
        ..Clone::default()
    };
    const NOT_THERE: i32 = 127;
    let pidfd = match calls::clone3(clone).during(what)? {
        Cloned::Child => {
            let taken = match stream {
                Stream::Stdout => rustix::stdio::dup2_stdout(&writer),
                Stream::Stderr => rustix::stdio::dup2_stderr(&writer),
            };
            if taken
                .and_then(|()| calls::close_range(3, u32::MAX, true))
                .is_ok()
            {
                calls::default_signals();
                calls::set_signal_mask(0);
                for candidate in &candidates {
                    let _: Errno = calls::execve(candidate, &argv, &envp);
                }
            }
            calls::exit(NOT_THERE)
        }
        Cloned::Parent(_, pidfd) => pidfd,
    };
    drop(writer);
    let output = files::read_open(&reader).during(what)?;
    let output = String::from_utf8_lossy(&output).into_owned();
    let said = match output.trim() {
        text if stream == Stream::Stderr && !text.is_empty() => format!(": {text}"),
        _ => String::new(),
    };
    let status = crate::launch::reap(pidfd.as_fd());
    match status.and_then(|status| status.exit_status()) {
        Some(0) => Ok(output),
        Some(NOT_THERE) => fail!("cannot run {name}: there is none in PATH"),
        Some(status) => fail!("{name} failed: exit status {status}{said}"),
        None => fail!("{name} was killed"),
    }
}
