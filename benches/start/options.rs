//! The command line of the bench. Every option has a default, so plain `cargo bench` prints the whole comparison.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::view::View;

pub const HELP: &str = "\
Times whole processes of runtime, crun, runc and the bare-syscall floor, side by side in one run.

usage: cargo bench -p runtime-benches --bench start -- [options]   (as root)

  --rounds N          rounds; every command runs once in each, --version five times [100]
  --commands A,B,..   of run, limits (run with every limit and with
                      none), life (create+start+delete), state, exec, version [all]
  --view VIEW         v2 (a pure cgroup v2 view), host (the host's own), both [both]
  --runtime FILE      the program to time [$RUNTIME, or the release build of this workspace]
  --seed N            the order within the rounds [from the clock]
  --quick             three rounds that show that every command works; no verdict on time
";

/// What can be timed, with the names that `--commands` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Run,
    Limits,
    Life,
    State,
    Exec,
    Version,
}

pub const COMMANDS: [(&str, Command); 6] = [
    ("run", Command::Run),
    ("limits", Command::Limits),
    ("life", Command::Life),
    ("state", Command::State),
    ("exec", Command::Exec),
    ("version", Command::Version),
];

pub struct Options {
    pub rounds: usize,
    pub commands: Vec<Command>,
    pub views: Vec<View>,
    pub runtime: PathBuf,
    pub seed: u64,
    pub quick: bool,
    /// Set in the copy of this program that `unshare` starts: set up the view instead of starting another copy.
    pub inside: bool,
}

impl Options {
    /// Returns `Ok(None)` for `--help`.
    pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Option<Self>, String> {
        let mut options = Self {
            rounds: 100,
            commands: COMMANDS.map(|(_, command)| command).to_vec(),
            views: vec![View::V2, View::Host],
            runtime: runtime_benches::default_runtime(),
            seed: clock(),
            quick: false,
            inside: false,
        };
        let mut rounds = None;
        let mut args = args.map(|arg| {
            arg.into_string()
                .map_err(|arg| format!("{arg:?} is not UTF-8"))
        });
        while let Some(arg) = args.next() {
            let arg = arg?;
            let (name, attached) = match arg.split_once('=') {
                Some((name, value)) => (name.to_string(), Some(value.to_string())),
                None => (arg, None),
            };
            let mut value = || match attached.clone() {
                Some(value) => Ok(value),
                None => args
                    .next()
                    .unwrap_or_else(|| Err(format!("{name} needs a value"))),
            };
            match name.as_str() {
                "--rounds" => rounds = Some(number(&value()?)?.max(1) as usize),
                "--commands" => {
                    options.commands = value()?.split(',').map(command).collect::<Result<_, _>>()?
                }
                "--view" => options.views = views(&value()?)?,
                "--runtime" => options.runtime = value()?.into(),
                "--seed" => options.seed = number(&value()?)?,
                "--quick" => options.quick = true,
                "--inside" => options.inside = true,
                "--bench" => {} // added by cargo
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("unknown option {name}; --help lists them")),
            }
        }
        options.rounds = rounds.unwrap_or(if options.quick { 3 } else { options.rounds });
        options.runtime =
            std::path::absolute(&options.runtime).map_err(|error| error.to_string())?;
        Ok(Some(options))
    }

    /// The same options for one view, as the arguments of the copy inside it.
    pub fn for_view(&self, view: View) -> Vec<OsString> {
        let names: Vec<_> = COMMANDS
            .iter()
            .filter(|(_, c)| self.commands.contains(c))
            .map(|(name, _)| *name)
            .collect();
        let mut args: Vec<OsString> = vec![
            "--inside".into(),
            format!("--view={}", view.name()).into(),
            format!("--rounds={}", self.rounds).into(),
            format!("--commands={}", names.join(",")).into(),
            format!("--seed={}", self.seed).into(),
            "--runtime".into(),
            self.runtime.clone().into(),
        ];
        if self.quick {
            args.push("--quick".into());
        }
        args
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

fn command(name: &str) -> Result<Command, String> {
    let found = COMMANDS.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, command)| *command)
        .ok_or_else(|| format!("unknown command {name}; --help lists them"))
}

fn views(name: &str) -> Result<Vec<View>, String> {
    match name {
        "v2" => Ok(vec![View::V2]),
        "host" => Ok(vec![View::Host]),
        "both" => Ok(vec![View::V2, View::Host]),
        _ => Err(format!("unknown view {name}: expected v2, host or both")),
    }
}

fn clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |since| since.as_nanos() as u64)
}
