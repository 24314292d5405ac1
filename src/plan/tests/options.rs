//! Options of mounts: what each does to a new tmpfs, to a bind mount, and to what it is given to wrongly.

use super::*;

/// The words of the steps that a mount with these options becomes.
#[track_caller]
fn mounted(mount: Value) -> Vec<String> {
    let all = steps(&with("/mounts", json!([mount])), &facts(Cgroups::V2));
    let at = |word: &str| all.iter().position(|step| step.starts_with(word)).unwrap();
    let (first, last) = (at("attach the root"), at("make the device /dev/null"));
    let others = all[first + 1..last].to_vec();
    let later = all[last..].iter();
    let later = later.filter(|step| step.starts_with("set the attributes of the mount"));
    others.into_iter().chain(later.cloned()).collect()
}

#[track_caller]
fn tmpfs(options: &[&str]) -> String {
    mounted(json!({ "destination": "/m", "type": "tmpfs", "source": "t", "options": options }))
        .join("; ")
}

#[track_caller]
fn bind(options: &[&str]) -> String {
    mounted(json!({ "destination": "/m", "type": "bind", "source": "/s", "options": options }))
        .join("; ")
}

/// The name of a test, the options, and the steps for a tmpfs and for a bind mount.
macro_rules! mounts {
    ($($name:ident $options:expr, $tmpfs:literal, $bind:literal;)*) => {$(
        #[test]
        fn $name() {
            let options: &[&str] = &$options;
            assert_eq!([tmpfs(options), bind(options)], [$tmpfs, $bind]);
        }
    )*};
}

mounts! {
    none [], "mount tmpfs from t on /m", "open /s recursively (slave); bind /s on /m";
    an_empty_word [""], "mount tmpfs from t on /m", "open /s recursively (slave); bind /s on /m";
    ro ["ro"], "mount tmpfs from t on /m; set the attributes of the mount on /m (ro)", "open /s (ro) recursively (slave); bind /s on /m";
    rw ["rw"], "mount tmpfs from t on /m", "open /s (rw) recursively (slave); bind /s on /m";
    nosuid ["nosuid"], "mount tmpfs from t on /m (nosuid)", "open /s (nosuid) recursively (slave); bind /s on /m";
    suid ["suid"], "mount tmpfs from t on /m", "open /s (suid) recursively (slave); bind /s on /m";
    nodev ["nodev"], "mount tmpfs from t on /m (nodev)", "open /s (nodev) recursively (slave); bind /s on /m";
    dev ["dev"], "mount tmpfs from t on /m", "open /s (dev) recursively (slave); bind /s on /m";
    noexec ["noexec"], "mount tmpfs from t on /m (noexec)", "open /s (noexec) recursively (slave); bind /s on /m";
    exec ["exec"], "mount tmpfs from t on /m", "open /s (exec) recursively (slave); bind /s on /m";
    nodiratime ["nodiratime"], "mount tmpfs from t on /m (nodiratime)", "open /s (nodiratime) recursively (slave); bind /s on /m";
    diratime ["diratime"], "mount tmpfs from t on /m", "open /s (diratime) recursively (slave); bind /s on /m";
    nosymfollow ["nosymfollow"], "mount tmpfs from t on /m (nosymfollow)", "open /s (nosymfollow) recursively (slave); bind /s on /m";
    symfollow ["symfollow"], "mount tmpfs from t on /m", "open /s (symfollow) recursively (slave); bind /s on /m";
    relatime ["relatime"], "mount tmpfs from t on /m", "open /s (relatime) recursively (slave); bind /s on /m";
    norelatime ["norelatime"], "mount tmpfs from t on /m", "open /s (relatime) recursively (slave); bind /s on /m";
    noatime ["noatime"], "mount tmpfs from t on /m (noatime)", "open /s (noatime) recursively (slave); bind /s on /m";
    atime ["atime"], "mount tmpfs from t on /m", "open /s (relatime) recursively (slave); bind /s on /m";
    strictatime ["strictatime"], "mount tmpfs from t on /m (strictatime)", "open /s (strictatime) recursively (slave); bind /s on /m";
    nostrictatime ["nostrictatime"], "mount tmpfs from t on /m", "open /s (relatime) recursively (slave); bind /s on /m";
    rro ["rro"], "mount tmpfs from t on /m recursively (ro)", "open /s recursively (ro, slave); bind /s on /m";
    rrw ["rrw"], "mount tmpfs from t on /m recursively (rw)", "open /s recursively (rw, slave); bind /s on /m";
    rnosuid ["rnosuid"], "mount tmpfs from t on /m recursively (nosuid)", "open /s recursively (nosuid, slave); bind /s on /m";
    rsuid ["rsuid"], "mount tmpfs from t on /m recursively (suid)", "open /s recursively (suid, slave); bind /s on /m";
    rnodev ["rnodev"], "mount tmpfs from t on /m recursively (nodev)", "open /s recursively (nodev, slave); bind /s on /m";
    rdev ["rdev"], "mount tmpfs from t on /m recursively (dev)", "open /s recursively (dev, slave); bind /s on /m";
    rnoexec ["rnoexec"], "mount tmpfs from t on /m recursively (noexec)", "open /s recursively (noexec, slave); bind /s on /m";
    rexec ["rexec"], "mount tmpfs from t on /m recursively (exec)", "open /s recursively (exec, slave); bind /s on /m";
    rnodiratime ["rnodiratime"], "mount tmpfs from t on /m recursively (nodiratime)", "open /s recursively (nodiratime, slave); bind /s on /m";
    rdiratime ["rdiratime"], "mount tmpfs from t on /m recursively (diratime)", "open /s recursively (diratime, slave); bind /s on /m";
    rnosymfollow ["rnosymfollow"], "mount tmpfs from t on /m recursively (nosymfollow)", "open /s recursively (nosymfollow, slave); bind /s on /m";
    rsymfollow ["rsymfollow"], "mount tmpfs from t on /m recursively (symfollow)", "open /s recursively (symfollow, slave); bind /s on /m";
    rrelatime ["rrelatime"], "mount tmpfs from t on /m recursively (relatime)", "open /s recursively (relatime, slave); bind /s on /m";
    rnorelatime ["rnorelatime"], "mount tmpfs from t on /m recursively (relatime)", "open /s recursively (relatime, slave); bind /s on /m";
    rnoatime ["rnoatime"], "mount tmpfs from t on /m recursively (noatime)", "open /s recursively (noatime, slave); bind /s on /m";
    ratime ["ratime"], "mount tmpfs from t on /m recursively (relatime)", "open /s recursively (relatime, slave); bind /s on /m";
    rstrictatime ["rstrictatime"], "mount tmpfs from t on /m recursively (strictatime)", "open /s recursively (strictatime, slave); bind /s on /m";
    rnostrictatime ["rnostrictatime"], "mount tmpfs from t on /m recursively (relatime)", "open /s recursively (relatime, slave); bind /s on /m";
    private ["private"], "mount tmpfs from t on /m (private)", "open /s recursively (slave); bind /s on /m (private)";
    rprivate ["rprivate"], "mount tmpfs from t on /m recursively (private)", "open /s recursively (slave); bind /s on /m recursively (private)";
    shared ["shared"], "mount tmpfs from t on /m (shared)", "open /s recursively (slave); bind /s on /m (shared)";
    rshared ["rshared"], "mount tmpfs from t on /m recursively (shared)", "open /s recursively (slave); bind /s on /m recursively (shared)";
    slave ["slave"], "mount tmpfs from t on /m (slave)", "open /s recursively (slave); bind /s on /m (slave)";
    rslave ["rslave"], "mount tmpfs from t on /m recursively (slave)", "open /s recursively (slave); bind /s on /m recursively (slave)";
    unbindable ["unbindable"], "mount tmpfs from t on /m (unbindable)", "open /s recursively (slave); bind /s on /m (unbindable)";
    runbindable ["runbindable"], "mount tmpfs from t on /m recursively (unbindable)", "open /s recursively (slave); bind /s on /m recursively (unbindable)";
    acl ["acl"], "mount tmpfs from t on /m", "open /s recursively (slave); bind /s on /m";
    async_ ["async"], "mount tmpfs from t on /m", "open /s recursively (slave); bind /s on /m";
    defaults ["defaults"], "mount tmpfs from t on /m", "open /s recursively (slave); bind /s on /m";
    iversion ["iversion"], "mount tmpfs from t on /m", "open /s recursively (slave); bind /s on /m";
    loud ["loud"], "mount tmpfs from t on /m", "open /s recursively (slave); bind /s on /m";
    mand ["mand"], "mount tmpfs from t on /m", "open /s recursively (slave); bind /s on /m";
    noacl ["noacl"], "mount tmpfs from t on /m", "open /s recursively (slave); bind /s on /m";
    noiversion ["noiversion"], "mount tmpfs from t on /m", "open /s recursively (slave); bind /s on /m";
    nolazytime ["nolazytime"], "mount tmpfs from t on /m", "open /s recursively (slave); bind /s on /m";
    nomand ["nomand"], "mount tmpfs from t on /m", "open /s recursively (slave); bind /s on /m";
    silent ["silent"], "mount tmpfs from t on /m", "open /s recursively (slave); bind /s on /m";
    mode ["mode=755"], "mount tmpfs from t on /m (mode=755)", "open /s recursively (slave); bind /s on /m";
    owner ["uid=1", "gid=2"], "mount tmpfs from t on /m (uid=1, gid=2)", "open /s recursively (slave); bind /s on /m";
    the_later_of_two_wins ["ro", "rw", "nosuid", "suid", "noatime", "relatime"], "mount tmpfs from t on /m", "open /s (rw, suid, relatime) recursively (slave); bind /s on /m";
    the_later_of_two_wins_the_other_way_round ["rw", "ro", "suid", "nosuid"], "mount tmpfs from t on /m (nosuid); set the attributes of the mount on /m (ro)", "open /s (ro, nosuid) recursively (slave); bind /s on /m";
    one_mount_and_its_tree ["ro", "rnosuid", "rprivate"], "mount tmpfs from t on /m recursively (nosuid, private); set the attributes of the mount on /m (ro)", "open /s (ro) recursively (nosuid, slave); bind /s on /m recursively (private)";
}

/// What a bind cannot honour; a tmpfs takes it.
macro_rules! of_a_file_system {
    ($($name:ident $option:literal, $tmpfs:literal;)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(tmpfs(&[$option]), concat!("mount tmpfs from t on /m", $tmpfs));
            let mount = json!([{ "destination": "/m", "source": "/s", "options": ["bind", $option] }]);
            assert_eq!(
                error("/mounts", mount),
                format!("config.json: mounts[0].options[1]: a bind mount does not take {:?}", $option)
            );
        }
    )*};
}

of_a_file_system! {
    size "size=1m", " (size=1m)";
    sync "sync", " (sync)";
    dirsync "dirsync", " (dirsync)";
    lazytime "lazytime", " (lazytime)";
    read_only "read-only", " (read-only)";
    capital_ro "RO", " (RO)";
    no_exec "no-exec", " (no-exec)";
    src_nofollow "src-nofollow", " (src-nofollow)";
    idmap_with_a_value "idmap=1", " (idmap=1)";
    r_before_a_word_of_the_file_system "rsync", " (rsync)";
    r_before_bind_twice "rrbind", " (rrbind)";
}

/// Mounts that are none, with their errors.
macro_rules! refused {
    ($($name:ident $mount:tt $text:literal;)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(error("/mounts", json!([$mount])), concat!("config.json: mounts[0]", $text));
        }
    )*};
}

refused! {
    no_type { "destination": "/m", "source": "s" } ".type: required for a mount that is not a bind mount";
    no_destination { "destination": "", "type": "tmpfs" } r#".destination: expected a path, found """#;
    cgroups_as_the_root { "destination": "/.", "type": "cgroup" } ".destination: the cgroups cannot be the root";
    no_source { "destination": "/m", "options": ["bind"] } ".source: required for a bind mount";
    a_zero_byte { "destination": "/m\0", "type": "tmpfs" } ".destination: a string with a zero byte";
    a_zero_byte_in_an_option { "destination": "/m", "type": "tmpfs", "options": ["ro", "a\0"] } ".options[1]: a string with a zero byte";
    a_zero_byte_in_the_type { "destination": "/m", "type": "tmp\0fs" } ".options: a string with a zero byte";
    copy_up_of_a_bind { "destination": "/m", "source": "/s", "options": ["bind", "tmpcopyup"] } r#".options: tmpcopyup needs a mount of type "tmpfs""#;
    copy_up_of_another_type { "destination": "/m", "type": "proc", "options": ["tmpcopyup"] } r#".options: tmpcopyup needs a mount of type "tmpfs""#;
    idmap_of_a_tmpfs { "destination": "/m", "type": "tmpfs", "options": ["idmap"] } ": only a bind mount can be id-mapped";
    mappings_of_a_tmpfs { "destination": "/m", "type": "tmpfs", "uidMappings": [{ "containerID": 0, "hostID": 0, "size": 1 }] } ": only a bind mount can be id-mapped";
    idmap_without_mappings { "destination": "/m", "source": "/s", "options": ["bind", "idmap"] } ": an id-mapped mount needs uidMappings and gidMappings";
    idmap_with_half_of_the_mappings { "destination": "/m", "source": "/s", "options": ["bind"], "uidMappings": [{ "containerID": 0, "hostID": 0, "size": 1 }] } ": an id-mapped mount needs uidMappings and gidMappings";
    remount_with_a_size { "destination": "/m", "options": ["remount", "size=1m"] } r#".options[1]: a remount does not take "size=1m""#;
    cgroup_with_a_size { "destination": "/m", "type": "cgroup", "options": ["size=1m"] } r#".options[0]: a mount of the cgroups does not take "size=1m""#;
}

#[test]
fn a_remount_changes_attributes_of_what_is_there() {
    let mount = json!({ "destination": "/m", "options": ["remount", "ro", "nosuid"] });
    assert_eq!(
        mounted(mount),
        ["set the attributes of the mount on /m (ro, nosuid)"]
    );
}

#[test]
fn a_relative_source_is_of_the_bundle() {
    let mount = json!({ "destination": "/m", "source": "data", "options": ["bind"] });
    assert_eq!(
        mounted(mount),
        [
            "open /srv/box/data recursively (slave)",
            "bind /srv/box/data on /m"
        ]
    );
}

#[test]
fn a_destination_in_the_root_of_the_host_is_meant_there() {
    let mount = json!({ "destination": "/srv/box/rootfs/m", "type": "tmpfs" });
    assert_eq!(mounted(mount), ["mount tmpfs on /m"]);
}

#[test]
fn a_relative_destination_is_a_warning() {
    let spec = with("/mounts", json!([{ "destination": "m", "type": "tmpfs" }]));
    let plan = planned(&spec, &facts(Cgroups::V2)).unwrap();
    assert_eq!(
        plan.warnings,
        ["mounts[0].destination is not absolute: taken from the root"]
    );
}

#[test]
fn long_options_are_one_string_of_at_most_a_page() {
    let mount = |length: usize| {
        let data = format!("x={}", "y".repeat(length));
        json!([{ "destination": "/m", "type": "tmpfs", "options": [data] }])
    };
    for (length, data) in [(253, None), (254, Some(256)), (4093, Some(4095))] {
        let plan = planned(&with("/mounts", mount(length)), &facts(Cgroups::V2)).unwrap();
        let found = plan.steps.iter().find_map(|step| match step {
            Step::Mount(mount) => Some(mount.data.map(|data| data.to_bytes().len())),
            _ => None,
        });
        assert_eq!(found, Some(data));
    }
    assert_eq!(
        error("/mounts", mount(4094)),
        "config.json: mounts[0].options: expected at most 4095 bytes, found 4096"
    );
}

#[test]
fn each_option_that_exists_is_in_the_list_for_features() {
    let all = names::mount_options();
    assert_eq!(all.len(), 64);
    assert!(all.is_sorted());
    for name in [
        "ro",
        "rro",
        "bind",
        "rbind",
        "idmap",
        "ridmap",
        "tmpcopyup",
        "remount",
    ] {
        assert!(all.iter().any(|n| n == name), "{name}");
    }
    assert!(!all.iter().any(|n| n == "rsync" || n == "rremount"));
}
