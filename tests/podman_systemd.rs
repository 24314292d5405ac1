//! Podman under systemd: its containers are in scopes of the system's systemd, or of an ordinary user's own.
//! Every case is a shell script that runs with runc and with our runtime, and must print the same. It runs in the
//! guest, as root and as a user.

use runtime_tests::host;
use runtime_tests::systemd::{self, image, manager, root};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

runtime_tests::tests![
    podmans_container_is_in_a_scope_with_its_limits,
    podmans_execs_run_in_the_scope,
    podman_pauses_and_resumes_a_scope,
    podman_updates_nothing_that_systemd_forgets,
    podman_maps_ids,
    podman_confines_the_process,
    podmans_pod_runs,
    a_unit_of_podman_starts_and_stops,
    a_container_reports_readiness_through_podman,
    podman_reports_a_program_that_cannot_be_executed,
];

/// Runs Podman with this runtime and systemd as the cgroup manager.
fn podman(runtime: &Path, script: &str) -> String {
    let name = runtime.file_name().unwrap().to_str().unwrap();
    let conf = host::scratch().join(format!("{name}.conf"));
    fs::write(
        &conf,
        format!(
            "[containers]\ndefault_ulimits = []\n[engine]\nruntime = \"tested\"\ncgroup_manager = \"systemd\"\n\
             runtime_supports_json = [\"tested\"]\n[engine.runtimes]\ntested = [{:?}]\n",
            runtime.to_str().unwrap()
        ),
    )
    .unwrap();
    systemd::shell(script, &[("CONTAINERS_CONF", conf.to_str().unwrap())])
}

/// Runs the script with runc and with our runtime. Both must print the expected output.
#[track_caller]
pub fn both(script: &str, expected: &str) {
    static READY: OnceLock<()> = OnceLock::new();
    systemd::required();
    READY.get_or_init(|| {
        let load = format!("podman load -q -i {}", image());
        podman(&host::program("runc"), &load);
    });
    systemd::both(expected, |runtime| podman(runtime, script));
}

const IMAGE: &str = "localhost/bb:latest";

fn podmans_container_is_in_a_scope_with_its_limits() {
    // Podman names the scope after the container.
    let script = format!(
        "podman run -d --name limits -m 64m --pids-limit 20 --cpus 0.5 {IMAGE} sleep 1000 > /dev/null
        id=$(podman inspect -f '{{{{.Id}}}}' limits)
        systemctl {} show libpod-$id.scope -p ActiveState,MemoryMax,TasksMax,CPUQuotaPerSecUSec,Delegate | sort
        podman exec limits sh -c 'cd /sys/fs/cgroup; cat memory.max pids.max cpu.max'
        podman rm -f -t 0 limits > /dev/null
        systemctl {} show libpod-$id.scope -p ActiveState",
        manager(),
        manager()
    );
    both(
        &script,
        "ActiveState=active\nCPUQuotaPerSecUSec=500ms\nDelegate=yes\nMemoryMax=67108864\nTasksMax=20\n67108864\n20\n50000 100000\n\
         ActiveState=inactive\n",
    );
}

fn podmans_execs_run_in_the_scope() {
    let script = format!(
        "podman run -d --name more {IMAGE} sleep 1000 > /dev/null
        podman exec more sh -c 'echo $(id -u) $(cat /proc/self/cgroup)'
        podman exec -u 1000 -w /tmp -e A=b more sh -c 'echo $(id -u) $PWD $A'
        podman exec more false; echo $?
        podman top more args
        podman stats --no-stream --format '{{{{.PIDs}}}}' more
        podman rm -f -t 0 more > /dev/null"
    );
    both(&script, "0 0::/\n1000 /tmp b\n1\nCOMMAND\nsleep 1000 \n1\n");
}

/// As an ordinary user, runc warns that pausing may not be possible.
fn podman_pauses_and_resumes_a_scope() {
    let script = format!(
        "podman run -d --name still {IMAGE} sleep 1000 > /dev/null
        for verb in pause unpause; do
            podman $verb still > /dev/null 2>&1; podman inspect -f '{{{{.State.Status}}}}' still
        done
        podman kill -s KILL still > /dev/null; podman wait still; podman rm still > /dev/null"
    );
    both(&script, "paused\nrunning\n137\n");
}

fn podman_updates_nothing_that_systemd_forgets() {
    let script = format!(
        "podman run -d --name kept --pids-limit 33 {IMAGE} sleep 1000 > /dev/null
        systemctl {} daemon-reload
        podman exec kept cat /sys/fs/cgroup/pids.max
        podman rm -f -t 0 kept > /dev/null",
        manager()
    );
    both(&script, "33\n");
}

fn podman_maps_ids() {
    let (option, expected) = match root() {
        true => ("--uidmap 0:1:1000 --gidmap 0:1:1000", "0 0 1 1000\n"),
        // With root's mappings, runc cannot reach the user's images, which are in the user's home.
        false => (
            "--userns keep-id",
            "1000 0 1 1000 1000 0 1 1001 1001 64536\n",
        ),
    };
    let script =
        format!("podman run --rm {option} {IMAGE} sh -c 'echo $(id -u; cat /proc/self/uid_map)'");
    both(&script, expected);
}

fn podman_confines_the_process() {
    let script = format!(
        "podman run --rm --cap-drop all --security-opt no-new-privileges --read-only {IMAGE} sh -c '
            grep -E \"^(CapEff|NoNewPrivs|Seccomp):\" /proc/self/status; touch /x 2>&1; echo $?'"
    );
    both(
        &script,
        "CapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\ntouch: /x: Read-only file system\n1\n",
    );
}

fn podmans_pod_runs() {
    let script = format!(
        "podman pod create --name pod > /dev/null
        podman run -d --pod pod --name inside {IMAGE} sleep 1000 > /dev/null
        podman run --rm --pod pod {IMAGE} hostname
        podman pod inspect -f '{{{{.State}}}}' pod
        podman pod rm -f -t 0 pod > /dev/null"
    );
    both(&script, "pod\nRunning\n");
}

/// As `podman generate systemd` writes it: systemd itself starts and stops the container.
fn a_unit_of_podman_starts_and_stops() {
    let directory = match root() {
        true => "/run/systemd/system",
        false => "$HOME/.config/systemd/user",
    };
    let target = manager();
    let script = format!(
        "mkdir -p {directory}
        podman create --name unit {IMAGE} sh -c 'trap \"exit 0\" TERM; while :; do sleep 0.1; done' > /dev/null
        podman generate systemd --name unit > {directory}/container-unit.service
        sed -i '/^\\[Service\\]/a Environment=CONTAINERS_CONF='$CONTAINERS_CONF {directory}/container-unit.service
        systemctl {target} daemon-reload
        systemctl {target} start container-unit; echo $?
        systemctl {target} is-active container-unit; podman inspect -f '{{{{.State.Status}}}}' unit
        systemctl {target} restart container-unit; echo $?
        systemctl {target} stop container-unit; echo $?
        systemctl {target} is-active container-unit
        rm {directory}/container-unit.service; systemctl {target} daemon-reload
        podman rm -f -t 0 unit > /dev/null 2>&1; podman container exists unit; echo $?"
    );
    both(&script, "0\nactive\nrunning\n0\n0\ninactive\n1\n");
}

fn a_container_reports_readiness_through_podman() {
    let script = format!(
        "podman run --rm --sdnotify conmon {IMAGE} sh -c 'echo ${{NOTIFY_SOCKET:-none}}'
        podman run --rm --sdnotify container {IMAGE} echo up"
    );
    both(&script, "none\nup\n");
}

fn podman_reports_a_program_that_cannot_be_executed() {
    let script = format!(
        "for program in nosuch /no/such /etc /bad/mode; do
            podman run --rm {IMAGE} $program > /dev/null 2>&1; echo $?
        done"
    );
    both(&script, "127\n127\n126\n126\n");
}
