//! containerd 1.6 with its own shim, io.containerd.runc.v2, and the program under test as its runc: everything `ctr`
//! asks of a runtime.
//! Every case also runs with runc, on a second machine, and the output must be the same.

use runtime_tests::Value;
use runtime_tests::machine::{Engine, Shell, compare, script};

runtime_tests::tests![
    a_foreground_container_passes_output_and_status_on,
    a_detached_container_can_be_entered_killed_and_removed,
    a_container_and_an_exec_can_have_a_terminal,
    a_paused_container_stands_still_until_it_is_resumed,
    metrics_report_the_usage_of_a_container,
    a_signal_reaches_init_or_all_processes,
    a_program_that_cannot_be_executed_is_named,
    limits_users_and_mounts_are_applied,
    the_default_seccomp_profile_and_capabilities_hold,
    a_container_in_a_user_namespace_runs,
    an_out_of_memory_kill_causes_an_event,
    the_state_is_in_the_given_root,
    ten_tasks_can_run_at_once,
];

/// `ctr run` with the machine's runtime.
const RUN: &str = "ctr run --runc-binary $RT --runc-root /run/engines/ctr";

/// Runs `program` in `client` and keeps its stdin open until all output has been read (`tests/engines/hold-stdin`).
fn hold_stdin(client: &str, program: &str) -> String {
    let hold_stdin = script("hold-stdin");
    let end = "trap \"echo .; echo . >&2; cat > /dev/null\" EXIT";
    format!("{} {client} sh -c '{end}; {program}'", hold_stdin.display())
}

/// The status of a task in `ctr task ls`.
#[track_caller]
fn is(s: &Shell, task: &str, status: &str) {
    s.wait(
        &format!("ctr task ls | awk '$1 == \"{task}\" {{print $3}}'"),
        |o| o.out.trim() == status,
    );
}

/// Kills the task `c1` and removes its container.
#[track_caller]
fn end(s: &Shell) {
    s.run("ctr task kill -s KILL c1").ok();
    is(s, "c1", "STOPPED");
    s.run("ctr task rm c1").ok().says(&["exit code 137"]);
    s.run("ctr container rm c1").ok();
}

fn a_foreground_container_passes_output_and_status_on() {
    compare(Engine::Containerd, |s| {
        s.run(&hold_stdin(
            &format!("{RUN} --rm bb c1"),
            "echo out; echo err >&2; id; exit 7",
        ))
        .ends(7)
        .says(&["err"])
        .prints("out\nuid=0(root) gid=0(root) groups=0(root)\n");
        let first = hold_stdin(&format!("{RUN} --rm bb c1"), "head -n 1");
        s.run(&format!("echo in | {first}")).prints("in\n");
        s.run(&format!(
            "{RUN} --rm bb c1 sh -c 'yes 12345678901234567890 | head -c 10000000' | md5sum"
        ))
        .ok();
    });
}

fn a_detached_container_can_be_entered_killed_and_removed() {
    compare(Engine::Containerd, |s| {
        s.run(&format!("{RUN} -d --pid-file /run/c1.pid bb c1 sleep 1000"))
            .ok();
        is(s, "c1", "RUNNING");
        let exec = |id, script| hold_stdin(&format!("ctr task exec --exec-id {id} c1"), script);
        s.run(&exec("e1", "echo in; echo err >&2; hostname; exit 3"))
            .ends(3)
            .says(&["err"]);
        s.run(&exec("e2 --user 1000:1000 --cwd /tmp", "id -u; pwd"))
            .prints("1000\n/tmp\n");
        s.run(&format!("echo in | {}", exec("e3", "head -n 1")))
            .prints("in\n");
        s.run("ctr task exec --exec-id e4 -d c1 sleep 500").ok();
        // The pid file holds the pid in the engine's pid namespace, and `ps` lists both processes.
        s.run("test \"$(ctr task ps c1 | awk 'NR == 2 {print $1}')\" = \"$(cat /run/c1.pid)\"")
            .ok();
        s.run("ctr task ps c1 | wc -l").prints("3\n");
        end(s);
    });
}

fn a_container_and_an_exec_can_have_a_terminal() {
    compare(Engine::Containerd, |s| {
        let (mut terminal, running) = s.terminal(&format!("{RUN} --rm -t bb c1 sh"));
        terminal.expect("/ # ");
        terminal.send("tty; echo $((40 + 2))\n");
        terminal.expect("/dev/pts/0\r");
        terminal.expect("42\r");
        s.resize(
            &terminal,
            "ctr task exec --exec-id e0 c1 stty -F /dev/pts/0 size",
        );
        let (mut second, entered) =
            s.terminal("ctr task exec -t --exec-id e1 c1 sh -c 'tty; read x; echo got $x; exit 4'");
        second.expect("/dev/pts/1\r");
        second.send("line\n");
        second.expect("got line\r");
        entered.wait().ends(4);
        terminal.send("exit 5\n");
        running.wait().ends(5);
        let (mut terminal, running) = s.terminal(&format!(
            "{RUN} --rm -t bb c1 sh -c 'tty; read x; echo b; exit 6'"
        ));
        terminal.expect("/dev/pts/0\r");
        terminal.send("\n");
        running.wait().ends(6);
        s.record(terminal.read_all());
    });
}

fn a_paused_container_stands_still_until_it_is_resumed() {
    compare(Engine::Containerd, |s| {
        s.run(&format!("{RUN} -d --mount type=bind,src=/run/engines,dst=/out,options=rbind:rw bb c1 sh -c 'while :; do echo >> /out/ticks; done'"))
            .ok();
        s.run("ctr task pause c1").ok();
        is(s, "c1", "PAUSED");
        s.run("wc -l < /run/engines/ticks > /run/a; ctr task ls > /dev/null; wc -l < /run/engines/ticks > /run/b; cmp /run/a /run/b")
            .ok();
        s.run("ctr task exec --exec-id e1 c1 true").ends(1);
        s.run("ctr task resume c1").ok();
        is(s, "c1", "RUNNING");
        s.wait("wc -l < /run/engines/ticks | diff - /run/b", |o| {
            o.status == 1
        });
        end(s);
        s.run("rm /run/engines/ticks").ok();
    });
}

fn metrics_report_the_usage_of_a_container() {
    compare(Engine::Containerd, |s| {
        s.run(&format!(
            "{RUN} -d --memory-limit 33554432 bb c1 sh -c 'sleep 1000 & wait'"
        ))
        .ok();
        s.run("ctr task exec --exec-id e1 c1 true").ok();
        let metrics = s.see("ctr task metrics --format json c1");
        let json: Value = serde_json::from_str(&metrics.ok().out).unwrap();
        let memory = json.pointer("/memory/usage");
        // v2 reports the limit elsewhere.
        let limit = memory.map_or(json.pointer("/memory/usage_limit"), |m| m.get("limit"));
        assert_eq!(limit, Some(&Value::from(33_554_432)), "{metrics}");
        assert_eq!(
            json.pointer("/pids/current"),
            Some(&Value::from(2)),
            "{metrics}"
        );
        end(s);
    });
}

fn a_signal_reaches_init_or_all_processes() {
    compare(Engine::Containerd, |s| {
        s.run(&format!("{RUN} -d --log-uri file:///run/c1.log bb c1 sh -c 'trap \"echo told\" USR1; trap \"exit 3\" TERM; sleep 777 & echo up; while :; do sleep 0.05; done'"))
            .ok();
        s.wait("cat /run/c1.log", |o| o.out == "up\n");
        s.run("ctr task kill -s USR1 c1").ok();
        s.wait("cat /run/c1.log", |o| o.out == "up\ntold\n");
        s.run("ctr task kill -s KILL --exec-id none c1").ends(1);
        s.run("ctr task kill -a -s TERM c1").ok();
        is(s, "c1", "STOPPED");
        s.run("ctr task kill c1").ends(1);
        s.run("ctr task rm c1; ctr container rm c1; rm /run/c1.log")
            .ok()
            .says(&["exit code 3"]);
    });
}

fn a_program_that_cannot_be_executed_is_named() {
    compare(Engine::Containerd, |s| {
        for (program, why) in [
            ("missing", "executable file not found in $path"),
            ("/no/such", "no such file or directory"),
            ("/bad/mode", "permission denied"),
            ("/etc", ""),
        ] {
            s.run(&format!("{RUN} --rm bb c1 {program}"))
                .ends(1)
                .says(&[program, why]);
            s.run("ctr container rm c1");
        }
        s.run(&format!("{RUN} -d bb c1 sleep 1000")).ok();
        s.run("ctr task exec --exec-id e1 c1 /no/such")
            .ends(1)
            .says(&["/no/such", "no such file or directory"]);
        s.run("ctr task exec --exec-id e2 c1 missing")
            .ends(1)
            .says(&["missing", "executable file not found in $path"]);
        s.run(&hold_stdin("ctr task exec --exec-id e3 c1", "echo alive"))
            .prints("alive\n");
        end(s);
    });
}

fn limits_users_and_mounts_are_applied() {
    compare(Engine::Containerd, |s| {
        let limited = format!(
            "{RUN} --rm --env A=1 --cwd /tmp --read-only --memory-limit 33554432 --cpus 0.5 --cpu-shares 300 --pid-file /run/p \
            --mount type=tmpfs,src=tmpfs,dst=/data,options=size=1m:mode=750 --mount type=bind,src=/run/engines,dst=/mnt,options=rbind:ro --annotation a=b --device /dev/fuse \
            bb c1"
        );
        s.run(&hold_stdin(&limited, "echo $A; pwd; touch /x; touch /mnt/x; grep -E \" /(data|mnt|dev) \" /proc/mounts | cut -d\" \" -f2-4 | sort; ls -l /dev/fuse | cut -c1-10; cat /proc/self/cgroup | cut -d: -f2-; cat /proc/self/limits"))
            .says(&["read-only file system"]);
        s.run("rm /run/p").ok();
        let run = |options, script| hold_stdin(&format!("{RUN} --rm {options} bb c1"), script);
        // Not by its links: other tests add some.
        let inside = run("--net-host", "readlink /proc/self/ns/net");
        s.run(&format!(
            "[ \"$({inside})\" = $(readlink /proc/self/ns/net) ] && echo same"
        ))
        .prints("same\n");
        s.run(&run("--cgroup /elsewhere/deep", "cat /proc/self/cgroup"))
            .ok();
        s.run(&format!("{RUN} --rm --cgroup '' bb c1 true"));
        s.run(&run("--no-pivot", "echo hi")).prints("hi\n");
    });
}

fn the_default_seccomp_profile_and_capabilities_hold() {
    compare(Engine::Containerd, |s| {
        for options in [
            "",
            "--seccomp",
            "--seccomp --allow-new-privs --cap-drop CAP_CHOWN --cap-add CAP_NET_ADMIN",
        ] {
            s.run(&hold_stdin(
                &format!("{RUN} --rm {options} bb c1"),
                "grep -E \"Cap|Seccomp:|NoNewPrivs\" /proc/self/status; unshare -m true",
            ))
            .ends(1);
        }
    });
}

fn a_container_in_a_user_namespace_runs() {
    compare(Engine::Containerd, |s| {
        s.run(&hold_stdin(
            &format!("{RUN} --rm --uidmap 0:100000:65536 --gidmap 0:200000:65536 bb c1"),
            "cat /proc/self/uid_map /proc/self/gid_map; id; ls -ld /bin | cut -d\" \" -f3-",
        ))
        .ok();
    });
}

fn an_out_of_memory_kill_causes_an_event() {
    compare(Engine::Containerd, |s| {
        let events = s.start("exec ctr events");
        runtime_tests::wait_for("the client receives events", || {
            s.see("ctr container create bb heard && ctr container rm heard");
            events.out().contains("/containers/create")
        });
        // Continue only once the shim watches for OOM kills, which it does after the task has started.
        s.run(&format!(
            "{RUN} -d --memory-limit 16777216 bb c1 sh -c 'until [ -e /go ]; do sleep 0.1; done; exec tail -c 64m /dev/zero'"
        ))
        .ok();
        s.run("ctr task exec --exec-id e1 c1 touch /go").ok();
        runtime_tests::wait_for("the event arrives", || events.out().contains("/tasks/oom"));
        is(s, "c1", "STOPPED");
        s.run("ctr task rm c1").ok().says(&["exit code 137"]);
        s.run("ctr container rm c1").ok();
        // Killed here because `ctr events` never exits; the process we started ends with the machine.
        s.see("for p in /proc/[0-9]*; do case $(tr '\\0' ' ' < $p/cmdline) in 'ctr events '*) kill ${p#/proc/} ;; esac; done 2> /dev/null");
    });
}

fn the_state_is_in_the_given_root() {
    compare(Engine::Containerd, |s| {
        s.run(&format!("{RUN} -d bb c1 sleep 1000")).ok();
        s.run("ls /run/engines/ctr/default").prints("c1\n");
        s.run("$RT --root /run/engines/ctr/default state c1 | grep -E '\"(id|status|bundle)\"'")
            .ok();
        s.run("$RT --root /run/engines/ctr/default list -q")
            .prints("c1\n");
        end(s);
        s.run("ls /run/engines/ctr/default").prints("");
    });
}

fn ten_tasks_can_run_at_once() {
    compare(Engine::Containerd, |s| {
        let all = |client: &str| {
            format!(
                "seq 10 | xargs -P 10 -I N {} | sort -n",
                hold_stdin(client, "echo N")
            )
        };
        s.run(&all(&format!("{RUN} --rm bb cN")))
            .prints("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
        s.run(&format!(
            "seq 10 | xargs -P 10 -I N {RUN} -d bb cN sleep 1000"
        ))
        .ok();
        s.run(&all("ctr task exec --exec-id e cN"))
            .prints("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
        s.run(
            "seq 10 | xargs -P 10 -I N ctr task rm -f cN; ctr container rm $(ctr container ls -q)",
        );
        s.run("ctr task ls -q; ctr container ls -q").prints("");
    });
}
