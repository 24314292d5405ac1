//! The systemd driver: scopes and their properties as systemd itself tells of them, for root and, where this runs as one,
//! for an ordinary user whose own systemd makes them. The guest with systemd runs these; the driver is runc's.

use runtime_tests::systemd::{required, root, systemctl, with_bus};
use runtime_tests::{Bundle, Cmd, Output, Running, Value, harness, json, wait_for};
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

runtime_tests::tests![
    the_scope_lies_in_the_slice_of_the_path,
    without_a_path_the_scope_lies_in_the_default_slice,
    the_first_slice_of_all_holds_a_scope,
    a_path_of_another_form_is_an_error,
    the_processes_are_in_the_scope,
    a_paused_scope_is_resumed_killed_and_deleted,
    the_scope_is_gone_after_delete,
    the_scope_is_gone_after_run,
    the_scope_is_gone_after_a_failed_create,
    a_scope_that_failed_is_in_nobodys_way,
    a_scope_that_exists_is_an_error,
    a_scope_with_a_frozen_cgroup_is_an_error,
    a_process_that_ends_by_itself_leaves_no_failed_unit,
    twenty_scopes_at_once_leave_nothing,
    without_systemd_the_driver_is_an_error,
    a_bus_that_is_silent_is_an_error
];

/// What stands between the cgroups of the machine and those that this systemd makes.
fn top() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    let path = match root() {
        true => "/sys/fs/cgroup".to_owned(),
        false => format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service"),
    };
    PathBuf::from(path)
}

/// A container of the systemd driver, and its scope.
pub struct Scope {
    pub b: Bundle,
    pub slice: String,
    pub name: String,
}

impl Drop for Scope {
    fn drop(&mut self) {
        // Not the default slice, of course.
        let own = self
            .slice
            .starts_with("runtimetest-")
            .then_some(self.slice.as_str());
        for unit in [Some(self.name.as_str()), own].into_iter().flatten() {
            // The first process of a pid namespace takes no SIGTERM, which systemd waits for.
            for words in [&["kill", "--signal=KILL"][..], &["stop"], &["reset-failed"]] {
                harness::quietly(|| drop(systemctl(&self.b.dir, &[words, &[unit]].concat())));
            }
        }
    }
}

/// A bundle that an ordinary user can run as well.
fn bundle() -> Bundle {
    let mut b = Bundle::new();
    if !root() {
        let own = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
        b.namespace("user", None)
            .set(
                "/linux/uidMappings",
                own(rustix::process::geteuid().as_raw()),
            )
            .set(
                "/linux/gidMappings",
                own(rustix::process::getegid().as_raw()),
            );
        let pts = [
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
        ];
        b.set("/mounts/2/options", json!(pts));
    }
    b.namespace("cgroup", None);
    b.waits();
    b
}

/// The test is skipped without systemd. The slice is the test's own, with a slice above it.
pub fn scope() -> Scope {
    required();
    let mut b = bundle();
    let own = b.id.replace('-', "");
    let slice = format!("runtimetest-{own}.slice");
    let name = format!("prefix-{}.scope", b.id);
    b.set(
        "/linux/cgroupsPath",
        json!(format!("{slice}:prefix:{}", b.id)),
    );
    Scope { b, slice, name }
}

impl Scope {
    pub fn call(&self, words: &[&str]) -> Cmd {
        with_bus(self.b.call(&[&["--systemd-cgroup"], words].concat()))
    }

    /// A command about this container.
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> Output {
        self.call(&[words, &[&self.b.id]].concat()).output()
    }

    pub fn launch_as(&self, id: &str, words: &[&str]) -> Cmd {
        self.b.write();
        let path = self.b.path();
        let words = [words, &["--bundle", path.to_str().unwrap(), id]].concat();
        self.call(&words)
    }

    #[track_caller]
    pub fn create(&self) -> Output {
        self.launch_as(&self.b.id, &["create"]).output()
    }

    /// `run`, back when the process says `up`.
    #[track_caller]
    pub fn up(&self) -> Running {
        let running = self.launch_as(&self.b.id, &["run"]).spawn();
        // runc warns.
        let warns = |err: &str| err.lines().all(|l| l.contains("level=warning"));
        wait_for("the container prints up", || {
            running.out().contains("up") || !warns(&running.err())
        });
        assert!(running.out().contains("up"), "{}", running.err());
        running
    }

    #[track_caller]
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.command(&["state"]).ok().out).unwrap()
    }

    #[track_caller]
    pub fn pid(&self) -> String {
        self.state()["pid"].to_string()
    }

    pub fn property(&self, name: &str) -> String {
        let output = systemctl(&self.b.dir, &["show", "--value", "-p", name, &self.name]);
        output.ok().out.trim().to_owned()
    }

    #[track_caller]
    pub fn has(&self, properties: &[(&str, &str)]) {
        for (name, value) in properties {
            assert_eq!(self.property(name), *value, "{name}");
        }
    }

    /// The scope's directory, as systemd says.
    pub fn cgroup(&self) -> PathBuf {
        Path::new("/sys/fs/cgroup").join(self.property("ControlGroup").trim_start_matches('/'))
    }

    #[track_caller]
    pub fn value(&self, file: &str) -> String {
        let path = self.cgroup().join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.trim().to_owned()
    }

    pub fn reload(&self) {
        systemctl(&self.b.dir, &["daemon-reload"]).ok();
    }

    /// No unit is loaded or failed, nothing of the container is left.
    #[track_caller]
    pub fn left_nothing(&self) {
        wait_for("the unit is forgotten", || {
            self.property("LoadState") == "not-found" && self.property("ActiveState") == "inactive"
        });
        self.b.left_nothing();
    }
}

// --- names -----------------------------------------------------------------------------------------------------------------

fn the_scope_lies_in_the_slice_of_the_path() {
    let s = scope();
    s.create().ok();
    s.has(&[
        ("Slice", &s.slice),
        ("ActiveState", "active"),
        ("Delegate", "yes"),
        ("DefaultDependencies", "no"),
        ("Transient", "yes"),
    ]);
    let expected = top().join("runtimetest.slice").join(&s.slice).join(&s.name);
    assert_eq!(s.cgroup(), expected);
    let own = fs::read_to_string(format!("/proc/{}/cgroup", s.pid())).unwrap();
    assert_eq!(Path::new("/sys/fs/cgroup").join(&own.trim()[4..]), expected);
    s.command(&["delete", "--force"]).ok();
    s.left_nothing();
}

fn without_a_path_the_scope_lies_in_the_default_slice() {
    let mut s = scope();
    s.b.remove("/linux/cgroupsPath");
    // runc's is called after runc.
    let own =
        s.b.runtime
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
    s.name = format!("{own}-{}.scope", s.b.id);
    s.slice = if root() { "system.slice" } else { "user.slice" }.to_owned();
    s.create().ok();
    s.has(&[("Slice", &s.slice), ("ActiveState", "active")]);
    assert_eq!(s.cgroup(), top().join(&s.slice).join(&s.name));
    s.command(&["delete", "--force"]).ok();
    s.left_nothing();
}

fn the_first_slice_of_all_holds_a_scope() {
    let mut s = scope();
    s.b.set(
        "/linux/cgroupsPath",
        json!(format!("-.slice:prefix:{}", s.b.id)),
    );
    s.create().ok();
    assert_eq!(s.cgroup(), top().join(&s.name));
    s.command(&["delete", "--force"]).ok();
    s.left_nothing();
}

fn a_path_of_another_form_is_an_error() {
    let mut s = scope();
    for path in [
        "/one/two",
        "one",
        "a.slice:name",
        "a.slice:b:c:d",
        "a/b.slice:p:n",
        "a--b.slice:p:n",
        "a:p:n",
    ] {
        s.b.set("/linux/cgroupsPath", json!(path));
        let output = s.create();
        output.ends(1).says(&["slice"]);
        s.left_nothing();
    }
}

fn the_processes_are_in_the_scope() {
    let s = scope();
    let _running = s.up();
    let init = s.pid();
    let exec = s.call(&[
        "exec",
        "--detach",
        "--pid-file",
        &s.b.text("pid"),
        &s.b.id,
        "sleep",
        "1000",
    ]);
    exec.ok();
    let other = s.b.read("pid");
    let mut expected = [init.as_str(), other.trim()];
    expected.sort();
    let procs = s.value("cgroup.procs");
    let mut procs: Vec<&str> = procs.lines().collect();
    procs.sort();
    assert_eq!(procs, expected);
    let ps = s.command(&["ps", "--format", "json"]);
    let mut pids: Vec<u32> = serde_json::from_str(&ps.ok().out).unwrap();
    pids.sort();
    let mut expected = expected.map(|pid| pid.parse::<u32>().unwrap());
    expected.sort();
    assert_eq!(pids, expected);
    s.call(&["exec", &s.b.id, "cat", "/proc/self/cgroup"])
        .ok()
        .prints("0::/\n");
}

fn a_paused_scope_is_resumed_killed_and_deleted() {
    let s = scope();
    let _running = s.up();
    s.command(&["pause"]).ok();
    assert_eq!(s.state()["status"], "paused");
    assert_eq!(s.value("cgroup.freeze"), "1");
    s.command(&["resume"]).ok();
    assert_eq!(s.state()["status"], "running");
    s.command(&["pause"]).ok();
    s.command(&["delete", "--force"]).ok();
    s.left_nothing();
}

fn the_scope_is_gone_after_delete() {
    for flags in [&["delete"][..], &["delete", "--force"]] {
        let s = scope();
        s.create().ok();
        s.command(&["start"]).ok();
        if flags.len() == 1 {
            s.call(&["kill", &s.b.id, "KILL"]).ok();
            wait_for("it is stopped", || s.state()["status"] == "stopped");
        }
        s.command(flags).ok();
        assert!(
            !top()
                .join("runtimetest.slice")
                .join(&s.slice)
                .join(&s.name)
                .exists()
        );
        s.left_nothing();
        // And can be made again at once.
        s.create().ok();
    }
}

fn the_scope_is_gone_after_run() {
    let mut s = scope();
    s.b.args(&["true"]);
    s.launch_as(&s.b.id, &["run"]).ok();
    s.left_nothing();
}

fn the_scope_is_gone_after_a_failed_create() {
    // Before the scope is there, and after it.
    let mut s = scope();
    s.b.set("/process/args", json!(["true"]));
    s.b.mount("/x", "nonsense", "nonsense", &[]);
    s.create().ends(1);
    s.left_nothing();
    let mut s = scope();
    s.b.hook("createRuntime", "exit 3");
    s.create().ends(1);
    s.left_nothing();
    let mut s = scope();
    s.b.set("/linux/resources/cpu", json!({"cpus": "4000"}));
    s.create().ends(1);
    s.left_nothing();
}

fn a_scope_that_failed_is_in_nobodys_way() {
    let mut s = scope();
    // systemd ends it after a second, which is its failure, and keeps it in mind.
    s.b.set(
        "/annotations",
        json!({
            "org.systemd.property.RuntimeMaxUSec": "uint64 1000000",
            "org.systemd.property.TimeoutStopUSec": "uint64 200000",
            "org.systemd.property.CollectMode": "'inactive'",
        }),
    );
    s.create().ok();
    wait_for("it has failed", || s.property("ActiveState") == "failed");
    s.b.remove("/annotations");
    // The name can be used by another container.
    s.launch_as(&format!("{}-other", s.b.id), &["create"]).ok();
    s.has(&[("ActiveState", "active")]);
    s.call(&["delete", "--force", &format!("{}-other", s.b.id)])
        .ok();
    s.command(&["delete", "--force"]).ok();
    s.left_nothing();
}

fn a_scope_that_exists_is_an_error() {
    let s = scope();
    let _running = s.up();
    let second = format!("{}-second", s.b.id);
    s.launch_as(&second, &["create"])
        .output()
        .fails(&["container's cgroup is not empty", &s.name]);
    s.has(&[("ActiveState", "active")]);
    assert_eq!(s.state()["status"], "running");
    assert_eq!(s.value("cgroup.procs").lines().count(), 1);
    s.call(&["state", &second]).output().ends(1);
}

/// systemd would put our process to sleep there.
fn a_scope_with_a_frozen_cgroup_is_an_error() {
    let s = scope();
    let slice = top().join("runtimetest.slice").join(&s.slice);
    let directory = slice.join(&s.name);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("cgroup.freeze"), "1").unwrap();
    s.create()
        .fails(&["container's cgroup unexpectedly frozen", "cgroup.freeze"]);
    s.left_nothing();
    fs::remove_dir(&directory).unwrap();
    fs::remove_dir(&slice).unwrap();
}

fn a_process_that_ends_by_itself_leaves_no_failed_unit() {
    let mut s = scope();
    s.b.sh("exit 3");
    s.create().ok();
    s.command(&["start"]).ok();
    wait_for("it is stopped", || s.state()["status"] == "stopped");
    s.command(&["delete"]).ok();
    s.left_nothing();
}

fn twenty_scopes_at_once_leave_nothing() {
    scope();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..5 {
                    let s = scope();
                    s.create().ok();
                    s.command(&["update", "--pids-limit", "50"]).ok();
                    s.command(&["start"]).ok();
                    s.command(&["delete", "--force"]).ok();
                    s.left_nothing();
                }
            });
        }
    });
}

// --- without it ------------------------------------------------------------------------------------------------------------

fn without_systemd_the_driver_is_an_error() {
    if !root() {
        let b = bundle();
        b.write();
        let path = b.path();
        let words = [
            "--systemd-cgroup",
            "create",
            "--bundle",
            path.to_str().unwrap(),
            &b.id,
        ];
        // Neither the address nor the directory, and a directory without a bus.
        b.call(&words).output().ends(1).says(&["D-Bus"]);
        let nowhere = b.call(&words).env("XDG_RUNTIME_DIR", &b.text(""));
        nowhere.output().ends(1).says(&["bus"]);
        b.left_nothing();
        return;
    }
    let mut b = bundle();
    b.set("/linux/cgroupsPath", json!("system.slice:prefix:name"))
        .write();
    let path = b.path();
    let words = [
        "--systemd-cgroup",
        "create",
        "--bundle",
        path.to_str().unwrap(),
        &b.id,
    ];
    let script = "mount -t tmpfs tmpfs /run && exec \"$@\"";
    b.call(&words)
        .through(["unshare", "--mount", "sh", "-c", script, "sh"])
        .output()
        .ends(1)
        .says(&["systemd"]);
    b.left_nothing();
}

fn a_bus_that_is_silent_is_an_error() {
    let mut b = bundle();
    let path = b.text("bus");
    // Takes connections and says nothing.
    let _listener = UnixListener::bind(&path).unwrap();
    b.set("/linux/cgroupsPath", json!("user.slice:prefix:name"))
        .write();
    let bundle = b.path();
    let words = [
        "--systemd-cgroup",
        "create",
        "--bundle",
        bundle.to_str().unwrap(),
        &b.id,
    ];
    let address = format!("unix:path={path}");
    let command = match root() {
        // systemd's own socket is hidden, which would do as well.
        true => {
            let script =
                "! [ -d /run/systemd ] || mount -t tmpfs tmpfs /run/systemd && exec \"$@\"";
            b.call(&words)
                .env("DBUS_SYSTEM_BUS_ADDRESS", &address)
                .through(["unshare", "--mount", "sh", "-c", script, "sh"])
        }
        false => b.call(&words).env("DBUS_SESSION_BUS_ADDRESS", &address),
    };
    command.output().ends(1).says(&["D-Bus", "did not answer"]);
    b.left_nothing();
}
