//! Compares compiled programs with a plain evaluator: random profiles and the engines' own, with forty million calls
//! by default. For a thousand million: `BPF_CALLS=1000000000 cargo test --release -p bpf --test properties`.

mod support;

use bpf::{Action, Arch, Data};
use std::sync::atomic::{AtomicU64, Ordering};
use support::OwnedProfile;
use support::evaluator::Evaluator;
use support::random::Random;

/// The numbers tried on every profile: 0 to 1023, each also with x32's bit; −1; the numbers of mips; arm's private
/// calls.
fn numbers() -> Vec<u32> {
    let plain = 0..1024;
    let x32 = plain.clone().map(|number| number | 0x4000_0000);
    let mips = (3990..6600).step_by(3);
    let arm = 0xefffe..0xf0009;
    let edges = [0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, u32::MAX];
    plain
        .chain(x32)
        .chain(mips)
        .chain(arm)
        .chain(edges)
        .collect()
}

/// The names of the calls whose answer may depend on their arguments.
fn conditional(profile: &OwnedProfile) -> Vec<&str> {
    let rules = profile.rules.iter();
    let mut names: Vec<&str> = rules
        .filter(|rule| !rule.conditions.is_empty())
        .flat_map(|rule| &rule.names)
        .map(String::as_str)
        .collect();
    names.extend(["socketcall", "ipc"]);
    names.sort();
    names.dedup();
    names
}

fn assert_explained(profile: &OwnedProfile, data: &Data, expected: Action) {
    let explained = profile
        .with(|profile| bpf::explain(profile, data))
        .expect("a valid profile");
    assert_eq!(
        explained.action, expected,
        "{data:x?} is explained by {explained}\n{profile:#?}"
    );
}

/// Compares the program with the evaluator and gives back how many calls were asked about.
fn compare(what: &str, profile: &OwnedProfile, random: &mut Random, numbers: &[u32]) -> u64 {
    let program = profile.compile();
    let evaluator = Evaluator::new(profile);
    let mut calls = 0;
    let mut ask = |data: Data| {
        calls += 1;
        let expected = evaluator.verdict(&data);
        let found = Action::from_value(bpf::run(&program, &data));
        assert_eq!(found, Some(expected), "{what}: {data:x?}\n{profile:#?}");
        if calls % 4999 == 0 {
            assert_explained(profile, &data, expected);
        }
    };
    let call = |arch: u32, nr: u32, args: [u64; 6]| Data {
        nr,
        arch,
        instruction_pointer: 0x1234_5678_9abc,
        args,
    };
    let mut tokens: Vec<u32> = profile
        .architectures
        .iter()
        .map(|arch| arch.token())
        .collect();
    tokens.push(Arch::NATIVE.token());
    tokens.sort();
    tokens.dedup();
    let arguments = support::profiles::arguments(profile, random);
    for token in &tokens {
        for number in numbers {
            for args in [[0; 6], *random.pick(&arguments)] {
                ask(call(*token, *number, args));
            }
        }
    }
    // The token of every architecture, and some that belong to none.
    for token in
        Arch::ALL
            .map(Arch::token)
            .into_iter()
            .chain([0, u32::MAX, 0x4000_003e, 0x8000_003e])
    {
        for _ in 0..16 {
            ask(call(token, *random.pick(numbers), *random.pick(&arguments)));
        }
    }
    // The calls with conditions, with everything that could matter to them.
    let names = conditional(profile);
    for arch in Arch::ALL
        .into_iter()
        .filter(|arch| tokens.contains(&arch.token()))
    {
        for number in names.iter().filter_map(|name| bpf::number(arch, name)) {
            // A large profile has too many pairs, so each run tries a different sample.
            for args in &arguments {
                if names.len() * arguments.len() < 50_000 || random.once_in(20) {
                    ask(call(arch.token(), number, *args));
                }
            }
            for inside in 0..32 {
                let mut args = *random.pick(&arguments);
                args[0] = inside | args[0] & 0xffff_ffff_ffff_0000;
                ask(call(arch.token(), number, args));
            }
        }
    }
    calls
}

#[test]
fn random_programs_agree_with_the_evaluator() {
    let wanted: u64 =
        std::env::var("BPF_CALLS").map_or(40_000_000, |calls| calls.parse().expect("a number"));
    let (asked, profiles) = (AtomicU64::new(0), AtomicU64::new(0));
    let names = support::profiles::all_names();
    let numbers = numbers();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while asked.load(Ordering::Relaxed) < wanted {
                    let seed = profiles.fetch_add(1, Ordering::Relaxed);
                    let mut random = Random::new(seed);
                    let profile = support::profiles::random(&mut random, &names);
                    let calls =
                        compare(&format!("profile {seed}"), &profile, &mut random, &numbers);
                    asked.fetch_add(calls, Ordering::Relaxed);
                }
            });
        }
    });
    let (asked, profiles) = (asked.into_inner(), profiles.into_inner());
    println!("{asked} calls under {profiles} profiles");
    assert!(asked >= wanted && profiles >= 100);
}

#[test]
fn the_engines_profiles_agree_with_the_evaluator() {
    let numbers = numbers();
    for (name, profile) in support::engines() {
        for architectures in [&[][..], &profile.architectures, &Arch::ALL] {
            compare(
                name,
                &profile.on(architectures),
                &mut Random::new(1),
                &numbers,
            );
        }
    }
}
