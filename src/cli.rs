//! The command line: the parser and the help (and later completions and the man page), made from one table of commands
//! and flags. It only returns values and text; main prints and exits.
//!
//! Flags are taken as runc's callers write them: `--bundle DIR`, `--bundle=DIR`, `-b DIR`, and with one dash, as Go
//! allows: `-bundle DIR`. Other than in runc, they may also follow a command's arguments.

mod table;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use crate::error::{Error, Result};
use table::Operand::{Optional, Raw, Required, Rest};
use table::Takes::{Number, OneOf, Switch, Text};
use table::{COMMANDS, Entry, GLOBALS, HELP, Info};
pub use table::{Command, Flag};

/// What the command line asks for.
#[derive(Debug)]
pub enum Request<'a> {
    /// Print this and succeed.
    Help(String),
    /// Print the version and succeed.
    Version,
    /// The operands are as many as the table allows: for most commands the container's id alone.
    Run {
        command: Command,
        operands: Vec<&'a str>,
    },
}

/// The flags that were given.
#[derive(Debug, Default)]
pub struct Flags<'a>(Vec<(Flag, Value<'a>)>);

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Switch(bool),
    Text(&'a str),
    Number(u32),
}

impl<'a> Flags<'a> {
    fn last(&self, flag: Flag) -> Option<Value<'a>> {
        self.0
            .iter()
            .rev()
            .find(|(given, _)| *given == flag)
            .map(|(_, value)| *value)
    }

    /// Whether a switch is on.
    pub fn has(&self, flag: Flag) -> bool {
        matches!(self.last(flag), Some(Value::Switch(true)))
    }

    /// The text of a flag; of several the last.
    pub fn text(&self, flag: Flag) -> Option<&'a str> {
        match self.last(flag) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The texts of a flag that may be given several times, in order.
    pub fn texts(&self, flag: Flag) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(given, _)| *given == flag)
            .filter_map(|(_, value)| match value {
                Value::Text(text) => Some(*text),
                _ => None,
            })
    }

    /// The number of a flag; of several the last.
    pub fn number(&self, flag: Flag) -> Option<u32> {
        match self.last(flag) {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        }
    }
}

/// Parses the arguments that follow the program's own name.
///
/// `flags` is an argument and not a part of the result because an error needs it too: the flags before the mistake say
/// to which log the error goes. Errors are one line, and name the help that tells more.
pub fn parse<'a>(args: &[&'a str], flags: &mut Flags<'a>) -> Result<Request<'a>> {
    let mut words = Words {
        rest: args,
        command: None,
        only_operands: false,
    };

    let name = match words.next(flags)? {
        Some(Word::Operand(name)) => name,
        Some(Word::Help) | None => return Ok(Request::Help(help_on_all())),
        Some(Word::Version) => return Ok(Request::Version),
    };
    if name == "help" {
        return match words.rest {
            [] => Ok(Request::Help(help_on_all())),
            [name, ..] => Ok(Request::Help(help_on(find(name)?))),
        };
    }

    let entry = find(name)?;
    words.command = Some(entry);
    let mut operands = Vec::new();
    while let Some(word) = words.next(flags)? {
        match word {
            Word::Operand(operand)
                if matches!(entry.operands.get(operands.len()), Some(Rest(_))) =>
            {
                operands.push(operand);
                operands.extend(words.rest);
                break;
            }
            Word::Operand(operand) if operands.len() < entry.operands.len() => {
                operands.push(operand);
                if let Some(Raw(_)) = entry.operands.get(operands.len()) {
                    operands.extend(words.rest);
                    break;
                }
            }
            Word::Operand(operand) => {
                return Err(wrong(
                    Some(entry),
                    &format!("unexpected argument {operand:?}"),
                ));
            }
            Word::Help | Word::Version => return Ok(Request::Help(help_on(entry))),
        }
    }
    if let Some(Required(missing)) = entry.operands.get(operands.len()) {
        return Err(wrong(Some(entry), &format!("missing argument {missing}")));
    }
    Ok(Request::Run {
        command: entry.command,
        operands,
    })
}

fn find(name: &str) -> Result<&'static Entry> {
    let entry = COMMANDS.iter().find(|entry| entry.name == name);
    entry.ok_or_else(|| {
        Error::new(format!(
            "unknown command {name:?}: No help topic for '{name}' (see runtime --help)"
        ))
    })
}

/// The arguments not yet looked at, and the command that they belong to.
struct Words<'r, 'a> {
    rest: &'r [&'a str],
    command: Option<&'static Entry>,
    /// After `--`.
    only_operands: bool,
}

enum Word<'a> {
    Operand(&'a str),
    Help,
    Version,
}

impl<'a> Words<'_, 'a> {
    fn shift(&mut self) -> Option<&'a str> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The next argument that is not a flag; the flags before it go to `flags`.
    fn next(&mut self, flags: &mut Flags<'a>) -> Result<Option<Word<'a>>> {
        while let Some(word) = self.shift() {
            if self.only_operands || !word.starts_with('-') || word == "-" {
                return Ok(Some(Word::Operand(word)));
            }
            if word == "--" {
                self.only_operands = true;
                continue;
            }
            let written = word.strip_prefix("--").unwrap_or(&word[1..]);
            let (name, given) = match written.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (written, None),
            };
            let info = self.info(name)?;
            let value = self.value(info, given)?;
            match (info.flag, value) {
                (Flag::Help, Value::Switch(true)) => return Ok(Some(Word::Help)),
                (Flag::Version, Value::Switch(true)) => return Ok(Some(Word::Version)),
                (flag, value) => flags.0.push((flag, value)),
            }
        }
        Ok(None)
    }

    fn info(&self, name: &str) -> Result<&'static Info> {
        let known = self.command.map_or(GLOBALS, |entry| entry.flags);
        let matches = |info: &&&'static Info| {
            info.long == name || info.short.is_some_and(|short| is_char(name, short))
        };
        let info = known.iter().chain(&[&HELP]).find(matches);
        info.copied()
            .ok_or_else(|| wrong(self.command, &format!("unknown flag {}", dashed(name))))
    }

    fn value(&mut self, info: &Info, given: Option<&'a str>) -> Result<Value<'a>> {
        let name = dashed(info.long);
        if let Switch = info.takes {
            return match given {
                None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Value::Switch(true)),
                Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Value::Switch(false)),
                Some(other) => Err(wrong(
                    self.command,
                    &format!("flag {name} is true or false, not {other:?}"),
                )),
            };
        }
        let Some(text) = given.or_else(|| self.shift()) else {
            // Podman matches "requires an argument".
            return Err(wrong(
                self.command,
                &format!("flag {name} requires an argument"),
            ));
        };
        match info.takes {
            Switch | Text(_) => Ok(Value::Text(text)),
            OneOf(_, words) if words.contains(&text) => Ok(Value::Text(text)),
            OneOf(_, words) => {
                let words = words.join(", ");
                Err(wrong(
                    self.command,
                    &format!("flag {name} is one of {words}, not {text:?}"),
                ))
            }
            Number(_) => match integer(text, i32::MAX as u32) {
                Some(number) => Ok(Value::Number(number)),
                None => {
                    let max = i32::MAX;
                    Err(wrong(
                        self.command,
                        &format!("flag {name} is an integer from 0 to {max}, not {text:?}"),
                    ))
                }
            },
        }
    }
}

fn is_char(text: &str, wanted: char) -> bool {
    let mut chars = text.chars();
    chars.next() == Some(wanted) && chars.next().is_none()
}

/// A flag as people write it.
fn dashed(name: &str) -> String {
    if name.chars().nth(1).is_some() {
        format!("--{name}")
    } else {
        format!("-{name}")
    }
}

fn wrong(command: Option<&Entry>, what: &str) -> Error {
    Error::new(match command {
        Some(Entry { name, .. }) => format!("{what} for {name} (see runtime {name} --help)"),
        None => format!("{what} (see runtime --help)"),
    })
}

/// A decimal integer up to `max`: digits and nothing else. Rust's own parser would take a plus sign.
pub fn integer(text: &str, max: u32) -> Option<u32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number| *number <= max)
}

fn help_on_all() -> String {
    let mut help = String::from(
        "runtime: runs OCI containers on Linux\n\nusage: runtime [FLAGS] COMMAND [FLAGS] [ARGUMENTS]\n\ncommands:\n",
    );
    let rows: Vec<_> = COMMANDS
        .iter()
        .map(|entry| (String::from(entry.name), String::from(entry.help)))
        .collect();
    align(&mut help, &rows);
    help.push_str("\nflags:\n");
    flag_rows(&mut help, GLOBALS.iter());
    help.push_str("\nruntime COMMAND --help tells more.\nexample: runtime spec; runtime run box\n");
    help
}

fn help_on(entry: &Entry) -> String {
    let mut help = format!(
        "runtime {}: {}\n\nusage: runtime {}",
        entry.name, entry.help, entry.name
    );
    if !entry.flags.is_empty() {
        help.push_str(" [FLAGS]");
    }
    for operand in entry.operands {
        let _ = match operand {
            Required(name) => write!(help, " {name}"),
            Optional(name) => write!(help, " [{name}]"),
            Rest(name) | Raw(name) => write!(help, " [{name} ...]"),
        };
    }
    help.push_str("\n\nflags:\n");
    flag_rows(&mut help, entry.flags.iter().chain(&[&HELP]));
    let _ = write!(help, "\nexample: {}\n", entry.example);
    help
}

fn flag_rows<'i>(help: &mut String, flags: impl Iterator<Item = &'i &'i Info>) {
    let rows = flags.map(|info| {
        let mut left = info
            .short
            .map_or(String::from("    "), |short| format!("-{short}, "));
        left += "--";
        left += info.long;
        let mut right = String::from(info.help);
        match info.takes {
            Switch => {}
            Text(name) | Number(name) => left += &format!(" {name}"),
            OneOf(name, words) => {
                left += &format!(" {name}");
                right += &format!(": {}", words.join(", "));
            }
        }
        (left, right)
    });
    align(help, &rows.collect::<Vec<_>>());
}

fn align(text: &mut String, rows: &[(String, String)]) {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    for (left, right) in rows {
        let _ = writeln!(text, "  {left:width$}  {right}");
    }
}
