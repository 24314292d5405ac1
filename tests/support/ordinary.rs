//! A bundle for an ordinary user. Every call of the runtime is made without capabilities, from a copy of the binary
//! that the user owns, and with a state directory of the user's own.

use crate::bundle::Bundle;
use crate::command::Cmd;
use crate::{host, json};
use std::fs;
use std::os::unix::fs::chown;

/// A uid that no machine uses.
pub const UID: u32 = 54_321;
/// The first subordinate uid and gid of the user, in `subordinate`.
pub const SUBUID: u32 = 700_000;
pub const SUBGID: u32 = 800_000;

impl Bundle {
    /// The user maps only their own id, to root in the container.
    pub fn ordinary(&mut self) -> &mut Bundle {
        self.ordinary_as(UID)
    }

    /// Like `ordinary`, for a user whose processes no other test counts among.
    pub fn ordinary_as(&mut self, uid: u32) -> &mut Bundle {
        self.runtime = self.file("runtime");
        host::copy(host::runtime(), &self.runtime);
        chown(&self.runtime, Some(uid), Some(uid)).unwrap();
        for dir in ["state", "run", "bundle"] {
            fs::create_dir_all(self.file(dir)).unwrap();
            chown(self.file(dir), Some(uid), Some(uid)).unwrap();
        }
        // Group 5 is not mapped.
        let pts = self.config["mounts"][2]["options"].as_array_mut().unwrap();
        pts.retain(|option| option != "gid=5");
        let map = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
        // The user may not make it.
        self.remove("/linux/cgroupsPath");
        self.namespace("user", None)
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map)
            .give_root_to(uid);
        self.launcher = drop_to_user(uid, &uid.to_string());
        self
    }

    /// The user may also map 65536 subordinate ids, from 1 in the container, and is in three supplementary groups.
    /// The host's own files do not change.
    pub fn subordinate(&mut self) -> &mut Bundle {
        self.ordinary();
        host::program("newuidmap");
        let mut passwd = fs::read_to_string("/etc/passwd").unwrap();
        passwd += &format!("ordinary:x:{UID}:{UID}::/:/bin/sh\n");
        fs::write(self.file("passwd"), passwd).unwrap();
        for (file, first) in [("subuid", SUBUID), ("subgid", SUBGID)] {
            fs::write(self.file(file), format!("ordinary:{first}:65536\n")).unwrap();
        }
        for (kind, first) in [("uid", SUBUID), ("gid", SUBGID)] {
            let map = json!({"containerID": 1, "hostID": first, "size": 65536});
            self.set(&format!("/linux/{kind}Mappings/-"), map);
        }
        let script = format!(
            "for file in passwd subuid subgid; do mount --bind {}/$file /etc/$file || exit; done; exec \"$@\"",
            self.dir.display()
        );
        let mut words: Vec<String> = ["unshare", "--mount", "sh", "-c", &script, "sh"]
            .map(String::from)
            .to_vec();
        words.extend(drop_to_user(UID, &format!("{UID},4,27,999")));
        self.launcher = words;
        self
    }

    /// Runs `run` as the user, through the command `words`.
    pub fn run_through(&self, words: &[&str], flags: &[&str]) -> Cmd {
        self.write();
        Cmd::new(&self.dir, &self.runtime)
            .arg("--root")
            .arg(self.state_dir())
            .args(["run", "--bundle"])
            .arg(self.path())
            .args(flags)
            .arg(&self.id)
            .through(words)
            .through(&self.launcher)
    }

    /// The same user without `--root`: XDG_RUNTIME_DIR is `run` in the scratch directory.
    pub fn at_home(&self, words: &[&str]) -> Cmd {
        Cmd::new(&self.dir, &self.runtime)
            .args(words)
            .through(&self.launcher)
            .env("XDG_RUNTIME_DIR", &self.text("run"))
    }
}

fn drop_to_user(uid: u32, groups: &str) -> Vec<String> {
    let id = uid.to_string();
    let words = [
        "setpriv", "--reuid", &id, "--regid", &id, "--groups", groups,
    ];
    words.map(String::from).to_vec()
}
