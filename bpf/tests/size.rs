//! The bars for the code the compiler makes of Docker's profile: length, and instructions executed.

mod support;
use bpf::{Arch, Data};

fn walk(program: &[bpf::Instruction], arch: Arch, offset: u32) -> (f64, usize) {
    let mut total = 0;
    let mut most = 0;
    for nr in 0..=470u32 {
        let data = Data {
            nr: nr + offset,
            arch: arch.token(),
            instruction_pointer: 0,
            args: [0; 6],
        };
        let (_, executed) = bpf::trace(program, &data);
        total += executed;
        most = most.max(executed);
    }
    (total as f64 / 471.0, most)
}

#[test]
fn docker() {
    let p = support::docker();
    let one = p.on(&[]).compile();
    println!("{}", bpf::statistics(&one, &[Arch::X86_64]));
    println!("{} {:?}", one.len(), walk(&one, Arch::X86_64, 0));
    let three = p.compile();
    println!("{}", bpf::statistics(&three, &p.architectures));
    for arch in &p.architectures {
        println!("{arch:?} {}", bpf::statistics_of(&three, *arch));
    }
    println!(
        "{} {:?} {:?} {:?}",
        three.len(),
        walk(&three, Arch::X86_64, 0),
        walk(&three, Arch::X86, 0),
        walk(&three, Arch::X86_64, 0x40000000)
    );
}
