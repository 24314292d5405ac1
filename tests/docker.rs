//! Docker 20.10 with the program under test as its default runtime: everything `docker` and its builders ask of a
//! runtime.
//! Every case also runs with runc, on a second machine, and the output must be the same.

use runtime_tests::machine::{Engine, Shell, compare, compare_unless};
use runtime_tests::wait_for;

runtime_tests::tests![
    run_passes_stdin_output_and_status_on,
    a_program_that_cannot_be_executed_gives_dockers_own_statuses,
    exec_of_a_program_that_cannot_be_executed_gives_the_same_statuses,
    the_default_runtime_and_one_with_runtime_args_are_ours,
    exec_takes_a_user_directory_variables_and_a_terminal,
    stop_sends_sigterm_first_and_kill_does_not,
    pause_freezes_and_unpause_thaws,
    update_changes_the_limits_of_a_running_container,
    stats_top_and_logs_describe_a_running_container,
    restart_and_the_restart_policy_start_it_again,
    a_terminal_is_resized_detached_and_attached,
    capabilities_are_dropped_added_and_not_regained,
    a_read_only_root_has_writable_tmpfs_and_volumes,
    a_seccomp_profile_of_the_user_holds,
    a_fork_bomb_stops_at_its_pids_limit,
    a_memory_hog_is_killed_and_docker_reports_it,
    users_and_groups_are_as_requested,
    docker_init_reaps_and_forwards_signals,
    namespaces_are_shared_with_the_host_and_with_containers,
    devices_ulimits_sysctls_and_other_settings_are_applied,
    a_published_port_is_served,
    a_privileged_container_has_every_device,
    files_are_copied_in_and_out_and_a_container_becomes_an_image,
    ten_containers_can_run_at_once,
    a_health_check_every_second_survives_a_load_of_execs,
    the_classic_builder_builds,
    buildkit_builds,
];

fn run_passes_stdin_output_and_status_on() {
    compare(Engine::Docker, |s| {
        s.run("docker run --rm bb sh -c 'echo out; echo err >&2; id; exit 7'")
            .ends(7)
            .says(&["err"])
            .prints("out\nuid=0(root) gid=0(root) groups=0(root)\n");
        s.run("yes 12345678901234567890 | head -c 10000000 | docker run --rm -i bb md5sum")
            .ok();
        s.run("docker run --rm bb sh -c 'yes 12345678901234567890 | head -c 10000000' | md5sum")
            .ok();
    });
}

fn a_program_that_cannot_be_executed_gives_dockers_own_statuses() {
    compare(Engine::Docker, |s| {
        for (program, status) in [
            ("missing", 127),
            ("/no/such", 127),
            ("/etc", 126),
            ("/bad/mode", 126),
            ("bad/mode", 126),
            ("/etc/passwd/x", 125),
        ] {
            s.run(&format!("docker run --rm bb {program}"))
                .ends(status)
                .says(&[program]);
        }
        // runc 1.1.5 detects these too late to report them; its container exits with status 1.
        for (program, status) in [
            ("/bad/interpreter", 127),
            ("/bad/loader", 127),
            ("/bad/format", 125),
        ] {
            let run = s.see(&format!("docker run --rm bb {program}"));
            run.ends(if s.ours() { status } else { 1 });
        }
        s.run("docker run --rm -w /no/such/made bb pwd")
            .prints("/no/such/made\n");
        s.run("docker run --rm -w /etc/passwd bb pwd");
        s.run("docker run --rm --no-such-flag bb true").ends(125);
        s.run("docker run --rm -v /no:relative bb true").ends(125);
    });
}

fn exec_of_a_program_that_cannot_be_executed_gives_the_same_statuses() {
    compare(Engine::Docker, |s| {
        s.run("docker run -d --name c1 bb sleep 1000").ok();
        for program in ["missing", "/no/such", "/etc", "/bad/mode", "/etc/passwd/x"] {
            let run = s.see(&format!("docker exec c1 {program}"));
            // Docker 20.10 returns 126 for all of them.
            run.ends(126);
            assert!(
                run.out.contains("OCI runtime exec failed") && run.out.contains(program),
                "{run}"
            );
        }
        s.see("docker exec c1 /bad/interpreter")
            .ends(if s.ours() { 126 } else { 1 });
        s.see("docker exec -w /no/such c1 true").ends(126);
        s.see("docker exec -u nosuch c1 true").ends(126);
        s.run("docker exec c1 echo alive").prints("alive\n");
        s.run("docker rm -f c1").ok();
    });
}

fn the_default_runtime_and_one_with_runtime_args_are_ours() {
    compare(Engine::Docker, |s| {
        s.run("docker info -f '{{.DefaultRuntime}}'").prints("rt\n");
        for runtime in ["rt", "noisy", "runc"] {
            s.run(&format!(
                "docker run -d --name c1 --runtime {runtime} bb sleep 1000"
            ))
            .ok();
            s.run("docker inspect -f '{{.HostConfig.Runtime}} {{.State.Status}}' c1")
                .prints(&format!("{runtime} running\n"));
            s.run("docker exec c1 echo in").prints("in\n");
            s.run("docker rm -f c1").ok();
        }
        s.run("docker run --rm --runtime none bb true").ends(125);
    });
}

fn exec_takes_a_user_directory_variables_and_a_terminal() {
    compare(Engine::Docker, |s| {
        s.run("docker run -d --name c1 -e A=1 bb sleep 1000").ok();
        s.run("docker exec c1 sh -c 'echo out; echo err >&2; echo $A; exit 9'")
            .ends(9)
            .says(&["err"])
            .prints("out\n1\n");
        s.run("docker exec -u alice -w /tmp -e A=2 -e B=3 c1 sh -c 'id; pwd; echo $A $B'")
            .prints("uid=1000(alice) gid=1000(alice) groups=1000(alice),2000(extra)\n/tmp\n2 3\n");
        s.run("echo text | docker exec -i c1 cat").prints("text\n");
        s.run("docker exec c1 grep -E 'Cap|Seccomp:|NoNewPrivs' /proc/self/status")
            .ok();
        // runc 1.1 fails if the host lacks one of the capabilities.
        let privileged = s.see("docker exec --privileged c1 grep CapBnd /proc/self/status");
        if s.ours() {
            assert!(privileged.ok().out.starts_with("CapBnd:\t"), "{privileged}");
        }
        s.run("docker exec c1 cat /proc/self/cgroup").ok();
        s.run("docker exec -d c1 sh -c 'echo detached > /tmp/f; sleep 500'")
            .ok();
        s.wait("docker exec c1 cat /tmp/f", |o| o.out == "detached\n");
        let (mut terminal, running) =
            s.terminal("docker exec -it c1 sh -c 'tty; read x; echo got $x; exit 4'");
        terminal.expect("/dev/pts/0\r\n");
        s.resize(&terminal, "docker exec c1 stty -F /dev/pts/0 size");
        terminal.send("line\n");
        terminal.expect("got line\r\n");
        running.wait().ends(4);
        s.run("docker exec c1 sh -c 'kill -9 $$'").ends(137);
        s.run("docker rm -f c1").ok();
    });
}

fn stop_sends_sigterm_first_and_kill_does_not() {
    compare(Engine::Docker, |s| {
        let polite = "trap \"echo asked; exit 3\" TERM; trap \"echo told\" USR1; echo up; while :; do sleep 0.1; done";
        s.run(&format!("docker run -d --name c1 bb sh -c '{polite}'"))
            .ok();
        s.wait("docker logs c1", |o| o.out == "up\n");
        s.run("docker kill -s USR1 c1").ok();
        s.wait("docker logs c1", |o| o.out == "up\ntold\n");
        s.run("docker stop c1").ok();
        s.run("docker logs c1").prints("up\ntold\nasked\n");
        let ended =
            "docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}'";
        s.run(&format!("{ended} c1")).prints("exited 3 false\n");
        // A process that ignores SIGTERM is killed after the grace period.
        s.run("docker run -d --name c2 bb sleep 1000").ok();
        s.run("docker stop -t 1 c2").ok();
        s.run(&format!("{ended} c2")).prints("exited 137 false\n");
        s.run("docker run -d --name c3 bb sleep 1000").ok();
        s.run("docker kill c3").ok();
        s.run("docker wait c3").prints("137\n");
        s.run("docker kill c3").ends(1);
        s.run("docker rm c1 c2 c3").ok();
    });
}

fn pause_freezes_and_unpause_thaws() {
    compare(Engine::Docker, |s| {
        s.run("docker run -d --name c1 bb sh -c 'while :; do echo tick; sleep 0.02; done'")
            .ok();
        s.wait("docker logs c1", |o| o.out.contains("tick"));
        s.run("docker pause c1").ok();
        s.run("docker inspect -f '{{.State.Status}}' c1")
            .prints("paused\n");
        s.run("docker exec c1 true").ends(1);
        // Without the freeze there would be a dozen ticks between the commands.
        s.run("docker logs c1 | wc -l > /run/a; docker logs c1 | wc -l > /run/b; docker logs c1 | wc -l > /run/b; cmp /run/a /run/b")
            .ok();
        s.run("docker unpause c1").ok();
        s.wait("docker logs c1 | wc -l; cat /run/b", |o| {
            let lines: Vec<u32> = o.lines().iter().map(|l| l.parse().unwrap()).collect();
            lines[0] > lines[1]
        });
        // A paused container can be removed.
        s.run("docker pause c1").ok();
        s.run("docker rm -f c1").ok();
    });
}

fn update_changes_the_limits_of_a_running_container() {
    compare(Engine::Docker, |s| {
        s.run("docker run -d --name c1 --memory 64m --cpus 0.5 --pids-limit 50 bb sleep 1000")
            .ok();
        let limits = "docker exec c1 sh -c 'cd /sys/fs/cgroup; for f in memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us \
            cpu/cpu.shares pids/pids.max cpuset/cpuset.cpus memory.max cpu.max cpu.weight pids.max; do [ ! -e $f ] || cat $f; done'";
        s.run(limits).ok();
        s.run("docker update --memory 96m --memory-swap -1 --cpus 0.25 --cpu-shares 512 --pids-limit 77 --cpuset-cpus 0 c1")
            .ok();
        s.run(limits).ok();
        s.run("docker update --pids-limit 78 c1").ok();
        s.run(limits).ok();
        s.run("docker update --memory 1m c1");
        s.run(limits).ok();
        s.run("docker rm -f c1").ok();
    });
}

fn stats_top_and_logs_describe_a_running_container() {
    compare(Engine::Docker, |s| {
        s.run("docker run -d --name c1 --memory 64m --pids-limit 50 bb sh -c 'echo one; echo two >&2; exec sleep 1000'")
            .ok();
        s.run("docker top c1 -o pid,comm,args | tr -s ' ' | cut -d' ' -f2-")
            .prints("COMMAND COMMAND\nsleep sleep 1000\n");
        s.run("docker stats --no-stream --format '{{.Name}} {{.PIDs}}' c1")
            .prints("c1 1\n");
        let used = s.see("docker stats --no-stream --format '{{.MemUsage}}' c1");
        assert!(
            used.out.ends_with(" / 64MiB\n") && !used.out.starts_with("0B"),
            "{used}"
        );
        s.wait("docker logs c1 2>&1", |o| o.lines().len() == 2);
        s.run("docker logs c1").prints("one\n").says(&["two"]);
        let follower = s.start("docker logs -f c1");
        wait_for("the follower prints the line", || follower.out() == "one\n");
        s.run("docker rm -f c1").ok();
        follower.wait().ok().prints("one\n");
    });
}

fn restart_and_the_restart_policy_start_it_again() {
    compare(Engine::Docker, |s| {
        s.run("docker run -d --name c1 bb sh -c 'echo up; trap \"exit 0\" TERM; while :; do sleep 0.1; done'")
            .ok();
        s.wait("docker logs c1", |o| o.out == "up\n");
        s.run("docker restart c1").ok();
        s.wait("docker logs c1", |o| o.out == "up\nup\n");
        s.run("docker stop c1").ok();
        s.run("docker start c1").ok();
        s.wait("docker logs c1", |o| o.out == "up\nup\nup\n");
        s.run("docker run -d --name c2 --restart on-failure:2 bb sh -c 'echo try; exit 5'")
            .ok();
        s.wait(
            "docker inspect -f '{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}' c2",
            |o| o.out == "2 exited 5\n",
        );
        s.run("docker logs c2").prints("try\ntry\ntry\n");
        s.run("docker rm -f c1 c2").ok();
    });
}

fn a_terminal_is_resized_detached_and_attached() {
    compare(Engine::Docker, |s| {
        let (mut terminal, running) = s.terminal("docker run -it --name c1 bb sh");
        terminal.expect("/ # ");
        terminal.send("tty; stty size; echo $((40 + 2))\n");
        terminal.expect("/dev/pts/0\r\n");
        terminal.expect("42\r\n");
        s.resize(&terminal, "docker exec c1 stty -F /dev/pts/0 size");
        terminal.send("\x10\x11");
        running.wait().ok();
        s.run("docker inspect -f '{{.State.Status}}' c1")
            .prints("running\n");
        let (mut terminal, running) = s.terminal("docker attach c1");
        terminal.send("echo $((6 * 7)); exit 8\n");
        terminal.expect("42\r\n");
        running.wait().ends(8);
        s.run("docker rm c1").ok();
        // With -t but without -i, the process has a terminal, and its lines end in \r\n.
        s.run("docker run --rm -t bb sh -c 'echo a; test -t 1 && tty'")
            .prints("a\r\n/dev/pts/0\r\n");
    });
}

fn capabilities_are_dropped_added_and_not_regained() {
    compare(Engine::Docker, |s| {
        let show = "grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status";
        s.run(&format!("docker run --rm bb {show}")).ok();
        s.run(&format!("docker run --rm --cap-drop ALL bb {show}"))
            .ok();
        s.run("docker run --rm --cap-drop ALL bb chown 1 /etc/passwd")
            .ends(1);
        s.run(&format!(
            "docker run --rm --cap-drop ALL --cap-add NET_ADMIN --cap-add CHOWN bb {show}"
        ))
        .ok();
        s.run("docker run --rm --cap-add NET_ADMIN bb ip link set lo mtu 9000")
            .ok();
        s.run("docker run --rm bb ip link set lo mtu 9000").ends(2);
        s.run(&format!("docker run --rm -u alice bb {show}")).ok();
        s.run(&format!(
            "docker run --rm --security-opt no-new-privileges bb {show}"
        ))
        .ok();
    });
}

fn a_read_only_root_has_writable_tmpfs_and_volumes() {
    compare(Engine::Docker, |s| {
        s.run("docker run --rm --read-only --tmpfs /data:size=1m bb sh -c 'touch /x; touch /data/x && stat -c %a /data; dd if=/dev/zero of=/data/y bs=1k count=2000; ls -s /data/y'")
            .says(&["read-only file system", "no space left"]);
        // runc 1.1.5 replaces the mode by that of the directory below the mount.
        s.see("docker run --rm --tmpfs /data:mode=700 bb stat -c %a /data")
            .prints(if s.ours() { "700\n" } else { "755\n" });
        s.run("mkdir -p /run/v; docker run --rm -v /run/v:/v -v /run/v:/ro:ro -v named:/named bb sh -c 'echo text > /v/f; cat /ro/f; touch /ro/x; echo n > /named/f'; cat /run/v/f; rm -r /run/v")
            .says(&["read-only file system"]).prints("text\ntext\n");
        s.run("docker run --rm --mount type=volume,src=named,dst=/n,readonly bb sh -c 'cat /n/f; touch /n/g'").ends(1).prints("n\n");
        s.run("docker volume rm named").ok();
        // In any order. cgroup hierarchies and the mounts over masked paths differ between runtimes.
        s.run("docker run --rm bb sh -c 'cut -d\" \" -f2-4 /proc/mounts | sed s/lowerdir.*// | grep -v -e ^/sys/f -e ^/proc/[akst][cei] | sort'")
            .ok();
    });
}

fn a_seccomp_profile_of_the_user_holds() {
    compare(Engine::Docker, |s| {
        s.run("echo '{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"mkdir\", \"mkdirat\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 28}]}' > /run/p.json")
            .ok();
        let line = "bb sh -c 'mkdir /tmp/d; grep Seccomp: /proc/self/status'";
        s.run(&format!(
            "docker run --rm --security-opt seccomp=/run/p.json {line}"
        ))
        .ok()
        .says(&["No space left on device"]);
        s.run(&format!(
            "docker run --rm --security-opt seccomp=unconfined {line}"
        ))
        .ok()
        .prints("Seccomp:\t0\n");
        s.run(&format!("docker run --rm {line}"))
            .prints("Seccomp:\t2\n");
        s.run("docker run --rm bb unshare -m true").ends(1);
        s.run("docker run -d --name c1 --security-opt seccomp=/run/p.json bb sleep 1000")
            .ok();
        s.run("docker exec c1 mkdir /tmp/d")
            .ends(1)
            .says(&["No space left on device"]);
        s.run("docker rm -f c1; rm /run/p.json").ok();
    });
}

fn a_fork_bomb_stops_at_its_pids_limit() {
    compare(Engine::Docker, |s| {
        s.run("docker run --rm --pids-limit 8 bb sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do sleep 100 & done'")
            .ends(2)
            .says(&["can't fork: Resource temporarily unavailable"]);
    });
}

fn a_memory_hog_is_killed_and_docker_reports_it() {
    compare(Engine::Docker, |s| {
        // The shim watches for OOM kills only after the task has started, and reports none for a cgroup that no
        // longer exists. So the hog is a child, which the init starts later and outlives. runc also misses a kill
        // that the shim does not see.
        s.see("docker run -d --name hog --memory 16m --memory-swap 16m bb sh -c 'until [ -e /go ]; do sleep 0.1; done; tail -c 64m /dev/zero; status=$?; until [ -e /end ]; do sleep 0.1; done; exit $status'").ok();
        s.run("docker exec hog touch /go").ok();
        s.see("until docker events --since 0 --until $(date +%s) --filter container=hog --filter event=oom | grep -q oom; do sleep 0.2; done").ok();
        s.run("docker exec hog touch /end; docker wait hog; docker inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' hog")
            .prints("137\ntrue 137\n");
        s.run("docker rm hog").ok();
    });
}

fn users_and_groups_are_as_requested() {
    compare(Engine::Docker, |s| {
        s.run("docker run --rm -u 1234:4321 bb id").ok();
        s.run("docker run --rm -u alice bb id")
            .prints("uid=1000(alice) gid=1000(alice) groups=1000(alice),2000(extra)\n");
        s.run("docker run --rm -u 1234 --group-add 77 --group-add extra bb id -G")
            .prints("0 77 2000\n");
        s.run("docker run --rm -u 1000 bb touch /x").ends(1);
        s.run("docker run --rm -u nosuch bb id").ends(125);
    });
}

fn docker_init_reaps_and_forwards_signals() {
    compare(Engine::Docker, |s| {
        s.run("docker run -d --name c1 --init bb sh -c '(sleep 0 &); trap \"exit 6\" TERM; echo up; while :; do sleep 0.1; done'")
            .ok();
        s.wait("docker logs c1", |o| o.out == "up\n");
        s.run("docker exec c1 sh -c 'tr \"\\0\" \" \" < /proc/1/cmdline | cut -d\" \" -f1,2'")
            .prints("/sbin/docker-init --\n");
        s.wait("docker exec c1 ps -o stat", |o| !o.out.contains('Z'));
        s.run("docker stop c1").ok();
        s.run("docker wait c1").prints("6\n");
        s.run("docker rm c1").ok();
        s.run("docker run --rm --init bb /bad/mode");
    });
}

fn namespaces_are_shared_with_the_host_and_with_containers() {
    compare(Engine::Docker, |s| {
        s.run("docker run -d --name c1 --ipc shareable --hostname box bb sleep 1000")
            .ok();
        s.run("docker run --rm --pid container:c1 --ipc container:c1 --network container:c1 bb sh -c 'ps -o comm,args; hostname; ip -o link | wc -l'").ok();
        let same = |n: &str, a: &str, b: &str| {
            format!(
                "test \"$({a} readlink /proc/self/ns/{n})\" = \"$({b} readlink /proc/self/ns/{n})\""
            )
        };
        for (flag, n) in [
            ("--network host", "net"),
            ("--uts host", "uts"),
            ("--ipc host", "ipc"),
            ("--pid host", "pid"),
            ("--cgroupns host", "cgroup"),
        ] {
            s.run(&same(n, "", &format!("docker run --rm {flag} bb")))
                .ok();
            s.run(&same(n, "", "docker run --rm bb"));
        }
        s.run("docker run --rm --cgroupns private bb cat /proc/self/cgroup")
            .ok();
        s.run("docker run --rm --network none bb ip -o addr").ok();
        s.run("docker rm -f c1").ok();
    });
}

fn devices_ulimits_sysctls_and_other_settings_are_applied() {
    compare(Engine::Docker, |s| {
        s.run("docker run --rm --device /dev/fuse:/dev/other:r bb sh -c 'ls -l /dev/other | cut -c1-10; ls /dev; head -c0 < /dev/other && echo read; : > /dev/other'").ends(1);
        s.run("docker run --rm --ulimit nofile=100:200 --ulimit core=0 bb sh -c 'ulimit -n; ulimit -Hn; ulimit -c'").prints("100\n200\n0\n");
        s.run("docker run --rm --sysctl net.ipv4.ip_forward=0 --sysctl kernel.msgmax=9000 bb cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax").prints("0\n9000\n");
        s.run("docker run --rm --shm-size 3m bb sh -c 'df -k /dev/shm | tail -1 | tr -s \" \" | cut -d\" \" -f2'").prints("3072\n");
        s.run("docker run --rm --hostname box --domainname example.org --oom-score-adj 500 bb sh -c 'hostname; cat /proc/sys/kernel/domainname /proc/self/oom_score_adj'").ok();
        s.run("docker run --rm --entrypoint /bin/echo bb a b")
            .prints("a b\n");
        s.run("docker run --rm --add-host one:192.0.2.7 --dns 192.0.2.1 bb sh -c 'grep one /etc/hosts; cat /etc/resolv.conf'").ok();
        s.run("docker run --rm --blkio-weight 500 --cpu-quota 20000 --cpuset-mems 0 bb sh -c 'cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us'");
    });
}

fn a_published_port_is_served() {
    compare(Engine::Docker, |s| {
        s.run("docker run -d --name c1 -p 127.0.0.1:8080:80 bb sh -c 'echo page > /data/index.html; exec httpd -f -h /data'").ok();
        s.wait("busybox wget -q -O - http://127.0.0.1:8080/", |o| {
            o.out == "page\n"
        });
        s.run("docker rm -f c1").ok();
    });
}

fn a_privileged_container_has_every_device() {
    compare_unless("operation not permitted", Engine::Docker, |s| {
        s.run(
            "docker run --rm --privileged bb sh -c 'test -e /dev/kmsg; grep Cap /proc/self/status'",
        )
        .ok();
    });
}

fn files_are_copied_in_and_out_and_a_container_becomes_an_image() {
    compare(Engine::Docker, |s| {
        s.run("docker run -d --name c1 bb sleep 1000").ok();
        s.run("echo in > /run/f; docker cp /run/f c1:/tmp/f; docker exec c1 cat /tmp/f; docker cp c1:/etc/group /run/f; head -1 /run/f").prints("in\nroot:x:0:\n");
        s.run("docker commit c1 made > /dev/null; docker rm -f c1; docker run --rm made cat /tmp/f; docker rmi made > /dev/null").prints("c1\nin\n");
    });
}

fn ten_containers_can_run_at_once() {
    compare(Engine::Docker, |s| {
        s.run("seq 10 | xargs -P 10 -I N docker run --rm --name cN bb sh -c 'exit N'; for n in 1 2 3; do echo; done").ok();
        s.run("seq 10 | xargs -P 10 -I N docker run -d --name cN bb sleep 1000 | wc -l")
            .prints("10\n");
        s.run("seq 10 | xargs -P 10 -I N docker exec cN hostname | wc -l")
            .prints("10\n");
        s.run("seq 10 | xargs -P 10 -I N docker rm -f cN | sort")
            .ok();
    });
}

/// Runs for a minute, or for `ENGINE_HEALTH_SECONDS`.
fn a_health_check_every_second_survives_a_load_of_execs() {
    compare(Engine::Docker, |s| {
        let seconds = std::env::var("ENGINE_HEALTH_SECONDS").map_or(30, |n| n.parse().unwrap());
        // A unique name, because `docker events` also reports older containers of the same name.
        s.run("docker run -d --name health --health-cmd 'echo well' --health-interval 1s --health-timeout 20s --health-retries 1 bb sleep 1000").ok();
        let events = s.start(&format!(
            "docker events --since 0 --until $(($(date +%s) + {seconds} + 1)) --filter container=health --format '{{{{.Action}}}} {{{{.Actor.Attributes.exitCode}}}}'"
        ));
        s.see(&format!(
            "end=$(($(date +%s) + {seconds})); while [ $(date +%s) -lt $end ]; do docker exec health sh -c 'echo x' || echo bad; done | sort -u"
        )).prints("x\n");
        let events = events.wait();
        let count = |start: &str| events.out.lines().filter(|l| l.starts_with(start)).count();
        let (probes, load) = (
            count("exec_start: /bin/sh -c echo well"),
            count("exec_start: sh -c echo x"),
        );
        let (died, well) = (count("exec_die "), count("exec_die 0"));
        assert!(
            probes >= seconds / 3 && load >= seconds && died == well && died + 1 >= probes + load,
            "{events}"
        );
        s.run(
            "docker inspect -f '{{.State.Health.Status}} {{.State.Health.FailingStreak}}' health",
        )
        .prints("healthy 0\n");
        s.run("docker rm -f health").ok();
    });
}

const DOCKERFILE: &str = "mkdir /run/build; cd /run/build; echo text > file; cat > Dockerfile <<-E
	FROM bb
	COPY file /file
	RUN cat /file > /made; id -u >> /made; grep -E 'CapEff|Seccomp:' /proc/self/status >> /made
	USER alice
	WORKDIR /tmp/deep
	RUN id -un > /tmp/who; pwd >> /tmp/who
	CMD cat /made /tmp/who
	E";

fn build(s: &Shell, buildkit: u8) {
    s.run(DOCKERFILE).ok();
    s.see(&format!(
        "DOCKER_BUILDKIT={buildkit} docker build --progress plain -t made /run/build"
    ))
    .ok();
    s.run("docker run --rm made").ok();
    s.run("echo 'RUN sh -c \"exit 9\"' >> /run/build/Dockerfile")
        .ok();
    let failed = s.see(&format!(
        "DOCKER_BUILDKIT={buildkit} docker build --progress plain /run/build"
    ));
    assert!(
        failed.status == if buildkit == 0 { 9 } else { 1 },
        "{failed}"
    );
    s.run(
        "echo 'RUN [\"/bad/mode\"]' >> /run/build/Dockerfile; sed -i /exit/d /run/build/Dockerfile",
    )
    .ok();
    let failed = s.see(&format!(
        "DOCKER_BUILDKIT={buildkit} docker build --progress plain /run/build"
    ));
    assert!(
        failed.status == 1 && failed.err.contains("permission denied"),
        "{failed}"
    );
    s.run("docker ps -aq | xargs -r docker rm > /dev/null; docker rmi made > /dev/null; rm -r /run/build; docker builder prune -af > /dev/null").ok();
}

fn the_classic_builder_builds() {
    compare(Engine::Docker, |s| build(s, 0));
}

fn buildkit_builds() {
    compare(Engine::Docker, |s| build(s, 1));
}
