//! Podman 4.3 with conmon and the program under test as its runtime, including pods and kube play, and Buildah.
//! Every case also runs with runc, on a second machine, and the output must be the same.

use runtime_tests::machine::{Engine, Shell, compare};

runtime_tests::tests![
    run_passes_stdin_output_and_status_on,
    a_program_that_cannot_be_executed_gives_podmans_own_statuses,
    exec_takes_a_user_directory_variables_and_a_terminal,
    stop_kill_pause_restart_and_rm,
    stats_top_logs_and_inspect_describe_a_running_container,
    a_terminal_is_resized_detached_and_attached,
    capabilities_seccomp_and_a_read_only_root_hold,
    limits_hold_and_are_updated,
    user_namespaces_are_created_and_shared,
    a_pod_shares_its_namespaces,
    kube_play_creates_a_pod_and_kube_down_removes_it,
    settings_of_every_kind_are_applied,
    a_container_can_run_without_a_cgroup,
    a_health_check_is_run_by_hand,
    ten_containers_can_run_at_once,
    podman_build_builds,
    buildah_runs_and_builds,
];

/// Removes a container, with retries: Podman 4.3 gives up if the clean-up process of conmon uses the same mounts.
#[track_caller]
fn remove(s: &Shell, name: &str) {
    let line = format!("podman rm -f -t 0 {name} > /dev/null; podman container exists {name}");
    s.wait(&line, |o| o.status == 1);
}

fn run_passes_stdin_output_and_status_on() {
    compare(Engine::Podman, |s| {
        s.run("podman run --rm bb sh -c 'echo out; echo err >&2; id; exit 7'")
            .ends(7)
            .says(&["err"])
            .prints("out\nuid=0(root) gid=0(root)\n");
        s.run("yes 12345678901234567890 | head -c 10000000 | podman run --rm -i bb md5sum")
            .ok();
        s.run("podman run --rm bb sh -c 'yes 12345678901234567890 | head -c 10000000' | md5sum")
            .ok();
        s.run("podman info -f '{{.Host.OCIRuntime.Name}}'")
            .prints("rt\n");
    });
}

fn a_program_that_cannot_be_executed_gives_podmans_own_statuses() {
    compare(Engine::Podman, |s| {
        for (program, status) in [
            ("missing", 127),
            ("/no/such", 127),
            ("/etc", 126),
            ("/bad/mode", 126),
            ("/etc/passwd/x", 126),
        ] {
            s.run(&format!("podman run --rm bb {program}"))
                .ends(status)
                .says(&[program]);
        }
        // runc 1.1.5 detects these too late to report them; its container exits with status 1.
        for (program, status) in [
            ("/bad/interpreter", 127),
            ("/bad/loader", 127),
            ("/bad/format", 126),
        ] {
            let run = s.see(&format!("podman run --rm bb {program}"));
            run.ends(if s.ours() { status } else { 1 });
        }
        s.run("podman run --rm --no-such-flag bb true").ends(125);
        s.run("podman run --rm -w /no/such bb true");
        s.run("podman run -d --name c1 bb sleep 1000").ok();
        for (program, status) in [
            ("missing", 127),
            ("/no/such", 127),
            ("/bad/mode", 126),
            ("/etc", 126),
        ] {
            s.run(&format!("podman exec c1 {program}")).ends(status);
        }
        s.run("podman exec -w /no/such c1 true");
        s.run("podman exec c1 echo alive").prints("alive\n");
        remove(s, "c1");
    });
}

fn exec_takes_a_user_directory_variables_and_a_terminal() {
    compare(Engine::Podman, |s| {
        s.run("podman run -d --name c1 -e A=1 bb sleep 1000").ok();
        s.run("podman exec c1 sh -c 'echo out; echo err >&2; echo $A; exit 9'")
            .ends(9)
            .says(&["err"])
            .prints("out\n1\n");
        s.run("podman exec -u alice -w /tmp -e A=2 -e B=3 c1 sh -c 'id; pwd; echo $A $B'")
            .prints("uid=1000(alice) gid=1000(alice) groups=2000(extra)\n/tmp\n2 3\n");
        s.run("echo text | podman exec -i c1 cat").prints("text\n");
        s.run("podman exec c1 grep -E 'Cap|Seccomp:|NoNewPrivs' /proc/self/status")
            .ok();
        s.run("podman exec -u alice c1 grep Cap /proc/self/status")
            .ok();
        s.see("podman exec -d c1 sh -c 'echo detached > /tmp/f; sleep 500'")
            .ok();
        s.wait("podman exec c1 cat /tmp/f", |o| o.out == "detached\n");
        let (mut terminal, running) =
            s.terminal("podman exec -it c1 sh -c 'tty; read x; echo got $x; exit 4'");
        terminal.expect("/dev/pts/0\r\n");
        s.resize(&terminal, "podman exec c1 stty -F /dev/pts/0 size");
        terminal.send("line\n");
        terminal.expect("got line\r\n");
        running.wait().ends(4);
        s.run("podman exec --preserve-fds 1 c1 cat /proc/self/fd/3 3< /etc/hostname")
            .ok();
        s.run("podman exec c1 sh -c 'kill -9 $$'").ends(137);
        remove(s, "c1");
    });
}

const STATE: &str =
    "podman inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}'";

fn stop_kill_pause_restart_and_rm() {
    compare(Engine::Podman, |s| {
        let polite = "trap \"echo asked; exit 3\" TERM; trap \"echo told\" USR1; echo up; while :; do sleep 0.1; done";
        s.run(&format!("podman run -d --name c1 bb sh -c '{polite}'"))
            .ok();
        s.wait("podman logs c1", |o| o.out == "up\n");
        s.run("podman kill -s USR1 c1").ok();
        s.wait("podman logs c1", |o| o.out == "up\ntold\n");
        s.run("podman pause c1").ok();
        s.run(&format!("{STATE} c1")).prints("paused 0 false\n");
        s.run("podman exec c1 true").ends(255);
        s.run("podman unpause c1").ok();
        s.run("podman stop c1").ok();
        s.run("podman logs c1").prints("up\ntold\nasked\n");
        s.run(&format!("{STATE} c1")).prints("exited 3 false\n");
        s.run("podman start c1").ok();
        s.wait("podman logs c1", |o| o.out.ends_with("asked\nup\n"));
        s.run("podman restart c1").ok();
        s.wait("podman logs c1", |o| {
            o.out.ends_with("asked\nup\nasked\nup\n")
        });
        s.run("podman kill c1").ok();
        s.run("podman wait c1").prints("137\n");
        s.run("podman rm c1").ok();
        s.run("podman run -d --name c2 bb sleep 1000").ok();
        s.see("podman stop -t 1 c2").ok();
        s.run(&format!("{STATE} c2")).prints("exited 137 false\n");
        s.run("podman start c2; podman pause c2").ok();
        remove(s, "c2");
    });
}

fn stats_top_logs_and_inspect_describe_a_running_container() {
    compare(Engine::Podman, |s| {
        s.run("podman run -d --name c1 --memory 64m --pids-limit 50 bb sh -c 'echo one; echo two >&2; exec sleep 1000'")
            .ok();
        s.wait("podman logs c1 2>&1", |o| o.lines().len() == 2);
        s.run("podman logs c1").prints("one\n").says(&["two"]);
        s.run("podman top c1 comm args capeff seccomp").ok();
        s.run("podman stats --no-stream --format '{{.Name}} {{.PIDs}}' c1")
            .prints("c1 1\n");
        let used = s.see("podman stats --no-stream --format '{{.MemUsage}}' c1");
        assert!(
            used.out.ends_with(" / 67.11MB\n") && !used.out.starts_with("0B"),
            "{used}"
        );
        s.run("podman ps --format '{{.Names}}'").prints("c1\n");
        s.run("podman inspect -f '{{.OCIRuntime}} {{.State.OciVersion}}' c1")
            .ok();
        remove(s, "c1");
    });
}

fn a_terminal_is_resized_detached_and_attached() {
    compare(Engine::Podman, |s| {
        let (mut terminal, running) =
            s.terminal("podman run -it --detach-keys ctrl-q --name c1 bb sh");
        terminal.expect("/ # ");
        terminal.send("tty; echo $((40 + 2))\n");
        terminal.expect("/dev/pts/0\r\n");
        terminal.expect("42\r\n");
        s.resize(&terminal, "podman exec c1 stty -F /dev/pts/0 size");
        terminal.send("\x11");
        running.wait().ok();
        s.run(&format!("{STATE} c1")).prints("running 0 false\n");
        let (mut terminal, running) = s.terminal("podman attach c1");
        terminal.send("echo $((6 * 7)); exit 8\n");
        terminal.expect("42\r\n");
        drop(running.wait());
        s.run("podman wait c1").prints("8\n");
        s.run("podman rm c1").ok();
        s.run("podman run --rm -t bb sh -c 'echo a; test -t 1 && tty'")
            .prints("a\r\n/dev/pts/0\r\n");
    });
}

fn capabilities_seccomp_and_a_read_only_root_hold() {
    compare(Engine::Podman, |s| {
        let show = "grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status";
        for flags in [
            "",
            "--cap-drop ALL",
            "--cap-drop ALL --cap-add NET_ADMIN",
            "-u alice",
            "-u alice --cap-add CHOWN",
            "--security-opt no-new-privileges",
            "--security-opt seccomp=unconfined",
        ] {
            s.run(&format!("podman run --rm {flags} bb {show}")).ok();
        }
        s.run("echo '{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"mkdir\", \"mkdirat\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 28}]}' > /run/p.json")
            .ok();
        s.run("podman run --rm --security-opt seccomp=/run/p.json bb mkdir /tmp/d; rm /run/p.json")
            .says(&["No space left on device"]);
        s.run("podman run --rm --read-only --tmpfs /data:size=1m,rw bb sh -c 'touch /x; touch /data/x /tmp/x /dev/shm/x && echo written'")
            .prints("written\n")
            .says(&["read-only file system"]);
        s.run("podman run --rm --read-only --read-only-tmpfs=false bb touch /tmp/x")
            .ends(1);
        s.run("podman run --rm --security-opt mask=/etc/passwd:/tmp --security-opt unmask=/proc/keys bb sh -c 'cat /etc/passwd; ls /tmp'").ok().prints("");
    });
}

fn limits_hold_and_are_updated() {
    compare(Engine::Podman, |s| {
        s.run("podman run --rm --pids-limit 8 bb sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do sleep 100 & done'")
            .ends(2)
            .says(&["can't fork: Resource temporarily unavailable"]);
        s.run("podman run --name c1 --memory 16m --memory-swap 16m bb sh -c 'exec tail -c 64m /dev/zero'").ends(137);
        s.run("podman rm c1").ok();
        s.run("podman run -d --name c1 --memory 64m --cpus 0.5 --cpu-shares 300 --pids-limit 50 --cpuset-cpus 0 bb sleep 1000").ok();
        let limits = "for f in memory/*/memory.limit_in_bytes cpu/*/cpu.cfs_quota_us cpu/*/cpu.shares pids/*/pids.max cpuset/*/cpuset.cpus \
            */memory.max */cpu.max */cpu.weight */pids.max; do for g in /sys/fs/cgroup/${f%%/*}/libpod_parent/libpod-*/${f##*/}; do [ ! -e $g ] || cat $g; done; done";
        s.run(limits).ok();
        s.see("podman update --memory 96m --cpus 0.25 --pids-limit 77 c1");
        s.run(limits).ok();
        remove(s, "c1");
    });
}

fn user_namespaces_are_created_and_shared() {
    compare(Engine::Podman, |s| {
        let show = "sh -c 'cat /proc/self/uid_map /proc/self/gid_map; id; touch /x && stat -c %u:%g /x /proc/1'";
        s.run(&format!(
            "podman run --rm --uidmap 0:100000:5000 --gidmap 0:200000:5000 bb {show}"
        ))
        .ok();
        s.run("podman run --rm --uidmap 0:100000:5000 --user 1000 bb sh -c 'id; cat /proc/self/uid_map'")
            .ok();
        s.run(&format!("podman run --rm --userns host bb {show}"))
            .ok();
        s.run("podman run -d --name c1 --uidmap 0:100000:5000 bb sleep 1000")
            .ok();
        s.run("podman exec c1 sh -c 'id -u; cat /proc/self/uid_map'")
            .ok();
        s.run(&format!("podman run --rm --userns container:c1 bb {show}"))
            .ok();
        remove(s, "c1");
    });
}

fn a_pod_shares_its_namespaces() {
    compare(Engine::Podman, |s| {
        s.run("podman pod create --name p1 --infra-image bb --infra-command 'sleep 1000'")
            .ok();
        s.run("podman run -d --pod p1 --name c1 bb sh -c 'echo page > /data/index.html; exec httpd -f -h /data -p 80'").ok();
        s.run("podman run --rm --pod p1 bb sh -c 'until wget -q -O - http://127.0.0.1/; do :; done 2> /dev/null; hostname'").prints("page\np1\n");
        s.run("podman pod ps --format '{{.Name}} {{.Status}} {{.NumberOfContainers}}'")
            .prints("p1 Running 2\n");
        s.run("podman pod pause p1; podman pod ps --format '{{.Status}}'; podman pod unpause p1")
            .ok();
        s.run("podman pod top p1 comm | sort").ok();
        s.see("podman pod stats --no-stream --format '{{.Name}} {{.PIDS}}' p1")
            .ok();
        s.see("podman pod stop -t 0 p1").ok();
        s.run("podman pod start p1").ok();
        s.wait("podman exec c1 wget -q -O - http://127.0.0.1/", |o| {
            o.out == "page\n"
        });
        s.see("podman pod rm -f -t 0 p1").ok();
    });
}

fn kube_play_creates_a_pod_and_kube_down_removes_it() {
    compare(Engine::Podman, |s| {
        s.run(
            "cat > /run/kube.yaml <<-E
apiVersion: v1
kind: Pod
metadata:
  name: kp
spec:
  restartPolicy: Never
  volumes:
  - name: shared
    hostPath: {path: /run/kube, type: DirectoryOrCreate}
  - name: own
    emptyDir: {}
  containers:
  - name: web
    image: localhost/bb
    command: [sh, -c, 'echo page > /s/index.html; echo > /o/x; exec httpd -f -h /s -p 8080']
    resources: {limits: {memory: 64Mi, cpu: 500m}}
    securityContext: {capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
    volumeMounts: [{name: shared, mountPath: /s}, {name: own, mountPath: /o}]
  - name: side
    image: localhost/bb
    command: [sh, -c, 'until wget -q -O - http://127.0.0.1:8080/ 2> /dev/null; do :; done; exec sleep 1000']
    securityContext: {runAsUser: 1000, runAsGroup: 1000}
    volumeMounts: [{name: shared, mountPath: /s, readOnly: true}]
E",
        )
        .ok();
        s.see("podman kube play /run/kube.yaml").ok();
        s.wait("podman logs kp-side", |o| o.out == "page\n");
        s.run("podman exec kp-side id")
            .prints("uid=1000(alice) gid=1000(alice)\n");
        s.run("podman exec kp-web sh -c 'grep CapEff /proc/self/status; touch /x'")
            .ends(1);
        s.run("podman generate kube kp | grep -c image").ok();
        s.see("podman kube down /run/kube.yaml").ok();
        s.see("podman pod rm -a -f -t 0; podman volume rm -a -f; rm -r /run/kube.yaml /run/kube");
    });
}

fn settings_of_every_kind_are_applied() {
    compare(Engine::Podman, |s| {
        s.run("podman run --rm --device /dev/fuse --ulimit nofile=100:200 --ulimit nproc=4096:4096 --sysctl kernel.msgmax=9000 --shm-size 3m --hostname box --oom-score-adj 500 --umask 077 \
            bb sh -c 'ls -l /dev/fuse | cut -c1-10; ulimit -n; cat /proc/sys/kernel/msgmax; df -k /dev/shm | tail -1 | tr -s \" \" | cut -d\" \" -f2; hostname; cat /proc/self/oom_score_adj; umask'")
            .prints("crw-------\n100\n9000\n3072\nbox\n500\n0077\n");
        s.run("mkdir -p /run/v; podman run --rm -v /run/v:/v -v /run/v:/ro:ro -v named:/named:U bb sh -c 'echo text > /v/f; cat /ro/f; touch /ro/x; echo n > /named/f'; cat /run/v/f; rm -r /run/v; podman volume rm named")
            .says(&["read-only file system"]).prints("text\ntext\nnamed\n");
        // Network links of the host change with other cases, so the namespace itself is compared.
        s.run("[ $(podman run --rm --network host bb readlink /proc/self/ns/net) = $(readlink /proc/self/ns/net) ] && echo same")
            .prints("same\n");
        for network in ["none", "bridge"] {
            s.run(&format!(
                "podman run --rm --network {network} bb sh -c 'ip -o link | wc -l'"
            ))
            .ok();
        }
        s.run("podman run --rm --init bb sh -c 'cut -d\"\" -f1 /proc/1/comm; echo hi'")
            .ok();
        s.run("podman run --rm --pid host --ipc host --uts host --cgroupns host bb hostname")
            .ok();
        s.run("podman run --rm --cgroupns private bb cat /proc/self/cgroup")
            .ok();
        s.run("podman run --rm --systemd always bb sh -c 'grep -E \" (/run|/tmp|/var/log/journal) \" /proc/mounts | cut -d\" \" -f2-3 | sort'").ok();
        s.run("podman run --rm --mount type=tmpfs,dst=/t,tmpfs-mode=700 --mount type=devpts,dst=/pts bb sh -c 'ls -d /pts; grep \" /pts \" /proc/mounts | cut -d\" \" -f3; stat -c %a /t'").ok();
        s.run("podman run --rm --group-add 77 --user 1000 bb id")
            .ok();
    });
}

fn a_container_can_run_without_a_cgroup() {
    compare(Engine::Podman, |s| {
        // Podman passes an option that only crun knows; runc rejects it.
        s.see("podman run --rm --cgroups disabled bb cat /proc/self/cgroup")
            .ends(if s.ours() { 0 } else { 126 });
        s.run("podman run --rm --cgroups no-conmon bb echo hi")
            .prints("hi\n");
        s.run("podman run --rm --cgroup-parent /elsewhere bb sh -c 'grep -c elsewhere /proc/self/cgroup'").ok();
    });
}

fn a_health_check_is_run_by_hand() {
    compare(Engine::Podman, |s| {
        s.run("podman run -d --name c1 --health-cmd 'test ! -e /tmp/sick' --health-interval disable bb sleep 1000").ok();
        s.run("podman healthcheck run c1").ok();
        s.run("podman exec c1 touch /tmp/sick; podman healthcheck run c1")
            .ends(1);
        remove(s, "c1");
    });
}

fn ten_containers_can_run_at_once() {
    compare(Engine::Podman, |s| {
        s.run("seq 10 | xargs -P 10 -I N podman run --rm --name cN bb echo N | sort -n")
            .prints("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
        s.run("seq 10 | xargs -P 10 -I N podman run -d --name cN bb sleep 1000 | wc -l")
            .prints("10\n");
        s.run("seq 10 | xargs -P 10 -I N podman exec cN echo N | sort -n")
            .prints("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
        s.run("podman rm -f -t 0 -a | wc -l").prints("10\n");
    });
}

const DOCKERFILE: &str =
    "mkdir -p /run/build; cd /run/build; echo text > file; cat > Dockerfile <<-E
	FROM bb
	COPY file /file
	RUN cat /file > /made; id -u >> /made; grep -E 'CapEff|Seccomp:' /proc/self/status >> /made
	USER alice
	WORKDIR /tmp/deep
	RUN id -un > /tmp/who; pwd >> /tmp/who
	CMD cat /made /tmp/who
	E";

fn podman_build_builds() {
    compare(Engine::Podman, |s| {
        s.run(DOCKERFILE).ok();
        s.see("podman build -t made /run/build").ok();
        s.run("podman run --rm made").ok();
        s.run("echo 'RUN sh -c \"exit 9\"' >> /run/build/Dockerfile")
            .ok();
        s.see("podman build /run/build").ends(9);
        s.see("podman rmi -f made; podman image prune -f; rm -r /run/build")
            .ok();
    });
}

fn buildah_runs_and_builds() {
    compare(Engine::Podman, |s| {
        s.run("buildah from --name b1 bb").ok();
        s.run("buildah run --runtime $RT b1 sh -c 'echo out; echo err >&2; id -u; exit 7'")
            .ends(7)
            .prints("out\n0\n")
            .says(&["err"]);
        s.run("echo in | buildah run --runtime $RT b1 cat")
            .prints("in\n");
        s.run("buildah run --runtime $RT --user alice --cap-add CAP_NET_ADMIN --env A=1 --volume /run/engines:/mnt:ro b1 sh -c 'id -un; echo $A; ls /mnt | wc -l'").ok();
        s.run("buildah run --runtime $RT b1 /no/such");
        s.run("buildah run --runtime $RT b1 /bad/mode");
        let (mut terminal, running) =
            s.terminal("buildah run --runtime $RT -t b1 sh -c 'tty; read x; echo got $x; exit 4'");
        terminal.expect("/dev/pts/0\r\n");
        terminal.send("line\n");
        terminal.expect("got line\r\n");
        running.wait().ends(4);
        s.run("buildah rm b1").ok();
        s.run(DOCKERFILE).ok();
        s.see("buildah bud --runtime $RT --layers -t made /run/build")
            .ok();
        s.run("podman run --rm made").ok();
        s.see("podman rmi -f made; podman image prune -f; rm -r /run/build")
            .ok();
    });
}
