//! Device rules of config.json, checked and with the rules that every container gets: as the lines of v1's
//! lists, and as what the eBPF program of v2 is compiled from.

use crate::error::{Result, fail};
use crate::facts::Cgroups;
use crate::spec::DeviceRule;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bpf::{DeviceKind, MKNOD, READ, WRITE};

/// What every container may use, after the rules of the config: making any node, and the devices of
/// the spec's default list, which the runtime itself supplies.
const DEFAULTS: [(DeviceKind, Option<u32>, Option<u32>, u8); 10] = {
    const ALL: u8 = MKNOD | READ | WRITE;
    [
        (DeviceKind::Char, None, None, MKNOD),
        (DeviceKind::Block, None, None, MKNOD),
        (DeviceKind::Char, Some(1), Some(3), ALL),
        (DeviceKind::Char, Some(1), Some(5), ALL),
        (DeviceKind::Char, Some(1), Some(7), ALL),
        (DeviceKind::Char, Some(1), Some(8), ALL),
        (DeviceKind::Char, Some(1), Some(9), ALL),
        (DeviceKind::Char, Some(5), Some(0), ALL),
        (DeviceKind::Char, Some(5), Some(2), ALL),
        (DeviceKind::Char, Some(136), None, ALL),
    ]
};

/// More than a program of v2 holds; on v1 each rule is held against those before it.
const RULES_MAX: usize = 10_000;

const NOTHING: bpf::DeviceRule = bpf::DeviceRule {
    allow: false,
    kind: None,
    major: None,
    minor: None,
    access: MKNOD | READ | WRITE,
};

/// The rules in order, the defaults last.
pub fn rules(spec: &[DeviceRule<'_>]) -> Result<Vec<bpf::DeviceRule>> {
    if spec.len() > RULES_MAX {
        fail!(
            "devices: expected at most {RULES_MAX} rules, found {}",
            spec.len()
        );
    }
    let mut rules = Vec::with_capacity(spec.len() + DEFAULTS.len() + 1);
    for (n, rule) in spec.iter().enumerate() {
        rules.push(checked(rule, &format!("devices[{n}]"))?);
    }
    let default = |(kind, major, minor, access)| bpf::DeviceRule {
        allow: true,
        kind: Some(kind),
        major,
        minor,
        access,
    };
    // Who lists devices means that there are others, which are refused.
    if !rules.iter().any(bpf::DeviceRule::is_about_everything) {
        rules.insert(0, NOTHING);
    }
    // After a rule that allows everything they would only cost time.
    if !rules
        .last()
        .is_some_and(|last| last.allow && last.is_about_everything())
    {
        rules.extend(DEFAULTS.map(default));
    }
    Ok(rules)
}

fn checked(rule: &DeviceRule<'_>, field: &str) -> Result<bpf::DeviceRule> {
    let kind = match rule.kind.as_deref() {
        None | Some("a") => None,
        Some("b") => Some(DeviceKind::Block),
        Some("c") => Some(DeviceKind::Char),
        Some(other) => fail!("{field}.type: expected a, b or c, found {other:?}"),
    };
    let number = |name: &str, number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(n) => match u32::try_from(n) {
            Ok(n) => Ok(Some(n)),
            Err(_) => fail!("{field}.{name}: expected a device number or -1, found {n}"),
        },
    };
    let mut access = 0;
    let letters = rule.access.as_deref().unwrap_or("rwm");
    for letter in letters.chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            // As runc, which leaves out what it does not know.
            _ => 0,
        };
    }
    if access == 0 && !letters.is_empty() {
        fail!("{field}.access: expected letters of \"rwm\", found {letters:?}");
    }
    Ok(bpf::DeviceRule {
        allow: rule.allow,
        kind,
        major: number("major", rule.major)?,
        minor: number("minor", rule.minor)?,
        access,
    })
}

/// The rules as one version of cgroups takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The lines of v1's lists.
    Lines(Vec<Line>),
    /// The eBPF program of v2 (`BPF_PROG_TYPE_CGROUP_DEVICE`), an instruction a word.
    Program(Vec<u64>),
}

/// Compiles the rules for the version of cgroups that the host has.
pub fn filter(cgroups: &Cgroups, rules: &[bpf::DeviceRule]) -> Result<Filter> {
    if let Cgroups::V1(_) = cgroups {
        return lines(rules).map(Filter::Lines);
    }
    match bpf::compile_devices(rules) {
        Some(program) => Ok(Filter::Program(program)),
        None => fail!("devices: there are too many rules"),
    }
}

/// A line for devices.allow or devices.deny.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub allow: bool,
    pub text: String,
}

/// The rules as v1 takes them.
///
/// The kernel takes `a` for everything whatever stands behind it, so that such a rule is split. It also forgets to
/// refuse a part of what a wider rule has allowed, without a word: that is an error here.
fn lines(rules: &[bpf::DeviceRule]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (n, rule) in rules.iter().enumerate() {
        if !rule.allow && !rule.is_about_everything() {
            let since = rules[..n]
                .iter()
                .rposition(bpf::DeviceRule::is_about_everything);
            // In a list that allows all but what it names, refusals are what is kept.
            let names_refusals = since.is_none_or(|at| rules[at].allow);
            let before = &rules[since.map_or(0, |at| at + 1)..n];
            if !names_refusals && let Some(wider) = before.iter().rev().find(|r| is_wider(r, rule))
            {
                fail!(
                    "devices[{n}]: cgroup v1 cannot refuse a part of what an earlier rule allows, {:?}",
                    text(wider, wider.kind)
                );
            }
        }
        let kinds = match rule.kind {
            None if !rule.is_about_everything() => {
                &[Some(DeviceKind::Block), Some(DeviceKind::Char)][..]
            }
            kind => &[kind][..],
        };
        lines.extend(kinds.iter().map(|kind| Line {
            allow: rule.allow,
            text: text(rule, *kind),
        }));
    }
    Ok(lines)
}

/// Whether `rule` allows some of what `refusal` refuses, and more devices than it names.
fn is_wider(rule: &bpf::DeviceRule, refusal: &bpf::DeviceRule) -> bool {
    let covers = |wide: Option<u32>, narrow: Option<u32>| wide.is_none() || wide == narrow;
    let kinds = rule.kind.is_none() || refusal.kind.is_none() || rule.kind == refusal.kind;
    let same = rule.major == refusal.major && rule.minor == refusal.minor;
    rule.allow
        && kinds
        && rule.access & refusal.access != 0
        && !same
        && covers(rule.major, refusal.major)
        && covers(rule.minor, refusal.minor)
}

fn text(rule: &bpf::DeviceRule, kind: Option<DeviceKind>) -> String {
    let kind = match kind {
        None => 'a',
        Some(DeviceKind::Block) => 'b',
        Some(DeviceKind::Char) => 'c',
    };
    let number = |n: Option<u32>| n.map_or("*".to_string(), |n| n.to_string());
    format!(
        "{kind} {}:{} {}",
        number(rule.major),
        number(rule.minor),
        letters(rule.access)
    )
}

/// Kinds of access as letters.
pub fn letters(access: u8) -> String {
    [('r', READ), ('w', WRITE), ('m', MKNOD)]
        .into_iter()
        .filter(|(_, bit)| access & bit != 0)
        .map(|(letter, _)| letter)
        .collect()
}

/// What has to be written to come from `now`, a devices.list, to where `lines` lead. Between two lists of what
/// is allowed that is only where they differ; otherwise everything, from the beginning.
pub fn difference(now: &str, lines: &[Line]) -> Vec<Line> {
    let begins_with_nothing = lines
        .first()
        .is_some_and(|l| !l.allow && l.text == "a *:* rwm");
    let only_allows = lines
        .iter()
        .skip(1)
        .all(|l| l.allow && !l.text.starts_with('a'));
    if !begins_with_nothing || !only_allows || now.starts_with('a') {
        return lines.to_vec();
    }
    let stays = |text: &str| lines.iter().skip(1).any(|line| line.text == text);
    let gone = now.lines().filter(|text| !stays(text)).map(|text| Line {
        allow: false,
        text: text.into(),
    });
    // Refusals first: one of `c 1:3 rwm` would take away a new `c 1:3 r` as well.
    let gone: Vec<Line> = gone.collect();
    let wanted = lines.iter().skip(1);
    gone.into_iter().chain(wanted.cloned()).collect()
}
