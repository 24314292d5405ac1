//! Docker, and containerd below it, under systemd with cgroup v2 only, so the cgroup driver is systemd.
//! Every case is a script that runs with runc and with our runtime as Docker's default, and must print the same. It
//! runs in the guest, as root, with Debian's own units of both daemons.

use runtime_tests::harness::attempt;
use runtime_tests::{host, systemd, wait_for};
use std::fs;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

runtime_tests::tests![
    dockers_run_passes_output_and_status_on,
    dockers_limits_are_set_on_the_scope_and_updates_survive_a_reload,
    dockers_execs_are_in_the_scope_confined_and_counted,
    dockers_device_rules_hold_and_survive_a_reload_and_an_update,
    docker_reports_an_out_of_memory_kill,
    docker_pauses_stops_restarts_and_kills_a_scope,
    dockers_cgroup_namespace_hides_the_slice_or_not_as_requested,
    dockers_health_checks_distinguish_sick_from_healthy_containers,
    dockers_containers_outlive_a_restart_of_docker,
];

/// The start of every script. `begin` starts a container in the background and sets `$id`, `$scope` and the scope's
/// directory.
/// The guest is slow, so scripts call docker rarely: Docker takes seconds to create a network namespace.
const PRELUDE: &str = "
    run() { docker run --net host ${RUNTIME:+--runtime $RUNTIME} \"$@\"; }
    of() { id=$1 scope=docker-$1.scope cgroup=/sys/fs/cgroup/system.slice/docker-$1.scope; }
    begin() { started=$(run -d \"$@\") && of $started; }
    files() { (cd $cgroup && grep . \"$@\"); }
    properties() { systemctl show $scope -p $1 | sort; }
    inspect() { docker inspect -f \"$1\" $id; }
    shm() { cat /proc/$(head -n 1 $cgroup/cgroup.procs)/root/dev/shm/$1; }
    # Waits until a command prints this text. After a timeout, prints its actual output.
    wait_until() {
        local end=$(($(date +%s) + PATIENCE))
        while [ $(date +%s) -lt $end ]; do
            said=$($2 2> /dev/null); [ \"$said\" != \"$1\" ] || return 0
            sleep 0.1
        done
        echo \"$2: expected $1, found $said\"
    }
    end() { docker rm -f -v $id > /dev/null; }
";

/// Prints everything that is left of any container: its unit, loaded or failed; its cgroup, its state, its task, the
/// container.
const LEFT: &str = "
    systemctl list-units --all --plain --no-legend 'docker-*.scope'
    find /sys/fs/cgroup -name 'docker-*.scope'
    for d in /run/docker/runtime-runc/moby /run/containerd/io.containerd.runtime.v2.task/moby /var/lib/docker/containers; do
        [ ! -d $d ] || find $d -mindepth 1 -maxdepth 1 || :
    done
";

/// Starts Debian's docker.service with its containerd.service. They are never stopped, because the guest is
/// discarded.
fn start(runtime: &Path) {
    let configuration = format!(
        "{{\"default-runtime\": \"tested\", \"runtimes\": {{\"tested\": {{\"path\": {runtime:?}}}}},
          \"bridge\": \"none\", \"live-restore\": true}}"
    );
    fs::create_dir_all("/etc/docker").unwrap();
    fs::write("/etc/docker/daemon.json", configuration).unwrap();
    let image = systemd::image();
    let script = format!(
        "systemctl start docker && docker load -q -i {image} && docker tag localhost/bb bb"
    );
    systemd::shell(&script, &[]);
}

/// Runs a script with this runtime as Docker's default. Nothing may be left afterwards.
#[track_caller]
fn docker(runtime: &str, script: &str) -> String {
    let played = attempt(|| systemd::shell(&format!("{PRELUDE}{script}"), &[("RUNTIME", runtime)]));
    let clean = attempt(|| {
        let mut left = String::new();
        let gone = attempt(|| {
            wait_for("nothing is left", || {
                left = systemd::shell(LEFT, &[]);
                left.is_empty()
            })
        });
        assert!(gone.is_ok(), "left behind: {left}");
    });
    if played.is_err() || clean.is_err() {
        systemd::shell("docker ps -aq | xargs -r docker rm -f", &[]);
    }
    let said = played.unwrap_or_else(|why| panic!("{why}"));
    clean.unwrap_or_else(|why| panic!("{why}\nafter\n{said}"));
    said
}

/// Runs one case at a time, because each checks for leftovers. Skips the test where Docker is not ours to start.
#[track_caller]
fn alone(case: impl FnOnce()) {
    static TURN: Mutex<()> = Mutex::new(());
    static READY: OnceLock<()> = OnceLock::new();
    systemd::required();
    if !systemd::root() {
        runtime_tests::skip!("Docker needs root");
    }
    if std::env::var_os("RUNTIME_GUEST").is_none() {
        runtime_tests::skip!("Docker belongs to this machine; the test runs in the guest");
    }
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    READY.get_or_init(|| start(host::runtime()));
    case();
}

/// Runs the script with runc and with our runtime. Both must print the expected output.
#[track_caller]
fn both(script: &str, expected: &str) {
    alone(|| {
        systemd::both(expected, |runtime| {
            let ours = runtime == host::runtime();
            docker(["runc", ""][usize::from(ours)], script)
        })
    });
}

fn dockers_run_passes_output_and_status_on() {
    both(
        "docker info -f '{{.CgroupDriver}} {{.CgroupVersion}} {{.DefaultRuntime}}'
        echo in | run --rm -i -u 1000:77 --read-only --cap-drop ALL --security-opt no-new-privileges bb sh -c '
            exec 2>&1; cat; id; touch /x; grep -E \"^(CapEff|NoNewPrivs|Seccomp):\" /proc/self/status
            cat /proc/self/attr/current /proc/self/cgroup; mkdir /sys/fs/cgroup/sub; exit 7'
        echo $?
        run --rm bb nosuch > /dev/null 2>&1; echo $?",
        "systemd 2 tested\nin\nuid=1000(alice) gid=77 groups=77\ntouch: /x: Read-only file system\n\
         CapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\ndocker-default (enforce)\n0::/\n\
         mkdir: can't create directory '/sys/fs/cgroup/sub': Read-only file system\n7\n127\n",
    );
    alone(|| {
        let said = docker("tested", "run --rm bb echo out");
        assert_eq!(said, "out\n", "with the runtime named explicitly");
    });
}

fn dockers_limits_are_set_on_the_scope_and_updates_survive_a_reload() {
    // The smallest and the largest shares map to the same weight in runc's old formula and in its new one.
    both(
        "begin --memory 64m --memory-swap 96m --memory-reservation 32m --cpus 0.5 --cpu-shares 2 --pids-limit 50 \
                --cpuset-cpus 0 bb sleep 1000
            [ $(systemctl show --value -p ControlGroup $scope) = /system.slice/$scope ] && echo there
            wc -l < $cgroup/cgroup.procs
            properties ActiveState,Slice,Delegate
            limits() {
                files memory.max memory.swap.max memory.low cpu.max cpu.weight pids.max cpuset.cpus
                properties MemoryMax,MemorySwapMax,MemoryLow,CPUQuotaPerSecUSec,CPUWeight,TasksMax,AllowedCPUs
            }
            limits
            docker update --memory 96m --memory-swap 112m --memory-reservation 48m --cpus 0.25 --cpu-shares 262144 \
                --cpuset-cpus 1 $id > /dev/null
            docker update --pids-limit 77 $id > /dev/null
            limits > /tmp/limits; cat /tmp/limits
            systemctl daemon-reload
            limits | diff /tmp/limits -
            end",
        "there\n1\nActiveState=active\nDelegate=yes\nSlice=system.slice\n\
         memory.max:67108864\nmemory.swap.max:33554432\nmemory.low:33554432\ncpu.max:50000 100000\ncpu.weight:1\n\
         pids.max:50\ncpuset.cpus:0\n\
         AllowedCPUs=0\nCPUQuotaPerSecUSec=500ms\nCPUWeight=1\nMemoryLow=33554432\nMemoryMax=67108864\n\
         MemorySwapMax=33554432\nTasksMax=50\n\
         memory.max:100663296\nmemory.swap.max:16777216\nmemory.low:50331648\ncpu.max:25000 100000\ncpu.weight:10000\n\
         pids.max:77\ncpuset.cpus:1\n\
         AllowedCPUs=1\nCPUQuotaPerSecUSec=250ms\nCPUWeight=10000\nMemoryLow=50331648\nMemoryMax=100663296\n\
         MemorySwapMax=16777216\nTasksMax=77\n",
    );
}

fn dockers_execs_are_in_the_scope_confined_and_counted() {
    both(
        "begin --memory 64m bb sleep 1000
        docker exec -u 1000 -w /tmp -e A=b $id sh -c 'echo $(id -u) $PWD $A; cat /proc/self/cgroup; exit 9'; echo $?
        docker exec -d $id sleep 500
        processes() { wc -l < $cgroup/cgroup.procs; }
        wait_until 2 processes
        for pid in $(cat $cgroup/cgroup.procs); do cat /proc/$pid/attr/current; done
        properties TasksCurrent
        docker stats --no-stream --format '{{.PIDs}} {{.MemUsage}}' $id | sed 's/ [1-9][0-9.]*[KM]iB / some /'
        docker top $id -o pid,args | sed 's/^[0-9]* *//'
        end",
        "1000 /tmp b\n0::/\n9\ndocker-default (enforce)\ndocker-default (enforce)\nTasksCurrent=2\n2 some / 64MiB\n\
         PID                 COMMAND\nsleep 1000\nsleep 500\n",
    );
}

fn dockers_device_rules_hold_and_survive_a_reload_and_an_update() {
    // mknod is allowed for every number. The rules alone decide which devices processes in the cgroup may open, and
    // how.
    both(
        "begin --device /dev/vda:/dev/given:r --device-cgroup-rule 'c 1:11 w' bb sh -c '
            exec 2>&1; head -c 1 /dev/given | wc -c; mknod /disk b 254 0; sh -c \": >> /disk\"; sleep 1000'
        mknod /tmp/given b 254 0; mknod /tmp/other b 254 1
        refusals() {
            for node in /tmp/given /tmp/other /dev/kmsg /dev/null; do for how in if 'conv=notrunc of'; do
                sh -c \"echo \\$\\$ > $cgroup/cgroup.procs; dd count=0 $how=$node 2>&1 | sed -n 's|^dd: .*: |$how=$node: |p'\"
            done; done
        }
        properties DevicePolicy
        refusals > /tmp/refusals; cat /tmp/refusals
        systemctl daemon-reload; refusals | diff /tmp/refusals -
        docker update --pids-limit 60 $id > /dev/null; refusals | diff /tmp/refusals -
        rm /tmp/given /tmp/other
        docker logs $id
        end",
        "DevicePolicy=strict\n\
         conv=notrunc of=/tmp/given: Operation not permitted\n\
         if=/tmp/other: Operation not permitted\nconv=notrunc of=/tmp/other: Operation not permitted\n\
         if=/dev/kmsg: Operation not permitted\n\
         1\nsh: can't create /disk: Operation not permitted\n",
    );
}

fn docker_reports_an_out_of_memory_kill() {
    // The hog is not init: when init exits, the scope is removed, possibly before containerd has read its events.
    both(
        "begin --memory 16m --memory-swap 16m bb sleep 1000
        docker exec $id tail -c 64m /dev/zero; echo $?
        files memory.events | grep oom_kill
        events() { docker events --since 0 --until $(date +%s) --filter event=oom --filter container=$id --format '{{.Action}}'; }
        wait_until oom events
        docker kill $id > /dev/null; inspect '{{.State.OOMKilled}}'
        end",
        "137\noom_kill 1\ntrue\n",
    );
}

fn docker_pauses_stops_restarts_and_kills_a_scope() {
    both(
        "begin bb sh -c 'trap \"exit 3\" TERM; echo up > /dev/shm/up; while :; do sleep 0.1; done'
        up() { shm up; }
        unit() { echo $(systemctl show --value -p LoadState,ActiveState $scope); }
        wait_until up up; unit
        docker pause $id > /dev/null; files cgroup.freeze cgroup.events
        docker exec $id true 2>&1 | grep -o 'is paused'
        docker unpause $id > /dev/null; files cgroup.freeze cgroup.events
        docker stop $id > /dev/null; wait_until 'not-found inactive' unit
        inspect '{{.State.ExitCode}}'
        docker start $id > /dev/null; wait_until up up; unit
        docker restart $id > /dev/null; wait_until up up; unit
        docker pause $id > /dev/null
        docker kill $id > /dev/null; wait_until 'not-found inactive' unit
        inspect '{{.State.ExitCode}}'
        end",
        "loaded active\n\
         cgroup.freeze:1\ncgroup.events:populated 1\ncgroup.events:frozen 1\nis paused\n\
         cgroup.freeze:0\ncgroup.events:populated 1\ncgroup.events:frozen 0\n\
         3\nloaded active\nloaded active\n137\n",
    );
}

fn dockers_cgroup_namespace_hides_the_slice_or_not_as_requested() {
    both(
        "run --rm --cgroupns host --cgroup-parent runtimetest-docker.slice --pids-limit 50 bb sh -c '
            read line < /proc/self/cgroup; echo $line; cat /sys/fs/cgroup/${line#0::/}/pids.max' | sed -E 's/[0-9a-f]{64}/ID/'
        systemctl stop runtimetest.slice
        ls -d /sys/fs/cgroup/runtimetest* 2> /dev/null || echo gone
        run --rm --cgroupns private --privileged bb sh -c '
            cat /proc/self/cgroup; cd /sys/fs/cgroup; mkdir sub && rmdir sub && echo written; ls -d system.slice 2>&1 || :'",
        "0::/runtimetest.slice/runtimetest-docker.slice/docker-ID.scope\n50\ngone\n\
         0::/\nwritten\nls: system.slice: No such file or directory\n",
    );
}

fn dockers_health_checks_distinguish_sick_from_healthy_containers() {
    both(
        "begin --health-interval 0.3s --health-retries 2 --health-timeout 30s \
            --health-cmd 'test ! -e /dev/shm/sick' bb sleep 1000
        health() { inspect '{{.State.Health.Status}}'; }
        wait_until healthy health; health
        : > /proc/$(head -n 1 $cgroup/cgroup.procs)/root/dev/shm/sick
        wait_until unhealthy health; health
        end",
        "healthy\nunhealthy\n",
    );
}

/// With live-restore, set in Docker's configuration. One restart serves both runtimes.
fn dockers_containers_outlive_a_restart_of_docker() {
    alone(|| {
        let said = docker(
            "",
            "ids=
            for RUNTIME in runc tested; do begin --pids-limit 50 bb sleep 1000; ids=\"$ids $id\"; done
            systemctl restart docker
            for id in $ids; do
                of $id
                properties ActiveState
                docker exec $id cat /sys/fs/cgroup/pids.max
                docker update --pids-limit 51 $id > /dev/null; files pids.max
                end
            done",
        );
        let each = "ActiveState=active\n50\n51\n";
        assert_eq!(said, format!("{each}{each}"), "with runc, then with ours");
    });
}
