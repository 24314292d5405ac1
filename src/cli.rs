//! The command line: the parser and the help, both driven by one table of commands and flags. The functions only
//! return values and text; main prints and exits.
//!
//! Flags are accepted as runc's callers write them: `--bundle DIR`, `--bundle=DIR`, `-b DIR`, and with one dash, as
//! in Go: `-bundle DIR`. Unlike in runc, flags may also follow a command's arguments.

mod table;
#[cfg(test)]
mod tests;
mod value;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use crate::error::{Error, Result};
use table::Operand::{Optional, Raw, Required, Rest};
pub use table::*;
pub use value::integer;
use value::{Store, Value};

/// The meaning of the command line.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Print this text and exit with status 0.
    Help(String),
    /// Print the version and exit with status 0.
    Version,
    Run(Box<Command<'a>>),
}

/// Parses the arguments that follow the program's own name.
///
/// `globals` is an argument instead of a result because errors need it, too: the flags before the mistake select the
/// log for the error, and the command determines the exit status. An error is one line and refers to the help.
pub fn parse<'a>(args: &[&'a str], globals: &mut Globals<'a>) -> Result<Request<'a>> {
    let mut words = Words {
        rest: args,
        command: None,
        flags: Globals::FLAGS,
        only_operands: false,
    };
    let mut places = Vec::new();
    globals.places(&mut places);
    let (operands, flags) = places.split_at_mut(Globals::OPERANDS.len());
    let name = match words.next(flags)? {
        Some(Word::Operand(name)) => name,
        Some(Word::Help) | None => return Ok(Request::Help(help_on_all())),
        Some(Word::Version) => return Ok(Request::Version),
    };
    if name == "help" {
        return match words.rest {
            [] => Ok(Request::Help(help_on_all())),
            [name, ..] => Ok(Request::Help(help_on(find(name)?.0))),
        };
    }

    let (entry, mut command) = find(name)?;
    operands[0].store(Value::Text(name));
    words.command = Some(entry);
    words.flags = entry.flags;
    let mut places = Vec::new();
    command.places(&mut places);
    let (operands, flags) = places.split_at_mut(entry.operands.len());
    let mut count = 0;
    while let Some(word) = words.next(flags)? {
        let operand = match word {
            Word::Operand(operand) => operand,
            Word::Help | Word::Version => return Ok(Request::Help(help_on(entry))),
        };
        let Some(place) = operands.get_mut(count) else {
            let what = format!("unexpected argument {operand:?}");
            return Err(wrong(Some(entry), &what));
        };
        place.store(Value::Text(operand));
        let is_rest = matches!(entry.operands[count], Rest(_));
        if !is_rest {
            count += 1;
        }
        if is_rest || matches!(entry.operands.get(count), Some(Raw(_))) {
            words
                .rest
                .iter()
                .for_each(|word| operands[count].store(Value::Text(word)));
            count = entry.operands.len();
            break;
        }
    }
    if let Some(Required(missing)) = entry.operands.get(count) {
        return Err(wrong(Some(entry), &format!("missing argument {missing}")));
    }
    drop(places);
    Ok(Request::Run(Box::new(command)))
}

fn find<'a>(name: &str) -> Result<(&'static Entry, Command<'a>)> {
    let entry = COMMANDS.iter().find(|entry| entry.name == name);
    entry.zip(Command::named(name)).ok_or_else(|| {
        Error::new(format!(
            "unknown command {name:?}: No help topic for '{name}' (see runtime --help)"
        ))
    })
}

/// The arguments not parsed yet, and the command that they belong to.
struct Words<'r, 'a> {
    rest: &'r [&'a str],
    command: Option<&'static Entry>,
    flags: &'static [&'static [Flag]],
    /// Set after `--`.
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

    /// Returns the next argument that is not a flag. Stores the values of the flags before it.
    fn next(&mut self, places: &mut [&mut dyn Store<'a>]) -> Result<Option<Word<'a>>> {
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
            let matches = |flag: &&Flag| {
                flag.long == name || flag.short.is_some_and(|short| is_char(name, short))
            };
            let mut rows = self.flags.iter().copied().flatten().zip(places.iter_mut());
            let (flag, place) = match rows.find(|(flag, _)| matches(flag)) {
                Some((flag, place)) => (flag, Some(place)),
                None if matches(&&HELP) => (&HELP, None),
                None => {
                    let what = format!("unknown flag {}", dashed(name));
                    return Err(wrong(self.command, &what));
                }
            };
            let value = self.value(flag, given)?;
            match (flag.long, value) {
                ("help", Value::Switch(true)) => return Ok(Some(Word::Help)),
                ("version", Value::Switch(true)) => return Ok(Some(Word::Version)),
                _ => {}
            }
            if let Some(place) = place {
                place.store(value);
            }
        }
        Ok(None)
    }

    fn value(&mut self, flag: &Flag, given: Option<&'a str>) -> Result<Value<'a>> {
        let name = dashed(flag.long);
        let text = match (flag.takes, given) {
            (_, Some(text)) => text,
            (Takes::Switch, None) => return Ok(Value::Switch(true)),
            (_, None) => self.shift().ok_or_else(|| {
                // Podman matches "requires an argument".
                wrong(self.command, &format!("flag {name} requires an argument"))
            })?,
        };
        flag.takes
            .value(text)
            .map_err(|expected| match self.command {
                Some(command) if expected.starts_with("expected") => {
                    Error::new(format!("{}: {name}: {expected}", command.name))
                }
                command => wrong(command, &format!("flag {name} {expected}")),
            })
    }
}

fn is_char(text: &str, wanted: char) -> bool {
    let mut chars = text.chars();
    chars.next() == Some(wanted) && chars.next().is_none()
}

/// A flag with its dashes.
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
    flag_rows(&mut help, Globals::FLAGS.iter().copied().flatten());
    help.push_str(
        "\nruntime COMMAND --help explains a command.\nexample: runtime spec; runtime run box\n",
    );
    help
}

fn help_on(entry: &Entry) -> String {
    let mut help = format!(
        "runtime {}: {}\n\nusage: runtime {}",
        entry.name, entry.help, entry.name
    );
    if entry.flags.iter().any(|group| !group.is_empty()) {
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
    let flags = entry.flags.iter().copied().flatten();
    flag_rows(&mut help, flags.chain([&HELP]));
    let _ = write!(help, "\nexample: {}\n", entry.example);
    help
}

fn flag_rows<'i>(help: &mut String, flags: impl Iterator<Item = &'i Flag>) {
    let rows = flags.map(|flag| {
        let mut left = flag
            .short
            .map_or(String::from("    "), |short| format!("-{short}, "));
        left += "--";
        left += flag.long;
        if let Some(name) = flag.takes.name() {
            left.push(' ');
            left += name;
        }
        let mut right = String::from(flag.help);
        if let Takes::OneOf(_, words) = flag.takes {
            right += ": ";
            right += &words.join(", ");
        }
        (left, right)
    });
    align(help, &rows.collect::<Vec<_>>());
}

/// Two columns. The right one is wrapped at 80 characters.
fn align(text: &mut String, rows: &[(String, String)]) {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    for (left, right) in rows {
        let _ = write!(text, "  {left:width$} ");
        let mut column = width + 3;
        for word in right.split(' ') {
            if column + 1 + word.len() > 80 {
                let _ = write!(text, "\n   {:width$}", "");
                column = width + 3;
            }
            text.push(' ');
            text.push_str(word);
            column += 1 + word.len();
        }
        text.push('\n');
    }
}
