//! Prints the tables, the ratios behind each limit, and a note on everything that was not timed.
//! Figures never fail a run: each limit is printed as held or missed.

use std::fs;
use std::process::Command;

use runtime_benches::{Ratio, Series, median, typical};

use crate::measure::{Results, What, Who};
use crate::options::Options;

const ROWS: [(What, &str); 10] = [
    (What::Run, "run"),
    (What::RunLimited, "  limited"),
    (What::RunUnlimited, "  unlimited"),
    (What::Create, "create"),
    (What::Start, "start"),
    (What::Delete, "delete"),
    (What::Life, "  the three"),
    (What::State, "state"),
    (What::Exec, "exec"),
    (What::Version, "--version"),
];

/// Limits on the ratios to the floor and to the other runtimes.
const RUN_OVER_FLOOR: f64 = 1.6;
const RUNC_OVER_RUN: f64 = 8.0;
const VERSION_OVER_BARE: f64 = 1.5;
/// The limit on the cost of setting all limits on v2, in nanoseconds.
const LIMITS: f64 = 400_000.0;
const PEAK_KIB: u64 = 1_500_000 / 1024;

pub fn heading(options: &Options) {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<_> = info
        .lines()
        .filter_map(|line| line.strip_prefix("model name"))
        .collect();
    let model = models
        .first()
        .map_or("", |line| line.trim_start_matches([' ', '\t', ':']));
    let date = Command::new("date")
        .args(["-u", "+%F"])
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    println!(
        "{}, Linux {}, {} x {} {}",
        String::from_utf8_lossy(&date).trim(),
        kernel.trim(),
        models.len().max(1),
        std::env::consts::ARCH,
        model
    );
    println!(
        "{} rounds, every command once in each (--version five times), order shuffled (seed {}); whole processes, medians in us; payload: a /true without libc",
        options.rounds, options.seed
    );
}

pub fn table(results: &Results, quick: bool) {
    for (_, path, version) in &results.tools {
        let size = fs::metadata(path).map_or(0, |data| data.len());
        println!(
            "  {version}: {} ({} KB)",
            path.display(),
            size.div_ceil(1000)
        );
    }
    println!();
    println!(
        "  {:<12}{:>9}{:>9}{:>9}{:>9}{:>13}{:>13}{:>13}",
        "us", "ours", "floor", "crun", "runc", "ours/floor", "crun/ours", "runc/ours"
    );
    for (what, name) in ROWS {
        if !results.times.keys().any(|(_, timed)| *timed == what) {
            continue;
        }
        let time = |who| {
            cell(series(results, who, what).and_then(|s| typical(s)), |ns| {
                format!("{:.0}", ns / 1e3)
            })
        };
        let over = |above, below| {
            cell(ratio(results, (above, what), (below, what)), |r| {
                format!("{:.2}", r.rounds)
            })
        };
        println!(
            "  {:<12}{:>9}{:>9}{:>9}{:>9}{:>13}{:>13}{:>13}",
            name,
            time(Who::Ours),
            time(Who::Floor),
            time(Who::Crun),
            time(Who::Runc),
            over(Who::Ours, Who::Floor),
            over(Who::Crun, Who::Ours),
            over(Who::Runc, Who::Ours)
        );
    }
    println!(
        "  The floor of --version is a bare program that writes one line. Ratios are medians of the rounds' own ratios."
    );
    with_devices(results);
    limits(results);
    peaks(results);
    println!();
    if !quick {
        bars(results);
    }
    for note in &results.notes {
        println!("  note: {note}");
    }
}

/// The bundle denies all but the default devices. On v2 that costs a runtime that applies it one program load.
fn with_devices(results: &Results) {
    let run = |who| (who, What::Run);
    let Some(floor) = series(results, Who::FloorWithDevices, What::Run).and_then(|s| typical(s))
    else {
        return;
    };
    let over = cell(
        ratio(results, run(Who::Ours), run(Who::FloorWithDevices)),
        |r| format!("{:.2}", r.rounds),
    );
    println!(
        "  The floor of run with the bundle's device rules loaded as eBPF: {:.0} us; ours/that: {over}",
        floor / 1e3
    );
}

/// The cost of all limits compared with none, in the same rounds.
fn limits(results: &Results) {
    let times = |what| series(results, Who::Ours, what);
    let (Some(with), Some(without)) = (times(What::RunLimited), times(What::RunUnlimited)) else {
        return;
    };
    let pairs = with.iter().zip(without).filter_map(|(&a, &b)| a.zip(b));
    let more = median(pairs.map(|(a, b)| a as f64 - b as f64).collect());
    let over = ratio(
        results,
        (Who::Ours, What::RunLimited),
        (Who::Ours, What::RunUnlimited),
    );
    println!(
        "  Limits of {} and device rules cost run {} us, {} times the run without any; at most {} us on v2: {}",
        results.controllers,
        cell(more, |ns| format!("{:.0}", ns / 1e3)),
        cell(over, |r| format!("{:.2}", r.rounds)),
        LIMITS / 1e3,
        cell(more.filter(|_| results.v2), |ns| verdict(ns <= LIMITS)
            .to_owned()),
    );
}

fn peaks(results: &Results) {
    println!();
    println!(
        "  {:<12}{:>9}{:>9}{:>9}{:>9}",
        "peak KiB", "ours", "floor", "crun", "runc"
    );
    for (what, name) in ROWS {
        let peak = |who| cell(results.peaks.get(&(who, what)), u64::to_string);
        if results.peaks.keys().any(|(_, weighed)| *weighed == what) {
            println!(
                "  {:<12}{:>9}{:>9}{:>9}{:>9}",
                name,
                peak(Who::Ours),
                peak(Who::Floor),
                peak(Who::Crun),
                peak(Who::Runc)
            );
        }
    }
    println!(
        "  The process with the highest peak, among the command, its descendants and the process that waits for start."
    );
}

fn bars(results: &Results) {
    let bars = [
        (
            "run at most",
            RUN_OVER_FLOOR,
            "x the floor",
            (Who::Ours, What::Run),
            (Who::Floor, What::Run),
        ),
        (
            "runc at least",
            RUNC_OVER_RUN,
            "x our run",
            (Who::Runc, What::Run),
            (Who::Ours, What::Run),
        ),
        (
            "--version at most",
            VERSION_OVER_BARE,
            "x bare",
            (Who::Ours, What::Version),
            (Who::Floor, What::Version),
        ),
    ];
    for (words, bar, unit, above, below) in bars {
        let name = format!("{words} {bar} {unit}");
        match ratio(results, above, below) {
            None => println!("  {name:<32} not measured"),
            Some(Ratio {
                rounds,
                medians,
                minima,
            }) => {
                let held = if words.ends_with("least") {
                    rounds >= bar
                } else {
                    rounds <= bar
                };
                println!(
                    "  {name:<32} {:<7} {rounds:.2} (ratio of the medians {medians:.2}, of the minima {minima:.2})",
                    verdict(held)
                );
            }
        }
    }
    let name = "peak of ours under 1.5 MB";
    let heaviest = results
        .peaks
        .iter()
        .filter(|((who, _), _)| *who == Who::Ours)
        .map(|(_, peak)| *peak)
        .max();
    match heaviest {
        None => println!("  {name:<32} not measured"),
        Some(peak) => println!("  {name:<32} {:<7} {peak} KiB", verdict(peak < PEAK_KIB)),
    }
}

fn verdict(held: bool) -> &'static str {
    if held { "holds" } else { "MISSED" }
}

fn series(results: &Results, who: Who, what: What) -> Option<&Series> {
    results.times.get(&(who, what))
}

fn ratio(results: &Results, above: (Who, What), below: (Who, What)) -> Option<Ratio> {
    Ratio::of(results.times.get(&above)?, results.times.get(&below)?)
}

fn cell<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or("-".to_string(), show)
}
