//! The rule of the rooms, as a test: imports point down and never in a circle, and what decides does not act.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec::Vec;

/// From the bottom up: a room may name those before it.
const LIBRARY: &[&str] = &[
    "error", "cli", "signal", "dbus", "stats", "facts", "spec", "state", "limits", "plan",
];
const PROGRAM: &[&str] = &[
    "files",
    "log",
    "context",
    "signal",
    "socket",
    "process",
    "program",
    "host",
    "oom",
    "seal",
    "jail",
    "dbus",
    "mappings",
    "seccomp_agent",
    "sd_notify",
    "console",
    "hooks",
    "criu",
    "cgroup",
    "container",
    "launch",
    "commands",
];

/// What the library may name of rustix: types and numbers, none of which is a system call.
const TYPES: &[&str] = &[
    "rustix::fs::makedev",
    "rustix::io::Errno",
    "rustix::io::Result",
    "rustix::process::Gid",
    "rustix::process::Resource",
    "rustix::process::Rlimit",
    "rustix::process::Uid",
    "rustix::thread::CpuSet",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file below a directory, except the program in the library's.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if path.ends_with("src/bin") => {}
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

/// The text without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

/// What stands behind each `PREFIX::`, the members of a list in braces one by one.
fn named(code: &str, prefix: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        let text = text.trim_start();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].into()
    };
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => drop(names.insert(word(rest))),
            Some(list) => {
                let list = list.split('}').next().unwrap_or("");
                names.extend(list.split(',').map(word).filter(|name| !name.is_empty()));
            }
        }
    }
    names
}

/// The rooms that each room of a crate names; a room is a file or a directory at the crate's top.
fn graph(top: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = Vec::new();
    files(top, &mut found);
    let mut graph = BTreeMap::<String, BTreeSet<String>>::new();
    for path in found {
        let first = path.strip_prefix(top).unwrap().iter().next().unwrap();
        let room = first.to_str().unwrap().trim_end_matches(".rs").to_owned();
        let mut names = named(&code(&path), "crate::");
        names.remove(&room);
        graph.entry(room).or_default().extend(names);
    }
    graph
}

#[track_caller]
fn points_down(top: &Path, order: &[&str]) {
    for (room, names) in graph(top) {
        if ["lib", "main", "rooms", "bounds"].contains(&room.as_str()) {
            continue;
        }
        let level = |name: &str| order.iter().position(|known| *known == name);
        let own = level(&room).unwrap_or_else(|| panic!("{room}: give this room its place"));
        for name in names {
            // What is no room is a macro or a type of the crate's root.
            if let Some(other) = level(&name) {
                assert!(other < own, "{room} imports {name}, which is not below it");
            }
        }
    }
}

#[test]
fn imports_of_the_library_point_down() {
    points_down(&source(), LIBRARY);
}

#[test]
fn imports_of_the_program_point_down() {
    points_down(&source().join("bin/runtime"), PROGRAM);
}

#[test]
fn the_library_names_types_of_rustix_and_no_call() {
    let mut found = Vec::new();
    files(&source(), &mut found);
    for path in found.iter().filter(|path| !path.ends_with("rooms.rs")) {
        let code = code(path);
        for module in named(&code, "rustix::") {
            for name in named(&code, &format!("rustix::{module}::")) {
                let whole = format!("rustix::{module}::{name}");
                assert!(
                    TYPES.contains(&whole.as_str()),
                    "{}: {whole}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn the_library_acts_through_no_other_crate() {
    let mut found = Vec::new();
    files(&source(), &mut found);
    for path in found {
        let names = named(&code(&path), "syscalls::");
        for name in ["open_tree", "reach", "Start"] {
            assert!(
                !names.contains(name),
                "{}: syscalls::{name}",
                path.display()
            );
        }
    }
}
