//! From the kernel's entry to the program's `main`: arguments, environment, auxiliary vector, panics.
//! There is no libc below, so this is all the start-up there is.

use core::ffi::{CStr, c_char, c_ulong};
#[cfg(feature = "program")]
use core::sync::atomic::{AtomicPtr, Ordering};
use linux_raw_sys::auxvec::{AT_EGID, AT_EUID, AT_EXECFN, AT_NULL};

/// What the kernel laid on the first stack (see execve(2) and getauxval(3)).
#[derive(Clone, Copy)]
pub struct Start {
    argc: usize,
    argv: *const *const c_char,
}

impl Start {
    /// # Safety
    /// `stack` is where the kernel laid argc, the pointers to the arguments and those to the environment.
    #[cfg(feature = "program")]
    unsafe fn at(stack: *const usize) -> Self {
        // SAFETY: argc is the first word, argv follows it.
        unsafe {
            Self {
                argc: *stack,
                argv: stack.add(1).cast(),
            }
        }
    }

    /// The command line, program name first.
    pub fn args(self) -> impl Iterator<Item = &'static CStr> {
        (0..self.argc).map(move |i| {
            // SAFETY: the kernel laid `argc` pointers to strings there, which live as long as the process.
            unsafe { CStr::from_ptr(*self.argv.add(i)) }
        })
    }

    fn envp(self) -> *const *const c_char {
        // SAFETY: the environment follows the null pointer that ends the arguments.
        unsafe { self.argv.add(self.argc + 1) }
    }

    /// The environment, `NAME=VALUE` each.
    pub fn env(self) -> impl Iterator<Item = &'static CStr> {
        let mut at = self.envp();
        core::iter::from_fn(move || {
            // SAFETY: the walk stops at the null pointer that ends the environment.
            unsafe {
                let entry = *at;
                at = at.add(1);
                (!entry.is_null()).then(|| CStr::from_ptr(entry))
            }
        })
    }

    /// The value of one environment variable.
    pub fn var(self, name: &str) -> Option<&'static str> {
        self.env()
            .find_map(|e| e.to_str().ok()?.strip_prefix(name)?.strip_prefix('='))
    }

    /// The path that execve was given, as the kernel saw it (`AT_EXECFN`): `/dev/fd/N` after an
    /// execveat of a bare descriptor.
    pub fn execfn(self) -> Option<&'static CStr> {
        let path = self.auxiliary(AT_EXECFN)?;
        // SAFETY: AT_EXECFN's word points to a string that lives as long as the process.
        Some(unsafe { CStr::from_ptr(path as *const c_char) })
    }

    /// The effective user of this process, as execve found it (`AT_EUID`): without a system call.
    pub fn euid(self) -> u32 {
        self.auxiliary(AT_EUID).unwrap_or(0) as u32
    }

    /// The effective group, likewise.
    pub fn egid(self) -> u32 {
        self.auxiliary(AT_EGID).unwrap_or(0) as u32
    }

    /// The word of one kind in the auxiliary vector.
    fn auxiliary(self, kind: u32) -> Option<c_ulong> {
        let mut at = self.envp();
        // SAFETY: the auxiliary vector follows the null pointer that ends the environment, in pairs
        // of words, and ends with AT_NULL.
        unsafe {
            while !(*at).is_null() {
                at = at.add(1);
            }
            let mut pair = at.add(1).cast::<c_ulong>();
            while *pair != c_ulong::from(AT_NULL) {
                if *pair == c_ulong::from(kind) {
                    return Some(*pair.add(1));
                }
                pair = pair.add(2);
            }
        }
        None
    }

    /// Replaces the program by the file behind `fd`, with the same arguments and environment.
    /// Returns only when that fails (execveat(2)).
    pub fn exec_again(self, fd: rustix::fd::BorrowedFd<'_>) -> rustix::io::Errno {
        use rustix::fd::AsRawFd;
        let empty = c"".as_ptr();
        // SAFETY: argv and envp are the kernel's own arrays, both ended by a null pointer.
        let result = unsafe {
            crate::arch::syscall(
                linux_raw_sys::general::__NR_execveat,
                [
                    fd.as_raw_fd() as usize,
                    empty as usize,
                    self.argv as usize,
                    self.envp() as usize,
                    linux_raw_sys::general::AT_EMPTY_PATH as usize,
                    0,
                ],
            )
        };
        rustix::io::Errno::from_raw_os_error(-result as i32)
    }
}

/// The first stack, for `hide_command_line`.
#[cfg(feature = "program")]
static STACK: AtomicPtr<usize> = AtomicPtr::new(core::ptr::null_mut());

/// Gives this process a fixed command line and no environment. Everybody in its pid namespace may read /proc/PID/cmdline, and
/// who may trace it /proc/PID/environ; ours hold paths of the host and what `exec --env` was given.
///
/// # Safety
/// No string that `Start` has handed out is used any more.
#[cfg(feature = "program")]
pub(crate) unsafe fn hide_command_line() {
    const NAME: &[u8] = b"runtime init";
    // Once: a process born of one that has done it finds its strings empty.
    let stack = STACK.swap(core::ptr::null_mut(), Ordering::Relaxed);
    if stack.is_null() {
        return;
    }
    // SAFETY: the entry point stored what the kernel laid there.
    let start = unsafe { Start::at(stack) };
    let (Some(first), Some(last)) = (start.args().next(), start.args().last()) else {
        return;
    };
    let len_to = |text: &CStr| {
        let end = text.as_ptr() as usize + text.count_bytes() + 1;
        end - first.as_ptr() as usize
    };
    let args = len_to(last);
    let all = start.env().last().map_or(args, len_to);
    // SAFETY: the kernel lays arguments and environment one behind the other, in memory that is the process's to write
    // (create_elf_tables), and the caller vouches that nobody reads it.
    let bytes = unsafe { core::slice::from_raw_parts_mut(first.as_ptr().cast_mut().cast(), all) };
    bytes.fill(0);
    let len = NAME.len().min(all - 1);
    bytes[..len].copy_from_slice(&NAME[..len]);
    // The kernel shows the text up to its zero byte alone where this is none (get_mm_cmdline).
    if args > len + 1 {
        bytes[args - 1] = b'.';
    }
}

#[cfg(feature = "program")]
unsafe extern "Rust" {
    /// The program's main, which `entry!` names.
    fn runtime_main(start: Start) -> i32;
}

/// Names the program's main function: `fn(Start) -> i32`, the exit status.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn runtime_main(start: $crate::Start) -> i32 {
            $main(start)
        }
    };
}

/// Called by the entry point with the stack the kernel prepared.
#[cfg(feature = "program")]
pub(crate) unsafe extern "C" fn first(stack: *const usize) -> ! {
    open_stdio();
    STACK.store(stack.cast_mut(), Ordering::Relaxed);
    // SAFETY: this is the kernel's stack; `entry!` defines runtime_main.
    let status = unsafe { runtime_main(Start::at(stack)) };
    crate::calls::exit(status)
}

/// Opens /dev/null in the place of a standard descriptor that the caller has closed, so that no file
/// of ours takes its number (as glibc does for set-user-ID programs).
#[cfg(feature = "program")]
fn open_stdio() {
    use rustix::fs::{Mode, OFlags};
    use rustix::io::Errno;
    for fd in [
        crate::calls::stdin(),
        crate::calls::stdout(),
        crate::calls::stderr(),
    ] {
        if rustix::io::fcntl_getfd(fd) == Err(Errno::BADF) {
            // The lowest free number is this one, since those below it are open by now.
            if let Ok(null) = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty()) {
                core::mem::forget(null);
            }
        }
    }
}

/// Bugs end here: one line on stderr and SIGABRT's customary status.
#[cfg(feature = "program")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    use core::fmt::Write;
    let mut text = crate::report::Text::<256>::new();
    let _ = match info.location() {
        Some(at) => writeln!(
            text,
            "runtime: internal error at {}:{}",
            at.file(),
            at.line()
        ),
        None => writeln!(text, "runtime: internal error"),
    };
    let _ = rustix::io::write(crate::calls::stderr(), text.bytes());
    crate::calls::exit(134)
}
