//! `runtime seccomp`: prints the compiled program, its statistics, and the verdict on one call.
//! These tests cover the output. The meaning of programs is tested in bpf/.

use runtime_tests::{Bundle, Output, Value, json};
use std::fs;

runtime_tests::tests![
    a_small_profile_is_the_golden_program,
    a_bare_profile_and_a_whole_config_give_the_same,
    statistics_cover_the_whole_program_and_each_architecture,
    unknown_calls_are_listed_last,
    explain_names_the_rule_behind_the_verdict,
    explain_takes_names_numbers_and_arguments,
    explain_refuses_unknown_calls,
    errors_name_the_file_and_the_place,
];

fn small() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": ["read", "write", "exit_group"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
            {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                "args": [{"index": 0, "value": 0x1000_0000, "valueTwo": 0x1000_0000, "op": "SCMP_CMP_MASKED_EQ"}]}
        ]
    })
}

/// A directory with this profile in `profile.json`, without a container.
fn with(profile: &Value) -> Bundle {
    let b = Bundle::empty();
    fs::write(b.file("profile.json"), profile.to_string()).unwrap();
    b
}

fn compile(b: &Bundle) -> Output {
    b.call(&["seccomp", &b.text("profile.json")]).output()
}

fn explain(b: &Bundle, call: &[&str]) -> Output {
    let words = ["seccomp", "--explain", &b.text("profile.json")];
    b.call(&words).args(call).output()
}

fn a_small_profile_is_the_golden_program() {
    let run = compile(&with(&small()));
    assert_eq!(run.ok().err, "", "{run}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/seccomp-small.txt");
    runtime_tests::golden::compare(path, &run.out);
}

fn a_bare_profile_and_a_whole_config_give_the_same() {
    let mut b = with(&small());
    let bare = compile(&b);
    b.set("/linux/seccomp", small()).write();
    let config = b.path().join("config.json");
    let config = config.to_str().unwrap();
    b.call(&["seccomp", config]).ok().prints(&bare.ok().out);
    let verdict = "ALLOW: syscalls[0]\n";
    explain(&b, &["read"]).ok().prints(verdict);
    // The flag may come before or after the file. The arguments after the call's name are those of the call.
    b.call(&["seccomp", config, "--explain", "read"])
        .ok()
        .prints(verdict);
    // A config.json without a profile is an error, not a profile that allows everything.
    b.remove("/linux/seccomp").write();
    b.call(&["seccomp", config])
        .output()
        .fails(&[config, "seccomp"]);
    // No state was created.
    assert!(!b.state_dir().exists());
}

/// `N instructions, A executed on average, M at most`.
#[track_caller]
fn figures(text: &str) -> (usize, f64, usize) {
    let parse = || {
        let (count, rest) = text.split_once(" instructions, ")?;
        let (average, rest) = rest.split_once(" executed on average, ")?;
        let most = rest.strip_suffix(" at most")?;
        assert!(average.split_once('.')?.1.len() == 1, "{text}");
        Some((
            count.parse().ok()?,
            average.parse().ok()?,
            most.parse().ok()?,
        ))
    };
    parse().unwrap_or_else(|| panic!("not statistics: {text:?}"))
}

fn statistics_cover_the_whole_program_and_each_architecture() {
    let text = include_str!("data/docker-seccomp.json");
    let b = with(&serde_json_of(text));
    let run = compile(&b);
    let lines = run.ok().lines();
    // One numbered line per instruction, then the statistics.
    let first = lines
        .iter()
        .position(|l| l.contains(" instructions, "))
        .unwrap_or_else(|| panic!("no statistics\n{run}"));
    for (n, line) in lines[..first].iter().enumerate() {
        assert!(line.trim_start().starts_with(&format!("{n}  ")), "{line:?}");
    }
    let (count, average, most) = figures(lines[first]);
    assert_eq!(count, first, "{run}");
    assert!(average > 1.0 && average <= most as f64 && most < count);
    let archs = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
    for (line, arch) in lines[first + 1..].iter().zip(archs) {
        let (name, rest) = line.split_once(": ").unwrap();
        let (reached, _, most_here) = figures(rest);
        assert_eq!(name, arch, "{run}");
        assert!(reached < count && most_here <= most, "{run}");
    }
    assert_eq!(lines.len(), first + 1 + archs.len(), "{run}");
}

fn serde_json_of(text: &str) -> Value {
    text.parse().unwrap()
}

fn unknown_calls_are_listed_last() {
    let mut profile = small();
    profile["syscalls"][0]["names"] = json!(["read", "call_of_tomorrow", "write", "another"]);
    let run = compile(&with(&profile));
    let last = run.ok().lines().pop().unwrap().to_owned();
    assert_eq!(
        last, "unknown system calls: call_of_tomorrow, another",
        "{run}"
    );
}

fn explain_names_the_rule_behind_the_verdict() {
    let b = with(&small());
    for (call, verdict) in [
        (&["read"][..], "ALLOW: syscalls[0]"),
        (
            &["personality", "8"],
            "ALLOW: syscalls[1], whose conditions hold",
        ),
        (&["personality", "9"], "ERRNO(38): the default"),
        (
            &["clone", "0x10000011"],
            "ERRNO(1): syscalls[2], whose conditions hold",
        ),
        (&["clone", "0x11"], "ERRNO(38): the default"),
        (&["open", "0", "0"], "ERRNO(38): the default"),
        (
            &["900"],
            "ERRNO(38): newer than every call the profile names",
        ),
    ] {
        explain(&b, call).ok().prints(&format!("{verdict}\n"));
    }
}

fn explain_takes_names_numbers_and_arguments() {
    let b = with(&small());
    let holds = "ALLOW: syscalls[1], whose conditions hold\n";
    let fails = "ERRNO(38): the default\n";
    for (call, verdict) in [
        (&["personality", "0x8"][..], holds),
        (&["135", "8"], holds),
        (&["0x87", "8", "1", "2", "3", "4", "5"], holds),
        // The comparison uses all 64 bits.
        (&["personality", "0x100000008"], fails),
        (&["personality", "-1"], fails),
        (&["personality"], fails),
    ] {
        explain(&b, call).ok().prints(verdict);
    }
}

fn explain_refuses_unknown_calls() {
    let b = with(&small());
    explain(&b, &[]).fails(&["--explain", "system call"]);
    explain(&b, &["nonsense"]).fails(&["nonsense", "SCMP_ARCH_X86_64"]);
    explain(&b, &["read", "x"]).fails(&["number", "\"x\""]);
    explain(&b, &["read", "1", "2", "3", "4", "5", "6", "7"]).fails(&["at most 6", "7"]);
    let path = b.text("profile.json");
    b.call(&["seccomp", &path, "read"])
        .output()
        .fails(&["\"read\"", "--explain"]);
    b.call(&["seccomp"]).output().fails(&["FILE"]);
}

fn errors_name_the_file_and_the_place() {
    for (pointer, value, place, word) in [
        (
            "/defaultAction",
            json!("SCMP_ACT_NONSENSE"),
            "seccomp.defaultAction",
            "SCMP_ACT_NONSENSE",
        ),
        (
            "/syscalls/1/action",
            json!("NONSENSE"),
            "seccomp.syscalls[1].action",
            "NONSENSE",
        ),
        (
            "/syscalls/1/args/0/op",
            json!("NONSENSE"),
            "seccomp.syscalls[1].args[0].op",
            "NONSENSE",
        ),
        (
            "/architectures/0",
            json!("SCMP_ARCH_PDP11"),
            "seccomp.architectures[0]",
            "SCMP_ARCH_PDP11",
        ),
        (
            "/syscalls/0/names",
            json!("read"),
            "syscalls[0].names",
            "read",
        ),
    ] {
        let mut profile = small();
        *profile.pointer_mut(pointer).unwrap() = value;
        let b = with(&profile);
        let path = b.text("profile.json");
        compile(&b).fails(&[&path, place, word]).prints("");
        explain(&b, &["read"]).fails(&[&path, place, word]);
    }
    let b = with(&small());
    fs::write(b.file("profile.json"), "{\"defaultAction\": ").unwrap();
    compile(&b).fails(&[&b.text("profile.json")]);
    let missing = b.text("nothing.json");
    b.call(&["seccomp", &missing])
        .output()
        .fails(&[&missing, "no such file or directory"]);
}
