//! The path from the kernel's entry point to the program's `main`: arguments, environment, auxiliary vector,
//! panics. There is no libc, so this is the whole start-up.

use core::ffi::{CStr, c_char, c_ulong};
#[cfg(feature = "program")]
use core::sync::atomic::{AtomicPtr, Ordering};
use linux_raw_sys::auxvec::{AT_EGID, AT_EUID, AT_EXECFN, AT_NULL};

/// The initial stack of the process (execve(2), getauxval(3)).
#[derive(Clone, Copy)]
pub struct Start {
    argc: usize,
    argv: *const *const c_char,
}

impl Start {
    /// # Safety
    /// `stack` is the initial stack of the kernel: argc, then the pointers to the arguments and the environment.
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

    /// The arguments, including the program name.
    pub fn args(self) -> impl Iterator<Item = &'static CStr> {
        (0..self.argc).map(move |i| {
            // SAFETY: the kernel placed `argc` pointers to strings there, which live as long as the process.
            unsafe { CStr::from_ptr(*self.argv.add(i)) }
        })
    }

    fn envp(self) -> *const *const c_char {
        // SAFETY: the environment follows the null pointer that ends the arguments.
        unsafe { self.argv.add(self.argc + 1) }
    }

    /// The environment, as `NAME=VALUE`.
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

    /// The path that was passed to execve (`AT_EXECFN`). After an execveat of a bare descriptor it is
    /// `/dev/fd/N`.
    pub fn execfn(self) -> Option<&'static CStr> {
        let path = self.auxiliary(AT_EXECFN)?;
        // SAFETY: the value of AT_EXECFN points to a string that lives as long as the process.
        Some(unsafe { CStr::from_ptr(path as *const c_char) })
    }

    /// The effective user id at execve (`AT_EUID`), read without a system call.
    pub fn euid(self) -> u32 {
        self.auxiliary(AT_EUID).unwrap_or(0) as u32
    }

    /// The effective group id at execve (`AT_EGID`).
    pub fn egid(self) -> u32 {
        self.auxiliary(AT_EGID).unwrap_or(0) as u32
    }

    /// The value of one type in the auxiliary vector.
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

    /// Executes the file behind `fd` with the same arguments and environment (execveat(2)). Returns only on
    /// failure.
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

/// The kernel's initial stack, for `hide_command_line`.
#[cfg(feature = "program")]
static STACK: AtomicPtr<usize> = AtomicPtr::new(core::ptr::null_mut());

/// Gives this process a fixed command line and no environment. Every process in its pid namespace may read
/// /proc/PID/cmdline, and a process that may trace it reads /proc/PID/environ. The originals hold host paths
/// and the values of `exec --env`.
///
/// # Safety
/// No string from `Start` is used afterwards.
#[cfg(feature = "program")]
pub(crate) unsafe fn hide_command_line() {
    const NAME: &[u8] = b"runtime init";
    // Only once: a child of a process that has done this finds empty strings.
    let stack = STACK.swap(core::ptr::null_mut(), Ordering::Relaxed);
    if stack.is_null() {
        return;
    }
    // SAFETY: the entry point stored the address of the kernel's initial stack.
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
    // SAFETY: the kernel places the arguments and the environment back to back in memory that the process may
    // write (create_elf_tables), and the caller guarantees that no code reads it.
    let bytes = unsafe { core::slice::from_raw_parts_mut(first.as_ptr().cast_mut().cast(), all) };
    bytes.fill(0);
    let len = NAME.len().min(all - 1);
    bytes[..len].copy_from_slice(&NAME[..len]);
    // If the last byte of the arguments is not zero, the kernel shows only the text before the first zero byte
    // (get_mm_cmdline).
    if args > len + 1 {
        bytes[args - 1] = b'.';
    }
}

#[cfg(feature = "program")]
unsafe extern "Rust" {
    /// The main function that `entry!` names.
    fn runtime_main(start: Start) -> i32;
}

/// Names the main function of the program: `fn(Start) -> i32`. It returns the exit status.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn runtime_main(start: $crate::Start) -> i32 {
            $main(start)
        }
    };
}

/// The entry point calls this with the kernel's initial stack.
#[cfg(feature = "program")]
pub(crate) unsafe extern "C" fn first(stack: *const usize) -> ! {
    open_stdio();
    STACK.store(stack.cast_mut(), Ordering::Relaxed);
    // SAFETY: this is the kernel's initial stack, and `entry!` defines runtime_main.
    let status = unsafe { runtime_main(Start::at(stack)) };
    crate::calls::exit(status)
}

/// Opens /dev/null for each closed standard descriptor, so that no other file gets its number (glibc does this
/// for set-user-ID programs).
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
            // open(2) returns the lowest free number, which is this one: those below it are open.
            if let Ok(null) = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty()) {
                core::mem::forget(null);
            }
        }
    }
}

/// Ends the program on a bug: one line on stderr, and the exit status of SIGABRT in a shell.
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
