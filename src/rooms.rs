//! Tests the layering of the crates: imports point down and never form a circle, and the library makes no system
//! call.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec::Vec;

/// From the bottom up: a module may import those before it.
const LIBRARY: &[&str] = &[
    "error", "cli", "signal", "dbus", "netlink", "stats", "facts", "spec", "state", "limits",
    "plan",
];
const PROGRAM: &[&str] = &[
    "files",
    "log",
    "context",
    "signal",
    "socket",
    "netlink",
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

/// The parts of rustix that the library may import: types and numbers, none of which makes a system call.
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

/// Every file below a directory, except the program's in the library's directory.
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

/// The source without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

/// The names after each `PREFIX::`. The members of a list in braces count one by one.
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

/// The modules that each module of a crate imports. A module is a file or a directory at the top of the crate.
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
        let own =
            level(&room).unwrap_or_else(|| panic!("{room}: add this module to the list of layers"));
        for name in names {
            // Other names are macros or types of the crate's root.
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
fn the_library_uses_types_of_rustix_but_no_calls() {
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
fn the_library_makes_system_calls_through_no_other_crate() {
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
