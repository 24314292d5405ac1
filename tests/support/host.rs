//! The host as the tests see it: the scratch directory, the static helper, cgroup hierarchies, mounts and processes.
//! Each run keeps its files in one directory. If the run is killed, the next run removes it.

use rustix::mount::{UnmountFlags, unmount};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The runtime under test: `$RUNTIME`, or the release binary at its place relative to this test binary. If its path has
/// spaces, a copy in the scratch directory.
pub fn runtime() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = std::env::var_os("RUNTIME").map_or_else(
            || {
                let own = std::env::current_exe().unwrap();
                own.ancestors().nth(3).unwrap().join("release/runtime")
            },
            PathBuf::from,
        );
        let path = path.canonicalize().unwrap_or_else(|e| {
            panic!(
                "{}: {e} (build it with cargo build --release)",
                path.display()
            )
        });
        // Scripts and engines' configurations take the path as one word.
        if !path.to_string_lossy().contains(char::is_whitespace) {
            return path;
        }
        let plain = scratch().join("runtime");
        copy(&path, &plain);
        plain
    })
}

/// This run's scratch directory.
pub fn scratch() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    })
}

/// The prefix of scratch directories and cgroups. The pid of the run follows it.
pub const PREFIX: &str = "runtime-test-";

/// Removes what runs that are no longer alive left behind. At the `end`, also removes this run's own directory.
pub fn sweep(end: bool) {
    let stale = |name: &str| {
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|n| n.split('-').next()?.parse::<u32>().ok());
        pid.is_some_and(|pid| match pid == std::process::id() {
            true => end,
            false => !Path::new(&format!("/proc/{pid}")).exists(),
        })
    };
    let entries = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten();
    let stale_in = |dir| {
        entries(dir)
            .filter(|e| stale(&e.file_name().to_string_lossy()))
            .map(|e| e.path())
    };
    for hierarchy in hierarchies() {
        stale_in(hierarchy).for_each(|path| remove_cgroup(&path));
    }
    stale_in(std::env::temp_dir()).for_each(|path| remove_tree(&path));
}

/// The mount points of the cgroup hierarchies, v1 and v2, for example `/sys/fs/cgroup/memory`.
pub fn hierarchies() -> Vec<PathBuf> {
    let info = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let is_cgroup = |l: &&str| l.contains(" - cgroup ") || l.contains(" - cgroup2 ");
    info.lines()
        .filter(is_cgroup)
        .map(|l| PathBuf::from(l.split(' ').nth(4).unwrap()))
        .collect()
}

/// Whether the machine has cgroup v2 only. Otherwise it has v1 hierarchies, and possibly v2 beside them.
pub fn v2() -> bool {
    hierarchies() == [Path::new("/sys/fs/cgroup")]
}

/// The mount point of a v1 controller or of the v2 hierarchy (`unified`). Skips the test if there is none.
pub fn controller(name: &str) -> PathBuf {
    let mut path = Path::new("/sys/fs/cgroup").join(name);
    if name == "unified" && v2() {
        path.pop();
    }
    if !hierarchies().contains(&path) {
        crate::skip!("no cgroup hierarchy {name} on this machine");
    }
    path
}

/// A shell command that makes cgroup v2 the only hierarchy at /sys/fs/cgroup. Needs a mount namespace of its own.
pub fn pure_v2() -> &'static str {
    if v2() {
        return "true";
    }
    controller("unified");
    "mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup"
}

/// Kills all processes in a cgroup, which must belong to this test, and removes it with its descendants.
pub fn remove_cgroup(path: &Path) {
    // A task that the v1 freezer has frozen does not die until it is thawed.
    let name = path.file_name().unwrap_or_default();
    let _ = fs::write(
        Path::new("/sys/fs/cgroup/freezer")
            .join(name)
            .join("freezer.state"),
        "THAWED",
    );
    let _ = fs::write(path.join("cgroup.freeze"), "0");
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    for _ in 0..500 {
        if !path.exists() || fs::remove_dir(path).is_ok() {
            return;
        }
        let procs = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        for pid in procs
            .lines()
            .filter_map(|l| l.parse().ok())
            .filter_map(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        std::thread::park_timeout(std::time::Duration::from_millis(4));
    }
    eprintln!("LEFT BEHIND: {}", path.display());
}

/// The mount points below a directory in this mount namespace, innermost last.
pub fn mounts_beneath(dir: &Path) -> Vec<PathBuf> {
    let info = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = info
        .lines()
        .map(|l| PathBuf::from(l.split(' ').nth(4).unwrap().replace("\\040", " ")));
    points.filter(|p| p.starts_with(dir)).collect()
}

/// Unmounts everything below a directory and removes it. Keeps a tree that still contains a mount.
pub fn remove_tree(dir: &Path) {
    for point in mounts_beneath(dir).iter().rev() {
        let _ = unmount(point, UnmountFlags::DETACH);
    }
    if mounts_beneath(dir).is_empty() && fs::remove_dir_all(dir).is_err() && dir.exists() {
        eprintln!("LEFT BEHIND: {}", dir.display());
    }
}

/// Running processes, except this one, with `dir` in their arguments or their root below it.
pub fn processes_of(dir: &Path) -> Vec<String> {
    // With the slash, because the name of one directory may be a prefix of another.
    let text = format!("{}/", dir.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.parse::<u32>().is_err() || name == std::process::id().to_string() {
            continue;
        }
        let proc = entry.path();
        let cmdline = fs::read(proc.join("cmdline")).unwrap_or_default();
        let rooted = fs::read_link(proc.join("root")).is_ok_and(|r| r.starts_with(dir));
        let cmdline = String::from_utf8_lossy(&cmdline).replace('\0', " ");
        if rooted || cmdline.contains(&text) {
            found.push(format!("{name}: {cmdline}"));
        }
    }
    found
}

/// The children of a process, zombies included: `(pid, state)`.
pub fn children_of(pid: i32) -> Vec<(i32, char)> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let state = |pid: i32| {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .ok()?
            .rsplit(") ")
            .next()?
            .chars()
            .next()
    };
    list.split_whitespace()
        .filter_map(|p| p.parse().ok())
        .filter_map(|p| Some((p, state(p)?)))
        .collect()
}

/// The path of a program. Skips the test if the program is missing.
pub fn program(name: &str) -> PathBuf {
    for dir in ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"] {
        let path = Path::new(dir).join(name);
        if path.exists() {
            return path;
        }
    }
    crate::skip!("no {name} on this machine")
}

/// Copies a program, in a separate process. If we wrote the file, a process forked by another test could inherit the
/// open descriptor, and executing the copy would fail with ETXTBSY.
#[track_caller]
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let status = Command::new("cp")
        .arg("-p")
        .args([from.as_ref(), to.as_ref()])
        .status()
        .unwrap();
    assert!(
        status.success(),
        "cp to {}: {status}",
        to.as_ref().display()
    );
}

/// A copy of busybox that containers may damage, shared by all roots of this run.
pub fn busybox() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = scratch().join("busybox");
        copy(program("busybox"), &path);
        path
    })
}

pub fn applets() -> &'static [String] {
    static LIST: OnceLock<Vec<String>> = OnceLock::new();
    LIST.get_or_init(|| {
        let list = Command::new(busybox()).arg("--list").output().unwrap();
        String::from_utf8(list.stdout)
            .unwrap()
            .lines()
            .map(String::from)
            .collect()
    })
}

fn compile(name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let (source_path, path) = (scratch().join(format!("{name}.c")), scratch().join(name));
    // The guest has no compiler.
    if let Some(compiled) = std::env::var_os("RUNTIME_COMPILED") {
        copy(Path::new(&compiled).join(name), &path);
        return path;
    }
    fs::write(&source_path, source).unwrap();
    let cc = Command::new("cc")
        .args(["-O1", "-w", "-o"])
        .arg(&path)
        .arg(&source_path)
        .args(flags)
        .output();
    let cc = cc.unwrap_or_else(|e| panic!("cannot run cc, which builds the helper: {e}"));
    assert!(
        cc.status.success(),
        "{}",
        String::from_utf8_lossy(&cc.stderr)
    );
    path
}

/// The static helper (`helper.c`), for what busybox cannot do inside a container.
pub fn helper() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| compile("helper", include_str!("helper.c"), &["-static"]))
}

/// A program whose ELF interpreter is /proc/self/exe, which is the program that executes it.
pub fn program_interpreted_by_its_parent() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        compile(
            "interp",
            "int main(void) { return 0; }\n",
            &["-Wl,--dynamic-linker=/proc/self/exe"],
        )
    })
}

/// The fault injector (`faults.c`).
pub fn injector() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| compile("faults", include_str!("faults.c"), &["-static"]))
}

/// Everything compiled here, for the guest, which has no compiler: `$RUNTIME_COMPILED` is its directory there.
pub fn compiled() -> [&'static Path; 3] {
    [helper(), program_interpreted_by_its_parent(), injector()]
}
