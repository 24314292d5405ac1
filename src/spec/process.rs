//! The container's process as the spec describes it: `process` in config.json, and the whole file of `exec --process`.
//! Source: <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#process>

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::json::object;

object! {
    /// config.md, "Process"
    pub struct Process<'a> {
        terminal: bool = "terminal",
        console_size: Option<ConsoleSize> = "consoleSize",
        user: User = "user",
        args: Vec<Cow<'a, str>> = "args",
        env: Vec<Cow<'a, str>> = "env",
        cwd: Cow<'a, str> = required "cwd",
        capabilities: Option<Capabilities<'a>> = "capabilities",
        rlimits: Vec<Rlimit<'a>> = "rlimits",
        /// exec inherits the container's value if this is unset, but not if it is false.
        no_new_privileges: Option<bool> = "noNewPrivileges",
        apparmor_profile: Option<Cow<'a, str>> = "apparmorProfile",
        selinux_label: Option<Cow<'a, str>> = "selinuxLabel",
        oom_score_adj: Option<i64> = "oomScoreAdj",
        scheduler: Option<Scheduler<'a>> = "scheduler",
        io_priority: Option<IoPriority<'a>> = "ioPriority",
        exec_cpu_affinity: Option<ExecCpuAffinity<'a>> = "execCPUAffinity",
    }
}

object! {
    /// In characters. The kernel's window size has 16 bits for each.
    pub struct ConsoleSize {
        height: u64 = required "height",
        width: u64 = required "width",
    }
}

object! {
    /// config.md, "POSIX-platform User"
    pub struct User {
        uid: u32 = "uid",
        gid: u32 = "gid",
        umask: Option<u32> = "umask",
        additional_gids: Vec<u32> = "additionalGids",
    }
}

object! {
    /// The five sets, by the names of capabilities(7).
    pub struct Capabilities<'a> {
        bounding: Vec<Cow<'a, str>> = "bounding",
        effective: Vec<Cow<'a, str>> = "effective",
        inheritable: Vec<Cow<'a, str>> = "inheritable",
        permitted: Vec<Cow<'a, str>> = "permitted",
        ambient: Vec<Cow<'a, str>> = "ambient",
    }
}

object! {
    /// One call of setrlimit(2); 18446744073709551615 is RLIM_INFINITY.
    pub struct Rlimit<'a> {
        /// `type` in the file: `RLIMIT_NOFILE`.
        resource: Cow<'a, str> = required "type",
        hard: u64 = required "hard",
        soft: u64 = required "soft",
    }
}

object! {
    /// The arguments of sched_setattr(2).
    pub struct Scheduler<'a> {
        policy: Cow<'a, str> = required "policy",
        nice: Option<i32> = "nice",
        priority: Option<i32> = "priority",
        flags: Vec<Cow<'a, str>> = "flags",
        /// In nanoseconds, like the two below. SCHED_DEADLINE only.
        runtime: Option<u64> = "runtime",
        deadline: Option<u64> = "deadline",
        period: Option<u64> = "period",
    }
}

object! {
    /// The arguments of ioprio_set(2).
    pub struct IoPriority<'a> {
        class: Cow<'a, str> = required "class",
        priority: i64 = "priority",
    }
}

object! {
    /// CPU lists such as `0-3,7`, for exec's process before and after it enters the container's cgroup.
    pub struct ExecCpuAffinity<'a> {
        initial: Option<Cow<'a, str>> = "initial",
        at_last: Option<Cow<'a, str>> = "final",
    }
}
