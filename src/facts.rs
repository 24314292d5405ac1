//! The facts about the host that a plan depends on. The program probes them once; the library only reads them. Every
//! difference between kernels or machines is decided from these facts, before the child starts.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Where cgroups are mounted.
pub const CGROUPS: &str = "/sys/fs/cgroup";

/// The limit on hierarchies. No host mounts that many, and each is compared with those before it.
const HIERARCHIES_MAX: usize = 1024;

/// The facts about the host and the caller.
#[derive(Clone, Debug)]
pub struct Facts {
    pub euid: u32,
    pub egid: u32,
    /// We have CAP_SYS_ADMIN in our user namespace. If not, we are an ordinary user, and any new namespace requires a
    /// new user namespace.
    pub privileged: bool,
    /// Our user namespace owns our mount namespace, so we may copy its mount trees.
    pub may_mount: bool,
    /// setgroups(2) is denied here and in every user namespace below (user_namespaces(7)).
    pub setgroups_denied: bool,
    /// We are not in the initial user namespace, so device nodes cannot be created, only bind-mounted.
    pub in_user_namespace: bool,
    /// The highest capability known to the kernel.
    pub last_capability: u32,
    /// Our own permitted and bounding capabilities: what a process without a user namespace can be given.
    pub permitted: u64,
    pub bounding: u64,
    /// The kernel provides /proc/kcore.
    pub has_kcore: bool,
    /// AppArmor is enabled. Probed only if the spec sets a label.
    pub apparmor: bool,
    /// SELinux is enabled. Probed only if the spec sets a label.
    pub selinux: bool,
    pub cgroups: Cgroups,
    /// The caller's cgroup. Probed only if the container's path starts there.
    pub caller: Option<Caller>,
}

impl Facts {
    /// Whether the caller is the host's root, who may create any cgroup. Root of a container and ordinary users are
    /// not.
    pub fn is_root(&self) -> bool {
        self.euid == 0 && !self.in_user_namespace
    }
}

/// How cgroups are mounted on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// cgroup2 alone, on `CGROUPS`.
    V2,
    /// v1 hierarchies, possibly with cgroup2 beside them.
    V1(Vec<Hierarchy>),
}

/// A cgroup: its path below the mount point of each hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// Absolute, without `.` or `..`. Empty for the root.
    pub path: String,
    /// The paths in the hierarchies that have another one, by the hierarchy's name.
    pub apart: Vec<(String, String)>,
}

impl Location {
    /// The same path in every hierarchy.
    pub fn at(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            apart: Vec::new(),
        }
    }

    /// The path in this hierarchy.
    pub fn path_in(&self, hierarchy: &Hierarchy) -> &str {
        let name = hierarchy.name();
        let apart = self.apart.iter().find(|(apart, _)| *apart == name);
        apart.map_or(&self.path, |(_, path)| path)
    }

    /// The cgroup at `path` below this one.
    pub fn below(&self, path: &str) -> Self {
        let below = |at: &String| format!("{at}{path}");
        Self {
            path: below(&self.path),
            apart: self
                .apart
                .iter()
                .map(|(name, at)| (name.clone(), below(at)))
                .collect(),
        }
    }
}

/// The caller's cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    pub place: Location,
    /// A mount point that does not show the caller's cgroup. `place` has its root instead.
    pub hidden: Option<String>,
}

impl Caller {
    /// Finds the caller's cgroup from /proc/self/cgroup and /proc/self/mountinfo (cgroups(7)). A mount may show a part
    /// of a hierarchy only, as in a container, and a cgroup namespace names what lies outside of it by `/..`.
    pub fn find(cgroups: &Cgroups, own: &str, mountinfo: &str) -> Self {
        let mut caller = Self::default();
        let hierarchies = match cgroups {
            Cgroups::V2 => cgroups.v2().into_iter().collect(),
            Cgroups::V1(hierarchies) => hierarchies.clone(),
        };
        for (n, hierarchy) in hierarchies.iter().enumerate() {
            let shown = path_of_caller(hierarchy, own)
                .and_then(|path| path.strip_prefix(root_of_mount(hierarchy, mountinfo)?.as_str()))
                .filter(|path| path.is_empty() || path.starts_with('/'))
                .filter(|path| !path.split('/').any(|name| name == ".."));
            if shown.is_none() && caller.hidden.is_none() {
                caller.hidden = Some(hierarchy.mountpoint.clone());
            }
            let path = shown.unwrap_or_default();
            if n == 0 {
                path.clone_into(&mut caller.place.path);
            } else if caller.place.path != path {
                caller.place.apart.push((hierarchy.name(), path.to_owned()));
            }
        }
        caller
    }
}

/// The caller's path in the hierarchy, in a /proc/self/cgroup. Empty for the root.
fn path_of_caller<'o>(hierarchy: &Hierarchy, own: &'o str) -> Option<&'o str> {
    own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let is_it = match hierarchy.controllers.first() {
            Some(first) => controllers.split(',').any(|name| name == first),
            None => controllers.is_empty(),
        };
        is_it.then(|| path.trim_end_matches('/'))
    })
}

/// The cgroup that is mounted at the hierarchy's mount point. Empty for the root.
fn root_of_mount(hierarchy: &Hierarchy, mountinfo: &str) -> Option<String> {
    // The last mount at a mount point is the visible one.
    let mount = mountinfo.lines().rev().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        (at == hierarchy.mountpoint).then_some(root)
    })?;
    Some(unescaped(mount).trim_end_matches('/').to_owned())
}

/// One mounted hierarchy.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Hierarchy {
    pub mountpoint: String,
    /// For v1, the controllers, or `name=NAME`. Empty for cgroup2.
    pub controllers: Vec<String>,
}

impl Hierarchy {
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }

    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    /// The controllers, separated by commas. Empty for cgroup2.
    pub fn name(&self) -> String {
        self.controllers.join(",")
    }

    /// The directory of a cgroup.
    pub fn directory(&self, place: &Location) -> String {
        join(&self.mountpoint, place.path_in(self))
    }
}

impl Cgroups {
    /// Whether there is a v1 hierarchy, which processes join by writing their pid.
    pub fn has_v1(&self) -> bool {
        matches!(self, Cgroups::V1(hierarchies) if hierarchies.iter().any(|h| !h.is_v2()))
    }

    /// The cgroup2 hierarchy.
    pub fn v2(&self) -> Option<Hierarchy> {
        match self {
            Cgroups::V2 => Some(Hierarchy {
                mountpoint: CGROUPS.to_owned(),
                controllers: Vec::new(),
            }),
            Cgroups::V1(hierarchies) => hierarchies.iter().find(|h| h.is_v2()).cloned(),
        }
    }

    /// The hierarchies in a mountinfo (proc(5)), each once, for a host that does not have cgroup2 alone.
    pub fn of_mountinfo(mountinfo: &str) -> Self {
        Cgroups::V1(hierarchies(mountinfo))
    }

    /// The directories of the cgroup: one on v2, one per hierarchy on v1.
    pub fn directories(&self, place: &Location) -> Vec<String> {
        match self {
            Cgroups::V2 => [join(CGROUPS, &place.path)].into(),
            Cgroups::V1(hierarchies) => hierarchies.iter().map(|h| h.directory(place)).collect(),
        }
    }
}

/// The mount points of procfs and sysfs in a mountinfo (proc(5)), lowest first.
pub fn pseudo_mounts(mountinfo: &str) -> Vec<String> {
    mountinfo
        .lines()
        .filter_map(|line| line.split_once(" - "))
        .filter(|(_, fs)| fs.starts_with("proc ") || fs.starts_with("sysfs "))
        .filter_map(|(mount, _)| mount.split(' ').nth(4).map(unescaped))
        .collect()
}

/// Decodes a path in mountinfo, where space, tab, line feed and backslash are octal escapes.
fn unescaped(path: &str) -> String {
    [
        (r"\040", " "),
        (r"\011", "\t"),
        (r"\012", "\n"),
        (r"\134", r"\"),
    ]
    .into_iter()
    .fold(path.to_owned(), |path, (from, to)| path.replace(from, to))
}

/// The hierarchies in a mountinfo (proc(5)), each once.
fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, fs)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(mountpoint), mut fs) = (mount.split(' ').nth(4), fs.split(' ')) else {
            continue;
        };
        if !mountpoint
            .strip_prefix(CGROUPS)
            .is_some_and(|rest| rest.starts_with('/'))
        {
            continue;
        }
        let controllers = match fs.next() {
            Some("cgroup2") => Vec::new(),
            Some("cgroup") => {
                let options = fs.nth(1).unwrap_or("");
                let ordinary = [
                    "rw",
                    "ro",
                    "xattr",
                    "noprefix",
                    "clone_children",
                    "cpuset_v2_mode",
                    "favordynmods",
                ];
                options
                    .split(',')
                    .filter(|o| !ordinary.contains(o) && !o.starts_with("release_agent="))
                    .map(str::to_owned)
                    .collect()
            }
            _ => continue,
        };
        // A hierarchy that is mounted twice counts once.
        if found.len() < HIERARCHIES_MAX && !found.iter().any(|h| h.controllers == controllers) {
            found.push(Hierarchy {
                mountpoint: mountpoint.to_owned(),
                controllers,
            });
        }
    }
    found
}

/// `PATH/name`, without a double slash.
pub fn join(path: &str, name: &str) -> String {
    format!(
        "{}/{}",
        path.trim_end_matches('/'),
        name.trim_start_matches('/')
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 1 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
30 25 0:26 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 25 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 25 0:27 / /sys/fs/cgroup/again rw - cgroup cgroup rw,cpu,cpuacct
34 25 0:29 / /elsewhere/memory rw - cgroup cgroup rw,memory
35 1 0:30 / /proc\\040x rw - proc proc rw
36 1 0:31 / /sys rw - sysfs sysfs rw
not a line
";

    #[test]
    fn each_hierarchy_is_found_once() {
        let found = Cgroups::of_mountinfo(HYBRID);
        let Cgroups::V1(hierarchies) = &found else {
            panic!("{found:?}");
        };
        let rows: Vec<String> = hierarchies
            .iter()
            .map(|h| format!("{} {}", h.mountpoint, h.controllers.join(",")))
            .collect();
        assert_eq!(
            rows,
            [
                "/sys/fs/cgroup/unified ",
                "/sys/fs/cgroup/cpu,cpuacct cpu,cpuacct",
                "/sys/fs/cgroup/systemd name=systemd"
            ]
        );
        assert!(found.has_v1());
        assert!(hierarchies[0].is_v2() && hierarchies[1].has("cpuacct"));
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes")]
    fn a_mountinfo_of_endless_hierarchies_ends() {
        let line = |n| format!("1 1 0:1 / /sys/fs/cgroup/{n} rw - cgroup cgroup rw,name={n}\n");
        let mountinfo: String = (0..15_000).map(line).collect();
        assert_eq!(
            Cgroups::of_mountinfo(&mountinfo)
                .directories(&Location::at("/a"))
                .len(),
            1024
        );
    }

    #[test]
    fn v2_alone_has_no_v1() {
        let line = "30 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert!(!Cgroups::of_mountinfo(line).has_v1());
        assert!(!Cgroups::of_mountinfo("").has_v1());
        assert!(!Cgroups::V2.has_v1());
    }

    #[test]
    fn a_cgroup_has_a_directory_in_each_hierarchy() {
        assert_eq!(
            Cgroups::V2.directories(&Location::at("/a/b")),
            ["/sys/fs/cgroup/a/b"]
        );
        assert_eq!(
            Cgroups::of_mountinfo(HYBRID).directories(&Location::at("/a")),
            [
                "/sys/fs/cgroup/unified/a",
                "/sys/fs/cgroup/cpu,cpuacct/a",
                "/sys/fs/cgroup/systemd/a"
            ]
        );
    }

    /// The caller's location, and the mount point that hides it.
    fn caller(mountinfo: &str, own: &str) -> (String, Option<String>) {
        let cgroups = match mountinfo.contains(" /sys/fs/cgroup rw - cgroup2") {
            true => Cgroups::V2,
            false => Cgroups::of_mountinfo(mountinfo),
        };
        let caller = Caller::find(&cgroups, own, mountinfo);
        let directories = cgroups.directories(&caller.place.below("/x"));
        (directories.join(" "), caller.hidden)
    }

    #[test]
    fn the_caller_may_be_elsewhere_in_each_hierarchy() {
        let own = "7:name=systemd:/s\n4:cpu,cpuacct:/a:b/c\n0::/\n";
        assert_eq!(
            caller(HYBRID, own),
            (
                "/sys/fs/cgroup/unified/x /sys/fs/cgroup/cpu,cpuacct/a:b/c/x /sys/fs/cgroup/systemd/s/x"
                    .to_owned(),
                None
            )
        );
        let own = "4:cpu,cpuacct:/a\n0::/a\n";
        assert_eq!(
            caller(HYBRID, own).1.unwrap(),
            "/sys/fs/cgroup/systemd",
            "a hierarchy without a line"
        );
    }

    /// The mounted part of cgroup v2, the caller's line, and where its child is, or the reason why it is at the root.
    #[test]
    fn a_mount_may_show_a_part_of_the_hierarchy() {
        for (root, own, child, hidden) in [
            ("/", "0::/", "/x", false),
            ("/", "0::/a/b", "/a/b/x", false),
            ("/docker/abc", "0::/docker/abc", "/x", false),
            ("/docker/abc", "0::/docker/abc/init", "/init/x", false),
            ("/docker/a\\040b", "0::/docker/a b/c", "/c/x", false),
            ("/docker/abc", "0::/docker/abcd", "/x", true),
            ("/docker/abc", "0::/", "/x", true),
            ("/", "0::/../..", "/x", true),
            ("/", "0::/../other", "/x", true),
            ("/../..", "0::/", "/x", true),
            ("/..", "0::/../a", "/a/x", false),
            ("/", "3:memory:/a", "/x", true),
            ("/", "", "/x", true),
        ] {
            let mountinfo = format!(
                "1 1 0:1 /covered /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n1 1 0:1 {root} /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
            );
            let expected = hidden.then(|| "/sys/fs/cgroup".to_owned());
            assert_eq!(
                caller(&mountinfo, own),
                (format!("/sys/fs/cgroup{child}"), expected),
                "{root} {own}"
            );
        }
    }

    #[test]
    fn pseudo_mounts_may_have_blanks_in_their_path() {
        assert_eq!(pseudo_mounts(HYBRID), ["/proc x", "/sys"]);
        assert_eq!(unescaped(r"/a\134b\011c\012"), "/a\\b\tc\n");
    }

    #[test]
    fn paths_are_joined_with_one_slash() {
        assert_eq!(join("/a", "b"), "/a/b");
        assert_eq!(join("/a/", "/b"), "/a/b");
        assert_eq!(join("/", "b"), "/b");
    }
}
