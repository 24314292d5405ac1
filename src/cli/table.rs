//! The table of commands and flags. Each entry is declared once, with its field, spelling, kind of value and help
//! text. The parser and the help use the table; nothing else contains the spelling of a flag.
//!
//! To add a flag, add one line to the struct of its command. To add a command, add a struct and one line in
//! `commands!`.

use super::value::Store;
use alloc::vec::Vec;

/// The kind of value that a flag takes. The string in a variant is the name of the value in the help.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// No value, or `=true` or `=false`.
    Switch,
    Text(&'static str),
    File(&'static str),
    Dir(&'static str),
    /// A decimal integer from 0 to `i32::MAX`.
    Number(&'static str),
    /// An integer between the two numbers, inclusive. An empty text leaves the flag unset.
    Integer(&'static str, i64, i64),
    /// A size such as `512m`; -1 means no limit. An empty text leaves the flag unset.
    Bytes(&'static str),
    /// A duration in Go's format (`1m30s`), stored in milliseconds.
    Time(&'static str),
    /// A user or group id.
    Id(&'static str),
    /// `UID[:GID]`
    User(&'static str),
    /// One of these words.
    OneOf(&'static str, &'static [&'static str]),
}

/// One flag.
#[derive(Debug)]
pub struct Flag {
    pub long: &'static str,
    pub short: Option<char>,
    pub takes: Takes,
    pub help: &'static str,
}

/// One command.
#[derive(Debug)]
pub struct Entry {
    pub name: &'static str,
    pub help: &'static str,
    pub operands: &'static [Operand],
    /// The command's own flags, then those of each group.
    pub flags: &'static [&'static [Flag]],
    pub example: &'static str,
}

/// An argument that is not a flag.
#[derive(Debug)]
pub enum Operand {
    Required(&'static str),
    Optional(&'static str),
    /// All remaining arguments, including flags: a command line.
    Rest(&'static str),
    /// All arguments after the previous operand, even if the first is a flag: the arguments of another program.
    Raw(&'static str),
}

use Operand::{Optional, Raw, Required, Rest};
use Takes::{Bytes, Dir, File, Id, Integer, Number, OneOf, Switch, Text, Time, User};

/// `short` is NUL if there is no short form.
const fn flag(long: &'static str, short: char, takes: Takes, help: &'static str) -> Flag {
    Flag {
        long,
        short: if short == '\0' { None } else { Some(short) },
        takes,
        help,
    }
}

/// The fields that receive values, in the order of the table: operands, flags, flags of the groups.
pub type Places<'s, 'a> = Vec<&'s mut dyn Store<'a>>;

/// Declares a struct of arguments together with its entries in the table.
macro_rules! arguments {
    ($(#[$doc:meta])* $name:ident {
        $($operand:ident: $operand_type:ty = $takes:expr;)*
    } flags {
        $($flag:ident: $flag_type:ty = $row:expr;)*
    } groups {
        $($group:ident: $group_type:ident;)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Default, PartialEq, Eq)]
        pub struct $name<'a> {
            $(pub $operand: $operand_type,)*
            $(pub $flag: $flag_type,)*
            $(pub $group: $group_type<'a>,)*
            /// For the structs that borrow nothing else from the command line.
            pub lifetime: core::marker::PhantomData<&'a ()>,
        }

        impl<'a> $name<'a> {
            pub const OPERANDS: &'static [Operand] = &[$($takes),*];
            pub const OWN: &'static [Flag] = &[$($row),*];
            pub const FLAGS: &'static [&'static [Flag]] = &[Self::OWN, $($group_type::OWN),*];

            pub(super) fn places<'s>(&'s mut self, places: &mut Places<'s, 'a>) {
                $(places.push(&mut self.$operand);)*
                $(places.push(&mut self.$flag);)*
                $(self.$group.places(places);)*
                let _ = places;
            }
        }
    };
}

/// Declares the enum of the commands and their table.
macro_rules! commands {
    ($($name:ident = $word:literal, $help:literal, $example:literal;)*) => {
        /// A command and its arguments.
        #[derive(Debug, PartialEq, Eq)]
        pub enum Command<'a> {
            $($name($name<'a>),)*
        }

        pub const COMMANDS: &[Entry] = &[$(Entry {
            name: $word,
            help: $help,
            operands: $name::OPERANDS,
            flags: $name::FLAGS,
            example: $example,
        },)*];

        impl<'a> Command<'a> {
            /// The command of this name, without arguments.
            pub(super) fn named(name: &str) -> Option<Self> {
                match name {
                    $($word => Some(Self::$name($name::default())),)*
                    _ => None,
                }
            }

            pub(super) fn places<'s>(&'s mut self, places: &mut Places<'s, 'a>) {
                match self {
                    $(Self::$name(arguments) => arguments.places(places),)*
                }
            }
        }
    };
}

const BUNDLE: Flag = flag(
    "bundle",
    'b',
    Dir("DIR"),
    "the directory of config.json (default: the current one)",
);
const CONSOLE_SOCKET: Flag = flag(
    "console-socket",
    '\0',
    File("PATH"),
    "send the terminal's file descriptor to this unix socket",
);
const DETACH: Flag = flag("detach", 'd', Switch, "return once the container runs");
const LIST_FORMAT: Flag = flag(
    "format",
    'f',
    OneOf("FORMAT", &["table", "json"]),
    "what to print",
);
const NO_PIVOT: Flag = flag(
    "no-pivot",
    '\0',
    Switch,
    "change the root without pivot_root, for a root on a ramdisk",
);
const NO_SUBREAPER: Flag = flag("no-subreaper", '\0', Switch, "accepted and ignored");
const PIDFD_SOCKET: Flag = flag(
    "pidfd-socket",
    '\0',
    File("PATH"),
    "send a file descriptor of the process to this unix socket",
);
const PID_FILE: Flag = flag(
    "pid-file",
    '\0',
    File("FILE"),
    "write the pid of the container's init to this file",
);
const PRESERVE_FDS: Flag = flag(
    "preserve-fds",
    '\0',
    Number("N"),
    "pass on N more file descriptors, starting at 3",
);

pub const HELP: Flag = flag("help", 'h', Switch, "print this text");
pub const VERSION: Flag = flag("version", 'v', Switch, "print the version");

arguments! {
    /// The flags before the command, and the command's name.
    Globals {
        command: &'a str = Required("COMMAND");
    } flags {
        root: Option<&'a str> = flag("root", '\0', Dir("DIR"), "the directory of the containers' state");
        log: Option<&'a str> = flag("log", '\0', File("FILE"), "append messages to this file as well");
        log_format: Option<&'a str> = flag("log-format", '\0', OneOf("FORMAT", &["text", "json"]), "the format of messages in the log");
        debug: bool = flag("debug", '\0', Switch, "log each step, not only failures");
        systemd_cgroup: bool = flag("systemd-cgroup", '\0', Switch, "the same as --cgroup-manager systemd");
        cgroup_manager: Option<&'a str> = flag("cgroup-manager", '\0', OneOf("NAME", &["cgroupfs", "systemd", "disabled"]), "how cgroups are created");
        rootless: () = flag("rootless", '\0', OneOf("WHEN", &["true", "false", "auto"]), "accepted and ignored");
        criu: Option<&'a str> = flag("criu", '\0', File("PATH"), "the criu program for checkpoint and restore");
        help: () = HELP;
        version: () = VERSION;
    } groups {
    }
}

arguments! {
    /// The flags shared by `create` and `run`.
    Launch {
    } flags {
        bundle: Option<&'a str> = BUNDLE;
        config: Option<&'a str> = flag("config", 'f', File("FILE"), "read this file instead of config.json in the bundle");
        console_socket: Option<&'a str> = CONSOLE_SOCKET;
        pidfd_socket: Option<&'a str> = PIDFD_SOCKET;
        pid_file: Option<&'a str> = PID_FILE;
        no_pivot: bool = NO_PIVOT;
        no_new_keyring: bool = flag("no-new-keyring", '\0', Switch, "keep the caller's session keyring");
        preserve_fds: Option<i64> = PRESERVE_FDS;
        dry_run: bool = flag("dry-run", '\0', Switch, "print the steps and do nothing");
    } groups {
    }
}

arguments! {
    /// The flags shared by `checkpoint` and `restore`.
    Images {
    } flags {
        image_path: Option<&'a str> = flag("image-path", '\0', Dir("DIR"), "where the checkpoint is kept (default: ./checkpoint)");
        work_path: Option<&'a str> = flag("work-path", '\0', Dir("DIR"), "where criu writes its log (default: beside the checkpoint)");
        tcp_established: bool = flag("tcp-established", '\0', Switch, "allow open TCP connections");
        ext_unix_sk: bool = flag("ext-unix-sk", '\0', Switch, "allow unix sockets whose other end is outside");
        shell_job: bool = flag("shell-job", '\0', Switch, "allow a process whose session leader is outside the container");
        file_locks: bool = flag("file-locks", '\0', Switch, "allow file locks");
        auto_dedup: bool = flag("auto-dedup", '\0', Switch, "free the parts of earlier images that a later image replaces");
        lazy_pages: bool = flag("lazy-pages", '\0', Switch, "restore memory on first access, with userfaultfd");
        link_remap: bool = flag("link-remap", '\0', Switch, "allow open files that were unlinked; link them again");
        manage_cgroups_mode: Option<&'a str> = flag("manage-cgroups-mode", '\0', OneOf("MODE", &["soft", "full", "strict", "ignore"]), "how criu handles cgroups below the container's");
        empty_ns: () = flag("empty-ns", '\0', OneOf("TYPE", &["network"]), "accepted for compatibility; network namespaces are always restored empty");
    } groups {
    }
}

arguments! {
    /// `spec`
    Spec {
    } flags {
        bundle: Option<&'a str> = BUNDLE;
        rootless: bool = flag("rootless", '\0', Switch, "write a config.json for an ordinary user");
    } groups {
    }
}

arguments! {
    /// `create`
    Create {
        id: &'a str = Required("ID");
    } flags {
    } groups {
        launch: Launch;
    }
}

arguments! {
    /// `start`
    Start {
        id: &'a str = Required("ID");
    } flags {
    } groups {
    }
}

arguments! {
    /// `run`
    Run {
        id: &'a str = Required("ID");
    } flags {
        detach: bool = DETACH;
        keep: bool = flag("keep", '\0', Switch, "do not delete the container when its process exits");
        no_subreaper: () = NO_SUBREAPER;
    } groups {
        launch: Launch;
    }
}

arguments! {
    /// `state`
    State {
        id: &'a str = Required("ID");
    } flags {
    } groups {
    }
}

arguments! {
    /// `kill`
    Kill {
        id: &'a str = Required("ID");
        signal: Option<&'a str> = Optional("SIGNAL");
    } flags {
        all: bool = flag("all", 'a', Switch, "signal every process of the container");
    } groups {
    }
}

arguments! {
    /// `delete`
    Delete {
        id: &'a str = Required("ID");
    } flags {
        force: bool = flag("force", 'f', Switch, "kill the container first if it is running; succeed if it does not exist");
    } groups {
    }
}

arguments! {
    /// `list`
    List {
    } flags {
        format: Option<&'a str> = LIST_FORMAT;
        quiet: bool = flag("quiet", 'q', Switch, "print the ids only");
    } groups {
    }
}

arguments! {
    /// `exec`
    Exec {
        id: &'a str = Required("ID");
        command: Vec<&'a str> = Rest("COMMAND");
    } flags {
        process: Option<&'a str> = flag("process", 'p', File("FILE"), "read the process as JSON from this file, instead of a command line");
        cwd: Option<&'a str> = flag("cwd", '\0', Text("DIR"), "the working directory in the container");
        env: Vec<&'a str> = flag("env", 'e', Text("NAME=VALUE"), "set an environment variable (may be repeated)");
        user: Option<(u32, Option<u32>)> = flag("user", 'u', User("UID[:GID]"), "the user id and the group id");
        additional_gids: Vec<u32> = flag("additional-gids", 'g', Id("GID"), "add a supplementary group (may be repeated)");
        tty: bool = flag("tty", 't', Switch, "give the process a terminal");
        console_socket: Option<&'a str> = CONSOLE_SOCKET;
        pidfd_socket: Option<&'a str> = PIDFD_SOCKET;
        detach: bool = DETACH;
        pid_file: Option<&'a str> = PID_FILE;
        cap: Vec<&'a str> = flag("cap", 'c', Text("CAP"), "add a capability (may be repeated)");
        no_new_privs: bool = flag("no-new-privs", '\0', Switch, "set no_new_privs: execve grants no privileges");
        apparmor: Option<&'a str> = flag("apparmor", '\0', Text("PROFILE"), "the AppArmor profile of the process");
        process_label: Option<&'a str> = flag("process-label", '\0', Text("LABEL"), "the SELinux label of the process");
        preserve_fds: Option<i64> = PRESERVE_FDS;
        cgroup: Vec<&'a str> = flag("cgroup", '\0', Text("PATH"), "a cgroup below the container's own, which must exist");
        ignore_paused: bool = flag("ignore-paused", '\0', Switch, "do not refuse a paused container");
        no_subreaper: () = NO_SUBREAPER;
    } groups {
    }
}

arguments! {
    /// `seccomp`
    Seccomp {
        file: &'a str = Required("FILE");
        call: Vec<&'a str> = Rest("CALL");
    } flags {
        explain: bool = flag("explain", '\0', Switch, "print the action for one system call and the rule behind it");
    } groups {
    }
}

arguments! {
    /// `features`
    Features {
    } flags {
    } groups {
    }
}

arguments! {
    /// `pause`
    Pause {
        id: &'a str = Required("ID");
    } flags {
    } groups {
    }
}

arguments! {
    /// `resume`
    Resume {
        id: &'a str = Required("ID");
    } flags {
    } groups {
    }
}

arguments! {
    /// `ps`
    Ps {
        id: &'a str = Required("ID");
        arguments: Vec<&'a str> = Raw("PS-ARGUMENTS");
    } flags {
        format: Option<&'a str> = LIST_FORMAT;
    } groups {
    }
}

arguments! {
    /// `update`
    Update {
        id: &'a str = Required("ID");
    } flags {
        resources: Option<&'a str> = flag("resources", 'r', File("FILE"), "read the limits as JSON from this file, or from stdin for -; other flags are then ignored");
        blkio_weight: Option<i64> = flag("blkio-weight", '\0', Integer("N", 0, 65535), "weight of block I/O, from 10 to 1000");
        cpu_period: Option<i64> = flag("cpu-period", '\0', Integer("US", 0, i64::MAX), "period of the CPU quota, in microseconds");
        cpu_quota: Option<i64> = flag("cpu-quota", '\0', Integer("US", i64::MIN, i64::MAX), "CPU time in a period, in microseconds; -1 for no limit");
        cpu_burst: Option<i64> = flag("cpu-burst", '\0', Integer("US", 0, i64::MAX), "CPU time that may accumulate beyond the quota, in microseconds");
        cpu_share: Option<i64> = flag("cpu-share", '\0', Integer("N", 0, i64::MAX), "CPU time relative to other containers");
        cpu_rt_period: Option<i64> = flag("cpu-rt-period", '\0', Integer("US", 0, i64::MAX), "period of realtime scheduling, in microseconds (cgroup v1)");
        cpu_rt_runtime: Option<i64> = flag("cpu-rt-runtime", '\0', Integer("US", i64::MIN, i64::MAX), "realtime CPU time in a period, in microseconds (cgroup v1)");
        cpu_idle: Option<i64> = flag("cpu-idle", '\0', Integer("N", i64::MIN, i64::MAX), "1 to run only when the CPU is otherwise idle, 0 for normal scheduling");
        cpuset_cpus: Option<&'a str> = flag("cpuset-cpus", '\0', Text("LIST"), "CPUs to use, such as 0-2,5");
        cpuset_mems: Option<&'a str> = flag("cpuset-mems", '\0', Text("LIST"), "memory nodes to use");
        kernel_memory: () = flag("kernel-memory", '\0', Text("BYTES"), "accepted and ignored");
        kernel_memory_tcp: () = flag("kernel-memory-tcp", '\0', Text("BYTES"), "accepted and ignored");
        memory: Option<i64> = flag("memory", '\0', Bytes("BYTES"), "memory limit, such as 512m; -1 for no limit");
        memory_reservation: Option<i64> = flag("memory-reservation", '\0', Bytes("BYTES"), "soft memory limit");
        memory_swap: Option<i64> = flag("memory-swap", '\0', Bytes("BYTES"), "limit of memory plus swap; -1 for unlimited swap");
        pids_limit: Option<i64> = flag("pids-limit", '\0', Integer("N", i64::MIN, i64::MAX), "limit on processes and threads; -1 for no limit");
        l3_cache_schema: Option<&'a str> = flag("l3-cache-schema", '\0', Text("TEXT"), "not supported (Intel RDT)");
        mem_bw_schema: Option<&'a str> = flag("mem-bw-schema", '\0', Text("TEXT"), "not supported (Intel RDT)");
    } groups {
    }
}

arguments! {
    /// `events`
    Events {
        id: &'a str = Required("ID");
    } flags {
        interval: Option<i64> = flag("interval", '\0', Time("TIME"), "time between statistics (default: 5s)");
        stats: bool = flag("stats", '\0', Switch, "print the statistics once and return");
    } groups {
    }
}

arguments! {
    /// `checkpoint`
    Checkpoint {
        id: &'a str = Required("ID");
    } flags {
        parent_path: Option<&'a str> = flag("parent-path", '\0', Dir("DIR"), "an earlier --pre-dump, relative to --image-path");
        leave_running: bool = flag("leave-running", '\0', Switch, "keep the container running");
        pre_dump: bool = flag("pre-dump", '\0', Switch, "save only the memory, and keep the container running");
        status_fd: Option<i64> = flag("status-fd", '\0', Number("FD"), "criu writes a zero byte here once it can serve --lazy-pages");
        page_server: Option<&'a str> = flag("page-server", '\0', Text("ADDRESS:PORT"), "send the memory to this page server");
    } groups {
        images: Images;
    }
}

arguments! {
    /// `restore`
    Restore {
        id: &'a str = Required("ID");
    } flags {
        bundle: Option<&'a str> = BUNDLE;
        detach: bool = DETACH;
        pid_file: Option<&'a str> = PID_FILE;
        console_socket: Option<&'a str> = CONSOLE_SOCKET;
        no_subreaper: () = NO_SUBREAPER;
        no_pivot: bool = NO_PIVOT;
        lsm_profile: Option<&'a str> = flag("lsm-profile", '\0', Text("TYPE:NAME"), "use another AppArmor profile or SELinux label");
        lsm_mount_context: Option<&'a str> = flag("lsm-mount-context", '\0', Text("CONTEXT"), "use another SELinux context for mounts that have one");
    } groups {
        images: Images;
    }
}

commands! {
    Spec = "spec", "write a config.json to start from", "runtime spec --bundle /srv/box";
    Create = "create", "create a container, which then waits for start", "runtime create --bundle /srv/box box";
    Start = "start", "start the process of a created container", "runtime start box";
    Run = "run", "create and start a container, wait for it to exit, and delete it", "runtime run --bundle /srv/box box";
    State = "state", "print the state of a container as JSON", "runtime state box";
    Kill = "kill", "send a signal to a container (default: its stop signal)", "runtime kill box KILL";
    Delete = "delete", "delete a stopped container", "runtime delete --force box";
    List = "list", "list the containers", "runtime list --format json";
    Exec = "exec", "run another process in a container", "runtime exec --tty box sh";
    Seccomp = "seccomp", "print the program that a seccomp profile compiles to", "runtime seccomp config.json --explain openat 0 2";
    Features = "features", "print the features of this program and this kernel as JSON", "runtime features";
    Pause = "pause", "freeze every process of a container", "runtime pause box";
    Resume = "resume", "resume the processes of a paused container", "runtime resume box";
    Ps = "ps", "list the processes of a container with ps (default: -ef)", "runtime ps box -o pid,args";
    Update = "update", "change the given limits of a container, and no others", "runtime update --memory 512m --pids-limit 100 box";
    Events = "events", "print statistics every few seconds, and out-of-memory events", "runtime events --stats box";
    Checkpoint = "checkpoint", "save a running container to disk with criu, and stop it", "runtime checkpoint --image-path /srv/saved box";
    Restore = "restore", "restore a container with criu, and wait for it to exit", "runtime restore --detach --bundle /srv/box --image-path /srv/saved box";
}
