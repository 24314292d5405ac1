//! Checks the device rules of config.json and adds the rules that every container gets. Produces the lines for v1's
//! lists and the input of v2's eBPF program.

use crate::error::{Result, fail};
use crate::facts::Cgroups;
use crate::spec::DeviceRule;
use alloc::collections::BinaryHeap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bpf::{DeviceKind, MKNOD, READ, WRITE, first_of_each};
use core::ops::Range;

/// The rules added after those of config.json: mknod of any device, and access to the devices of the spec's default
/// list, which the runtime itself creates.
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

/// The limit on rules. The program of v2 holds fewer.
const RULES_MAX: usize = 10_000;

const NOTHING: bpf::DeviceRule = bpf::DeviceRule {
    allow: false,
    kind: None,
    major: None,
    minor: None,
    access: MKNOD | READ | WRITE,
};

/// The rules in order, with the defaults last.
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
    // If the config lists devices, all others are refused.
    if !rules.iter().any(bpf::DeviceRule::is_about_everything) {
        rules.insert(0, NOTHING);
    }
    // After a rule that allows everything, the defaults would only cost time.
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
            _ => fail!("{field}.access: expected letters of \"rwm\", found {letters:?}"),
        };
    }
    Ok(bpf::DeviceRule {
        allow: rule.allow,
        kind,
        major: number("major", rule.major)?,
        minor: number("minor", rule.minor)?,
        access,
    })
}

/// The rules in the form that a cgroup version takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The lines of v1's lists.
    Lines(Vec<Line>),
    /// The eBPF program of v2 (`BPF_PROG_TYPE_CGROUP_DEVICE`), one instruction per word.
    Program(Vec<u64>),
}

/// Compiles the rules for the host's cgroup version.
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

/// Converts the rules for v1.
///
/// The kernel treats type `a` as all devices and ignores the rest of the line, so such a rule is split. It also
/// silently ignores a denial of a part of what a wider rule has allowed. That is an error here.
fn lines(rules: &[bpf::DeviceRule]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    let wide = Wide::new(rules);
    // In a list whose default is to allow, the kernel keeps the denials.
    let (mut keeps_refusals, mut since) = (true, 0);
    for (n, rule) in rules.iter().enumerate() {
        if rule.is_about_everything() {
            (keeps_refusals, since) = (rule.allow, n + 1);
        } else if !rule.allow
            && !keeps_refusals
            && let Some(wider) = wide.last(rule, since..n)
        {
            let wider = &rules[wider];
            fail!(
                "devices[{n}]: cgroup v1 cannot refuse a part of what an earlier rule allows, {:?}",
                text(wider, wider.kind)
            );
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

/// The rules that allow every major or every minor number, as sorted keys for a binary search.
struct Wide(Vec<u128>);

impl Wide {
    fn new(rules: &[bpf::DeviceRule]) -> Wide {
        let wide = |rule: &bpf::DeviceRule| rule.major.is_none() || rule.minor.is_none();
        let mut keys = BinaryHeap::new();
        for (n, rule) in rules.iter().enumerate().filter(|(_, r)| r.allow && wide(r)) {
            for access in accesses(rule) {
                keys.push(key((rule.major, rule.minor), rule.kind, access, n));
            }
        }
        // A heap, because each standard sort adds 5 KB of code.
        Wide(keys.into_sorted_vec())
    }

    /// The last rule in `among` that allows some of what `refusal` denies, and more devices than it names.
    fn last(&self, refusal: &bpf::DeviceRule, among: Range<usize>) -> Option<usize> {
        let named = (refusal.major, refusal.minor);
        let kinds = match refusal.kind {
            None => [None, Some(DeviceKind::Block), Some(DeviceKind::Char)],
            kind => [None, kind, kind],
        };
        let mut last = None;
        for numbers in [(None, None), (named.0, None), (None, named.1)] {
            for kind in kinds {
                for access in accesses(refusal).filter(|_| numbers != named) {
                    let key = |n| key(numbers, kind, access, n);
                    let after = self.0.partition_point(|known| *known < key(among.end));
                    let found = self.0[..after].last().filter(|k| **k >= key(among.start));
                    last = last.max(found.map(|key| *key as u32 as usize));
                }
            }
        }
        last
    }
}

/// A sort key: the devices and one access bit, then the index of the rule.
fn key(
    (major, minor): (Option<u32>, Option<u32>),
    kind: Option<DeviceKind>,
    access: u8,
    n: usize,
) -> u128 {
    let number = |n: Option<u32>| n.map_or(0, |n| u128::from(n) + 1);
    let kind = kind.map_or(0, |kind| kind as u128);
    number(major) << 84 | number(minor) << 48 | kind << 40 | u128::from(access) << 32 | n as u128
}

fn accesses(rule: &bpf::DeviceRule) -> impl Iterator<Item = u8> + use<> {
    let access = rule.access;
    [READ, WRITE, MKNOD]
        .into_iter()
        .filter(move |bit| access & bit != 0)
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

/// The letters for a combination of access bits.
pub fn letters(access: u8) -> String {
    [('r', READ), ('w', WRITE), ('m', MKNOD)]
        .into_iter()
        .filter(|(_, bit)| access & bit != 0)
        .map(|(letter, _)| letter)
        .collect()
}

/// The lines to write to get from `now`, the contents of devices.list, to the rules in `lines`. Two lists of allowed
/// devices only need their difference. Otherwise all lines are written from the beginning.
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
    // Lines that are in both lists stay.
    let wanted = lines.iter().skip(1).map(|line| line.text.as_str());
    let first = first_of_each(wanted.chain(now.lines()));
    let gone = now.lines().zip(&first[lines.len() - 1..]);
    let gone = gone.filter(|(_, first)| **first).map(|(text, _)| Line {
        allow: false,
        text: text.into(),
    });
    // Denials first: a denial of `c 1:3 rwm` would also remove a new `c 1:3 r`.
    let gone: Vec<Line> = gone.collect();
    let wanted = lines.iter().skip(1);
    gone.into_iter().chain(wanted.cloned()).collect()
}
