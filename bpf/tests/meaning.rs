mod support;
use bpf::{Action, Arch, Data};
use support::evaluator::Evaluator;

#[test]
fn docker() {
    let p = support::docker();
    for p in [p.on(&[]), p.clone()] {
        let program = p.compile();
        let evaluator = Evaluator::new(&p);
        let mut values = vec![0u64];
        for r in &p.rules {
            for c in &r.conditions {
                for v in [c.value, c.value_two] {
                    values.extend([v, v.wrapping_sub(1), v + 1, v << 32 | v >> 32]);
                    for b in 0..64 {
                        values.push(1 << b);
                    }
                }
            }
        }
        values.sort();
        values.dedup();
        let mut n = 0;
        for arch in Arch::ALL {
            for nr in (0..1024)
                .flat_map(|n| [n, n | 0x40000000])
                .chain([u32::MAX])
            {
                for v in &values {
                    let data = Data {
                        nr,
                        arch: arch.token(),
                        instruction_pointer: 0,
                        args: [*v; 6],
                    };
                    let value = bpf::run(&program, &data);
                    n += 1;
                    assert_eq!(
                        Action::from_value(value),
                        Some(evaluator.verdict(&data)),
                        "{data:?}"
                    );
                }
            }
        }
        println!("{n}");
    }
}
