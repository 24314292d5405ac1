//! Times our commands against those of crun, runc and the bare-syscall floor, in one run and in both cgroup views.
//! Figures never affect the exit status: it is 1 only if a command of ours or of the floor fails.

mod measure;
mod options;
mod report;
mod scene;
mod stop;
mod tool;
mod view;

use std::process::ExitCode;

use options::Options;
use stop::Stop;
use view::{Cgroups, View};

fn main() -> ExitCode {
    let result = Options::parse(std::env::args_os().skip(1)).and_then(|options| match options {
        Some(options) => bench(&options),
        None => {
            print!("{}", options::HELP);
            Ok(true)
        }
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("start: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every command of ours and of the floor worked.
fn bench(options: &Options) -> Result<bool, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root: the default bundle is not rootless".to_string());
    }
    let stop = Stop::listen()?;
    if options.inside {
        view::enter_v2()?;
        return one_view(options, &stop);
    }
    report::heading(options);
    let host = Cgroups::seen()?;
    let mut sound = true;
    for &view in &options.views {
        println!();
        match (view, &host) {
            (View::V2, Cgroups::V1 { unified: None, .. }) => {
                println!("view v2: skipped, no cgroup v2 hierarchy is mounted here");
            }
            (View::V2, Cgroups::V1 { .. }) => {
                println!("view v2: a pure cgroup v2 view, in a mount namespace of the bench's own");
                sound &= view::measure_inside(options, view, &stop)?;
            }
            (View::Host, Cgroups::V2) if options.views.contains(&View::V2) => {
                println!("view host: skipped, it is the same as the pure v2 view above");
            }
            (View::V2 | View::Host, cgroups) => {
                println!("view {}: the host's own, {}", view.name(), cgroups.name());
                sound &= one_view(options, &stop)?;
            }
        }
        stop.check()?;
    }
    if options.quick {
        println!(
            "\n{}",
            if sound {
                "every command worked"
            } else {
                "a command failed: see the notes"
            }
        );
    }
    Ok(sound)
}

fn one_view(options: &Options, stop: &Stop) -> Result<bool, String> {
    let results = measure::measure(options, stop)?;
    report::table(&results, options.quick);
    Ok(results.sound)
}
