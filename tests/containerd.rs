//! containerd 1.6 with its own shim, io.containerd.runc.v2, whose runc is the program under test: what `ctr` can ask of a runtime.
//! Every case runs with runc as well, on a machine of its own beside ours, and must say the same there.

use runtime_tests::machine::{Engine, Shell, compare};

runtime_tests::tests![
    a_foreground_container_passes_output_and_status_on,
    a_detached_container_lives_is_entered_killed_and_removed,
];

/// `ctr run` with the runtime of the machine.
const RUN: &str = "ctr run --runc-binary $RT --runc-root /run/engines/ctr";

fn a_foreground_container_passes_output_and_status_on() {
    compare(Engine::Containerd, |s| {
        s.run(&format!(
            "{RUN} --rm bb c1 sh -c 'echo out; echo err >&2; id; exit 7'"
        ))
        .ends(7)
        .says(&["err"])
        .prints("out\nuid=0(root) gid=0(root) groups=0(root)\n");
        s.run(&format!(
            "{RUN} --rm bb c1 sh -c 'sh -c \"kill -9 \\$\\$\"'"
        ))
        .ends(137);
        s.run(&format!("echo in | {RUN} --rm bb c1 cat"))
            .prints("in\n");
    });
}

/// What `ctr task ls` says of a task, `c1`.
fn status(s: &Shell, status: &str) {
    s.wait("ctr task ls | awk '$1 == \"c1\" {print $3}'", |o| {
        o.out.trim() == status
    });
}

fn a_detached_container_lives_is_entered_killed_and_removed() {
    compare(Engine::Containerd, |s| {
        s.run(&format!("{RUN} -d --pid-file /run/c1.pid bb c1 sleep 1000"))
            .ok();
        status(s, "RUNNING");
        s.run("ctr task exec --exec-id e1 c1 sh -c 'echo in; echo err >&2; hostname; exit 3'")
            .ends(3)
            .says(&["err"]);
        s.run("ctr task exec --exec-id e2 --user 1000:1000 --cwd /tmp c1 sh -c 'id -u; pwd'")
            .prints("1000\n/tmp\n");
        s.run("echo in | ctr task exec --exec-id e3 c1 cat")
            .prints("in\n");
        s.run("ctr task exec --exec-id e4 -d c1 sleep 500").ok();
        // The pid file holds the pid that the engine's own pid namespace shows, and both processes are told.
        s.run("test \"$(ctr task ps c1 | awk 'NR == 2 {print $1}')\" = \"$(cat /run/c1.pid)\"")
            .ok();
        s.run("ctr task ps c1 | wc -l").prints("3\n");
        s.run("ctr task kill -s KILL c1").ok();
        status(s, "STOPPED");
        s.run("ctr task rm c1").ok().says(&["exit code 137"]);
        s.run("ctr container rm c1").ok();
    });
}
