//! `checkpoint` and `restore` with a real criu, in the guest with systemd: called directly (also with runc) and by
//! Podman.
//! They need root. The container counts, and must continue from where it was.

use crate::podman_systemd::both;
use runtime_tests::systemd::players;
use runtime_tests::{Cmd, host};
use std::fs;
use std::path::Path;

runtime_tests::tests![
    a_restored_container_continues_where_it_was,
    a_container_may_keep_running_after_its_checkpoint,
    a_restore_in_the_foreground_waits_for_the_exit,
    a_systemd_scope_is_restored,
    memory_can_be_dumped_in_advance,
    a_checkpoint_or_restore_that_is_refused_leaves_nothing,
    podman_checkpoints_and_restores,
    containerd_checkpoints_and_restores_in_a_new_root,
];

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn needs_criu() {
    if !Path::new("/run/systemd/system").exists() {
        runtime_tests::skip!("no systemd on this machine; the guest has one");
    }
    if !rustix::process::geteuid().is_root() {
        runtime_tests::skip!("criu needs root");
    }
    host::program("criu");
}

/// The start of every script: a bundle whose process counts into /tmp/n.
const BUNDLE: &str = r#"
    set -e
    cd "$1"; C=${PWD##*/}; R="$R --root $PWD/state"; mkdir -p b/rootfs/bin b/rootfs/proc b/rootfs/dev b/rootfs/sys b/rootfs/tmp
    cp /bin/busybox b/rootfs/bin/sh; ln -s sh b/rootfs/bin/sleep; ln -s sh b/rootfs/bin/cat; ln -s sh b/rootfs/bin/seq
    cd b; $R spec
    sed -i -e 's/"terminal": true/"terminal": false/' -e 's/"readonly": true/"readonly": false/' \
        -e 's|"sh"$|"sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >> /tmp/n; sleep 0.05; done"|' \
        -e "s|\"resources\": {|\"cgroupsPath\": \"/$C\", \"resources\": { \"pids\": { \"limit\": 40 },|" config.json
    cd ..
    # Appended, so that the last line is whole whenever it is read.
    n() { tail -n 1 b/rootfs/tmp/n 2> /dev/null || :; }
    # Until the container has counted on.
    counts() { now=$(n); while [ "$(n)" = "$now" ] || [ -z "$(n)" ]; do sleep 0.1; done; }
    status() { $R state $C | sed -n 's/.*"status": "\(.*\)".*/\1/p'; }
"#;

/// Runs a script with every runtime. The output of each must be as expected.
#[track_caller]
fn with_both(name: &str, script: &str, expected: &str) {
    needs_criu();
    for runtime in players() {
        let base = runtime.file_name().unwrap().to_str().unwrap();
        let dir = host::scratch().join(format!("{name}-{base}"));
        fs::create_dir(&dir).unwrap();
        let output = Cmd::new(host::scratch(), "sh")
            .args(["-c", &format!("{BUNDLE}\n{script}"), "sh"])
            .arg(&dir)
            .env("R", runtime.to_str().unwrap())
            .env("PATH", PATH)
            .output();
        output.ok();
        assert_eq!(output.out, expected, "with {base}: {output}");
    }
}

fn a_restored_container_continues_where_it_was() {
    with_both(
        "on",
        r#"$R run -d -b b $C < /dev/null > /dev/null 2>&1; counts
        $R checkpoint --image-path $PWD/img --work-path $PWD/work $C > /dev/null
        $R state $C > /dev/null 2>&1 || echo gone
        was=$(n); sleep 0.3; [ "$(n)" = "$was" ] && echo still
        $R restore -d -b b --image-path $PWD/img --work-path $PWD/work --pid-file $PWD/pid $C < /dev/null > /dev/null 2>&1
        status; [ "$(cat pid)" = "$($R state $C | sed -n 's/.*"pid": \(.*\),/\1/p')" ] && echo the same pid
        counts; [ "$(n)" -gt "$was" ] && echo counts on
        cat /sys/fs/cgroup/$C/pids.max; grep -c . /sys/fs/cgroup/$C/cgroup.procs > /dev/null && echo in its cgroup
        $R exec $C sh -c 'echo exec; cat /proc/self/cgroup' < /dev/null
        $R pause $C; status; $R resume $C
        $R kill $C KILL; while [ "$(status)" != stopped ]; do sleep 0.1; done
        $R delete $C; [ ! -e /sys/fs/cgroup/$C ] && $R list -q"#,
        "gone\nstill\nrunning\nthe same pid\ncounts on\n40\nin its cgroup\nexec\n0::/\npaused\n",
    );
}

fn a_container_may_keep_running_after_its_checkpoint() {
    with_both(
        "run-on",
        r#"$R run -d -b b $C < /dev/null > /dev/null 2>&1; counts
        $R checkpoint --image-path img --leave-running $C > /dev/null
        status; counts; echo counts
        $R delete -f $C"#,
        "running\ncounts\n",
    );
}

fn a_restore_in_the_foreground_waits_for_the_exit() {
    with_both(
        "foreground",
        r#"sed -i 's|while :; do|while [ ! -e /tmp/end ]; do|; s|sleep 0.05; done|sleep 0.05; done; echo the end; exit 7|' b/config.json
        $R run -d -b b $C < /dev/null 2>&1 | cat & counts
        $R checkpoint --image-path img $C > /dev/null
        ( while [ "$(status)" != running ]; do sleep 0.1; done; touch b/rootfs/tmp/end ) 2> /dev/null &
        { $R restore -b b --image-path $PWD/img $C < /dev/null || echo $?; } | cat
        $R state $C > /dev/null 2>&1 || echo gone"#,
        "the end\n7\ngone\n",
    );
}

fn a_systemd_scope_is_restored() {
    with_both(
        "unit",
        r#"R="$R --systemd-cgroup"; sed -i "s|\"/$C\"|\"system.slice:t:$C\"|" b/config.json; unit=t-$C.scope
        $R run -d -b b $C < /dev/null > /dev/null 2>&1; counts
        $R checkpoint --image-path img $C > /dev/null
        systemctl show -p ActiveState $unit
        $R restore -d -b b --image-path $PWD/img $C < /dev/null > /dev/null 2>&1; counts
        systemctl show -p ActiveState -p TasksMax $unit
        [ -n "$(cat /sys/fs/cgroup/system.slice/$unit/cgroup.procs)" ] && echo in its cgroup
        $R delete -f $C; systemctl show -p ActiveState $unit"#,
        "ActiveState=inactive\nTasksMax=40\nActiveState=active\nin its cgroup\nActiveState=inactive\n",
    );
}

fn memory_can_be_dumped_in_advance() {
    with_both(
        "before",
        r#"$R run -d -b b $C < /dev/null > /dev/null 2>&1; counts
        $R checkpoint --pre-dump --image-path img/one $C > /dev/null
        status; counts
        $R checkpoint --image-path img/two --parent-path ../one $C > /dev/null
        $R state $C > /dev/null 2>&1 || echo gone
        $R restore -d -b b --image-path $PWD/img/two --manage-cgroups-mode ignore $C < /dev/null > /dev/null 2>&1
        counts; status; [ -n "$(cat /sys/fs/cgroup/$C/cgroup.procs)" ] && echo in its cgroup
        $R delete -f $C"#,
        "running\ngone\nrunning\nin its cgroup\n",
    );
}

/// The messages of runc differ. What remains afterwards does not.
fn a_checkpoint_or_restore_that_is_refused_leaves_nothing() {
    needs_criu();
    let dir = host::scratch().join("errors");
    fs::create_dir(&dir).unwrap();
    let script = r#"
        set +e
        $R create -b b $C < /dev/null > /dev/null 2>&1
        $R checkpoint --image-path img $C
        $R delete -f $C
        $R restore -b b --image-path nowhere $C < /dev/null; echo $?
        $R state $C; [ ! -e /sys/fs/cgroup/$C ] && echo no cgroup
        $R run -d -b b $C < /dev/null > /dev/null 2>&1
        PATH=/nowhere $R checkpoint --image-path img $C
        $R --criu /bin/false checkpoint --image-path img $C
        status; counts; echo counts
        $R delete -f $C
        sed -i 's/"terminal": false/"terminal": true/' b/config.json
        $R restore -d -b b --image-path img --console-socket x $C; echo $?
        $R list -q"#;
    let output = Cmd::new(host::scratch(), "sh")
        .args(["-c", &format!("{BUNDLE}\n{script}"), "sh"])
        .arg(&dir)
        .env("R", host::runtime().to_str().unwrap())
        .env("PATH", PATH)
        .output();
    output.prints("1\nno cgroup\nrunning\ncounts\n1\n");
    output.says(&[
        "cannot checkpoint container \"errors\": it is created",
        "cannot restore container \"errors\"",
        "restore.log",
        "container \"errors\" does not exist",
        "cannot run criu: there is none in PATH",
        "process.terminal of config.json",
    ]);
}

fn podman_checkpoints_and_restores() {
    needs_criu();
    let line = "i=0; while :; do i=$((i+1)); echo $i > /n; sleep 0.05; done";
    let script = format!(
        "podman run -d --name saved --net none localhost/bb:latest sh -c '{line}' > /dev/null
        podman exec saved cat /n > /dev/null
        podman container checkpoint saved > /dev/null
        podman inspect -f '{{{{.State.Status}}}} {{{{.State.Checkpointed}}}}' saved
        podman container restore saved > /dev/null
        podman inspect -f '{{{{.State.Status}}}} {{{{.State.Restored}}}}' saved
        one=$(podman exec saved tail -n 1 /n); sleep 0.5; two=$(podman exec saved tail -n 1 /n); [ $two -gt $one ] && echo counts
        podman rm -f -t 0 saved > /dev/null"
    );
    both(&script, "exited true\nrunning true\ncounts\n");
}

/// Unlike Podman, containerd restores to a root that has no mount points yet.
fn containerd_checkpoints_and_restores_in_a_new_root() {
    needs_criu();
    let script = r#"
        systemctl start containerd
        until ctr version > /dev/null 2>&1; do sleep 0.1; done
        ctr images import "$2" > /dev/null; ctr images tag --force localhost/bb:latest bb > /dev/null
        n() { ctr t exec --exec-id e$(date +%N) $C cat /n; }
        gone() { ctr t kill -s KILL $C; until ctr t rm $C > /dev/null 2>&1 || [ $? = 137 ]; do sleep 0.1; done; ctr c rm $C; }
        C=saved-$1
        ctr run -d --runc-binary $R bb $C sh -c 'i=0; while :; do i=$((i+1)); echo $i > /n; sleep 0.05; done'
        number() { until said=$(n) && [ -n "$said" ]; do sleep 0.1; done; }
        number
        ctr c checkpoint --task --rw --image $C image-$C > /dev/null; was=$said
        gone
        ctr c restore --live $C image-$C < /dev/null
        ctr t ls | grep -c RUNNING
        number; [ $said -ge $was ] && echo goes on; was=$said; while [ $said = $was ]; do number; done
        gone; ctr images rm image-$C > /dev/null"#;
    let image = std::env::var("RUNTIME_COMPILED").unwrap() + "/image.tar";
    for runtime in players() {
        let name = runtime.file_name().unwrap();
        let output = Cmd::new(host::scratch(), "sh")
            .args(["-c", script, "sh"])
            .arg(name)
            .arg(&*image)
            .env("R", runtime.to_str().unwrap())
            .env("PATH", PATH)
            .output();
        output.prints("1\ngoes on\n");
    }
}
