//! A real distribution's root file system: Debian, built once by mmdebstrap or debootstrap, and kept in the target
//! directory.
//! It runs bash with pipes and a background job, with and without a terminal, and in a user namespace.

use runtime_tests::terminal::Terminal;
use runtime_tests::{Bundle, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

runtime_tests::tests![
    debian_runs_a_login_shell_with_pipes_and_a_background_job,
    debian_runs_a_login_shell_on_a_terminal_with_job_control,
    debian_installs_nothing_but_runs_its_tools_read_only,
    debian_runs_as_an_ordinary_user,
    debian_runs_in_a_user_namespace_over_a_mapped_root,
];

/// The Debian root, built at first use. It is renamed into place when complete, so an interrupted build starts again.
fn debian() -> &'static Path {
    static ROOT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = ROOT.get_or_init(|| {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let root = cache.join("debian-root");
        if root.exists() {
            return Ok(root);
        }
        let fresh = cache.join(format!("debian-root.{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&fresh);
        // The release of this machine, because its keys are installed.
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let release = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .unwrap_or("stable");
        let tools: [(&str, &[&str]); 2] = [
            ("mmdebstrap", &["--variant=minbase", "--mode=root", release]),
            ("debootstrap", &["--variant=minbase", release]),
        ];
        for (tool, words) in tools {
            match Command::new(tool).args(words).arg(&fresh).output() {
                Ok(done) if done.status.success() => {
                    std::fs::rename(&fresh, &root).map_err(|e| e.to_string())?;
                    return Ok(root);
                }
                Ok(done) => {
                    let text = String::from_utf8_lossy(&done.stderr).into_owned();
                    let _ = std::fs::remove_dir_all(&fresh);
                    panic!("{tool} failed:\n{text}");
                }
                Err(_) => {}
            }
        }
        Err("neither mmdebstrap nor debootstrap is installed".to_owned())
    });
    match made {
        Ok(root) => root,
        Err(why) => runtime_tests::skip!("cannot build a Debian root: {why}"),
    }
}

/// The default bundle on the Debian root, with tmpfs mounts to write to.
fn with_debian() -> Bundle {
    let root = debian();
    let mut b = Bundle::empty();
    b.call(&["spec", "--bundle"]).arg(b.path()).ok();
    let text = std::fs::read_to_string(b.path().join("config.json")).unwrap();
    let cgroup = b.config["linux"]["cgroupsPath"].clone();
    b.config = serde_json::from_str(&text).unwrap();
    b.set("/linux/cgroupsPath", cgroup)
        .set("/root", json!({"path": root, "readonly": true}));
    b.set("/process/terminal", json!(false))
        .mount("/tmp", "tmpfs", "tmpfs", &["mode=1777"]);
    b
}

fn debian_runs_a_login_shell_with_pipes_and_a_background_job() {
    let mut b = with_debian();
    let script = "set -o pipefail; (sleep 0.01; echo late > /tmp/late) & seq 1 1000 | grep 7 | sort -rn | head -3 | tr '\\n' ' '; wait $!; cat /tmp/late; echo $BASH_VERSION | cut -c1; exit 3";
    b.args(&["bash", "-lc", script])
        .run()
        .ends(3)
        .prints("997 987 979 late\n5\n");
    b.left_nothing();
}

fn debian_runs_a_login_shell_on_a_terminal_with_job_control() {
    let mut b = with_debian();
    b.set("/process/terminal", json!(true));
    b.args(&["bash", "-lc", "set -m; sleep 100 & jobs; kill %1; wait %1; echo status $?; seq 1 5 | tail -1; tty; stty size; read -p 'name? ' n; echo hello $n"]);
    let (mut terminal, slave) = Terminal::open();
    terminal.resize(44, 99);
    let running = b
        .launch("run", &[])
        .through(["setsid", "--ctty", "--wait"])
        .stdio(&slave)
        .spawn();
    drop(slave);
    terminal.expect("name? ");
    terminal.send("you\n");
    let text = terminal.read_all().replace('\r', "");
    running.wait().ok();
    for part in [
        "Running",
        "status 143\n5\n/dev/pts/0\n44 99\n",
        "hello you\n",
    ] {
        assert!(text.contains(part), "no {part:?} in {text:?}");
    }
    assert!(!text.contains("no job control"), "{text:?}");
    b.left_nothing();
}

fn debian_installs_nothing_but_runs_its_tools_read_only() {
    let mut b = with_debian();
    b.args(&["bash", "-c", "dpkg -l bash | grep -c ^ii; touch /etc/x 2>&1; perl -e 'print 6*7, \"\\n\"'; getent passwd root | cut -d: -f1,7; cat < <(echo substituted)"]);
    b.run_ok().prints(
        "1\ntouch: cannot touch '/etc/x': Read-only file system\n42\nroot:/bin/bash\nsubstituted\n",
    );
}

fn debian_runs_as_an_ordinary_user() {
    let mut b = with_debian();
    b.set("/process/user", json!({"uid": 1, "gid": 1})).args(&[
        "bash",
        "-c",
        "id; touch /tmp/mine && stat -c %U /tmp/mine",
    ]);
    b.run_ok()
        .prints("uid=1(daemon) gid=1(daemon) groups=1(daemon)\ndaemon\n");
}

fn debian_runs_in_a_user_namespace_over_a_mapped_root() {
    let mut b = with_debian();
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    b.namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    b.args(&[
        "bash",
        "-lc",
        "id -u; stat -c %u /etc/passwd; seq 3 | wc -l",
    ]);
    // The files belong to the host's root, which is nobody in the container. They can still be read and executed.
    b.run_ok().prints("0\n65534\n3\n");
    b.left_nothing();
}
