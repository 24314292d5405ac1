//! What `delete --force` finds after a `create` that was killed, or a container that was frozen. Faults at each system
//! call are in faults_commands.rs.

use runtime_tests::{Bundle, host, wait_for};
use std::fs;

runtime_tests::tests![
    delete_force_works_from_an_empty_state_directory,
    the_child_dies_with_a_killed_create,
    delete_waits_for_a_frozen_container,
];

fn delete_force_works_from_an_empty_state_directory() {
    let b = Bundle::new();
    fs::create_dir_all(b.state_dir().join(&b.id)).unwrap();
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn the_child_dies_with_a_killed_create() {
    // A hook holds create while it is killed: first a hook that the parent waits for, then one that the child waits
    // for.
    for kind in ["createRuntime", "createContainer"] {
        let mut b = Bundle::new();
        let up = b.text("up");
        b.hook(kind, &format!("echo $$ > {up}; exec sleep 1000"));
        let create = b.launch("create", &[]).spawn();
        wait_for("the hook runs", || b.read("up").ends_with('\n'));
        let pid = rustix::process::Pid::from_raw(create.pid()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        create.wait().ends(137);
        // The hook is the caller's process and may survive. Our child must be dead even before `delete`.
        wait_for("the child is dead", || {
            host::processes_of(&b.dir).is_empty()
        });
        if kind == "createRuntime" {
            let hook = b.read("up").trim().parse().ok();
            let hook = hook.and_then(rustix::process::Pid::from_raw).unwrap();
            rustix::process::kill_process(hook, rustix::process::Signal::KILL).unwrap();
        }
        b.delete(&["--force"]).ok();
        assert!(b.cgroups().is_empty(), "left behind: {:?}", b.cgroups());
        assert_eq!(fs::read_dir(b.state_dir()).unwrap().count(), 0);
    }
}

fn delete_waits_for_a_frozen_container() {
    let mut b = Bundle::new();
    let _running = b.waits().up();
    let freezer = host::controller("freezer").join(&b.id);
    fs::write(freezer.join("freezer.state"), "FROZEN").unwrap();
    // A v1-frozen task survives SIGKILL until it is thawed.
    b.call(&["delete", "--force", &b.id]).ok();
    b.left_nothing();
}
