//! The input of the compiler: `linux.seccomp` of config.json after parsing, in the specification's terms.
//! The names of actions, operators and architectures are looked up here, so that the caller can name the invalid
//! field.

use crate::arch::Arch;

/// EPERM, the default errno of a forbidden call.
const EPERM: u16 = 1;
/// The largest errno the kernel lets a call return (MAX_ERRNO).
const MAX_ERRNO: u32 = 4095;

/// The action for a call (`SCMP_ACT_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    KillThread,
    KillProcess,
    Trap,
    /// The call returns this errno.
    Errno(u16),
    /// The tracer is notified. The number is the message of the ptrace event.
    Trace(u16),
    Allow,
    Log,
    /// The listener decides.
    Notify,
}

/// Why an action and its errnoRet are invalid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActionError {
    /// No such action.
    Unknown,
    /// errnoRet is above 4095.
    ErrnoTooLarge,
    /// errnoRet is set for an action that returns no errno.
    ErrnoUnused,
}

impl core::fmt::Display for ActionError {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        f.write_str(match self {
            ActionError::Unknown => "unknown action",
            ActionError::ErrnoTooLarge => "an errno is at most 4095",
            ActionError::ErrnoUnused => "only SCMP_ACT_ERRNO and SCMP_ACT_TRACE take an errno",
        })
    }
}

impl Action {
    /// Every name that `from_name` knows.
    pub const NAMES: [&str; 9] = [
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_TRAP",
    ];

    /// The action with this name and errnoRet (or defaultErrnoRet). The errno of ERRNO and TRACE defaults to EPERM.
    pub fn from_name(name: &str, errno_ret: Option<u32>) -> Result<Action, ActionError> {
        let errno = match errno_ret {
            None => EPERM,
            Some(errno) if errno <= MAX_ERRNO => errno as u16,
            Some(_) => return Err(ActionError::ErrnoTooLarge),
        };
        let action = match name {
            "SCMP_ACT_ERRNO" => return Ok(Action::Errno(errno)),
            "SCMP_ACT_TRACE" => return Ok(Action::Trace(errno)),
            "SCMP_ACT_ALLOW" => Action::Allow,
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
            "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
            "SCMP_ACT_LOG" => Action::Log,
            "SCMP_ACT_NOTIFY" => Action::Notify,
            "SCMP_ACT_TRAP" => Action::Trap,
            _ => return Err(ActionError::Unknown),
        };
        if errno_ret.is_some() {
            Err(ActionError::ErrnoUnused)
        } else {
            Ok(action)
        }
    }

    /// The filter's return value (`SECCOMP_RET_*` and its data).
    pub fn value(self) -> u32 {
        match self {
            Action::KillProcess => 0x8000_0000,
            Action::KillThread => 0,
            Action::Trap => 0x0003_0000,
            Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Action::Notify => 0x7fc0_0000,
            Action::Trace(errno) => 0x7ff0_0000 | u32::from(errno),
            Action::Log => 0x7ffc_0000,
            Action::Allow => 0x7fff_0000,
        }
    }

    /// The action for a return value of a filter, if `value` can produce it.
    pub fn from_value(value: u32) -> Option<Action> {
        let data = value as u16;
        let action = match value & 0xffff_0000 {
            0x0005_0000 => Action::Errno(data),
            0x7ff0_0000 => Action::Trace(data),
            0x8000_0000 => Action::KillProcess,
            0 => Action::KillThread,
            0x0003_0000 => Action::Trap,
            0x7fc0_0000 => Action::Notify,
            0x7ffc_0000 => Action::Log,
            0x7fff_0000 => Action::Allow,
            _ => return None,
        };
        (action.value() == value).then_some(action)
    }

    /// The precedence of the action. When several filters disagree, the kernel takes the smallest value. The values
    /// compare as signed numbers, which puts KILL_PROCESS first.
    pub(crate) fn rank(self) -> i32 {
        self.value() as i32
    }

    /// Whether a call that the profile does not name is executed. TRACE counts as permissive, as in runc, because the
    /// tracer itself can return ENOSYS.
    pub(crate) fn is_permissive(self) -> bool {
        matches!(self, Action::Allow | Action::Log | Action::Trace(_))
    }
}

impl core::fmt::Display for Action {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        match self {
            Action::KillThread => f.write_str("KILL_THREAD"),
            Action::KillProcess => f.write_str("KILL_PROCESS"),
            Action::Trap => f.write_str("TRAP"),
            Action::Errno(errno) => write!(f, "ERRNO({errno})"),
            Action::Trace(errno) => write!(f, "TRACE({errno})"),
            Action::Allow => f.write_str("ALLOW"),
            Action::Log => f.write_str("LOG"),
            Action::Notify => f.write_str("NOTIFY"),
        }
    }
}

/// How an argument is compared with the value of a condition (`SCMP_CMP_*`). Comparisons are unsigned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operator {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    /// `argument & value == value_two & value`.
    MaskedEqual,
}

impl Operator {
    /// Every name that `from_name` knows.
    pub const NAMES: [&str; 7] = [
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_LE",
        "SCMP_CMP_LT",
        "SCMP_CMP_MASKED_EQ",
        "SCMP_CMP_NE",
    ];

    pub fn from_name(name: &str) -> Option<Operator> {
        Some(match name {
            "SCMP_CMP_NE" => Operator::NotEqual,
            "SCMP_CMP_LT" => Operator::Less,
            "SCMP_CMP_LE" => Operator::LessOrEqual,
            "SCMP_CMP_EQ" => Operator::Equal,
            "SCMP_CMP_GE" => Operator::GreaterOrEqual,
            "SCMP_CMP_GT" => Operator::Greater,
            "SCMP_CMP_MASKED_EQ" => Operator::MaskedEqual,
            _ => return None,
        })
    }
}

/// One entry of a rule's `args`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub index: u32,
    pub value: u64,
    /// Used by MASKED_EQ only: the expected value, while `value` is the mask.
    pub value_two: u64,
    pub op: Operator,
}

/// One entry of `syscalls`. `S` is the string type of the caller's names.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a, S = &'a str> {
    pub names: &'a [S],
    pub action: Action,
    pub conditions: &'a [Condition],
}

/// `linux.seccomp` without its flags and listener, which do not affect the filter's code.
#[derive(Clone, Copy, Debug)]
pub struct Profile<'a, S = &'a str> {
    pub default: Action,
    /// The native architecture is implied.
    pub architectures: &'a [Arch],
    pub rules: &'a [Rule<'a, S>],
}

/// Why a profile cannot be compiled. The numbers are indices into the profile's lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The argument index is not 0 to 5.
    Index {
        rule: usize,
        condition: usize,
        index: u32,
    },
    /// A name is the empty string.
    EmptyName { rule: usize, name: usize },
    /// The default is NOTIFY: the process would wait for the listener before it could hand it over. Refused by runc, too.
    NotifyByDefault,
    /// A rule has action NOTIFY for `write`. Refused for the same reason.
    NotifyWrite { rule: usize, name: usize },
    /// The program exceeds the kernel's limit of 4096 instructions.
    TooLong { instructions: usize },
    /// The compiler emitted a program that its own verifier refuses: a bug in this crate.
    Internal(crate::program::Fault),
}

impl Error {
    /// The JSON path of the invalid field below `linux.seccomp`. Empty if the profile as a whole is at fault.
    pub fn path(&self) -> alloc::string::String {
        use alloc::format;
        match self {
            Error::Index {
                rule, condition, ..
            } => format!("syscalls[{rule}].args[{condition}].index"),
            Error::EmptyName { rule, name } => format!("syscalls[{rule}].names[{name}]"),
            Error::NotifyByDefault => "defaultAction".into(),
            Error::NotifyWrite { rule, .. } => format!("syscalls[{rule}].action"),
            Error::TooLong { .. } | Error::Internal(_) => "".into(),
        }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        match self {
            Error::Index { index, .. } => {
                write!(f, "a system call has arguments 0 to 5, found {index}")
            }
            Error::EmptyName { .. } => {
                f.write_str("expected the name of a system call, found \"\"")
            }
            Error::NotifyByDefault => f.write_str("SCMP_ACT_NOTIFY cannot be the default action"),
            Error::NotifyWrite { .. } => f.write_str("SCMP_ACT_NOTIFY cannot be used for write"),
            Error::TooLong { instructions } => {
                write!(
                    f,
                    "the filter has {instructions} instructions, the kernel takes 4096"
                )
            }
            Error::Internal(fault) => write!(f, "the compiled filter is invalid: {fault}"),
        }
    }
}
