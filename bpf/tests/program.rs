//! The verifier and the interpreter. Every program of the compiler must pass the verifier and suit the kernel.

mod support;

use bpf::{Arch, Data, Fault, Instruction, MAX_INSTRUCTIONS, run, trace, verify};
use support::random::Random;

const LD: u16 = 0x20;
const AND: u16 = 0x54;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const JSET: u16 = 0x45;
const RET: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

fn op(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn data(nr: u32, args: [u64; 6]) -> Data {
    Data {
        nr,
        arch: Arch::X86_64.token(),
        instruction_pointer: 0x1111_2222_3333_4444,
        args,
    }
}

#[test]
fn every_path_must_end_in_a_return() {
    let ret = op(RET, 0, 0, ALLOW);
    assert_eq!(verify(&[ret]), Ok(()));
    assert_eq!(verify(&[]), Err(Fault::Empty));
    assert_eq!(verify(&[op(LD, 0, 0, 0)]), Err(Fault::Leaves { at: 0 }));
    assert_eq!(
        verify(&[ret, op(AND, 0, 0, 0)]),
        Err(Fault::Leaves { at: 1 })
    );
    assert_eq!(
        verify(&[op(JEQ, 0, 1, 0), ret]),
        Err(Fault::Leaves { at: 0 })
    );
    assert_eq!(
        verify(&[op(JEQ, 1, 0, 0), ret]),
        Err(Fault::Leaves { at: 0 })
    );
    assert_eq!(verify(&[op(JEQ, 1, 0, 0), ret, ret]), Ok(()));
    assert_eq!(
        verify(&[op(JA, 0, 0, 1), ret]),
        Err(Fault::Leaves { at: 0 })
    );
    assert_eq!(
        verify(&[op(JA, 0, 0, u32::MAX), ret]),
        Err(Fault::Leaves { at: 0 })
    );
    assert_eq!(verify(&[op(JA, 0, 0, 1), ret, ret]), Ok(()));
}

#[test]
fn a_program_has_at_most_4096_instructions() {
    assert_eq!(verify(&vec![op(RET, 0, 0, 0); MAX_INSTRUCTIONS]), Ok(()));
    assert_eq!(
        verify(&vec![op(RET, 0, 0, 0); MAX_INSTRUCTIONS + 1]),
        Err(Fault::TooLong)
    );
}

#[test]
fn loads_must_be_words_of_seccomp_data() {
    let ret = op(RET, 0, 0, ALLOW);
    for offset in (0..64).step_by(4) {
        assert_eq!(verify(&[op(LD, 0, 0, offset), ret]), Ok(()));
    }
    for offset in [1, 2, 6, 64, 68, u32::MAX] {
        assert_eq!(
            verify(&[ret, op(LD, 0, 0, offset), ret]),
            Err(Fault::Load { at: 1 })
        );
    }
}

#[test]
fn other_operations_are_refused() {
    let ret = op(RET, 0, 0, ALLOW);
    // Byte loads, scratch memory, shifts, returns of the accumulator, jumps on the index register.
    for code in [0x30, 0x60, 0x02, 0x64, 0x16, 0x1d, 0x07, 0xffff] {
        assert_eq!(
            verify(&[op(code, 0, 0, 0), ret]),
            Err(Fault::Operation { at: 0 }),
            "{code:#x}"
        );
        assert_eq!(
            run(&[op(code, 0, 0, 0), ret], &data(0, [0; 6])),
            KILL_PROCESS,
            "{code:#x}"
        );
    }
}

#[test]
fn a_program_that_the_verifier_refuses_never_allows_a_call() {
    let mut random = Random::new(5);
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..200_000 {
        let length = 1 + random.below(5);
        let program: Vec<Instruction> = (0..length)
            .map(|_| {
                let code = *random.pick(&[LD, AND, JA, JEQ, JGT, JGE, JSET, RET, RET, 0x30]);
                let k = *random.pick(&[0, 1, 4, 16, 63, ALLOW, u32::MAX]);
                op(code, random.below(3) as u8, random.below(3) as u8, k)
            })
            .collect();
        let result = trace(&program, &data(random.below(3) as u32, [1, 2, 3, 4, 5, 6]));
        assert!(result.1 <= length);
        match verify(&program) {
            // The program is valid, so it reaches some return.
            Ok(()) => {
                taken += 1;
                assert!(program.iter().any(|op| op.code == RET && op.k == result.0));
            }
            Err(_) => refused += 1,
        }
    }
    assert!(
        refused > 1000 && taken > 1000,
        "{refused} refused, {taken} taken"
    );
}

#[test]
fn words_are_laid_out_in_the_byte_order_of_the_architecture() {
    let args = [
        0x0000_0001_0000_0002,
        3 << 32 | 4,
        0,
        0,
        0,
        0xaaaa_bbbb_cccc_dddd,
    ];
    let word = |arch: Arch, offset: u32| {
        let data = Data {
            arch: arch.token(),
            ..data(7, args)
        };
        // A chain of comparisons instead of a search, so that the test depends on no other code.
        let is = |value| {
            run(
                &[
                    op(LD, 0, 0, offset),
                    op(JEQ, 0, 1, value),
                    op(RET, 0, 0, 1),
                    op(RET, 0, 0, 2),
                ],
                &data,
            ) == 1
        };
        [
            7,
            1,
            2,
            3,
            4,
            0xaaaa_bbbb,
            0xcccc_dddd,
            0x1111_2222,
            0x3333_4444,
            arch.token(),
        ]
        .into_iter()
        .find(|value| is(*value))
        .expect("one of the words")
    };
    for (arch, [low, high]) in [(Arch::X86_64, [0, 4]), (Arch::S390x, [4, 0])] {
        assert_eq!(word(arch, 0), 7);
        assert_eq!(word(arch, 4), arch.token());
        assert_eq!(word(arch, 8 + low), 0x3333_4444);
        assert_eq!(word(arch, 8 + high), 0x1111_2222);
        assert_eq!(word(arch, 16 + low), 2);
        assert_eq!(word(arch, 16 + high), 1);
        assert_eq!(word(arch, 24 + low), 4);
        assert_eq!(word(arch, 56 + low), 0xcccc_dddd);
        assert_eq!(word(arch, 56 + high), 0xaaaa_bbbb);
    }
}

#[test]
fn instructions_are_laid_out_as_the_kernels_sock_filter() {
    assert_eq!(size_of::<Instruction>(), size_of::<libc::sock_filter>());
    assert_eq!(
        std::mem::offset_of!(Instruction, code),
        std::mem::offset_of!(libc::sock_filter, code)
    );
    assert_eq!(
        std::mem::offset_of!(Instruction, jt),
        std::mem::offset_of!(libc::sock_filter, jt)
    );
    assert_eq!(
        std::mem::offset_of!(Instruction, jf),
        std::mem::offset_of!(libc::sock_filter, jf)
    );
    assert_eq!(
        std::mem::offset_of!(Instruction, k),
        std::mem::offset_of!(libc::sock_filter, k)
    );
}

#[test]
fn an_always_allowed_call_is_decided_before_any_argument_is_loaded() {
    // The kernel remembers these calls and never runs the filter for them, which saves more than any optimisation
    // here.
    let profile = support::docker();
    let program = profile.compile();
    let evaluator = support::evaluator::Evaluator::new(&profile);
    for nr in 0..470 {
        let data = data(nr, [0; 6]);
        let unconditional = profile
            .rules
            .iter()
            .filter(|rule| rule.conditions.is_empty());
        let named = unconditional
            .flat_map(|rule| &rule.names)
            .any(|name| bpf::number(Arch::X86_64, name) == Some(nr));
        if named && evaluator.verdict(&data) == bpf::Action::Allow {
            let (mut at, mut loads) = (0, Vec::new());
            // Steps through the program by cutting off its start, until a return comes first.
            while program[at].code != RET {
                if program[at].code == LD {
                    loads.push(program[at].k);
                }
                let rest = &program[at..];
                let word = match loads.last() {
                    Some(0) => data.nr,
                    Some(4) => data.arch,
                    other => panic!("call {nr} looks at {other:?}"),
                };
                let taken = match rest[0].code {
                    LD => 0,
                    JEQ => u32::from(if word == rest[0].k {
                        rest[0].jt
                    } else {
                        rest[0].jf
                    }),
                    JGE => u32::from(if word >= rest[0].k {
                        rest[0].jt
                    } else {
                        rest[0].jf
                    }),
                    JA => rest[0].k,
                    code => panic!("call {nr} comes to {code:#x}"),
                };
                at += 1 + taken as usize;
            }
            assert_eq!(program[at].k, ALLOW, "call {nr}");
        }
    }
}

#[test]
fn the_disassembler_and_the_statistics_accept_any_bytes() {
    let mut random = Random::new(9);
    for _ in 0..2_000 {
        let program: Vec<Instruction> = (0..random.below(20))
            .map(|_| {
                let code = *random.pick(&[LD, AND, JA, JEQ, JGT, JGE, JSET, RET, 0x30]);
                let k = *random.pick(&[0, 4, 16, 63, ALLOW, u32::MAX, Arch::X86_64.token()]);
                op(code, random.next() as u8, random.below(3) as u8, k)
            })
            .collect();
        let listing = bpf::disassemble(&program, &Arch::ALL);
        assert_eq!(listing.lines().count(), program.len());
        bpf::statistics(&program, &[Arch::X86]);
        bpf::statistics_of(&program, Arch::X86_64);
    }
}
