//! The arguments that every command receives.

use crate::log::Log;
use runtime::cli::Globals;
use syscalls::Start;

/// The command line, and the directory of the containers.
pub struct Context<'a> {
    pub start: Start,
    pub globals: &'a Globals<'a>,
    /// The directory of all containers.
    pub root: &'a str,
}

impl Context<'_> {
    /// The socket of the service manager that started us.
    pub fn notify_socket(&self) -> Option<&'static str> {
        self.start
            .var("NOTIFY_SOCKET")
            .filter(|path| !path.is_empty())
    }

    pub fn log(&self) -> Log<'_> {
        log(self.globals)
    }
}

/// The log, as selected by the flags before the command.
pub fn log<'a>(globals: &Globals<'a>) -> Log<'a> {
    Log {
        file: globals.log,
        json: globals.log_format == Some("json"),
    }
}
