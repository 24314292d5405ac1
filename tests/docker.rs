//! Docker 20.10 whose default runtime is the program under test: what `docker` can ask of a runtime, and its builders.
//! Every case runs with runc as well, on a machine of its own beside ours, and must say the same there.

use runtime_tests::machine::{Engine, Shell, compare};

runtime_tests::tests![
    run_passes_output_and_status_on,
    a_program_that_cannot_be_executed_gives_dockers_own_statuses,
];

fn run_passes_output_and_status_on() {
    compare(Engine::Docker, |s| {
        s.run("docker run --rm bb sh -c 'echo out; echo err >&2; id; exit 7'")
            .ends(7)
            .says(&["err"])
            .prints("out\nuid=0(root) gid=0(root) groups=0(root)\n");
        s.run("yes 12345678901234567890 | head -c 10000000 | docker run --rm -i bb md5sum")
            .ok();
    });
}

fn a_program_that_cannot_be_executed_gives_dockers_own_statuses() {
    compare(Engine::Docker, |s| {
        let statuses = [
            ("missing", 127),
            ("/no/such", 127),
            ("/etc", 126),
            ("/etc/passwd/x", 127),
            ("/bad/mode", 126),
            ("/bad/interpreter", 127),
            ("/bad/loader", 127),
        ];
        for (program, status) in statuses {
            s.run(&format!("docker run --rm bb {program}")).ends(status);
        }
        let _: &Shell = s;
    });
}
