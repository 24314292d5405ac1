//! Limits on the compiled profiles of the engines: length, and instructions executed per call.

mod support;

use bpf::{Arch, Data, Statistics, statistics, statistics_of};

/// Asserts that a program is within its limits: length, average executed in tenths, maximum executed.
fn within(found: Statistics, instructions: usize, tenths: usize, most: usize) {
    println!("{found}");
    assert!(found.instructions <= instructions, "{found}");
    assert!(found.executed * 10 <= tenths * found.numbers, "{found}");
    assert!(found.most <= most, "{found}");
}

#[test]
fn dockers_profile_stays_within_its_limits_on_one_architecture() {
    let profile = support::docker().on(&[]);
    within(statistics(&profile.compile(), &[Arch::X86_64]), 90, 93, 16);
}

#[test]
fn dockers_profile_stays_within_its_limits_on_three_architectures() {
    let profile = support::docker();
    let program = profile.compile();
    within(statistics(&program, &profile.architectures), 300, 112, 17);
    within(statistics_of(&program, Arch::X86_64), 175, 98, 16);
    within(statistics_of(&program, Arch::X86), 130, 118, 16);
    within(statistics_of(&program, Arch::X32), 175, 120, 17);
}

#[test]
fn the_other_engines_profiles_stay_within_their_limits() {
    // In Podman's profile `socket` has the longest path: two arguments, both halves of each compared.
    let bars = [
        ("docker", 16, 17),
        ("podman", 23, 25),
        ("containerd", 16, 17),
    ];
    for ((name, profile), (bar, one, three)) in support::engines().into_iter().zip(bars) {
        println!("{name}");
        assert_eq!(name, bar);
        let alone = profile.on(&[]).compile();
        within(statistics(&alone, &[Arch::X86_64]), 100, 95, one);
        within(
            statistics(&profile.compile(), &profile.architectures),
            320,
            115,
            three,
        );
    }
}

#[test]
fn statistics_count_the_longest_path_of_a_call() {
    let profile = support::docker();
    let program = profile.compile();
    let mut random = support::random::Random::new(1);
    let mut most = 0;
    for arguments in support::profiles::arguments(&profile, &mut random) {
        for nr in 0..=470 {
            let data = Data {
                nr,
                arch: Arch::X86_64.token(),
                instruction_pointer: 0,
                args: arguments,
            };
            most = most.max(bpf::trace(&program, &data).1);
        }
    }
    assert_eq!(statistics(&program, &[Arch::X86_64]).most, most);
}

#[test]
fn statistics_are_displayed_in_one_line() {
    let statistics = Statistics {
        instructions: 84,
        numbers: 471,
        executed: 4360,
        most: 16,
    };
    assert_eq!(
        statistics.to_string(),
        "84 instructions, 9.3 executed on average, 16 at most"
    );
    let nothing = Statistics {
        instructions: 1,
        numbers: 0,
        executed: 0,
        most: 0,
    };
    assert_eq!(
        nothing.to_string(),
        "1 instructions, 0.0 executed on average, 0 at most"
    );
}

#[test]
fn calls_with_the_same_rules_share_their_checks() {
    let json = |names: &[&str]| {
        let rules = format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{{"names": [{}], "action": "SCMP_ACT_ALLOW",
               "args": [{{"index": 0, "op": "SCMP_CMP_EQ", "value": 1099511627776}}]}}]}}"#,
            names
                .iter()
                .map(|name| format!("\"{name}\""))
                .collect::<Vec<_>>()
                .join(",")
        );
        support::read(&rules).compile().len()
    };
    let (one, two) = (json(&["read"]), json(&["read", "close"]));
    // The second call adds an interval to the search, but no second copy of the checks.
    assert!(
        two <= one + 2,
        "{one} instructions for one call, {two} for two"
    );
}
