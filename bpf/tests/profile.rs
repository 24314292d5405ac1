//! The meaning of profiles, case by case. Each rule in the crate's documentation has a test here.

mod support;

use bpf::{Action, Arch, Condition, Data, Operator, Profile, Rule, compile, explain, run};
use support::{condition, profile, rule};

const EPERM: Action = Action::Errno(1);
const ENOSYS: Action = Action::Errno(38);

/// What a profile does with one call, by the program and by its explanation alike.
fn verdict(profile: &Profile, arch: Arch, nr: u32, args: &[u64]) -> Action {
    let mut data = Data {
        nr,
        arch: arch.token(),
        instruction_pointer: 0,
        args: [0; 6],
    };
    data.args[..args.len()].copy_from_slice(args);
    let program = compile(profile).expect("a valid profile");
    let action = Action::from_value(run(&program.instructions, &data)).expect("an action");
    assert_eq!(
        explain(profile, &data).expect("a valid profile").action,
        action
    );
    action
}

fn named(profile: &Profile, arch: Arch, name: &str, args: &[u64]) -> Action {
    verdict(
        profile,
        arch,
        bpf::number(arch, name).expect("a call of that architecture"),
        args,
    )
}

#[test]
fn an_unconditional_rule_beats_conditional_ones_in_either_order() {
    let equal = [condition(0, Operator::Equal, 1)];
    let conditional = rule(&["read"], Action::Trap, &equal);
    let unconditional = rule(&["read"], EPERM, &[]);
    for rules in [[conditional, unconditional], [unconditional, conditional]] {
        assert_eq!(
            named(&profile(Action::Allow, &rules), Arch::X86_64, "read", &[1]),
            EPERM
        );
    }
}

#[test]
fn the_first_unconditional_rule_wins() {
    let rules = [
        rule(&["read"], EPERM, &[]),
        rule(&["read"], Action::Trap, &[]),
    ];
    assert_eq!(
        named(&profile(Action::Allow, &rules), Arch::X86_64, "read", &[]),
        EPERM
    );
}

#[test]
fn the_first_conditional_rule_that_matches_wins() {
    let (small, smaller) = (
        [condition(0, Operator::Less, 9)],
        [condition(0, Operator::Less, 5)],
    );
    let rules = [
        rule(&["read"], EPERM, &smaller),
        rule(&["read"], Action::Trap, &small),
    ];
    let profile = profile(Action::Allow, &rules);
    assert_eq!(named(&profile, Arch::X86_64, "read", &[4]), EPERM);
    assert_eq!(named(&profile, Arch::X86_64, "read", &[8]), Action::Trap);
    assert_eq!(named(&profile, Arch::X86_64, "read", &[9]), Action::Allow);
}

#[test]
fn a_rule_that_repeats_the_default_is_dropped() {
    let equal = [condition(0, Operator::Equal, 1)];
    let rules = [
        rule(&["read"], EPERM, &[]),
        rule(&["read"], Action::Allow, &equal),
    ];
    assert_eq!(
        named(&profile(EPERM, &rules), Arch::X86_64, "read", &[1]),
        Action::Allow
    );
    // With another errno the rule differs from the default.
    assert_eq!(
        named(
            &profile(Action::Errno(2), &rules),
            Arch::X86_64,
            "read",
            &[1]
        ),
        EPERM
    );
}

#[test]
fn conditions_of_one_rule_must_all_hold() {
    let both = [
        condition(0, Operator::Equal, 1),
        condition(1, Operator::Equal, 2),
    ];
    let rules = [rule(&["read"], EPERM, &both)];
    let profile = profile(Action::Allow, &rules);
    assert_eq!(named(&profile, Arch::X86_64, "read", &[1, 2]), EPERM);
    assert_eq!(
        named(&profile, Arch::X86_64, "read", &[1, 3]),
        Action::Allow
    );
    assert_eq!(
        named(&profile, Arch::X86_64, "read", &[0, 2]),
        Action::Allow
    );
}

#[test]
fn a_repeated_index_makes_all_conditions_alternatives() {
    let three = [
        condition(0, Operator::Equal, 1),
        condition(0, Operator::Equal, 2),
        condition(1, Operator::Equal, 3),
    ];
    let rules = [rule(&["read"], EPERM, &three)];
    let profile = profile(Action::Allow, &rules);
    for args in [[1, 0], [2, 0], [0, 3]] {
        assert_eq!(named(&profile, Arch::X86_64, "read", &args), EPERM);
    }
    assert_eq!(
        named(&profile, Arch::X86_64, "read", &[3, 1]),
        Action::Allow
    );
}

#[test]
fn masked_equality_also_masks_the_datum() {
    let masked = [Condition {
        index: 0,
        value: 0xf0,
        value_two: 0x1f,
        op: Operator::MaskedEqual,
    }];
    let rules = [rule(&["read"], EPERM, &masked)];
    let profile = profile(Action::Allow, &rules);
    assert_eq!(named(&profile, Arch::X86_64, "read", &[0xf1f]), EPERM);
    assert_eq!(
        named(&profile, Arch::X86_64, "read", &[0xf2f]),
        Action::Allow
    );
}

#[test]
fn comparisons_use_64_bits_or_the_low_32_on_32_bit_architectures() {
    let equal = [condition(0, Operator::Equal, 5 << 32 | 7)];
    let rules = [rule(&["read"], EPERM, &equal)];
    let architectures = [Arch::X86, Arch::X32];
    let profile = Profile {
        default: Action::Allow,
        architectures: &architectures,
        rules: &rules,
    };
    for arch in [Arch::X86_64, Arch::X32] {
        assert_eq!(named(&profile, arch, "read", &[5 << 32 | 7]), EPERM);
        assert_eq!(named(&profile, arch, "read", &[7]), Action::Allow);
        assert_eq!(named(&profile, arch, "read", &[7 << 32 | 5]), Action::Allow);
    }
    assert_eq!(named(&profile, Arch::X86, "read", &[7]), EPERM);
}

#[test]
fn a_foreign_architecture_is_killed_even_if_the_default_is_allow() {
    let profile = profile(Action::Allow, &[]);
    for arch in [Arch::X86, Arch::Aarch64, Arch::S390x] {
        assert_eq!(named(&profile, arch, "read", &[]), Action::KillThread);
    }
}

#[test]
fn the_native_architecture_is_implied() {
    let rules = [rule(&["read"], EPERM, &[])];
    let profile = Profile {
        default: Action::Allow,
        architectures: &[Arch::X86],
        rules: &rules,
    };
    assert_eq!(named(&profile, Arch::X86_64, "read", &[]), EPERM);
    assert_eq!(named(&profile, Arch::X86, "read", &[]), EPERM);
}

#[test]
fn x32_numbers_are_killed_unless_x32_is_listed_but_minus_one_is_not() {
    let rules = [rule(&["read"], EPERM, &[])];
    let mut profile = profile(Action::Allow, &rules);
    for number in [
        0x4000_0000,
        0x4000_0001,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_fffe,
    ] {
        assert_eq!(
            verdict(&profile, Arch::X86_64, number, &[]),
            Action::KillThread,
            "{number:#x}"
        );
    }
    assert_eq!(
        verdict(&profile, Arch::X86_64, u32::MAX, &[]),
        Action::Allow
    );
    profile.architectures = &[Arch::X32];
    assert_eq!(verdict(&profile, Arch::X86_64, 0x4000_0000, &[]), EPERM);
    assert_eq!(
        verdict(&profile, Arch::X86_64, 0x4000_0001, &[]),
        Action::Allow
    );
    assert_eq!(
        verdict(&profile, Arch::X86_64, u32::MAX, &[]),
        Action::Allow
    );
}

#[test]
fn calls_above_the_largest_named_one_return_enosys_if_the_default_is_restrictive() {
    // The rule repeats the default for the largest call, but still names it.
    let rules = [
        rule(&["read", "no_such_call"], Action::Allow, &[]),
        rule(&["execveat"], EPERM, &[]),
    ];
    let restrictive = profile(EPERM, &rules);
    let largest = bpf::number(Arch::X86_64, "execveat").expect("a number");
    assert_eq!(verdict(&restrictive, Arch::X86_64, largest, &[]), EPERM);
    assert_eq!(
        verdict(&restrictive, Arch::X86_64, largest + 1, &[]),
        ENOSYS
    );
    assert_eq!(verdict(&restrictive, Arch::X86_64, 600, &[]), ENOSYS);
    assert_eq!(verdict(&restrictive, Arch::X86_64, u32::MAX, &[]), ENOSYS);
    for default in [
        Action::KillProcess,
        Action::KillThread,
        Action::Trap,
        Action::Errno(0),
    ] {
        assert_eq!(
            verdict(&profile(default, &rules), Arch::X86_64, 600, &[]),
            ENOSYS
        );
    }
    for default in [Action::Allow, Action::Log, Action::Trace(5)] {
        assert_eq!(
            verdict(&profile(default, &rules), Arch::X86_64, 600, &[]),
            default
        );
    }
}

#[test]
fn a_profile_that_names_no_call_has_no_newer_calls() {
    for rules in [&[][..], &[rule(&["no_such_call"], Action::Allow, &[])]] {
        for number in [0, 600, u32::MAX] {
            assert_eq!(
                verdict(&profile(EPERM, rules), Arch::X86_64, number, &[]),
                EPERM
            );
        }
    }
}

#[test]
fn each_architecture_has_its_own_largest_call() {
    // 383 on x86, 322 on x86_64 and 545 on x32.
    let rules = [rule(&["execveat"], Action::Allow, &[])];
    let architectures = [Arch::X86, Arch::X32];
    let profile = Profile {
        default: EPERM,
        architectures: &architectures,
        rules: &rules,
    };
    for (arch, below, above) in [
        (Arch::X86_64, 321, 323),
        (Arch::X86, 357, 359),
        (Arch::X32, 0x4000_0220, 0x4000_0222),
    ] {
        assert_eq!(verdict(&profile, arch, below, &[]), EPERM);
        assert_eq!(verdict(&profile, arch, above, &[]), ENOSYS);
    }
}

#[test]
fn a_filter_that_only_kills_kills_every_call() {
    // The call exists on arm only, so the rule has no effect, but the compiler knows its action.
    let rules = [rule(&["set_tls"], Action::Trap, &[])];
    let profile = profile(Action::KillThread, &rules);
    for arch in [Arch::X86_64, Arch::X86, Arch::Arm] {
        assert_eq!(verdict(&profile, arch, 0, &[]), Action::KillThread);
    }
}

#[test]
fn unknown_names_are_listed_once_and_have_no_effect() {
    let rules = [
        rule(&["b", "read", "a"], EPERM, &[]),
        rule(&["a", "write", "c"], EPERM, &[]),
    ];
    let program = compile(&profile(Action::Allow, &rules)).expect("a valid profile");
    assert_eq!(program.unknown, ["b", "a", "c"]);
    let known = [rule(&["read", "write"], EPERM, &[])];
    assert_eq!(
        program.instructions,
        compile(&profile(Action::Allow, &known))
            .expect("valid")
            .instructions
    );
}

/// The verdicts of a profile about `socket` on i386: of the direct call and of socketcall.
fn socket(default: Action, rules: &[Rule], args: &[u64]) -> [Action; 2] {
    let profile = Profile {
        default,
        architectures: &[Arch::X86],
        rules,
    };
    [
        named(&profile, Arch::X86, "socket", args),
        named(&profile, Arch::X86, "socketcall", &[1, 0xbfff_0000]),
    ]
}

#[test]
fn an_unconditional_rule_also_applies_through_the_multiplexer() {
    let rules = [rule(&["socket"], Action::Allow, &[])];
    assert_eq!(socket(EPERM, &rules, &[]), [Action::Allow, Action::Allow]);
    let profile = Profile {
        default: EPERM,
        architectures: &[Arch::X86],
        rules: &rules,
    };
    // bind stays forbidden.
    assert_eq!(named(&profile, Arch::X86, "socketcall", &[2]), EPERM);
    let rules = [rule(&["shmat"], EPERM, &[])];
    let profile = Profile {
        default: Action::Allow,
        architectures: &[Arch::X86],
        rules: &rules,
    };
    // The kernel ignores the version in the upper half, so a rule must not depend on it.
    for call in [21, 1 << 16 | 21, 0xffff_0015] {
        assert_eq!(
            named(&profile, Arch::X86, "ipc", &[call]),
            EPERM,
            "{call:#x}"
        );
    }
    assert_eq!(named(&profile, Arch::X86, "ipc", &[22]), Action::Allow);
}

#[test]
fn conditional_rules_give_the_most_restrictive_action_through_a_multiplexer() {
    let vsock = [condition(0, Operator::Equal, 40)];
    // A permission does not extend to the multiplexer; a restriction does.
    let allowed = [rule(&["socket"], Action::Allow, &vsock)];
    assert_eq!(socket(EPERM, &allowed, &[40]), [Action::Allow, EPERM]);
    let forbidden = [rule(&["socket"], EPERM, &vsock)];
    assert_eq!(socket(Action::Allow, &forbidden, &[40]), [EPERM, EPERM]);
    assert_eq!(
        socket(Action::Allow, &forbidden, &[2]),
        [Action::Allow, EPERM]
    );
    let killed = [
        rule(&["socket"], EPERM, &vsock),
        rule(&["socket"], Action::KillProcess, &vsock),
    ];
    assert_eq!(
        socket(Action::Allow, &killed, &[40]),
        [EPERM, Action::KillProcess]
    );
    // A rule that names the multiplexer itself applies as it stands.
    let own = [
        rule(&["socket"], EPERM, &vsock),
        rule(&["socketcall"], Action::Allow, &[]),
    ];
    assert_eq!(socket(Action::Log, &own, &[40]), [EPERM, Action::Allow]);
}

#[test]
fn a_call_reached_only_through_a_multiplexer_names_the_multiplexer() {
    // i386 has no semop call; 117 is ipc.
    let rules = [rule(&["semop"], Action::Allow, &[])];
    let profile = Profile {
        default: EPERM,
        architectures: &[Arch::X86],
        rules: &rules,
    };
    assert_eq!(named(&profile, Arch::X86, "ipc", &[1]), Action::Allow);
    assert_eq!(named(&profile, Arch::X86, "ipc", &[2]), EPERM);
    assert_eq!(verdict(&profile, Arch::X86, 116, &[]), EPERM);
    assert_eq!(verdict(&profile, Arch::X86, 118, &[]), ENOSYS);
}

#[test]
fn a_long_run_of_checks_is_jumped_over() {
    let values: Vec<[Condition; 2]> = (0..300)
        .map(|n| {
            [
                condition(0, Operator::Equal, n * 3),
                condition(1, Operator::Equal, n * 3),
            ]
        })
        .collect();
    let mut rules: Vec<Rule> = values
        .iter()
        .map(|conditions| rule(&["read"], EPERM, conditions))
        .collect();
    rules.push(rule(&["write"], Action::Trap, &[]));
    let profile = profile(Action::Allow, &rules);
    assert!(
        compile(&profile)
            .expect("long, but not too long")
            .instructions
            .len()
            > 1000
    );
    assert_eq!(named(&profile, Arch::X86_64, "write", &[]), Action::Trap);
    for n in [0, 150, 299] {
        assert_eq!(
            named(&profile, Arch::X86_64, "read", &[n * 3, n * 3]),
            EPERM
        );
        assert_eq!(
            named(&profile, Arch::X86_64, "read", &[n * 3, n * 3 + 1]),
            Action::Allow
        );
    }
}
