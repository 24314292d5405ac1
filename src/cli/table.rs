//! The table of commands and flags: their names, what they take, and the words that help has for them. It is read by the
//! parser and by help; nothing else knows how a flag is spelled.
//!
//! A new command is a variant of `Command`, an entry of `COMMANDS`, and a `Flag` with its `Info` for each new flag.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Spec,
    Create,
    Start,
    Run,
    State,
    Kill,
    Delete,
    List,
    Features,
    Exec,
    Seccomp,
    Pause,
    Resume,
    Ps,
    Update,
    Events,
    Checkpoint,
    Restore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    Help,
    Version,
    // of the program
    Root,
    Log,
    LogFormat,
    Debug,
    SystemdCgroup,
    CgroupManager,
    Rootless,
    Criu,
    // of the commands
    Bundle,
    Config,
    ConsoleSocket,
    PidfdSocket,
    PidFile,
    NoPivot,
    NoNewKeyring,
    PreserveFds,
    DryRun,
    Detach,
    Keep,
    NoSubreaper,
    All,
    Force,
    ListFormat,
    Quiet,
    RootlessSpec,
    Process,
    Cwd,
    Env,
    User,
    AdditionalGids,
    Tty,
    Cap,
    NoNewPrivs,
    Apparmor,
    ProcessLabel,
    SubCgroup,
    IgnorePaused,
    Explain,
    Resources,
    BlkioWeight,
    CpuPeriod,
    CpuQuota,
    CpuBurst,
    CpuShare,
    CpuRtPeriod,
    CpuRtRuntime,
    CpuIdle,
    CpusetCpus,
    CpusetMems,
    KernelMemory,
    KernelMemoryTcp,
    Memory,
    MemoryReservation,
    MemorySwap,
    PidsLimit,
    L3CacheSchema,
    MemBwSchema,
    Interval,
    Stats,
    ImagePath,
    WorkPath,
    ParentPath,
    LeaveRunning,
    PreDump,
    TcpEstablished,
    ExtUnixSk,
    ShellJob,
    FileLocks,
    AutoDedup,
    LazyPages,
    LinkRemap,
    StatusFd,
    PageServer,
    ManageCgroupsMode,
    EmptyNs,
    LsmProfile,
    LsmMountContext,
}

/// What a flag takes.
#[derive(Clone, Copy)]
pub enum Takes {
    /// Nothing, or `=true` and `=false`.
    Switch,
    /// Any text, which the help calls so.
    Text(&'static str),
    /// A decimal integer from 0 to `i32::MAX`, which the help calls so.
    Number(&'static str),
    /// One of these words; the help calls it so.
    OneOf(&'static str, &'static [&'static str]),
}

/// A flag's entry in the table.
pub struct Info {
    pub flag: Flag,
    pub long: &'static str,
    pub short: Option<char>,
    pub takes: Takes,
    pub help: &'static str,
}

/// A command's entry in the table.
pub struct Entry {
    pub command: Command,
    pub name: &'static str,
    pub help: &'static str,
    pub operands: &'static [Operand],
    pub flags: &'static [&'static Info],
    pub example: &'static str,
}

/// An argument that is not a flag.
pub enum Operand {
    Required(&'static str),
    Optional(&'static str),
    /// All that follows, flags of others included: a command line.
    Rest(&'static str),
    /// All that follows the operand before, flags first included: the arguments of another program.
    Raw(&'static str),
}

use Operand::{Optional, Raw, Required, Rest};
use Takes::{Number, OneOf, Switch, Text};

const fn info(
    flag: Flag,
    long: &'static str,
    short: Option<char>,
    takes: Takes,
    help: &'static str,
) -> Info {
    Info {
        flag,
        long,
        short,
        takes,
        help,
    }
}

pub const HELP: Info = info(Flag::Help, "help", Some('h'), Switch, "print this text");

#[rustfmt::skip]
pub const GLOBALS: &[&Info] = &[
    &info(Flag::Root, "root", None, Text("DIR"), "where the state of the containers is kept"),
    &info(Flag::Log, "log", None, Text("FILE"), "append messages to this file as well"),
    &info(Flag::LogFormat, "log-format", None, OneOf("FORMAT", &["text", "json"]), "how messages are written to it"),
    &info(Flag::Debug, "debug", None, Switch, "log what is done, not only what fails"),
    &info(Flag::SystemdCgroup, "systemd-cgroup", None, Switch, "the same as --cgroup-manager systemd"),
    &info(Flag::CgroupManager, "cgroup-manager", None, OneOf("NAME", &["cgroupfs", "systemd", "disabled"]), "who makes the cgroups"),
    &info(Flag::Rootless, "rootless", None, OneOf("WHEN", &["true", "false", "auto"]), "accepted and ignored"),
    &info(Flag::Criu, "criu", None, Text("PATH"), "the criu that checkpoint and restore run"),
    &HELP,
    &info(Flag::Version, "version", Some('v'), Switch, "print the version"),
];

#[rustfmt::skip]
mod flags {
    use super::*;

    pub const BUNDLE: Info = info(Flag::Bundle, "bundle", Some('b'), Text("DIR"), "the directory of config.json (default: the current one)");
    pub const CONFIG: Info = info(Flag::Config, "config", Some('f'), Text("FILE"), "instead of the config.json of the bundle");
    pub const PIDFD_SOCKET: Info = info(Flag::PidfdSocket, "pidfd-socket", None, Text("PATH"), "send a file descriptor of the process to this unix socket");
    pub const CONSOLE_SOCKET: Info = info(Flag::ConsoleSocket, "console-socket", None, Text("PATH"), "send the terminal's file descriptor to this unix socket");
    pub const PID_FILE: Info = info(Flag::PidFile, "pid-file", None, Text("FILE"), "write the pid of the container's first process here");
    pub const NO_PIVOT: Info = info(Flag::NoPivot, "no-pivot", None, Switch, "change the root without pivot_root, for a root on a ramdisk");
    pub const NO_NEW_KEYRING: Info = info(Flag::NoNewKeyring, "no-new-keyring", None, Switch, "keep the caller's session keyring");
    pub const PRESERVE_FDS: Info = info(Flag::PreserveFds, "preserve-fds", None, Number("N"), "pass on N file descriptors, from 3 upwards");
    pub const DRY_RUN: Info = info(Flag::DryRun, "dry-run", None, Switch, "print the steps that would be taken, and take none");
    pub const DETACH: Info = info(Flag::Detach, "detach", Some('d'), Switch, "return once the container runs");
    pub const KEEP: Info = info(Flag::Keep, "keep", None, Switch, "do not delete the container when it has ended");
    pub const NO_SUBREAPER: Info = info(Flag::NoSubreaper, "no-subreaper", None, Switch, "accepted and ignored");
    pub const ALL: Info = info(Flag::All, "all", Some('a'), Switch, "signal every process of the container");
    pub const FORCE: Info = info(Flag::Force, "force", Some('f'), Switch, "kill it first if it still runs; succeed if there is none");
    pub const LIST_FORMAT: Info = info(Flag::ListFormat, "format", Some('f'), OneOf("FORMAT", &["table", "json"]), "what to print");
    pub const QUIET: Info = info(Flag::Quiet, "quiet", Some('q'), Switch, "print the ids only");
    pub const EXPLAIN: Info = info(Flag::Explain, "explain", None, Switch, "say what happens to one call, and which rule says so");
    pub const PROCESS: Info = info(Flag::Process, "process", Some('p'), Text("FILE"), "the process as JSON, as in config.json, instead of a command line");
    pub const CWD: Info = info(Flag::Cwd, "cwd", None, Text("DIR"), "the working directory in the container");
    pub const ENV: Info = info(Flag::Env, "env", Some('e'), Text("NAME=VALUE"), "a variable of the environment (may be repeated)");
    pub const USER: Info = info(Flag::User, "user", Some('u'), Text("UID[:GID]"), "the user and the group");
    pub const ADDITIONAL_GIDS: Info = info(Flag::AdditionalGids, "additional-gids", Some('g'), Text("GID"), "one more group (may be repeated)");
    pub const TTY: Info = info(Flag::Tty, "tty", Some('t'), Switch, "give the process a terminal");
    pub const CAP: Info = info(Flag::Cap, "cap", Some('c'), Text("CAP"), "one more capability (may be repeated)");
    pub const NO_NEW_PRIVS: Info = info(Flag::NoNewPrivs, "no-new-privs", None, Switch, "the process can gain no privileges");
    pub const APPARMOR: Info = info(Flag::Apparmor, "apparmor", None, Text("PROFILE"), "the AppArmor profile of the process");
    pub const PROCESS_LABEL: Info = info(Flag::ProcessLabel, "process-label", None, Text("LABEL"), "the SELinux label of the process");
    pub const SUB_CGROUP: Info = info(Flag::SubCgroup, "cgroup", None, Text("PATH"), "a cgroup below the container's own, which must exist");
    pub const IGNORE_PAUSED: Info = info(Flag::IgnorePaused, "ignore-paused", None, Switch, "do not refuse a paused container");
    pub const RESOURCES: Info = info(Flag::Resources, "resources", Some('r'), Text("FILE"), "read the resources as JSON from this file, or from stdin for -; other flags are then ignored");
    pub const BLKIO_WEIGHT: Info = info(Flag::BlkioWeight, "blkio-weight", None, Text("N"), "weight of block I/O, from 10 to 1000");
    pub const CPU_PERIOD: Info = info(Flag::CpuPeriod, "cpu-period", None, Text("US"), "period of the CPU quota, in microseconds");
    pub const CPU_QUOTA: Info = info(Flag::CpuQuota, "cpu-quota", None, Text("US"), "CPU time in a period, in microseconds; -1 for no limit");
    pub const CPU_BURST: Info = info(Flag::CpuBurst, "cpu-burst", None, Text("US"), "CPU time that may be saved up beyond the quota, in microseconds");
    pub const CPU_SHARE: Info = info(Flag::CpuShare, "cpu-share", None, Text("N"), "CPU time relative to other containers");
    pub const CPU_RT_PERIOD: Info = info(Flag::CpuRtPeriod, "cpu-rt-period", None, Text("US"), "period of realtime scheduling, in microseconds (cgroup v1)");
    pub const CPU_RT_RUNTIME: Info = info(Flag::CpuRtRuntime, "cpu-rt-runtime", None, Text("US"), "realtime CPU time in a period, in microseconds (cgroup v1)");
    pub const CPU_IDLE: Info = info(Flag::CpuIdle, "cpu-idle", None, Text("N"), "1 to run only when nobody else wants the CPU, 0 not to");
    pub const CPUSET_CPUS: Info = info(Flag::CpusetCpus, "cpuset-cpus", None, Text("LIST"), "CPUs to use, such as 0-2,5");
    pub const CPUSET_MEMS: Info = info(Flag::CpusetMems, "cpuset-mems", None, Text("LIST"), "memory nodes to use");
    pub const KERNEL_MEMORY: Info = info(Flag::KernelMemory, "kernel-memory", None, Text("BYTES"), "accepted and ignored");
    pub const KERNEL_MEMORY_TCP: Info = info(Flag::KernelMemoryTcp, "kernel-memory-tcp", None, Text("BYTES"), "accepted and ignored");
    pub const MEMORY: Info = info(Flag::Memory, "memory", None, Text("BYTES"), "limit of memory, such as 512m; -1 for no limit");
    pub const MEMORY_RESERVATION: Info = info(Flag::MemoryReservation, "memory-reservation", None, Text("BYTES"), "memory to be left to the container when it gets scarce");
    pub const MEMORY_SWAP: Info = info(Flag::MemorySwap, "memory-swap", None, Text("BYTES"), "limit of memory and swap together; -1 for no limit of swap");
    pub const PIDS_LIMIT: Info = info(Flag::PidsLimit, "pids-limit", None, Text("N"), "how many processes and threads there may be; -1 for no limit");
    pub const L3_CACHE_SCHEMA: Info = info(Flag::L3CacheSchema, "l3-cache-schema", None, Text("TEXT"), "not supported");
    pub const MEM_BW_SCHEMA: Info = info(Flag::MemBwSchema, "mem-bw-schema", None, Text("TEXT"), "not supported");
    pub const INTERVAL: Info = info(Flag::Interval, "interval", None, Text("TIME"), "time between statistics (default: 5s)");
    pub const STATS: Info = info(Flag::Stats, "stats", None, Switch, "print the statistics once and return");
    pub const IMAGE_PATH: Info = info(Flag::ImagePath, "image-path", None, Text("DIR"), "where the checkpoint is kept (default: ./checkpoint)");
    pub const WORK_PATH: Info = info(Flag::WorkPath, "work-path", None, Text("DIR"), "where criu writes its log (default: beside the checkpoint)");
    pub const PARENT_PATH: Info = info(Flag::ParentPath, "parent-path", None, Text("DIR"), "an earlier --pre-dump, relative to --image-path");
    pub const LEAVE_RUNNING: Info = info(Flag::LeaveRunning, "leave-running", None, Switch, "let the container run on");
    pub const PRE_DUMP: Info = info(Flag::PreDump, "pre-dump", None, Switch, "save the memory only, and let the container run on");
    pub const TCP_ESTABLISHED: Info = info(Flag::TcpEstablished, "tcp-established", None, Switch, "allow open TCP connections");
    pub const EXT_UNIX_SK: Info = info(Flag::ExtUnixSk, "ext-unix-sk", None, Switch, "allow unix sockets whose other end is outside");
    pub const SHELL_JOB: Info = info(Flag::ShellJob, "shell-job", None, Switch, "allow a session that is led from outside");
    pub const FILE_LOCKS: Info = info(Flag::FileLocks, "file-locks", None, Switch, "allow file locks");
    pub const AUTO_DEDUP: Info = info(Flag::AutoDedup, "auto-dedup", None, Switch, "free what later images of the memory replace");
    pub const LAZY_PAGES: Info = info(Flag::LazyPages, "lazy-pages", None, Switch, "bring the memory in when it is used (userfaultfd)");
    pub const LINK_REMAP: Info = info(Flag::LinkRemap, "link-remap", None, Switch, "allow open files that were unlinked, by linking them again");
    pub const STATUS_FD: Info = info(Flag::StatusFd, "status-fd", None, Number("FD"), "criu writes a zero byte here once it can serve --lazy-pages");
    pub const PAGE_SERVER: Info = info(Flag::PageServer, "page-server", None, Text("ADDRESS:PORT"), "send the memory to this page server");
    pub const MANAGE_CGROUPS_MODE: Info = info(Flag::ManageCgroupsMode, "manage-cgroups-mode", None, OneOf("MODE", &["soft", "full", "strict", "ignore"]), "what criu does with cgroups below the container's");
    pub const EMPTY_NS: Info = info(Flag::EmptyNs, "empty-ns", None, OneOf("TYPE", &["network"]), "restore this namespace empty, as is done anyway");
    pub const LSM_PROFILE: Info = info(Flag::LsmProfile, "lsm-profile", None, Text("TYPE:NAME"), "another AppArmor profile or SELinux label for the processes");
    pub const LSM_MOUNT_CONTEXT: Info = info(Flag::LsmMountContext, "lsm-mount-context", None, Text("CONTEXT"), "another SELinux context for the mounts that have one");
    pub const ROOTLESS_SPEC: Info = info(Flag::RootlessSpec, "rootless", None, Switch, "for a container of an ordinary user");
}

use flags::*;

#[rustfmt::skip]
pub const COMMANDS: &[Entry] = &[
    Entry {
        command: Command::Spec,
        name: "spec",
        help: "write a config.json to start from",
        operands: &[],
        flags: &[&BUNDLE, &ROOTLESS_SPEC],
        example: "runtime spec --bundle /srv/box",
    },
    Entry {
        command: Command::Create,
        name: "create",
        help: "create a container, which then waits for start",
        operands: &[Required("ID")],
        flags: &[&BUNDLE, &CONFIG, &CONSOLE_SOCKET, &PIDFD_SOCKET, &PID_FILE, &NO_PIVOT, &NO_NEW_KEYRING, &PRESERVE_FDS, &DRY_RUN],
        example: "runtime create --bundle /srv/box box",
    },
    Entry {
        command: Command::Start,
        name: "start",
        help: "start the process of a created container",
        operands: &[Required("ID")],
        flags: &[],
        example: "runtime start box",
    },
    Entry {
        command: Command::Run,
        name: "run",
        help: "create a container, start it, wait for its end and delete it",
        operands: &[Required("ID")],
        flags: &[
            &BUNDLE, &CONFIG, &DETACH, &KEEP, &CONSOLE_SOCKET, &PIDFD_SOCKET, &PID_FILE, &NO_PIVOT, &NO_NEW_KEYRING, &PRESERVE_FDS, &NO_SUBREAPER,
            &DRY_RUN,
        ],
        example: "runtime run --bundle /srv/box box",
    },
    Entry {
        command: Command::State,
        name: "state",
        help: "print the state of a container as JSON",
        operands: &[Required("ID")],
        flags: &[],
        example: "runtime state box",
    },
    Entry {
        command: Command::Kill,
        name: "kill",
        help: "send a signal to a container (default: TERM)",
        operands: &[Required("ID"), Optional("SIGNAL")],
        flags: &[&ALL],
        example: "runtime kill box KILL",
    },
    Entry {
        command: Command::Delete,
        name: "delete",
        help: "delete a container that has ended",
        operands: &[Required("ID")],
        flags: &[&FORCE],
        example: "runtime delete --force box",
    },
    Entry {
        command: Command::List,
        name: "list",
        help: "list the containers",
        operands: &[],
        flags: &[&LIST_FORMAT, &QUIET],
        example: "runtime list --format json",
    },
    Entry {
        command: Command::Exec,
        name: "exec",
        help: "run one more process in a container",
        operands: &[Required("ID"), Rest("COMMAND")],
        flags: &[
            &PROCESS, &CWD, &ENV, &USER, &ADDITIONAL_GIDS, &TTY, &CONSOLE_SOCKET, &PIDFD_SOCKET, &DETACH, &PID_FILE, &CAP, &NO_NEW_PRIVS,
            &APPARMOR, &PROCESS_LABEL, &PRESERVE_FDS, &SUB_CGROUP, &IGNORE_PAUSED, &NO_SUBREAPER,
        ],
        example: "runtime exec --tty box sh",
    },
    Entry {
        command: Command::Seccomp,
        name: "seccomp",
        help: "print a seccomp profile as the program that it becomes",
        operands: &[Required("FILE"), Rest("CALL")],
        flags: &[&EXPLAIN],
        example: "runtime seccomp config.json --explain openat 0 2",
    },
    Entry {
        command: Command::Features,
        name: "features",
        help: "print as JSON what this program and this kernel can do",
        operands: &[],
        flags: &[],
        example: "runtime features",
    },
    Entry {
        command: Command::Pause,
        name: "pause",
        help: "stop every process of a container where it is",
        operands: &[Required("ID")],
        flags: &[],
        example: "runtime pause box",
    },
    Entry {
        command: Command::Resume,
        name: "resume",
        help: "let the processes of a paused container go on",
        operands: &[Required("ID")],
        flags: &[],
        example: "runtime resume box",
    },
    Entry {
        command: Command::Ps,
        name: "ps",
        help: "list the processes of a container, by the host's ps (default: -ef)",
        operands: &[Required("ID"), Raw("PS-ARGUMENTS")],
        flags: &[&LIST_FORMAT],
        example: "runtime ps box -o pid,args",
    },
    Entry {
        command: Command::Update,
        name: "update",
        help: "change the limits of a container; those not given stay",
        operands: &[Required("ID")],
        flags: &[
            &RESOURCES, &BLKIO_WEIGHT, &CPU_PERIOD, &CPU_QUOTA, &CPU_BURST, &CPU_SHARE, &CPU_RT_PERIOD, &CPU_RT_RUNTIME,
            &CPU_IDLE, &CPUSET_CPUS, &CPUSET_MEMS, &KERNEL_MEMORY, &KERNEL_MEMORY_TCP, &MEMORY, &MEMORY_RESERVATION,
            &MEMORY_SWAP, &PIDS_LIMIT, &L3_CACHE_SCHEMA, &MEM_BW_SCHEMA,
        ],
        example: "runtime update --memory 512m --pids-limit 100 box",
    },
    Entry {
        command: Command::Events,
        name: "events",
        help: "print what a container uses every few seconds, and when it runs out of memory",
        operands: &[Required("ID")],
        flags: &[&INTERVAL, &STATS],
        example: "runtime events --stats box",
    },
    Entry {
        command: Command::Checkpoint,
        name: "checkpoint",
        help: "save a running container to disk by criu, and end it",
        operands: &[Required("ID")],
        flags: &[
            &IMAGE_PATH, &WORK_PATH, &PARENT_PATH, &LEAVE_RUNNING, &PRE_DUMP, &TCP_ESTABLISHED, &EXT_UNIX_SK, &SHELL_JOB,
            &FILE_LOCKS, &AUTO_DEDUP, &LAZY_PAGES, &LINK_REMAP, &STATUS_FD, &PAGE_SERVER, &MANAGE_CGROUPS_MODE, &EMPTY_NS,
        ],
        example: "runtime checkpoint --image-path /srv/saved box",
    },
    Entry {
        command: Command::Restore,
        name: "restore",
        help: "bring a container back from a checkpoint by criu, and wait for its end",
        operands: &[Required("ID")],
        flags: &[
            &BUNDLE, &DETACH, &PID_FILE, &CONSOLE_SOCKET, &NO_SUBREAPER, &NO_PIVOT, &IMAGE_PATH, &WORK_PATH,
            &TCP_ESTABLISHED, &EXT_UNIX_SK, &SHELL_JOB, &FILE_LOCKS, &AUTO_DEDUP, &LAZY_PAGES, &LINK_REMAP,
            &MANAGE_CGROUPS_MODE, &EMPTY_NS, &LSM_PROFILE, &LSM_MOUNT_CONTEXT,
        ],
        example: "runtime restore --detach --bundle /srv/box --image-path /srv/saved box",
    },
];
