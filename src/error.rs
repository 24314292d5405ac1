//! The program's only error type: a sentence that names what failed, the path or field, and the kernel's reason. It
//! is created where the failure is understood, and printed once, by main.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::fmt;
use rustix::io::Errno;

/// The text for users, and for the engines that match on its words (see `text`). Boxed, because results are moved far
/// more often than they are errors.
#[derive(Debug)]
pub struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    text: String,
    errno: Option<Errno>,
    why: Why,
}

/// The kinds of errors that callers distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Failed,
    /// This signal interrupted us. It determines the exit status.
    Interrupted(i32),
    /// The process was killed during its set-up, or its pid namespace accepts no more processes.
    Killed,
}

pub type Result<T, E = Error> = core::result::Result<T, E>;

impl Error {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            text: text.into(),
            errno: None,
            why: Why::Failed,
        }))
    }

    /// An error for a signal that asked us to stop.
    pub fn interrupted(what: impl fmt::Display, signal: i32) -> Self {
        Self::new(format!("{what} interrupted by signal {signal}"))
            .because(Why::Interrupted(signal))
    }

    pub fn because(mut self, why: Why) -> Self {
        self.0.why = why;
        self
    }

    pub fn why(&self) -> Why {
        self.0.why
    }

    /// `what: the kernel's reason`.
    pub fn from_errno(what: impl fmt::Display, errno: Errno) -> Self {
        let mut error = Self::new(format!("{what}: {}", Reason(errno)));
        error.0.errno = Some(errno);
        error
    }

    /// The kernel's reason, if there is one.
    pub fn errno(&self) -> Option<Errno> {
        self.0.errno
    }

    /// Whether the only cause is a missing permission.
    pub fn is_denied(&self) -> bool {
        matches!(
            self.0.errno,
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS)
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

/// Returns an error formatted as by `format!`.
#[macro_export]
macro_rules! fail {
    ($($arg:tt)*) => { return Err($crate::error::Error::new(alloc::format!($($arg)*))) };
}
pub use fail;

/// Adds what was being done to the error of a system call.
pub trait During<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> During<T> for rustix::io::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::from_errno(what(), errno))
    }
}

/// The text of strerror(3) in lower case, as in Go: Docker searches errors for these exact words.
pub struct Reason(pub Errno);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            Errno::PERM => "operation not permitted",
            Errno::NOENT => "no such file or directory",
            Errno::SRCH => "no such process",
            Errno::INTR => "interrupted system call",
            Errno::IO => "input/output error",
            Errno::NXIO => "no such device or address",
            Errno::TOOBIG => "argument list too long",
            Errno::NOEXEC => "exec format error",
            Errno::BADF => "bad file descriptor",
            Errno::CHILD => "no child processes",
            Errno::AGAIN => "resource temporarily unavailable",
            Errno::NOMEM => "cannot allocate memory",
            Errno::ACCESS => "permission denied",
            Errno::FAULT => "bad address",
            Errno::NOTBLK => "block device required",
            Errno::BUSY => "device or resource busy",
            Errno::EXIST => "file exists",
            Errno::XDEV => "invalid cross-device link",
            Errno::NODEV => "no such device",
            Errno::NOTDIR => "not a directory",
            Errno::ISDIR => "is a directory",
            Errno::INVAL => "invalid argument",
            Errno::NFILE => "too many open files in system",
            Errno::MFILE => "too many open files",
            Errno::NOTTY => "inappropriate ioctl for device",
            Errno::TXTBSY => "text file busy",
            Errno::FBIG => "file too large",
            Errno::NOSPC => "no space left on device",
            Errno::ROFS => "read-only file system",
            Errno::MLINK => "too many links",
            Errno::PIPE => "broken pipe",
            Errno::RANGE => "numerical result out of range",
            Errno::NAMETOOLONG => "file name too long",
            Errno::NOSYS => "function not implemented (Linux 5.14 or newer is needed)",
            Errno::NOTEMPTY => "directory not empty",
            Errno::LOOP => "too many levels of symbolic links",
            Errno::OVERFLOW => "value too large for defined data type",
            Errno::USERS => "too many users",
            Errno::OPNOTSUPP => "operation not supported",
            Errno::NOBUFS => "no buffer space available",
            Errno::ADDRINUSE => "address already in use",
            Errno::CONNREFUSED => "connection refused",
            Errno::CONNRESET => "connection reset by peer",
            Errno::TIMEDOUT => "connection timed out",
            Errno::STALE => "stale file handle",
            Errno::DQUOT => "disk quota exceeded",
            Errno::NOKEY => "required key not available",
            Errno::BADMSG => "bad message",
            Errno::LIBBAD => "accessing a corrupted shared library",
            other => return write!(f, "error {}", other.raw_os_error()),
        };
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_uses_the_words_that_docker_matches() {
        let error = Error::from_errno("cannot open /x", Errno::NOENT);
        assert_eq!(
            error.to_string(),
            "cannot open /x: no such file or directory"
        );
        assert_eq!(error.errno(), Some(Errno::NOENT));
        assert_eq!(Reason(Errno::ACCESS).to_string(), "permission denied");
        assert_eq!(Reason(Errno::ISDIR).to_string(), "is a directory");
        assert_eq!(Reason(Errno::NOTDIR).to_string(), "not a directory");
        assert_eq!(
            Reason(Errno::from_raw_os_error(4000)).to_string(),
            "error 4000"
        );
    }

    #[test]
    fn a_denial_is_distinguished_from_other_errors() {
        for (errno, denied) in [
            (Errno::ACCESS, true),
            (Errno::PERM, true),
            (Errno::ROFS, true),
            (Errno::NOENT, false),
        ] {
            assert_eq!(Error::from_errno("x", errno).is_denied(), denied);
        }
        assert!(!Error::new("permission denied").is_denied());
    }

    #[test]
    fn an_interruption_keeps_its_signal() {
        let error = Error::interrupted("the set-up was", 15);
        assert_eq!(error.to_string(), "the set-up was interrupted by signal 15");
        assert_eq!(error.why(), Why::Interrupted(15));
    }

    #[test]
    fn a_call_is_described_only_if_it_fails() {
        let what = || -> String { unreachable!() };
        assert_eq!(Ok::<_, Errno>(7).during(what).unwrap(), 7);
        let failed = Err::<(), _>(Errno::IO).during(|| "cannot".into());
        assert_eq!(
            failed.unwrap_err().to_string(),
            "cannot: input/output error"
        );
    }
}
