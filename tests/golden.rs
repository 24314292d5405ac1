//! `run --dry-run` prints the plan and does nothing. What plans say is tested in the library, src/plan/tests/golden.rs.

use runtime_tests::{Bundle, json};

runtime_tests::tests![
    a_dry_run_prints_numbered_steps,
    a_dry_run_changes_nothing,
    a_dry_run_reports_the_same_errors,
];

fn a_dry_run_prints_numbered_steps() {
    let b = Bundle::new();
    let output = b.launch("run", &["--dry-run"]).ok();
    assert_eq!(output.err, "", "{output}");
    let lines: Vec<_> = output.out.lines().collect();
    assert_eq!(lines[0], format!("  1 make the cgroup /{}", b.id));
    let last = format!("{:3} execute true", lines.len());
    assert_eq!(lines.last(), Some(&last.as_str()));
}

fn a_dry_run_changes_nothing() {
    let mut b = Bundle::new();
    b.mount("/made", "tmpfs", "tmpfs", &[])
        .sh("echo ran")
        .launch("run", &["--dry-run"])
        .ok();
    assert!(!b.rootfs().join("made").exists());
    b.left_nothing();
    assert!(!b.state_dir().exists() || b.state_dir().read_dir().unwrap().next().is_none());
}

fn a_dry_run_reports_the_same_errors() {
    let mut b = Bundle::new();
    b.set("/process/cwd", json!("relative"));
    let (dry, real) = (b.launch("run", &["--dry-run"]).output(), b.run());
    dry.fails(&["process.cwd"]);
    assert_eq!(dry.err, real.err);
}
