//! The stored state of a container, and the state that is reported. Nothing that can become stale is stored: whether
//! the container is created, running or stopped is determined from the kernel each time.

use crate::error::{Result, fail};
use crate::facts::Location;
use crate::spec::object;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde::Serialize;

/// As a literal, for `concat!`.
#[macro_export]
macro_rules! oci_version {
    () => {
        "1.3.0"
    };
}
pub use oci_version;

/// The version of the format of `State`.
pub const VERSION: u32 = 1;
/// The highest pid on 64-bit kernels (proc_sys_kernel(5), pid_max).
const PID_MAX: i32 = 1 << 22;
/// The version of the runtime-spec that this program implements.
pub const OCI_VERSION: &str = oci_version!();
/// The statuses of the OCI state, as every engine parses them.
pub const CREATING: &str = "creating";
pub const CREATED: &str = "created";
pub const RUNNING: &str = "running";
pub const STOPPED: &str = "stopped";
/// Not part of the OCI state, but used by engines.
pub const PAUSED: &str = "paused";

object! {
    /// The stored state of a container.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    pub struct State {
        /// The version of the format; 0 for files without one. A reader uses the fields it knows, whatever the
        /// version.
        version: u32 = "version",
        oci_version: String = required "ociVersion",
        id: String = required "id",
        /// 0 until the process exists.
        pid: i32 = required "pid",
        /// The start time in clock ticks since boot (proc(5), stat, field 22), which reveals a reused pid.
        start_time: u64 = required "startTime",
        bundle: String = required "bundle",
        rootfs: String = required "rootfs",
        created: String = required "created",
        annotations: Vec<(String, String)> = required "annotations",
        /// The path of the cgroup below the mount point of each hierarchy. `None` without a cgroup.
        cgroup: Option<String> = "cgroup",
        /// Its paths in the v1 hierarchies that have another one, by the hierarchy's name.
        apart: Vec<(String, String)> = "apart",
        /// The inode number of its directory in the last hierarchy. 0 if systemd made it: who made the directory at the
        /// path is not known then.
        inode: u64 = "inode",
        /// The scope, if systemd created the cgroup.
        unit: Option<String> = "unit",
        poststart: Vec<Hook> = required "poststart",
        poststop: Vec<Hook> = required "poststop",
        /// `--no-new-keyring`, which also applies to exec.
        no_new_keyring: bool = required "noNewKeyring",
        /// Whether `create` has not finished yet. Only its hooks meet such a state with a pid.
        creating: bool = "creating",
        /// The agent that receives the listener of the seccomp filter.
        agent: Option<Agent> = "agent",
    }
}

object! {
    /// A hook that runs after `create` has exited.
    #[derive(Serialize)]
    pub struct Hook {
        path: String = required "path",
        args: Vec<String> = required "args",
        env: Vec<String> = required "env",
        timeout: Option<u32> = "timeout",
    }
}

/// The state as defined by the OCI spec, for `state`, `list` and the stdin of hooks (runtime.md, State).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OciState<'a> {
    pub oci_version: &'a str,
    pub id: &'a str,
    pub pid: i32,
    pub status: &'a str,
    pub bundle: &'a str,
    pub rootfs: &'a str,
    pub created: &'a str,
    #[serde(serialize_with = "as_map", skip_serializing_if = "<[_]>::is_empty")]
    pub annotations: &'a [(String, String)],
}

fn as_map<S: serde::Serializer>(pairs: &&[(String, String)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(pairs.iter().map(|(k, v)| (k, v)))
}

impl State {
    /// Parses a stored state. Errors refer to it as `file`.
    pub fn parse(file: &str, json: &[u8]) -> Result<Self> {
        let state: Self = crate::spec::json::read(file, json)?;
        state.check(file).map(|()| state)
    }

    /// Refuses values that this program never writes. The wrong process or cgroup would be taken for the container's.
    fn check(&self, file: &str) -> Result<()> {
        if !(0..=PID_MAX).contains(&self.pid) {
            fail!("{file}: pid: expected 0 to {PID_MAX}, found {}", self.pid);
        }
        let plain =
            |path: &String| path.starts_with('/') && !path.split('/').any(|name| name == "..");
        for (field, path) in [
            ("bundle", Some(&self.bundle)),
            ("cgroup", self.cgroup.as_ref()),
        ] {
            if let Some(path) = path.filter(|path| !plain(path)) {
                fail!("{file}: {field}: expected an absolute path, found {path:?}");
            }
        }
        if let Some((_, path)) = self.apart.iter().find(|(_, path)| !plain(path)) {
            fail!("{file}: apart: expected an absolute path, found {path:?}");
        }
        check_id(&self.id)
    }

    /// The container's cgroup, if it has one.
    pub fn place(&self) -> Option<Location> {
        let path = self.cgroup.clone()?;
        let apart = self.apart.clone();
        Some(Location { path, apart })
    }

    pub fn oci_state<'a>(&'a self, status: &'a str) -> OciState<'a> {
        OciState {
            oci_version: &self.oci_version,
            id: &self.id,
            pid: if status == STOPPED { 0 } else { self.pid },
            status,
            bundle: &self.bundle,
            rootfs: &self.rootfs,
            created: &self.created,
            annotations: &self.annotations,
        }
    }
}

/// Checks that an id is a plain name. Ids are used as directory names and in cgroup paths.
pub fn check_id(id: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() {
        fail!("the container id is empty");
    }
    if !id.chars().all(allowed) || id.starts_with('.') && id.trim_matches('.').is_empty() {
        fail!("invalid container id {id:?}: only letters, digits and _ + - . are allowed");
    }
    if id.len() > 1024 || id.len() > 255 {
        fail!(
            "invalid container id: {} characters are more than 255",
            id.len()
        );
    }
    Ok(())
}

object! {
    /// `linux.seccomp.listenerPath` and `listenerMetadata`.
    #[derive(Serialize)]
    pub struct Agent {
        path: String = required "path",
        metadata: String = required "metadata",
    }
}

/// The facts about a process in /proc/PID/stat (proc(5)).
#[derive(Debug, PartialEq, Eq)]
pub struct Stat {
    pub status: char,
    /// In clock ticks since boot.
    pub started: u64,
    /// It is exiting, or has a pending SIGKILL.
    pub dying: bool,
    /// It has executed a program since it was forked. The flag outlives the process, up to the wait for it.
    pub executed: bool,
}

impl Stat {
    /// Parses the text of /proc/PID/stat.
    pub fn parse(text: &str) -> Option<Self> {
        // linux/sched.h
        const PF_EXITING: u64 = 0x4;
        const PF_FORKNOEXEC: u64 = 0x40;
        const PF_SIGNALED: u64 = 0x400;
        const KILL: u64 = 1 << 8;
        // The name in parentheses may contain anything.
        let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
        let status = fields.next()?.chars().next()?;
        let flags: u64 = fields.nth(5)?.parse().ok()?;
        let started = fields.nth(12)?.parse().ok()?;
        let pending: u64 = fields.nth(8)?.parse().ok()?;
        Some(Self {
            status,
            started,
            executed: flags & PF_FORKNOEXEC == 0,
            dying: flags & (PF_EXITING | PF_SIGNALED) != 0 || pending & KILL != 0,
        })
    }
}

/// Formats a time since 1970 as RFC 3339 with nanoseconds, in UTC.
pub fn rfc3339(seconds: i64, nanos: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// The Gregorian date of a day since 1970-01-01. Counts in eras of 400 years that begin in March, so that the leap
/// day is the last day of a year.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * march_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_plain_name() {
        for id in ["a", "A-b_c.d+9", "..a", &"x".repeat(255)] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for (id, text) in [
            ("", "the container id is empty"),
            (
                ".",
                "invalid container id \".\": only letters, digits and _ + - . are allowed",
            ),
            (
                "..",
                "invalid container id \"..\": only letters, digits and _ + - . are allowed",
            ),
            (
                "a/b",
                "invalid container id \"a/b\": only letters, digits and _ + - . are allowed",
            ),
            (
                "a\n",
                "invalid container id \"a\\n\": only letters, digits and _ + - . are allowed",
            ),
            (
                &"x".repeat(256),
                "invalid container id: 256 characters are more than 255",
            ),
        ] {
            assert_eq!(check_id(id).unwrap_err().to_string(), text);
        }
    }

    const OLD: &str = r#"{"ociVersion":"1.2.0","id":"box","pid":7,"startTime":9,"bundle":"/b","rootfs":"/b/r","created":"t",
        "annotations":[],"poststart":[],"poststop":[],"noNewKeyring":false}"#;

    #[test]
    fn a_state_without_a_version_or_with_unknown_fields_is_read() {
        let old = State::parse("state.json", OLD.as_bytes()).unwrap();
        assert_eq!((old.version, old.pid, old.start_time), (0, 7, 9));
        let newer = OLD.replace("{\"oci", "{\"version\":9,\"later\":[{}],\"oci");
        assert_eq!(
            State::parse("state.json", newer.as_bytes())
                .unwrap()
                .version,
            9
        );
    }

    #[test]
    fn a_state_that_was_never_written_is_refused() {
        for (good, bad, text) in [
            (
                "\"pid\":7",
                "\"pid\":-1",
                "pid: expected 0 to 4194304, found -1",
            ),
            (
                "\"pid\":7",
                "\"pid\":2147483647",
                "pid: expected 0 to 4194304, found 2147483647",
            ),
            (
                "\"bundle\":\"/b\"",
                "\"bundle\":\"b\"",
                "bundle: expected an absolute path, found \"b\"",
            ),
            (
                "\"pid\":7",
                "\"cgroup\":\"x\",\"pid\":7",
                "cgroup: expected an absolute path, found \"x\"",
            ),
            (
                "\"pid\":7",
                "\"cgroup\":\"/a/../b\",\"pid\":7",
                "cgroup: expected an absolute path, found \"/a/../b\"",
            ),
        ] {
            let json = OLD.replace(good, bad);
            let error = State::parse("state.json", json.as_bytes()).err().unwrap();
            assert_eq!(error.to_string(), format!("state.json: {text}"));
        }
    }

    #[test]
    fn a_state_survives_writing_and_reading() {
        let state = State::parse("state.json", OLD.as_bytes()).unwrap();
        let text = serde_json::to_string(&state).unwrap();
        let again = State::parse("state.json", text.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }

    #[test]
    fn a_truncated_state_is_an_error() {
        for n in 0..OLD.len() {
            assert!(
                State::parse("state.json", &OLD.as_bytes()[..n]).is_err(),
                "{n}"
            );
        }
        assert_eq!(
            State::parse("state.json", b"[]").unwrap_err().to_string(),
            "state.json: expected an object, found a list"
        );
    }

    #[test]
    fn a_stopped_container_has_pid_0() {
        let state = State::parse("state.json", OLD.as_bytes()).unwrap();
        assert_eq!(
            serde_json::to_string(&state.oci_state(STOPPED)).unwrap(),
            r#"{"ociVersion":"1.2.0","id":"box","pid":0,"status":"stopped","bundle":"/b","rootfs":"/b/r","created":"t"}"#
        );
        assert_eq!(state.oci_state(RUNNING).pid, 7);
    }

    #[test]
    fn a_stat_is_parsed_with_any_process_name() {
        let line = |name: &str, state: char, flags: u32, pending: u64| {
            format!(
                "7 ({name}) {state} 1 7 7 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0 0 0 0 0 0 0 {pending} 0 0 0"
            )
        };
        let stat = |text: &str| Stat::parse(text).map(|s| (s.status, s.started, s.dying));
        assert_eq!(stat(&line("sh", 'S', 0, 0)), Some(('S', 4711, false)));
        assert_eq!(stat(&line("a) R (b", 'Z', 0, 0)), Some(('Z', 4711, false)));
        assert_eq!(stat(&line("sh", 'R', 0x4, 0)), Some(('R', 4711, true)));
        assert_eq!(stat(&line("sh", 'R', 0x400, 0)), Some(('R', 4711, true)));
        assert_eq!(stat(&line("sh", 'D', 0, 1 << 8)), Some(('D', 4711, true)));
        let executed = |flags| Stat::parse(&line("sh", 'Z', flags, 0)).unwrap().executed;
        assert_eq!((executed(0x4), executed(0x44)), (true, false));
        assert_eq!(stat("7 (sh) R 1"), None);
        assert_eq!(stat(""), None);
    }

    #[test]
    fn times_use_the_gregorian_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000005Z"),
            (951_782_400, "2000-02-29T00:00:00.000000005Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000005Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000005Z"),
            (-1, "1969-12-31T23:59:59.000000005Z"),
        ] {
            assert_eq!(rfc3339(seconds, 5), text);
        }
    }

    /// The name of a test, what is changed in the record of an older version, and the error.
    macro_rules! not_a_state {
        ($($name:ident $from:literal $to:literal $text:literal;)*) => {$(
            #[test]
            fn $name() {
                let record = OLD.replace($from, $to);
                assert_ne!(record, OLD);
                assert_eq!(
                    State::parse("state.json", record.as_bytes()).unwrap_err().to_string(),
                    concat!("state.json: ", $text)
                );
            }
        )*};
    }

    not_a_state! {
        no_oci_version r#""ociVersion":"1.2.0","# "" "ociVersion: required field is missing";
        no_id r#""id":"box","# "" "id: required field is missing";
        no_pid r#""pid":7,"# "" "pid: required field is missing";
        no_start_time r#""startTime":9,"# "" "startTime: required field is missing";
        no_bundle r#""bundle":"/b","# "" "bundle: required field is missing";
        no_rootfs r#""rootfs":"/b/r","# "" "rootfs: required field is missing";
        no_created r#""created":"t","# "" "created: required field is missing";
        no_annotations r#""annotations":[],"# "" "annotations: required field is missing";
        no_poststart r#""poststart":[],"# "" "poststart: required field is missing";
        no_poststop r#""poststop":[],"# "" "poststop: required field is missing";
        no_keyring_flag r#","noNewKeyring":false"# "" "noNewKeyring: required field is missing";
        null_pid r#""pid":7"# r#""pid":null"# "pid: required field is missing";
        pid_of_33_bits r#""pid":7"# r#""pid":4294967296"# "pid: expected an integer from -2147483648 to 2147483647, found 4294967296";
        pid_as_text r#""pid":7"# r#""pid":"7""# r#"pid: expected an integer from -2147483648 to 2147483647, found "7""#;
        start_time_below_0 r#""startTime":9"# r#""startTime":-9"# "startTime: expected an integer from 0 to 18446744073709551615, found -9";
        annotations_as_an_object r#""annotations":[]"# r#""annotations":{}"# "annotations: expected a list of pairs, found an object";
        annotation_of_one_text r#""annotations":[]"# r#""annotations":[["a"]]"# "annotations[0]: expected two strings";
        annotation_of_a_number r#""annotations":[]"# r#""annotations":[["a",1]]"# "annotations[0][1]: expected a string, found 1";
        hook_without_args r#""poststop":[]"# r#""poststop":[{"path":"/x"}]"# "poststop[0].args: required field is missing";
        hook_without_env r#""poststop":[]"# r#""poststop":[{"path":"/x","args":[]}]"# "poststop[0].env: required field is missing";
        agent_without_metadata r#""id""# r#""agent":{"path":"/x"},"id""# "agent.metadata: required field is missing";
        cgroup_of_a_number r#""id""# r#""cgroup":1,"id""# "cgroup: expected a string, found 1";
        more_behind_it "false}" "false}x" "line 2, column 76: trailing characters";
    }

    #[test]
    fn every_field_of_a_state_is_kept() {
        let full = r#"{"version":1,"ociVersion":"1.3.0","id":"box","pid":7,"startTime":9,"bundle":"/b","rootfs":"/b/r","created":"t","annotations":[["a","b"],["a","c"]],"cgroup":"/box","apart":[["memory","/m/box"]],"inode":7,"unit":"box.scope","poststart":[{"path":"/x","args":["x"],"env":["A=1"],"timeout":5}],"poststop":[],"noNewKeyring":true,"creating":true,"agent":{"path":"/s","metadata":"m"}}"#;
        let state = State::parse("state.json", full.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&state).unwrap(), full);
    }

    #[test]
    fn annotations_are_shown_as_an_object() {
        let record = OLD.replace(
            r#""annotations":[]"#,
            r#""annotations":[["z","1"],["a","\"2\""]]"#,
        );
        let state = State::parse("state.json", record.as_bytes()).unwrap();
        assert_eq!(
            serde_json::to_string(&state.oci_state(CREATED)).unwrap(),
            r#"{"ociVersion":"1.2.0","id":"box","pid":7,"status":"created","bundle":"/b","rootfs":"/b/r","created":"t","annotations":{"z":"1","a":"\"2\""}}"#
        );
    }
}
