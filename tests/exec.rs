//! `exec` as engines and people call it: one more process in a container, by flags or by a file.
//! What it gets is compared with what the container's first process has, and with what the specification says.

use crate::attacks_userns::{BOTH, Whose};
use crate::exec_identity::{CAPABILITIES, THREE, sets};
use crate::exec_joins::shares_every_namespace;
use runtime_tests::{Bundle, Cmd, Output, Running, Value, host, json, wait_for};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;

runtime_tests::tests![
    exec_returns_the_status_of_the_process,
    exec_returns_128_and_the_signal_that_killed_the_process,
    errors_of_our_own_end_with_255,
    exec_passes_stdin_and_stdout_through,
    what_follows_the_id_and_the_command_belongs_to_the_process,
    flags_are_taken_in_every_spelling,
    a_process_file_is_the_whole_process,
    a_wrong_process_file_is_refused_with_its_place,
    limits_umask_and_oom_score_are_the_containers,
    the_process_sees_its_stdio_alone,
    preserved_descriptors_arrive_and_no_others,
    a_working_directory_in_proc_self_fd_reaches_nothing,
    a_config_changed_after_create_has_no_effect,
    a_scanner_sees_nothing_of_us_before_the_execve,
    the_binary_cannot_be_overwritten_through_exec,
    thirty_at_once_do_not_disturb_each_other
];

/// A container whose first process waits.
#[track_caller]
pub fn up() -> (Bundle, Running) {
    up_with(|_| ())
}

#[track_caller]
pub fn up_with(change: impl FnOnce(&mut Bundle)) -> (Bundle, Running) {
    let mut b = Bundle::new();
    b.waits();
    change(&mut b);
    let running = b.up();
    (b, running)
}

/// `exec FLAGS ID ARGS`.
pub fn exec(b: &Bundle, flags: &[&str], args: &[&str]) -> Cmd {
    b.call(&["exec"]).args(flags).arg(&b.id).args(args)
}

pub fn sh(b: &Bundle, flags: &[&str], script: &str) -> Cmd {
    exec(b, flags, &["sh", "-c", script])
}

/// `exec --process FILE ID`, the file being the process of config.json with `changes`.
pub fn with_file(b: &Bundle, changes: Value) -> Cmd {
    process_file(b, changes);
    exec(b, &["--process", &b.text("process.json")], &[])
}

pub fn process_file(b: &Bundle, changes: Value) {
    let mut process = b.config["process"].clone();
    for (key, value) in changes.as_object().unwrap() {
        process[key] = value.clone();
    }
    fs::write(b.file("process.json"), process.to_string()).unwrap();
}

/// An error of the runtime's own: status 255 and one line that holds every one of `words`.
#[track_caller]
pub fn refused(output: &Output, words: &[&str]) {
    output.ends(255).prints("").says(words);
    assert_eq!(output.err.lines().count(), 1, "{output}");
}

fn exec_returns_the_status_of_the_process() {
    let (b, _running) = up();
    for status in [0, 1, 7, 255] {
        let run = sh(&b, &[], &format!("exit {status}")).output();
        run.ends(status).prints("");
        assert_eq!(run.err, "", "{run}");
    }
}

fn exec_returns_128_and_the_signal_that_killed_the_process() {
    let (b, _running) = up();
    for (name, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11)] {
        let script = format!("kill -{name} $$; exec sleep 100");
        sh(&b, &[], &script).output().ends(128 + number);
        sh(&b, &["--tty"], &script).output().ends(128 + number);
    }
}

fn errors_of_our_own_end_with_255() {
    let (b, _running) = up();
    refused(&exec(&b, &[], &[]).output(), &["--process"]);
    refused(&exec(&b, &[], &["/bin/nothing"]).output(), &[]);
    refused(
        &exec(&b, &["--cwd", "/nowhere"], &["true"]).output(),
        &["/nowhere"],
    );
    let nobody = b.call(&["exec", "nobody", "true"]).output();
    refused(&nobody, &["nobody", "does not exist"]);
}

fn exec_passes_stdin_and_stdout_through() {
    let (b, _running) = up();
    let run = sh(&b, &[], "cat; echo error >&2").stdin_text("through\n");
    let run = run.ok();
    run.prints("through\n");
    assert_eq!(run.err, "error\n");
    // More than a pipe holds, and nothing is added to it.
    let run = sh(&b, &[], "seq 1 1400000").ok();
    assert!(
        run.out == numbers(1_400_000),
        "{} bytes came",
        run.out.len()
    );
}

pub fn numbers(last: u32) -> String {
    (1..=last).map(|n| format!("{n}\n")).collect()
}

fn what_follows_the_id_and_the_command_belongs_to_the_process() {
    let (b, _running) = up();
    let args = [
        "helper", "args", "--tty", "-d", "--cwd=/x", "--", "-e", "--help", "--", "",
    ];
    exec(&b, &[], &args)
        .ok()
        .prints("[helper][args][--tty][-d][--cwd=/x][--][-e][--help][--][]\n");
}

fn flags_are_taken_in_every_spelling() {
    let (b, _running) = up();
    let spellings: [&[&str]; 4] = [
        &["--cwd", "/tmp", "--env", "A=1=2", "--user", "7:8"],
        &["--cwd=/tmp", "--env=A=1=2", "--user=7:8"],
        &["-cwd", "/tmp", "-e", "A=1=2", "-u", "7:8"],
        &["-cwd=/tmp", "-env=A=1=2", "-u=7:8"],
    ];
    for flags in spellings {
        sh(&b, flags, "pwd; echo $A; id -u; id -g")
            .ok()
            .prints("/tmp\n1=2\n7\n8\n");
    }
}

fn a_process_file_is_the_whole_process() {
    let (b, _running) = up_with(|b| {
        b.set("/process/env/-", json!("OF=the container"));
    });
    let process = json!({
        "args": ["sh", "-c", "env | grep -E '^(HOME|OF|PATH)=' | sort; pwd; id -u; id -g; umask; cat /proc/self/oom_score_adj;
            helper rlimits | grep '^7 '; grep -E '^(Groups|Cap|NoNewPrivs)' /proc/self/status"],
        "env": ["PATH=/bin", "HOME=/tmp", "OF=the file"], "cwd": "/tmp",
        "user": {"uid": 7, "gid": 8, "additionalGids": [9, 10], "umask": 0o27},
        "capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 70, "hard": 80}], "oomScoreAdj": 300, "noNewPrivileges": false
    });
    let lines = [
        "HOME=/tmp",
        "OF=the file",
        "PATH=/bin",
        "/tmp",
        "7",
        "8",
        "0027",
        "300",
        "7 70 80",
        "Groups:\t9 10 ",
        "CapInh:\t0000000000000020",
        "CapPrm:\t0000000000000020",
        "CapEff:\t0000000000000020",
        "CapBnd:\t0000000000000021",
        "CapAmb:\t0000000000000020",
        "NoNewPrivs:\t0",
        "",
    ];
    with_file(&b, process).ok().prints(&lines.join("\n"));
    // What the file does not say is not taken from the container.
    fs::write(
        b.file("process.json"),
        json!({"args": ["/bin/helper", "env"], "cwd": "/"}).to_string(),
    )
    .unwrap();
    exec(&b, &["--process", &b.text("process.json")], &[])
        .ok()
        .prints("HOME=/root\n");
}

fn a_wrong_process_file_is_refused_with_its_place() {
    let (b, _running) = up();
    let path = b.text("process.json");
    let missing = exec(&b, &["--process", &b.text("nothing")], &[]).output();
    refused(&missing, &[&b.text("nothing"), "no such file or directory"]);
    for (changes, place) in [
        (json!({"args": "sh"}), "args"),
        (json!({"user": {"uid": -1}}), "user.uid"),
        (json!({"user": {"uid": 4_294_967_296u64}}), "user.uid"),
        (
            json!({"rlimits": [{"type": "RLIMIT_NOFILE", "soft": "1"}]}),
            "rlimits[0].soft",
        ),
    ] {
        refused(&with_file(&b, changes).output(), &[&path, place]);
    }
    for (changes, place) in [
        (json!({"args": []}), "args"),
        (json!({"env": ["NONSENSE"]}), "env[0]"),
        (json!({"user": {"uid": 4_294_967_295u64}}), "user.uid"),
        (
            json!({"user": {"additionalGids": [1, 4_294_967_295u64]}}),
            "user.additionalGids[1]",
        ),
        (
            json!({"rlimits": [{"type": "NONSENSE", "soft": 1, "hard": 1}]}),
            "rlimits[0]",
        ),
    ] {
        refused(&with_file(&b, changes).output(), &[place]);
    }
    fs::write(&path, "{\"args\": [\"true\"]").unwrap();
    refused(&exec(&b, &["--process", &path], &[]).output(), &[&path]);
}

fn limits_umask_and_oom_score_are_the_containers() {
    let (b, _running) = up_with(|b| {
        let limits = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 1, "hard": 2}]);
        b.set("/process/rlimits", limits)
            .set("/process/oomScoreAdj", json!(100))
            .set("/process/user/umask", json!(0o77));
    });
    sh(
        &b,
        &[],
        "helper rlimits | grep -E '^(4|7) '; umask; cat /proc/self/oom_score_adj",
    )
    .ok()
    .prints("4 1 2\n7 100 200\n0077\n100\n");
}

/// The command from a caller that leaked descriptors, from 3 on, on the directory of this test.
fn leaking(b: &Bundle, count: u32, command: Cmd) -> Cmd {
    let helper = host::helper().to_str().unwrap();
    command.through([helper, "leak", &count.to_string(), b.dir.to_str().unwrap()])
}

fn descriptors(run: &Output) -> Vec<u32> {
    let number = |line: &str| line.split(' ').next().unwrap().parse().unwrap();
    run.out.lines().map(number).collect()
}

fn the_process_sees_its_stdio_alone() {
    let (b, _running) = up();
    for flags in [&[][..], &["--tty"]] {
        let run = leaking(&b, 20, exec(&b, flags, &["helper", "fds"])).ok();
        assert_eq!(descriptors(&run), [0, 1, 2], "{run}");
    }
    let process =
        json!({"args": ["sh", "-c", "helper fds > /tmp/fds.new; mv /tmp/fds.new /tmp/fds"]});
    process_file(&b, process);
    let file = b.text("process.json");
    let call = exec(&b, &["--detach", "--process", &file], &[]);
    leaking(&b, 20, call).ok();
    let list = b.rootfs().join("tmp/fds");
    wait_for("the list of descriptors", || list.exists());
    let text = fs::read_to_string(list).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
}

fn preserved_descriptors_arrive_and_no_others() {
    let (b, _running) = up();
    let args = ["helper", "fds"];
    let run = leaking(&b, 3, exec(&b, &["--preserve-fds", "2"], &args)).ok();
    assert_eq!(descriptors(&run), [0, 1, 2, 3, 4], "{run}");
    let run = leaking(&b, 3, exec(&b, &["--preserve-fds=0"], &args)).ok();
    assert_eq!(descriptors(&run), [0, 1, 2], "{run}");
}

fn a_working_directory_in_proc_self_fd_reaches_nothing() {
    let (b, _running) = up();
    fs::write(b.file("canary"), "untouched\n").unwrap();
    for n in 3..=23 {
        let cwd = format!("/proc/self/fd/{n}");
        let look = "cat canary ../canary ../../../etc/passwd; ls -a; pwd; true";
        let by_flag = sh(&b, &["--cwd", &cwd], look);
        let by_file = with_file(&b, json!({"cwd": cwd, "args": ["sh", "-c", look]}));
        for call in [by_flag, by_file] {
            let run = leaking(&b, 20, call).output();
            assert!(
                !run.out.contains("untouched") && !run.out.contains("canary"),
                "fd {n}\n{run}"
            );
            refused(&run, &[&cwd]);
        }
        // Nor is a program found there.
        let program = format!("{cwd}/canary");
        let run = leaking(&b, 20, exec(&b, &[], &[&program])).output();
        refused(&run, &[&program]);
    }
}

fn a_config_changed_after_create_has_no_effect() {
    let (b, _running) = up_with(|b| {
        b.set("/process/env/-", json!("OF=the container"));
    });
    let mut changed = b.config.clone();
    changed["process"] = json!({"args": ["true"], "cwd": "/tmp", "env": ["PATH=/bin", "OF=the change"],
        "user": {"uid": 5, "gid": 5}, "capabilities": {"bounding": ["CAP_SYS_ADMIN"]}});
    changed["linux"]["namespaces"] = json!([]);
    let script = format!("pwd; echo $OF; id -u; {CAPABILITIES}");
    let expected = format!("/\nthe container\n0\n{}", sets(0, THREE, THREE, THREE, 0));
    for text in [changed.to_string(), "nonsense".into()] {
        fs::write(b.path().join("config.json"), text).unwrap();
        sh(&b, &[], &script).ok().prints(&expected);
        shares_every_namespace(&b);
    }
    fs::remove_file(b.path().join("config.json")).unwrap();
    sh(&b, &[], &script).ok().prints(&expected);
}

fn a_scanner_sees_nothing_of_us_before_the_execve() {
    for whose in [None, Some(Whose::Root), Some(Whose::User)] {
        let mut b = whose.map_or_else(Bundle::new, Whose::bundle);
        if whose.is_some() {
            // These count in the container's user namespace alone.
            b.capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]);
        }
        b.args(&["helper", "scan", "/bin/busybox", "/bin/helper"]);
        let (input, hold) = std::io::pipe().unwrap();
        let input = fs::File::from(OwnedFd::from(input));
        let running = b.launch("run", &[]).stdin(input).spawn();
        wait_for("the scanner is up", || {
            running.out().contains("up") || !running.err().is_empty()
        });
        for n in 0..15 {
            let flags: &[&str] = if n % 3 == 0 { &["--tty"] } else { &[] };
            leaking(&b, 5, exec(&b, flags, &["true"])).ok();
        }
        // One that the scanner cannot miss, so that it has looked at something.
        exec(&b, &["--detach"], &["sleep", "1000"]).ok();
        drop(hold);
        running.wait().ok().prints("up\nseen some\n");
    }
}

/// FNV-1a, enough to see a change.
fn hash(path: &std::path::Path) -> u64 {
    let add = |h: u64, b: &u8| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3);
    fs::read(path)
        .unwrap()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, add)
}

fn the_binary_cannot_be_overwritten_through_exec() {
    attack_through_exec(Bundle::new(), 0);
    // Where the binary belongs to the root of the container's user namespace.
    for whose in BOTH {
        attack_through_exec(whose.bundle(), whose.uid());
    }
}

fn attack_through_exec(mut b: Bundle, owner: u32) {
    let copy = b.file("copy");
    host::copy(host::runtime(), &copy);
    std::os::unix::fs::chown(&copy, Some(owner), Some(owner)).unwrap();
    let before = hash(&copy);
    let size = fs::metadata(&copy).unwrap().len().to_string();
    b.capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_KILL"])
        .args(&["helper", "overwrite", &size]);
    // The runtime that the kernel runs again opens this log, and so waits until the attacker has caught it.
    let fifo = b.rootfs().join("tmp/fifo");
    Cmd::new(&b.dir, "mkfifo").arg(&fifo).ok();
    let script = b.rootfs().join("bin/script");
    fs::write(&script, "#!/proc/self/exe --log=/tmp/fifo\n").unwrap();
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    let interpreted = b.rootfs().join("bin/interpreted");
    host::copy(host::program_interpreted_by_its_parent(), interpreted);
    let (input, hold) = std::io::pipe().unwrap();
    let input = fs::File::from(OwnedFd::from(input));
    let running = b.launch("run", &[]).stdin(input).spawn();
    wait_for("the attacker is up", || {
        running.out().contains("up") || !running.err().is_empty()
    });
    // Only now, because a supervisor that runs the copy would keep it from being written to.
    b.runtime = copy.clone();
    for program in ["/proc/self/exe", "/bin/script", "/bin/interpreted"] {
        for _ in 0..3 {
            let caught = running.out().len();
            let args = [program, "--log=/tmp/fifo", "nonsense"];
            let run = exec(&b, &[], &args).spawn();
            // Bounded: where nothing can be caught, only the attack gets shorter.
            for _ in 0..100 {
                if running.out().len() > caught {
                    break;
                }
                std::thread::park_timeout(std::time::Duration::from_millis(2));
            }
            // From now on nobody who opens the FIFO for writing waits.
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
            let reader = rustix::fs::open(&fifo, flags, rustix::fs::Mode::empty()).unwrap();
            run.wait();
            drop(reader);
            assert_eq!(hash(&copy), before, "the binary was overwritten");
        }
    }
    drop(hold);
    let result = running.wait();
    assert!(result.ok().out.contains(" wrote 0 "), "{result}");
    assert_eq!(hash(&copy), before, "the binary was overwritten");
}

fn thirty_at_once_do_not_disturb_each_other() {
    let (b, _running) = up();
    let all: Vec<Running> = (1..=30)
        .map(|n| {
            let flags: &[&str] = if n % 5 == 0 { &["--tty"] } else { &[] };
            sh(&b, flags, &format!("echo {n}; cat /proc/1/comm; exit {n}")).spawn()
        })
        .collect();
    for (n, running) in (1..=30).zip(all) {
        let run = running.wait();
        run.ends(n);
        let text = run.out.replace('\r', "");
        assert_eq!(text, format!("{n}\nsleep\n"), "{run}");
    }
    assert_eq!(b.status(), "running");
    for cgroup in b.cgroups() {
        let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        assert_eq!(procs, format!("{}\n", b.pid()), "{}", cgroup.display());
    }
}
