//! The one error of the program: a sentence that says what failed, on which path or field, and the
//! kernel's reason. It is made where the failure is understood and printed once, by main.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::fmt;
use rustix::io::Errno;

/// What failed, for a person and for the engines that match its words (see `text`).
/// Boxed, because a result is moved about much more often than it is an error.
#[derive(Debug)]
pub struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    text: String,
    /// The signal that made us stop, which then shows in the exit status.
    signal: Option<i32>,
}

pub type Result<T, E = Error> = core::result::Result<T, E>;

impl Error {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            text: text.into(),
            signal: None,
        }))
    }

    /// Somebody asked us to stop.
    pub fn interrupted(what: impl fmt::Display, signal: i32) -> Self {
        let mut error = Self::new(format!("{what} interrupted by signal {signal}"));
        error.0.signal = Some(signal);
        error
    }

    /// The exit status of one that was interrupted, as a shell has it.
    pub fn status(&self) -> Option<i32> {
        self.0.signal.map(|signal| 128 + signal)
    }

    /// `what: the kernel's reason`.
    pub fn from_errno(what: impl fmt::Display, errno: Errno) -> Self {
        Self::new(format!("{what}: {}", Reason(errno)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

/// Ends with an error made as by `format!`.
macro_rules! fail {
    ($($arg:tt)*) => { return Err($crate::error::Error::new(alloc::format!($($arg)*))) };
}
pub(crate) use fail;

/// Says what was being done when a system call failed.
pub trait During<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> During<T> for rustix::io::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::from_errno(what(), errno))
    }
}

/// The text of strerror(3), which engines match.
pub struct Reason(pub Errno);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            Errno::PERM => "Operation not permitted",
            Errno::NOENT => "No such file or directory",
            Errno::SRCH => "No such process",
            Errno::INTR => "Interrupted system call",
            Errno::IO => "Input/output error",
            Errno::NXIO => "No such device or address",
            Errno::TOOBIG => "Argument list too long",
            Errno::NOEXEC => "Exec format error",
            Errno::BADF => "Bad file descriptor",
            Errno::CHILD => "No child processes",
            Errno::AGAIN => "Resource temporarily unavailable",
            Errno::NOMEM => "Cannot allocate memory",
            Errno::ACCESS => "Permission denied",
            Errno::FAULT => "Bad address",
            Errno::NOTBLK => "Block device required",
            Errno::BUSY => "Device or resource busy",
            Errno::EXIST => "File exists",
            Errno::XDEV => "Invalid cross-device link",
            Errno::NODEV => "No such device",
            Errno::NOTDIR => "Not a directory",
            Errno::ISDIR => "Is a directory",
            Errno::INVAL => "Invalid argument",
            Errno::NFILE => "Too many open files in system",
            Errno::MFILE => "Too many open files",
            Errno::NOTTY => "Inappropriate ioctl for device",
            Errno::TXTBSY => "Text file busy",
            Errno::FBIG => "File too large",
            Errno::NOSPC => "No space left on device",
            Errno::ROFS => "Read-only file system",
            Errno::MLINK => "Too many links",
            Errno::PIPE => "Broken pipe",
            Errno::RANGE => "Numerical result out of range",
            Errno::NAMETOOLONG => "File name too long",
            Errno::NOSYS => "Function not implemented (Linux 5.14 or newer is needed)",
            Errno::NOTEMPTY => "Directory not empty",
            Errno::LOOP => "Too many levels of symbolic links",
            Errno::OVERFLOW => "Value too large for defined data type",
            Errno::USERS => "Too many users",
            Errno::OPNOTSUPP => "Operation not supported",
            Errno::ADDRINUSE => "Address already in use",
            Errno::CONNREFUSED => "Connection refused",
            Errno::CONNRESET => "Connection reset by peer",
            Errno::TIMEDOUT => "Connection timed out",
            Errno::STALE => "Stale file handle",
            Errno::DQUOT => "Disk quota exceeded",
            Errno::NOKEY => "Required key not available",
            Errno::BADMSG => "Bad message",
            Errno::LIBBAD => "Accessing a corrupted shared library",
            other => return write!(f, "error {}", other.raw_os_error()),
        };
        f.write_str(text)
    }
}
