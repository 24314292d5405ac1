//! The path of a container's cgroup that somebody else uses by now: neither their processes nor their cgroup are touched.

use runtime_tests::{Bundle, Value, host};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

runtime_tests::tests![
    a_cgroup_that_was_made_again_after_the_container_stopped_is_left_alone,
    a_cgroup_with_processes_is_left_alone_if_create_never_made_it,
];

/// A process in a cgroup of its own in one hierarchy. Both are gone at the end.
struct Stranger {
    process: Child,
    cgroup: PathBuf,
}

impl Stranger {
    fn in_cgroup(name: &str) -> Self {
        let cgroup = host::controller("pids").join(name);
        fs::create_dir(&cgroup).unwrap();
        let process = Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(cgroup.join("cgroup.procs"), process.id().to_string()).unwrap();
        Self { process, cgroup }
    }

    /// Asserts that the process lives, in its cgroup.
    #[track_caller]
    fn is_untouched(&mut self, after: &str) {
        assert!(
            self.process.try_wait().unwrap().is_none(),
            "killed by {after}"
        );
        let own = fs::read_to_string(self.cgroup.join("cgroup.procs")).unwrap();
        assert_eq!(own, format!("{}\n", self.process.id()), "after {after}");
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        host::remove_cgroup(&self.cgroup);
    }
}

fn a_cgroup_that_was_made_again_after_the_container_stopped_is_left_alone() {
    for flags in [&[][..], &["--force"]] {
        let mut b = Bundle::new();
        b.args(&["true"]);
        b.create().ok();
        b.start().ok();
        b.wait_for_status("stopped");
        for cgroup in b.cgroups() {
            host::remove_cgroup(&cgroup);
        }
        let mut stranger = Stranger::in_cgroup(&b.id);
        for words in [
            &["kill", "--all", &b.id, "KILL"][..],
            &["kill", &b.id, "KILL"],
        ] {
            let output = b.call(words).output();
            assert!(output.err.contains("left alone"), "{output}");
            stranger.is_untouched(&words.join(" "));
        }
        b.delete(flags).ok().says(&["left alone"]);
        stranger.is_untouched("delete");
        drop(stranger);
        b.left_nothing();
    }
}

fn a_cgroup_with_processes_is_left_alone_if_create_never_made_it() {
    let b = Bundle::new();
    b.create().ok();
    let directory = b.state_dir().join(&b.id);
    let state = fs::read_to_string(directory.join("state.json")).unwrap();
    b.delete(&["--force"]).ok();
    // What is left of a `create` that was killed between writing the state and making the cgroup.
    let mut half: Value = serde_json::from_str(&state).unwrap();
    half["pid"] = 0.into();
    half["inode"] = 0.into();
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("state.json"), half.to_string()).unwrap();
    let mut stranger = Stranger::in_cgroup(&b.id);
    b.delete(&["--force"]).ok();
    stranger.is_untouched("delete --force");
    drop(stranger);
    b.left_nothing();
}
