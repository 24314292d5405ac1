//! Shared by the tests: profiles with owned strings, parsed from JSON or generated at random.
#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod evaluator;
pub mod profiles;
pub mod random;

use bpf::{Action, Arch, Condition, Operator, Profile, Rule};
use serde_json::Value;

#[derive(Clone, Debug)]
pub struct OwnedRule {
    pub names: Vec<String>,
    pub action: Action,
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug)]
pub struct OwnedProfile {
    pub default: Action,
    pub architectures: Vec<Arch>,
    pub rules: Vec<OwnedRule>,
}

impl OwnedProfile {
    /// Calls `f` with the profile as the crate's type.
    pub fn with<R>(&self, f: impl FnOnce(&Profile<String>) -> R) -> R {
        let rules: Vec<Rule<String>> = self
            .rules
            .iter()
            .map(|rule| Rule {
                names: &rule.names,
                action: rule.action,
                conditions: &rule.conditions,
            })
            .collect();
        f(&Profile {
            default: self.default,
            architectures: &self.architectures,
            rules: &rules,
        })
    }

    pub fn compile(&self) -> Vec<bpf::Instruction> {
        self.with(|profile| {
            bpf::compile(profile)
                .expect("a profile that compiles")
                .instructions
        })
    }

    /// The same rules for other architectures.
    pub fn on(&self, architectures: &[Arch]) -> OwnedProfile {
        OwnedProfile {
            architectures: architectures.to_vec(),
            ..self.clone()
        }
    }
}

/// Docker's default profile, as for a container with the default capabilities.
pub fn docker() -> OwnedProfile {
    read(include_str!("../data/docker.json"))
}

/// The default profiles of the engines, by name.
pub fn engines() -> [(&'static str, OwnedProfile); 3] {
    [
        ("docker", docker()),
        ("podman", read(include_str!("../data/podman.json"))),
        ("containerd", read(include_str!("../data/containerd.json"))),
    ]
}

/// Parses `linux.seccomp`.
pub fn read(json: &str) -> OwnedProfile {
    let json: Value = serde_json::from_str(json).expect("JSON");
    let errno = |field: &Value| {
        field
            .as_u64()
            .map(|errno| u32::try_from(errno).expect("a small errno"))
    };
    let action = |name: &Value, ret: &Value| {
        Action::from_name(name.as_str().expect("an action"), errno(ret)).expect("a known action")
    };
    let strings = |list: &Value| -> Vec<String> {
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter()
            .map(|string| string.as_str().expect("a string").into())
            .collect()
    };
    let condition = |arg: &Value| Condition {
        index: u32::try_from(arg["index"].as_u64().expect("an index")).expect("a small index"),
        value: arg["value"].as_u64().expect("a value"),
        value_two: arg["valueTwo"].as_u64().unwrap_or(0),
        op: Operator::from_name(arg["op"].as_str().expect("an operator"))
            .expect("a known operator"),
    };
    let rule = |rule: &Value| OwnedRule {
        names: strings(&rule["names"]),
        action: action(&rule["action"], &rule["errnoRet"]),
        conditions: rule["args"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .map(condition)
            .collect(),
    };
    OwnedProfile {
        default: action(&json["defaultAction"], &json["defaultErrnoRet"]),
        architectures: strings(&json["architectures"])
            .iter()
            .map(|name| Arch::from_name(name).expect("a known architecture"))
            .collect(),
        rules: json["syscalls"]
            .as_array()
            .expect("rules")
            .iter()
            .map(rule)
            .collect(),
    }
}

pub fn condition(index: u32, op: Operator, value: u64) -> Condition {
    Condition {
        index,
        value,
        value_two: 0,
        op,
    }
}

pub fn rule<'a>(names: &'a [&'a str], action: Action, conditions: &'a [Condition]) -> Rule<'a> {
    Rule {
        names,
        action,
        conditions,
    }
}

pub fn profile<'a>(default: Action, rules: &'a [Rule<'a>]) -> Profile<'a> {
    Profile {
        default,
        architectures: &[],
        rules,
    }
}
