//! The program: sets the working directory and HOME, looks the program up, executes it, and finds the cause if
//! the kernel refuses it.

use super::paths::{file_type, find, openat2, stat};
use super::{Child, Walked};
use crate::calls;
use crate::report::{At, Call, Fault, Text};
use crate::step::{Entry, Execute, Program};
use core::ffi::CStr;
use core::fmt::Write;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;

/// The limit on reading the image's passwd file. A file of 100,000 users is smaller; a sparse file may be
/// endless.
const PASSWD_MAX: usize = 8 << 20;

impl Child<'_> {
    /// Changes into the working directory. The lookup stays beneath the root and follows no magic link, so that
    /// no open descriptor of this process or its caller can become the working directory (CVE-2024-21626).
    pub fn working_directory(&self, path: &CStr) -> Walked {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let dir = openat2(
            self.root()?,
            path,
            OFlags::PATH | OFlags::DIRECTORY,
            resolve,
        )?;
        rustix::process::fchdir(&dir).at(Call::fchdir)
    }

    /// Finds the program as the exec will, and checks its name, its mode and its interpreter.
    pub fn look_up(&mut self, program: &Program<'_>) -> Walked {
        let mut worst = missing(program);
        for candidate in program.candidates {
            match find(self.root()?, candidate) {
                Ok(file) => {
                    let mode = stat(file.as_fd())?.st_mode;
                    match FileType::from_raw_mode(mode) {
                        FileType::Directory => {
                            worse(&mut worst, program, Errno::ACCESS);
                            worst.call = Call::is_a_directory;
                        }
                        FileType::RegularFile if mode & 0o111 != 0 => {
                            return self.look_for_interpreter(candidate);
                        }
                        _ => {
                            worse(&mut worst, program, Errno::ACCESS);
                            worst.call = Call::no_permission;
                        }
                    }
                }
                Err(fault) if fault.errno == Errno::NOENT => {}
                Err(fault) => worse(&mut worst, program, fault.errno),
            }
        }
        Err(worst)
    }

    /// Fails if the interpreter is certainly missing. Relative names are not checked, nor are files for another
    /// machine, which an emulator may run (binfmt_misc).
    fn look_for_interpreter(&mut self, candidate: &CStr) -> Walked {
        let root = self.root()?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut head = [0u8; HEAD];
        let name = openat2(root, candidate, flags, resolve)
            .ok()
            .and_then(|file| {
                let head = read_head(&file, &mut head)?;
                match Elf::read(head) {
                    Some(elf) if elf.is_foreign() => None,
                    _ => interpreter(&file, head),
                }
            });
        let Some(mut name) = name else { return Ok(()) };
        let (call, len) = (cause(&name), name.bytes().len());
        name.push(b"\0");
        match CStr::from_bytes_with_nul(name.bytes()) {
            Ok(path) if path.to_bytes().starts_with(b"/") => match find(root, path) {
                Err(Fault {
                    errno: errno @ Errno::NOENT,
                    ..
                }) => {
                    self.reports.output.push(shown(&name.bytes()[..len]));
                    Err(Fault { call, errno })
                }
                _ => Ok(()),
            },
            // The name is truncated, so it cannot be checked.
            _ => Ok(()),
        }
    }

    /// Sets HOME from the container's passwd file, or to `/`, as runc does if the environment has no HOME.
    pub fn find_home(&self, uid: u32, home: &Entry) -> Walked {
        let root = self.root()?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let Ok(passwd) = openat2(root, c"/etc/passwd", flags, resolve) else {
            return Ok(());
        };
        if file_type(passwd.as_fd()).ok() != Some(FileType::RegularFile) {
            return Ok(());
        }
        let mut line = Text::<1024>::new();
        let mut chunk = [0u8; 1024];
        for _ in 0..PASSWD_MAX / chunk.len() {
            let Ok(n @ 1..) = rustix::io::read(&passwd, &mut chunk[..]) else {
                break;
            };
            for byte in &chunk[..n] {
                if *byte != b'\n' {
                    line.push(core::slice::from_ref(byte));
                } else if entry_of(line.as_str(), uid).is_some_and(|dir| home.set(dir)) {
                    return Ok(());
                } else {
                    line.clear();
                }
            }
        }
        entry_of(line.as_str(), uid).map(|dir| home.set(dir));
        Ok(())
    }
}

/// The home directory in a line of passwd(5), if the line is for this user.
fn entry_of(line: &str, uid: u32) -> Option<&str> {
    let mut fields = line.split(':');
    let id = fields.nth(2)?;
    (id.parse() == Ok(uid))
        .then(|| fields.nth(2))
        .flatten()
        .filter(|dir| dir.starts_with('/'))
}

/// Executes the first candidate that exists, as execvp(3) does with PATH. Returns the failure.
pub fn exec_first(execute: &Execute<'_>) -> Fault {
    let mut worst = missing(&execute.program);
    for candidate in execute.program.candidates {
        let errno = calls::execve(candidate, execute.argv, execute.envp);
        match errno {
            // The file exists, so its interpreter is missing. The descriptor is leaked, because the filter may
            // forbid close(2).
            Errno::NOENT
                if find(rustix::fs::CWD, candidate)
                    .map(core::mem::forget)
                    .is_ok() =>
            {
                return Fault {
                    call: Call::interpreter,
                    errno,
                };
            }
            Errno::NOENT => {}
            Errno::NOTDIR | Errno::ACCESS => worse(&mut worst, &execute.program, errno),
            _ => {
                return Fault {
                    call: Call::execve,
                    errno,
                };
            }
        }
    }
    worst
}

/// The failure if no candidate exists.
fn missing(program: &Program<'_>) -> Fault {
    let named = program.name.to_bytes().contains(&b'/');
    let call = if named {
        Call::execve
    } else {
        Call::not_in_path
    };
    Fault {
        call,
        errno: Errno::NOENT,
    }
}

/// Prefers the errno of an existing candidate over that of a missing one. In PATH, ENOTDIR counts as missing.
fn worse(worst: &mut Fault, program: &Program<'_>, errno: Errno) {
    if errno == Errno::ACCESS || missing(program).call == Call::execve {
        *worst = Fault {
            call: Call::execve,
            errno,
        };
    }
}

/// The length of the file header that is read to find its format.
const HEAD: usize = 1024;

/// The cause of a failed exec, from the file itself: the failed check and its detail.
pub(super) fn refusal(program: &Program<'_>, fault: Fault) -> Option<(Call, Text<256>)> {
    let mut detail = Text::new();
    let file = program.candidates.iter().find_map(|candidate| {
        find(rustix::fs::CWD, candidate)
            .ok()
            .map(|f| (candidate, f))
    });
    let (candidate, file) = file?;
    if fault.errno == Errno::ACCESS {
        let mode = stat(file.as_fd()).ok()?.st_mode;
        let call = if FileType::from_raw_mode(mode) == FileType::Directory {
            Call::is_a_directory
        } else if mode & 0o111 == 0 {
            Call::no_permission
        } else if rustix::fs::fstatvfs(&file)
            .is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::NOEXEC))
        {
            Call::noexec_mount
        } else {
            return None;
        };
        return Some((call, detail));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat2(rustix::fs::CWD, candidate, flags, ResolveFlags::empty()).ok()?;
    let mut head = [0u8; HEAD];
    let head = read_head(&file, &mut head)?;
    match (fault.errno, head) {
        (Errno::NOENT, _) => {
            let name = interpreter(&file, head)?;
            detail.push(shown(name.bytes()));
            Some((cause(&name), detail))
        }
        (Errno::NOEXEC, _) => match Elf::read(head) {
            Some(elf) if elf.is_foreign() => {
                let _ = write!(detail, "{}", elf.machine);
                Some((Call::other_machine, detail))
            }
            Some(_) => None,
            None if head.starts_with(b"#!") => None,
            None => Some((Call::no_format, detail)),
        },
        _ => None,
    }
}

fn read_head<'h>(file: &OwnedFd, head: &'h mut [u8; HEAD]) -> Option<&'h [u8]> {
    let n = rustix::io::pread(file, &mut head[..], 0).ok()?;
    Some(&head[..n])
}

/// The interpreter in a file, unchanged: from `#!`, or from PT_INTERP of an ELF file.
fn interpreter(file: &OwnedFd, head: &[u8]) -> Option<Text<256>> {
    let mut text = Text::new();
    if let [b'#', b'!', line @ ..] = head {
        let line = line.split(|b| *b == b'\n').next()?.trim_ascii_start();
        text.push(line.split(|b| matches!(b, b' ' | b'\t')).next()?);
    } else {
        let mut name = [0u8; 256];
        let at = Elf::read(head)?.interpreter(head)?;
        let n = rustix::io::pread(file, &mut name[..], at).ok()?;
        text.push(name[..n].split(|b| *b == 0).next()?);
    }
    Some(text)
}

/// The interpreter without a CR at its end.
fn shown(interpreter: &[u8]) -> &[u8] {
    interpreter.strip_suffix(b"\r").unwrap_or(interpreter)
}

fn cause(interpreter: &Text<256>) -> Call {
    match interpreter.bytes().ends_with(b"\r") {
        true => Call::carriage_return,
        false => Call::interpreter,
    }
}

/// The required fields of an ELF header, for either width and byte order (elf(5)).
struct Elf {
    wide: bool,
    big: bool,
    machine: u16,
}

impl Elf {
    fn read(head: &[u8]) -> Option<Self> {
        let [0x7f, b'E', b'L', b'F', class, order, ..] = head else {
            return None;
        };
        let mut elf = Self {
            wide: *class == 2,
            big: *order == 2,
            machine: 0,
        };
        elf.machine = elf.number(head, 18, 2)? as u16;
        Some(elf)
    }

    fn is_foreign(&self) -> bool {
        self.machine != crate::arch::ELF_MACHINE
    }

    fn number(&self, head: &[u8], at: usize, size: usize) -> Option<u64> {
        let bytes = head.get(at..at.checked_add(size)?)?;
        let step = |n: u64, byte: &u8| n << 8 | u64::from(*byte);
        Some(if self.big {
            bytes.iter().fold(0, step)
        } else {
            bytes.iter().rev().fold(0, step)
        })
    }

    /// The file offset of the interpreter's name (PT_INTERP).
    fn interpreter(&self, head: &[u8]) -> Option<u64> {
        const PT_INTERP: u64 = linux_raw_sys::elf_uapi::PT_INTERP as u64;
        let ((table, word), (size, count), offset) = match self.wide {
            true => ((32, 8), (54, 56), 8),
            false => ((28, 4), (42, 44), 4),
        };
        let table = usize::try_from(self.number(head, table, word)?).ok()?;
        let (size, count) = (self.number(head, size, 2)?, self.number(head, count, 2)?);
        for n in 0..count {
            let entry = table.checked_add(usize::try_from(n * size).ok()?)?;
            if self.number(head, entry, 4)? == PT_INTERP {
                return self.number(head, entry.checked_add(offset)?, word);
            }
        }
        None
    }
}
