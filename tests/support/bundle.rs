//! A bundle with a busybox root, its own state directory, container id and cgroup. Dropping it removes all of them.
//! The configuration starts from a small spec and is edited by JSON pointer.

use crate::command::{Cmd, Output, Running};
use crate::host;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The initial configuration: the output of `spec`, without the parts that only take time.
const SPEC: &str = r#"{
  "ociVersion": "1.0.2",
  "process": {
    "user": {"uid": 0, "gid": 0}, "args": ["true"], "env": ["PATH=/bin", "HOME=/root"], "cwd": "/",
    "capabilities": {
      "bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
      "effective": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
      "permitted": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    },
    "noNewPrivileges": true
  },
  "root": {"path": "rootfs"},
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
  ],
  "linux": {
    "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]
  }
}"#;

static SERIAL: AtomicUsize = AtomicUsize::new(0);

pub struct Bundle {
    /// The scratch directory of this test: `bundle/`, the state directory `state/`, and the output of commands.
    pub dir: PathBuf,
    pub config: Value,
    /// The container's id, unique on this machine, and also the name of its cgroup.
    pub id: String,
    /// The binary under test. The attack on the binary itself puts a copy here.
    pub runtime: PathBuf,
    /// A command line that starts every call of the runtime, see [`Bundle::in_pure_v2`].
    pub launcher: Vec<String>,
}

impl Default for Bundle {
    fn default() -> Self {
        Bundle::new()
    }
}

impl Bundle {
    /// A bundle with busybox and the helper in its root file system.
    pub fn new() -> Bundle {
        let bundle = Bundle::empty();
        let bin = bundle.rootfs().join("bin");
        for dir in ["bin", "dev", "etc", "proc", "sys", "root", "tmp"] {
            fs::create_dir(bundle.rootfs().join(dir)).unwrap();
        }
        fs::set_permissions(
            bundle.rootfs().join("tmp"),
            fs::Permissions::from_mode(0o1777),
        )
        .unwrap();
        fs::hard_link(host::busybox(), bin.join("busybox")).unwrap();
        fs::hard_link(host::helper(), bin.join("helper")).unwrap();
        for applet in host::applets().iter().filter(|a| *a != "busybox") {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        fs::write(
            bundle.rootfs().join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\n",
        )
        .unwrap();
        fs::write(bundle.rootfs().join("etc/group"), "root:x:0:\n").unwrap();
        bundle
    }

    /// A bundle whose root file system is an empty directory.
    pub fn empty() -> Bundle {
        let name = format!(
            "{}{}-{}",
            host::PREFIX,
            std::process::id(),
            SERIAL.fetch_add(1, Ordering::Relaxed)
        );
        let dir = host::scratch().join(&name);
        fs::create_dir_all(dir.join("bundle/rootfs")).unwrap();
        let mut config: Value = serde_json::from_str(SPEC).unwrap();
        config["linux"]["cgroupsPath"] = json!(format!("/{name}"));
        Bundle {
            dir,
            config,
            id: name,
            runtime: host::runtime().to_owned(),
            launcher: Vec::new(),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("bundle/rootfs")
    }

    /// The `--root` directory.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// A path in the scratch directory, outside the bundle.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The same path as a string, for JSON.
    pub fn text(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    // --- the configuration -------------------------------------------------------------------------------------------

    /// Sets a value by JSON pointer. Missing objects on the way are created; `-` appends to a list.
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Bundle {
        let mut at = &mut self.config;
        for key in pointer.trim_start_matches('/').split('/') {
            if at.is_null() {
                *at = if key == "-" { json!([]) } else { json!({}) };
            }
            let end = at.as_array().map(Vec::len);
            at = match end {
                Some(end) if key == "-" => {
                    at.as_array_mut().unwrap().push(Value::Null);
                    &mut at[end]
                }
                Some(_) => &mut at[key.parse::<usize>().unwrap()],
                None => &mut at[key],
            };
        }
        *at = value;
        self
    }

    pub fn remove(&mut self, pointer: &str) -> &mut Bundle {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match self.config.pointer_mut(parent) {
            Some(Value::Object(map)) => drop(map.remove(key)),
            Some(Value::Array(list)) => drop(list.remove(key.parse().unwrap())),
            _ => panic!("no value at {pointer}"),
        }
        self
    }

    pub fn args(&mut self, args: &[&str]) -> &mut Bundle {
        self.set("/process/args", json!(args))
    }

    /// Makes the process a shell that runs `script`.
    pub fn sh(&mut self, script: &str) -> &mut Bundle {
        self.args(&["sh", "-c", script])
    }

    /// Makes the process print `up` and then wait to be killed.
    pub fn waits(&mut self) -> &mut Bundle {
        self.sh("echo up; exec sleep 1000")
    }

    pub fn mount(
        &mut self,
        destination: &str,
        kind: &str,
        source: &str,
        options: &[&str],
    ) -> &mut Bundle {
        let mount =
            json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.set("/mounts/-", mount)
    }

    pub fn bind(&mut self, source: &Path, destination: &str, options: &[&str]) -> &mut Bundle {
        let mut all = vec!["bind"];
        all.extend(options);
        self.mount(destination, "bind", source.to_str().unwrap(), &all)
    }

    /// Adds a new namespace of this type, or replaces its entry by one with a path.
    pub fn namespace(&mut self, kind: &str, path: Option<&str>) -> &mut Bundle {
        self.without_namespace(kind);
        let entry = path.map_or_else(
            || json!({"type": kind}),
            |p| json!({"type": kind, "path": p}),
        );
        self.set("/linux/namespaces/-", entry)
    }

    pub fn without_namespace(&mut self, kind: &str) -> &mut Bundle {
        self.config["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .retain(|n| n["type"] != kind);
        self
    }

    /// Adds a user namespace that maps the container's root to 100000, which becomes the owner of the root file
    /// system.
    pub fn user_namespace(&mut self) -> &mut Bundle {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        self.namespace("user", None)
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map);
        self.give_root_to(100_000)
    }

    /// Makes `uid` the owner of the directories of the root file system, and gives it access to them.
    pub fn give_root_to(&mut self, uid: u32) -> &mut Bundle {
        for dir in ["", "bin", "dev", "etc", "proc", "sys", "root", "tmp"] {
            let path = self.rootfs().join(dir);
            if path.is_dir() {
                std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
            }
        }
        self
    }

    pub fn capabilities(&mut self, names: &[&str]) -> &mut Bundle {
        for set in ["bounding", "effective", "permitted"] {
            self.set(&format!("/process/capabilities/{set}"), json!(names));
        }
        self
    }

    pub fn hook(&mut self, kind: &str, script: &str) -> &mut Bundle {
        self.set(
            &format!("/hooks/{kind}/-"),
            json!({"path": "/bin/sh", "args": ["sh", "-c", script]}),
        )
    }

    pub fn write(&self) -> &Bundle {
        fs::write(
            self.path().join("config.json"),
            serde_json::to_string_pretty(&self.config).unwrap(),
        )
        .unwrap();
        self
    }

    // --- the runtime ---------------------------------------------------------------------------------------------------

    /// Makes every call of the runtime see cgroup v2 alone, in a mount namespace of its own if the host has v1.
    pub fn in_pure_v2(&mut self) -> &mut Bundle {
        if host::v2() {
            return self;
        }
        let script = format!("{} && exec \"$@\"", host::pure_v2());
        self.launcher = ["unshare", "--mount", "sh", "-c", &script, "sh"]
            .map(String::from)
            .to_vec();
        self
    }

    /// The runtime with this test's `--root` and the given arguments.
    pub fn call(&self, words: &[&str]) -> Cmd {
        let call = Cmd::new(&self.dir, &self.runtime)
            .arg("--root")
            .arg(self.state_dir())
            .args(words);
        call.through(&self.launcher)
    }

    /// `run` or `create` of this bundle under another id, with additional flags.
    pub fn launch_as(&self, id: &str, verb: &str, flags: &[&str]) -> Cmd {
        self.write();
        self.call(&[verb, "--bundle"])
            .arg(self.path())
            .args(flags)
            .arg(id)
    }

    pub fn launch(&self, verb: &str, flags: &[&str]) -> Cmd {
        self.launch_as(&self.id, verb, flags)
    }

    #[track_caller]
    pub fn run(&self) -> Output {
        self.launch("run", &[]).output()
    }

    /// Runs and expects status 0.
    #[track_caller]
    pub fn run_ok(&self) -> Output {
        self.launch("run", &[]).ok()
    }

    /// Runs `create`. The handle also holds the later output of the container.
    #[track_caller]
    pub fn create(&self) -> Output {
        self.launch("create", &[]).output()
    }

    /// Runs `run` in the foreground. Returns once the process has printed `up`.
    #[track_caller]
    pub fn up(&self) -> Running {
        let running = self.launch("run", &[]).spawn();
        // At the end of a line only: "Groups" also contains "up".
        let is_up = || running.out().lines().any(|line| line.ends_with("up"));
        crate::wait_for("the container prints up", || {
            is_up() || !running.err().is_empty()
        });
        assert!(is_up(), "{}", running.err());
        running
    }

    #[track_caller]
    pub fn start(&self) -> Output {
        self.call(&["start", &self.id]).output()
    }

    #[track_caller]
    pub fn kill(&self, signal: &str) -> Output {
        self.call(&["kill", &self.id, signal]).output()
    }

    #[track_caller]
    pub fn delete(&self, flags: &[&str]) -> Output {
        self.call(&["delete"]).args(flags).arg(&self.id).output()
    }

    /// The parsed output of `state`.
    #[track_caller]
    pub fn state(&self) -> Value {
        let output = self.call(&["state", &self.id]).ok();
        serde_json::from_str(&output.out).unwrap_or_else(|e| panic!("{e}\n{output}"))
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    #[track_caller]
    pub fn wait_for_status(&self, status: &str) {
        crate::wait_for(&format!("the status is {status}"), || {
            self.status() == status
        });
    }

    /// The pid of the container's init on the host.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().unwrap() as i32
    }

    // --- what is left ----------------------------------------------------------------------------------------------------

    /// The container's cgroup directory in every hierarchy that has one.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        host::hierarchies()
            .into_iter()
            .map(|h| h.join(&self.id))
            .filter(|p| p.exists())
            .collect()
    }

    /// Asserts that nothing is left: no state, no cgroup, no mount, no process.
    #[track_caller]
    pub fn left_nothing(&self) {
        let state: Vec<_> = fs::read_dir(self.state_dir())
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path())
            .collect();
        assert!(state.is_empty(), "state left behind: {state:?}");
        assert!(
            self.cgroups().is_empty(),
            "cgroups left behind: {:?}",
            self.cgroups()
        );
        let mounts = host::mounts_beneath(&self.dir);
        assert!(mounts.is_empty(), "mounts left behind: {mounts:?}");
        // A killed child is reaped by its new parent, which can take a moment.
        let mut left = Vec::new();
        for _ in 0..3000 {
            left = host::processes_of(&self.dir);
            if left.is_empty() {
                return;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
        panic!("processes left behind: {left:?}");
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let ids = fs::read_dir(self.state_dir())
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.file_name());
        let ids: Vec<String> = ids.map(|n| n.to_string_lossy().into_owned()).collect();
        for id in ids {
            let call = self.call(&["delete", "--force", &id]);
            crate::harness::quietly(|| drop(call.deadline(10).output()));
        }
        for hierarchy in host::hierarchies() {
            host::remove_cgroup(&hierarchy.join(&self.id));
        }
        host::remove_tree(&self.dir);
    }
}
