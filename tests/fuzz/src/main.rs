//! Random input for every parser of the library: nothing panics or overflows, no input of a megabyte takes more than 64 MB
//! of memory or more than seconds, and what is accepted holds its promises.
//!
//! usage: runtime-fuzz [TARGET [SEED]]
//!
//! Every target runs at once, or TARGET alone, each for FUZZ_SECONDS (10). What fails is printed with its SEED, which does
//! the same again, and the input is kept in the directory for temporary files.

mod input;
mod targets;

use peak_alloc::PeakAlloc;
use std::path::PathBuf;
use std::process::{Command, exit};
use std::time::{Duration, Instant};
use std::{env, fs, panic, thread};
use targets::{TARGETS, Target};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What one input may take.
const MEMORY_MAX: usize = 64 << 20;
const SECONDS_MAX: f64 = 4.0;
/// What one input may take on a busy machine.
const ENDLESS: Duration = Duration::from_secs(60);
/// A plan lives as long as its process, so a process goes on until its plans hold as much.
const HELD_MAX: usize = 256 << 20;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let seconds = env::var("FUZZ_SECONDS").map_or(10, |text| text.parse().expect("FUZZ_SECONDS"));
    let deadline = Instant::now() + Duration::from_secs(seconds);
    match arguments.as_slice() {
        [] => {
            let threads = TARGETS.map(|target| thread::spawn(move || supervise(&target, deadline)));
            let passed = threads.map(|thread| thread.join().unwrap_or(false));
            exit(i32::from(passed.contains(&false)));
        }
        [name] => exit(i32::from(!supervise(find(name), deadline))),
        [name, seed] => run(find(name), seed.parse().expect("a seed"), deadline),
        _ => panic!("usage: runtime-fuzz [TARGET [SEED]]"),
    }
}

fn find(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| {
        panic!(
            "targets are {}",
            TARGETS.map(|target| target.name).join(", ")
        )
    })
}

/// Runs one process after another until the deadline; whether all went well.
fn supervise(target: &Target, deadline: Instant) -> bool {
    let mut processes = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        if left == 0 && processes > 0 {
            let _ = fs::remove_file(kept(target));
            return true;
        }
        let seed = fastrand::u64(..);
        let mut child = Command::new(env::current_exe().expect("our own path"))
            .args([target.name, &seed.to_string()])
            .env("FUZZ_SECONDS", left.max(1).to_string())
            .spawn()
            .expect("a process");
        let status = loop {
            if let Some(status) = child.try_wait().expect("a status") {
                break status;
            }
            if Instant::now() > deadline + ENDLESS {
                let _ = child.kill();
            }
            thread::sleep(Duration::from_millis(20));
        };
        if !status.success() {
            eprintln!(
                "{} fails: runtime-fuzz {} {seed}: {status}",
                target.name, target.name
            );
            return false;
        }
        processes += 1;
    }
}

fn run(target: &Target, seed: u64, deadline: Instant) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut inputs, mut slowest, mut largest) = (0, 0.0f64, 0);
    while Instant::now() < deadline && MEMORY.current_usage() < HELD_MAX {
        let input = (target.input)(&mut random);
        let path = kept(target);
        if input.len() > 1 << 16 {
            // It may go on until it is killed.
            let _ = fs::write(&path, &input);
        }
        let kept = (path, input.clone());
        panic::set_hook(Box::new(move |fault| {
            let _ = fs::write(&kept.0, &kept.1);
            eprintln!("{fault}\nthe input is in {}", kept.0.display());
        }));
        MEMORY.reset_peak_usage();
        let (held, begin) = (MEMORY.current_usage(), cpu_seconds());
        (target.check)(&input, &mut random);
        let (taken, peak) = (
            cpu_seconds() - begin,
            MEMORY.peak_usage().saturating_sub(held),
        );
        (inputs, slowest, largest) = (inputs + 1, slowest.max(taken), largest.max(peak));
        assert!(
            taken < SECONDS_MAX,
            "{} bytes take {taken:.1} s",
            input.len()
        );
        assert!(
            peak < MEMORY_MAX,
            "{} bytes take {peak} bytes of memory",
            input.len()
        );
    }
    println!(
        "{}: {inputs} inputs, at most {:.2} s and {} MB each",
        target.name,
        slowest,
        largest >> 20
    );
}

/// Where an input is kept that fails.
fn kept(target: &Target) -> PathBuf {
    env::temp_dir().join(format!("runtime-fuzz-{}", target.name))
}

/// Of this thread: the machine may be busy.
fn cpu_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
