//! Signal names as callers of `kill` write them: `KILL`, `SIGKILL`, `9`, `RTMIN+3`. Case is ignored.

use crate::cli::integer;
use crate::error::{Error, Result};
use alloc::format;

/// By number (signal(7)), starting with signal 1. The supported architectures share these numbers.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

const ALIASES: [(&str, u32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];

/// The C library reserves the first two real-time signals, so callers count from here.
const RTMIN: u32 = 34;
const RTMAX: u32 = 64;

/// Error: `unknown signal "FOO"`. 0 is accepted, because kill(2) uses it to test whether the process exists.
pub fn parse(text: &str) -> Result<u32> {
    number(text).ok_or_else(|| Error::new(format!("unknown signal {text:?}")))
}

fn number(text: &str) -> Option<u32> {
    if let Some(number) = integer(text, RTMAX) {
        return Some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return Some(index as u32 + 1);
    }
    if let Some((_, number)) = ALIASES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let distance = |rest: &str, sign| match rest {
        "" => Some(0),
        _ => integer(rest.strip_prefix(sign)?, RTMAX - RTMIN),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return Some(RTMIN + distance(rest, '+')?);
    }
    Some(RTMAX - distance(name.strip_prefix("RTMAX")?, '-')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_parsed_by_name_and_by_number() {
        for (text, number) in [
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("9", 9),
            ("0", 0),
            ("IOT", 6),
            ("CLD", 17),
            ("SYS", 31),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("RTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
    }

    #[test]
    fn an_unknown_signal_is_an_error() {
        for text in [
            "",
            "FOO",
            "65",
            "-1",
            "+9",
            "RTMIN-1",
            "RTMIN+31",
            "SIGSIGKILL",
            " 9",
        ] {
            assert_eq!(
                parse(text).unwrap_err().to_string(),
                format!("unknown signal {text:?}")
            );
        }
    }
}
