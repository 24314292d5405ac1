//! What people read and write: names in a profile, errors, explanations and listings.

mod support;

use bpf::{Action, Arch, Condition, Data, Error, Operator, Profile, Rule, compile, explain};
use support::{condition, profile, rule};

const EPERM: Action = Action::Errno(1);

#[test]
fn errors_name_the_field() {
    let fails = |default: Action, rules: &[Rule]| {
        let error = compile(&profile(default, rules)).expect_err("an invalid profile");
        assert_eq!(
            explain(
                &profile(default, rules),
                &Data {
                    nr: 0,
                    arch: 0,
                    instruction_pointer: 0,
                    args: [0; 6]
                }
            ),
            Err(error)
        );
        (error.path(), error.to_string())
    };
    let index = [
        condition(5, Operator::Equal, 0),
        condition(6, Operator::Equal, 0),
    ];
    let fine = rule(&["read"], EPERM, &[]);
    assert_eq!(
        fails(Action::Allow, &[fine, rule(&["write"], EPERM, &index)]),
        (
            "syscalls[1].args[1].index".into(),
            "a system call has arguments 0 to 5, found 6".into()
        )
    );
    // Also where the rule would be dropped, or names nothing.
    assert_eq!(
        fails(EPERM, &[rule(&[], EPERM, &index)]).0,
        "syscalls[0].args[1].index"
    );
    assert_eq!(
        fails(Action::Allow, &[rule(&["read", ""], EPERM, &[])]),
        (
            "syscalls[0].names[1]".into(),
            "expected the name of a system call, found \"\"".into()
        )
    );
    assert_eq!(
        fails(Action::Notify, &[]),
        (
            "defaultAction".into(),
            "SCMP_ACT_NOTIFY cannot be the default action".into()
        )
    );
    assert_eq!(
        fails(
            Action::Allow,
            &[fine, rule(&["read", "write"], Action::Notify, &[])]
        ),
        (
            "syscalls[1].action".into(),
            "SCMP_ACT_NOTIFY cannot be used for write".into()
        )
    );
}

#[test]
fn a_profile_too_long_for_the_kernel_is_refused_not_cut_off() {
    let values: Vec<[Condition; 2]> = (0..3000)
        .map(|n| {
            [
                condition(0, Operator::Equal, n * 3),
                condition(1, Operator::Equal, n * 3),
            ]
        })
        .collect();
    let rules: Vec<Rule> = values
        .iter()
        .map(|conditions| rule(&["read"], EPERM, conditions))
        .collect();
    let error = compile(&profile(Action::Allow, &rules)).expect_err("too long");
    let Error::TooLong { instructions } = error else {
        panic!("{error:?}")
    };
    assert!(instructions > 4096);
    assert_eq!(
        error.to_string(),
        format!("the filter has {instructions} instructions, the kernel takes 4096")
    );
    assert_eq!(error.path(), "");
}

#[test]
fn actions_have_the_values_of_the_kernel_and_their_errno_rules() {
    use bpf::ActionError::{ErrnoTooLarge, ErrnoUnused, Unknown};
    let value = |name: &str, errno| Action::from_name(name, errno).map(Action::value);
    assert_eq!(value("SCMP_ACT_KILL", None), Ok(0));
    assert_eq!(value("SCMP_ACT_KILL_THREAD", None), Ok(0));
    assert_eq!(value("SCMP_ACT_KILL_PROCESS", None), Ok(0x8000_0000));
    assert_eq!(value("SCMP_ACT_TRAP", None), Ok(0x0003_0000));
    assert_eq!(value("SCMP_ACT_ERRNO", None), Ok(0x0005_0001));
    assert_eq!(value("SCMP_ACT_ERRNO", Some(38)), Ok(0x0005_0026));
    assert_eq!(value("SCMP_ACT_ERRNO", Some(0)), Ok(0x0005_0000));
    assert_eq!(value("SCMP_ACT_ERRNO", Some(4095)), Ok(0x0005_0fff));
    assert_eq!(value("SCMP_ACT_ERRNO", Some(4096)), Err(ErrnoTooLarge));
    assert_eq!(value("SCMP_ACT_TRACE", None), Ok(0x7ff0_0001));
    assert_eq!(value("SCMP_ACT_TRACE", Some(7)), Ok(0x7ff0_0007));
    assert_eq!(value("SCMP_ACT_TRACE", Some(65536)), Err(ErrnoTooLarge));
    assert_eq!(value("SCMP_ACT_NOTIFY", None), Ok(0x7fc0_0000));
    assert_eq!(value("SCMP_ACT_LOG", None), Ok(0x7ffc_0000));
    assert_eq!(value("SCMP_ACT_ALLOW", None), Ok(0x7fff_0000));
    assert_eq!(value("SCMP_ACT_ALLOW", Some(1)), Err(ErrnoUnused));
    assert_eq!(value("SCMP_ACT_KILL", Some(5)), Err(ErrnoUnused));
    for name in ["SCMP_ACT_BLOCK", "allow", "", "SCMP_ACT_ALLOW "] {
        assert_eq!(value(name, None), Err(Unknown));
        assert_eq!(value(name, Some(1)), Err(Unknown));
    }
    for name in Action::NAMES {
        let action = Action::from_name(name, None).expect("a listed name");
        assert_eq!(Action::from_value(action.value()), Some(action));
    }
}

#[test]
fn names_of_architectures_and_operators_are_those_of_the_specification() {
    for arch in Arch::ALL {
        assert_eq!(Arch::from_name(arch.name()), Some(arch));
    }
    assert_eq!(Arch::from_name("SCMP_ARCH_NATIVE"), None);
    assert_eq!(Arch::from_name("x86_64"), None);
    let operators = Operator::NAMES.map(|name| Operator::from_name(name).expect("a listed name"));
    for (at, operator) in operators.iter().enumerate() {
        assert!(!operators[..at].contains(operator));
    }
    assert_eq!(Operator::from_name("SCMP_CMP_XX"), None);
    // AUDIT_ARCH_* of linux/audit.h.
    assert_eq!(Arch::X86_64.token(), 0xc000_003e);
    assert_eq!(Arch::X86.token(), 0x4000_0003);
    assert_eq!(Arch::Aarch64.token(), 0xc000_00b7);
    assert_eq!(Arch::Mipsel64n32.token(), 0xe000_0008);
    assert_eq!(Arch::Ppc64le.token(), 0xc000_0015);
    assert_eq!(Arch::S390x.token(), 0x8000_0016);
}

#[test]
fn explanations_name_the_rule() {
    let vsock = [condition(0, Operator::Equal, 40)];
    let rules = [
        rule(&["read"], Action::Allow, &[]),
        rule(&["socket"], Action::Allow, &vsock),
        rule(&["bind"], Action::Allow, &[]),
    ];
    let profile = Profile {
        default: EPERM,
        architectures: &[Arch::X86],
        rules: &rules,
    };
    let say = |arch: Arch, nr: u32, first: u64| {
        let data = Data {
            nr,
            arch: arch.token(),
            instruction_pointer: 0,
            args: [first, 0, 0, 0, 0, 0],
        };
        explain(&profile, &data)
            .expect("a valid profile")
            .to_string()
    };
    assert_eq!(say(Arch::X86_64, 0, 0), "ALLOW: syscalls[0]");
    assert_eq!(
        say(Arch::X86_64, 41, 40),
        "ALLOW: syscalls[1], whose conditions hold"
    );
    assert_eq!(say(Arch::X86_64, 41, 2), "ERRNO(1): the default");
    assert_eq!(
        say(Arch::X86, 102, 2),
        "ALLOW: syscalls[2], for the call inside the multiplexer"
    );
    assert_eq!(
        say(Arch::X86_64, 50, 0),
        "ERRNO(38): newer than every call the profile names"
    );
    assert_eq!(
        say(Arch::Aarch64, 63, 0),
        "KILL_THREAD: the architecture is not listed"
    );
}

#[test]
fn programs_are_listed_with_the_names_of_their_calls() {
    let equal = [condition(1, Operator::Equal, 1 << 32 | 2)];
    let rules = [
        rule(&["close"], EPERM, &[]),
        rule(&["ioctl"], Action::Trap, &equal),
    ];
    let program = compile(&profile(Action::Allow, &rules)).expect("a valid profile");
    let listing = bpf::disassemble(&program.instructions, &[Arch::X86_64]);
    let expected = "
   0  load  arch
   1  jeq   0xc000003e ? 2 : 15  ; SCMP_ARCH_X86_64
   2  load  nr
   3  jge   17 ? 6 : 4  ; pread64
   4  jge   16 ? 8 : 5  ; ioctl
   5  jeq   3 ? 13 : 14  ; close
   6  jge   0x40000000 ? 7 : 14
   7  jge   0xffffffff ? 14 : 15
   8  load  args[1].high
   9  jeq   0x1 ? 10 : 14
  10  load  args[1].low
  11  jeq   0x2 ? 12 : 14
  12  ret   TRAP
  13  ret   ERRNO(1)
  14  ret   ALLOW
  15  ret   KILL_THREAD
";
    assert_eq!(format!("\n{listing}"), expected);
}
