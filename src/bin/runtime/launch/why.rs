//! Error messages for a container that does not start: a failing step, a dead child, a failing clone. The
//! phrases that engines match on come first, then the cause.

use crate::hooks;
use crate::process::reap;
use alloc::format;
use alloc::string::{String, ToString};
use runtime::error::{Error, Reason, Why};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::process::WaitIdStatus;
use syscalls::report::{Call, Fault, Report, Text};
use syscalls::spawn::Unborn;
use syscalls::step::{Lossy, Tree};

/// The error for a report. `steps` is the number of steps of the plan, if the message names it.
pub fn failure(report: &Report, text: &Text<1016>, steps: Option<usize>) -> Error {
    let (step, output) = text
        .as_str()
        .split_once('\0')
        .unwrap_or((text.as_str(), ""));
    let errno = Errno::from_raw_os_error(report.errno);
    let place = match steps {
        Some(steps) => format!(" (step {} of {steps})", report.step + 1),
        None => String::new(),
    };
    if report.call.is_of_a_hook() {
        let call = report.call;
        // The name of the hook comes before its output.
        let (hook, output) = output.split_once('\0').unwrap_or((output, ""));
        let how = hooks::failure(Fault { call, errno }, None, output);
        return Error::new(format!("error running {hook}: {how}"));
    }
    let reason = reason(report.call, errno, output);
    Error::new(match step.strip_prefix("execute ") {
        // runc's wording.
        Some(program) => format!("exec {program}: {reason}"),
        None => format!("cannot {step}{place}: {reason}"),
    })
}

/// Describes a failed call of the child. The phrases that engines match on come first, then the cause.
fn reason(call: Call, errno: Errno, output: &str) -> String {
    match call {
        Call::not_in_path => format!("executable file not found in $PATH: {}", Reason(errno)),
        Call::interpreter if output.is_empty() => {
            format!(
                "{}: the interpreter that it names is missing",
                Reason(errno)
            )
        }
        Call::interpreter => format!("{}: its interpreter {output} is missing", Reason(errno)),
        Call::carriage_return => format!(
            "{}: the line that names its interpreter {output} ends in CR LF, and the CR is taken for a part of the name",
            Reason(errno)
        ),
        Call::is_a_directory => format!("is a directory: {}", Reason(errno)),
        Call::no_permission => format!("{}: no mode bit lets anybody execute it", Reason(errno)),
        Call::noexec_mount => format!(
            "{}: it lies on a mount with the option noexec",
            Reason(errno)
        ),
        Call::other_machine => format!(
            "{}: it is made for {}",
            Reason(errno),
            machine(output.parse().unwrap_or(0))
        ),
        Call::no_format => format!(
            "{}: it is no ELF file, and does not begin with #!",
            Reason(errno)
        ),
        Call::not_a_directory => {
            "it must be mounted on ordinary directory, not on a symbolic link or a file".into()
        }
        Call::not_the_same_kind => {
            "a directory goes on a directory only, and a file on a file only: not a directory"
                .into()
        }
        Call::not_the_device => format!("{output} is in its place"),
        Call::not_a_null_device => "/dev/null of the host is not the character device 1:3".into(),
        // A deadline thread needs an affinity of all CPUs (sched(7)).
        Call::sched_setattr if errno == Errno::PERM => format!(
            "{} (it needs CAP_SYS_NICE; and a deadline process scheduler can't be used together with AllowedCPUs)",
            Reason(errno)
        ),
        Call::capset => format!("its capabilities are more than ours: {}", Reason(errno)),
        Call::ptmx => format!("/dev/pts/ptmx of the container: {}", Reason(errno)),
        Call::not_a_terminal => "/dev/pts/ptmx of the container is not of a devpts".into(),
        call if errno == Errno::NOSYS => format!("{} is missing: {}", call.name(), Reason(errno)),
        // A privilege is missing, or an outer seccomp filter refuses this call.
        call if errno == Errno::PERM && !matches!(call, Call::none | Call::execve) => {
            format!("{}: {}", call.name(), Reason(errno))
        }
        _ => Reason(errno).to_string(),
    }
}

/// The machine of an ELF file (elf.h, EM_*).
fn machine(number: u16) -> String {
    let name = match number {
        3 => "i386",
        8 => "mips",
        20 => "ppc",
        21 => "ppc64",
        22 => "s390",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv",
        258 => "loongarch",
        _ => return format!("another machine (ELF machine {number})"),
    };
    name.into()
}

/// The error for a child that ended without a report.
pub fn died(pidfd: BorrowedFd<'_>) -> Error {
    let status = reap(pidfd);
    let how = match status.as_ref().and_then(WaitIdStatus::terminating_signal) {
        Some(signal) => format!("was killed by signal {signal}"),
        None => "ended".into(),
    };
    Error::new(format!("the process {how} before its program began")).because(Why::Killed)
}

pub fn unborn(unborn: Unborn<'_>) -> Error {
    match unborn {
        Unborn::Call(fault) => {
            // A limit of 0 forbids user namespaces (user_namespaces(7)).
            let hint = match (fault.call, fault.errno) {
                (Call::clone3, Errno::NOSPC) => " (see /proc/sys/user/max_user_namespaces)",
                _ => "",
            };
            let (call, reason) = (fault.call.name(), Reason(fault.errno));
            let error = Error::new(format!(
                "cannot create the container's process ({call}): {reason}{hint}"
            ));
            // clone3 returns ENOMEM if the first process of the pid namespace has ended (pid_namespaces(7)).
            match fault.errno {
                Errno::NOMEM => error.because(Why::Killed),
                _ => error,
            }
        }
        Unborn::Stopped(signal) => Error::interrupted("the set-up was", signal),
        // ESRCH: the pidfd belongs to a container that has just ended.
        Unborn::Join(_, Errno::SRCH) => {
            Error::new("container not running: its first process has ended")
        }
        Unborn::Join(join, errno) => Error::from_errno(
            format!(
                "config.json: linux.namespaces: cannot join the {} namespace {}",
                join.name,
                Lossy(join.path)
            ),
            errno,
        ),
        Unborn::Time(errno) => Error::from_errno(
            "config.json: linux.timeOffsets: cannot make the time namespace",
            errno,
        ),
    }
}

/// The error for a tree that could not be copied, in the parent or in the child.
pub fn no_tree(field: &str, tree: &Tree<'_>, fault: Fault) -> Error {
    let (path, mut reason) = (Lossy(tree.path), Reason(fault.errno).to_string());
    if fault.call == Call::open_tree && matches!(fault.errno, Errno::PERM | Errno::NOSYS) {
        // A privilege is missing, or an outer seccomp filter refuses this call.
        reason = format!("open_tree: {reason}");
    }
    let what = match fault.call {
        Call::mount_setattr => "set the attributes of",
        _ => "open",
    };
    // In a user namespace, files under the mounts of the host stay hidden (mount_namespaces(7)).
    let hint = match (fault.call, fault.errno) {
        (Call::open_tree, Errno::INVAL) if !tree.recursive => {
            " (in a user namespace, what has mounts below it is bound with them: rbind)"
        }
        (Call::mount_setattr, Errno::PERM) => {
            " (in a user namespace, what the host's mount has of ro, nosuid, nodev, noexec and its times of access stays)"
        }
        _ => "",
    };
    // The failing field is `options`, not `source`.
    let field = match (fault.call, field.strip_suffix(".source")) {
        (Call::mount_setattr, Some(mount)) => format!("{mount}.options"),
        _ => field.into(),
    };
    Error::new(format!(
        "config.json: {field}: cannot {what} {path}: {reason}{hint}"
    ))
}
