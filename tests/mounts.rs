//! What is mounted in the container and how: types, options, propagation, bind targets, the root itself.
//! The truth is the container's own /proc/self/mountinfo.

use crate::attacks_userns::BOTH;
use runtime_tests::{Bundle, Output, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

runtime_tests::tests![
    each_flag_option_sets_its_flag,
    a_later_option_wins,
    the_access_time_options_are_distinct,
    tmpfs_takes_size_mode_and_owner,
    tmpfs_copies_up_what_it_covers,
    tmpfs_that_copies_up_has_the_mode_asked_for_or_found,
    every_ordinary_type_is_mounted,
    an_unknown_filesystem_type_is_an_error_that_names_the_mount,
    an_option_that_the_filesystem_refuses_is_an_error_that_names_the_mount,
    mounts_happen_in_the_order_of_the_list,
    mountinfo_is_in_the_order_of_the_list,
    an_option_that_a_mount_cannot_honour_is_refused_by_its_place,
    a_mount_with_long_options_has_its_flags,
    the_mode_of_a_mount_point_is_not_copied_onto_the_mounted_root,
    a_symlinked_destination_is_resolved_inside_the_root,
    a_relative_destination_is_taken_from_the_root,
    a_read_only_root_refuses_writes,
    a_read_only_root_still_gets_its_mount_points,
    the_propagation_of_the_root_is_set,
    the_propagation_of_the_root_is_private_to_the_host_by_default,
    mounts_of_the_container_do_not_show_on_the_host,
    nothing_of_the_host_is_left_in_the_mount_table,
    masked_paths_are_empty_and_refuse_writes,
    read_only_paths_refuse_writes_and_keep_their_flags,
    missing_masked_and_read_only_paths_are_fine,
    sysctls_are_set_in_the_containers_namespaces,
    a_sysctl_without_its_namespace_is_refused,
    a_sysctl_outside_every_namespace_is_refused
];

/// One line of the container's mountinfo: options of the mount, propagation fields, type, and the filesystem's options.
pub struct Entry {
    pub options: Vec<String>,
    pub propagation: String,
    pub kind: String,
    pub super_options: String,
}

pub fn entry(output: &Output, point: &str) -> Entry {
    let line = output
        .out
        .lines()
        .rfind(|l| l.split(' ').nth(4) == Some(point));
    let line = line.unwrap_or_else(|| panic!("nothing mounted on {point}\n{output}"));
    let (left, right) = line.split_once(" - ").unwrap();
    let fields: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    Entry {
        options: fields[5].split(',').map(String::from).collect(),
        propagation: fields[6..].join(" ").trim().to_owned(),
        kind: right[0].to_owned(),
        super_options: right[2].to_owned(),
    }
}

/// Runs the bundle with a process that prints its mount table.
#[track_caller]
pub fn table(b: &mut Bundle) -> Output {
    b.args(&["cat", "/proc/self/mountinfo"]).run_ok()
}

fn each_flag_option_sets_its_flag() {
    let mut b = Bundle::new();
    let cases: &[(&str, &[&str])] = &[
        ("defaults", &["rw", "relatime"]),
        ("ro", &["ro", "relatime"]),
        ("nosuid", &["rw", "nosuid", "relatime"]),
        ("nodev", &["rw", "nodev", "relatime"]),
        ("noexec", &["rw", "noexec", "relatime"]),
        ("nodiratime", &["rw", "nodiratime", "relatime"]),
        ("nosymfollow", &["rw", "nosymfollow", "relatime"]),
        ("noatime", &["rw", "noatime"]),
        (
            "rw,suid,dev,exec,async,atime,diratime,norelatime,nostrictatime,loud",
            &["rw", "relatime"],
        ),
    ];
    for (n, (options, _)) in cases.iter().enumerate() {
        b.mount(
            &format!("/m{n}"),
            "tmpfs",
            "tmpfs",
            &options.split(',').collect::<Vec<_>>(),
        );
    }
    let table = table(&mut b);
    for (n, (options, expected)) in cases.iter().enumerate() {
        let mut got = entry(&table, &format!("/m{n}")).options;
        got.sort();
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(got, expected, "{options}");
    }
}

fn a_later_option_wins() {
    let mut b = Bundle::new();
    b.mount(
        "/m1",
        "tmpfs",
        "tmpfs",
        &["ro", "rw", "noexec", "exec", "nosuid"],
    );
    b.mount(
        "/m2",
        "tmpfs",
        "tmpfs",
        &["rw", "ro", "exec", "noexec", "suid"],
    );
    let table = table(&mut b);
    assert_eq!(entry(&table, "/m1").options, ["rw", "nosuid", "relatime"]);
    assert_eq!(entry(&table, "/m2").options, ["ro", "noexec", "relatime"]);
}

fn the_access_time_options_are_distinct() {
    let mut b = Bundle::new();
    for (n, option) in ["relatime", "noatime", "strictatime", "norelatime"]
        .into_iter()
        .enumerate()
    {
        b.mount(&format!("/m{n}"), "tmpfs", "tmpfs", &[option]);
    }
    let table = table(&mut b);
    assert_eq!(entry(&table, "/m0").options, ["rw", "relatime"]);
    assert_eq!(entry(&table, "/m1").options, ["rw", "noatime"]);
    assert_eq!(entry(&table, "/m2").options, ["rw"]);
    assert_eq!(entry(&table, "/m3").options, ["rw", "relatime"]);
}

fn tmpfs_takes_size_mode_and_owner() {
    let mut b = Bundle::new();
    b.mount(
        "/m",
        "tmpfs",
        "tmpfs",
        &[
            "nosuid",
            "size=1m",
            "mode=1777",
            "uid=12",
            "gid=34",
            "nr_inodes=20",
        ],
    );
    b.sh("cat /proc/self/mountinfo; stat -c '%a %u %g' /m; dd if=/dev/zero of=/m/x bs=1k count=2000 2>&1 | tail -1; wc -c < /m/x");
    let run = b.run_ok();
    let m = entry(&run, "/m");
    assert!(
        m.super_options.contains("size=1024k") && m.super_options.contains("nr_inodes=20"),
        "{}",
        m.super_options
    );
    assert!(
        run.lines().contains(&"1777 12 34") && run.lines().contains(&"1048576"),
        "{run}"
    );
}

fn tmpfs_copies_up_what_it_covers() {
    let mut b = Bundle::new();
    let dir = b.rootfs().join("full");
    fs::create_dir_all(dir.join("sub")).unwrap();
    fs::write(dir.join("sub/file"), "text\n").unwrap();
    b.mount("/full", "tmpfs", "tmpfs", &["tmpcopyup"])
        .sh("cat /full/sub/file; echo new > /full/sub/file; stat -f -c %T /full");
    b.run_ok().prints("text\ntmpfs\n");
    assert_eq!(fs::read_to_string(dir.join("sub/file")).unwrap(), "text\n");
}

fn tmpfs_that_copies_up_has_the_mode_asked_for_or_found() {
    let mut b = Bundle::new();
    for (dir, mode) in [("asked", 0o755), ("found", 0o711)] {
        fs::create_dir_all(b.rootfs().join(dir)).unwrap();
        fs::set_permissions(b.rootfs().join(dir), fs::Permissions::from_mode(mode)).unwrap();
    }
    b.mount("/asked", "tmpfs", "tmpfs", &["tmpcopyup", "mode=700"])
        .mount("/found", "tmpfs", "tmpfs", &["tmpcopyup"])
        .mount(
            "/asked-and-made",
            "tmpfs",
            "tmpfs",
            &["tmpcopyup", "mode=750"],
        )
        .mount("/made", "tmpfs", "tmpfs", &["tmpcopyup"])
        .sh("stat -c %a /asked /found /asked-and-made /made");
    b.run_ok().prints("700\n711\n750\n1777\n");
}

fn every_ordinary_type_is_mounted() {
    let mut b = Bundle::new();
    b.mount(
        "/dev/shm",
        "tmpfs",
        "shm",
        &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    );
    b.mount(
        "/dev/mqueue",
        "mqueue",
        "mqueue",
        &["nosuid", "noexec", "nodev"],
    );
    b.mount("/p", "proc", "proc", &["nosuid", "noexec", "nodev"]);
    let table = table(&mut b);
    for (point, kind) in [
        ("/proc", "proc"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/sys", "sysfs"),
        ("/dev/shm", "tmpfs"),
        ("/dev/mqueue", "mqueue"),
        ("/p", "proc"),
    ] {
        assert_eq!(entry(&table, point).kind, kind, "{point}");
    }
    let pts = entry(&table, "/dev/pts").super_options;
    assert!(
        pts.contains("gid=5") && pts.contains("mode=620") && pts.contains("ptmxmode=666"),
        "{pts}"
    );
    assert_eq!(
        entry(&table, "/sys").options,
        ["ro", "nosuid", "nodev", "noexec", "relatime"]
    );
}

fn an_unknown_filesystem_type_is_an_error_that_names_the_mount() {
    let mut b = Bundle::new();
    b.mount("/m", "nosuchfs", "none", &[])
        .run()
        .fails(&["nosuchfs", "/m", "no such device"]);
    b.left_nothing();
}

fn an_option_that_the_filesystem_refuses_is_an_error_that_names_the_mount() {
    let mut b = Bundle::new();
    b.mount("/m", "tmpfs", "tmpfs", &["nonsense=1"])
        .run()
        .fails(&["/m", "invalid argument"]);
    b.left_nothing();
}

fn mounts_happen_in_the_order_of_the_list() {
    let mut b = Bundle::new();
    for (n, name) in ["first", "second"].into_iter().enumerate() {
        fs::create_dir_all(b.file(name)).unwrap();
        fs::write(b.file(name).join("name"), format!("{n}\n")).unwrap();
        b.bind(&b.file(name), "/over", &[]);
    }
    b.args(&["cat", "/over/name"]).run_ok().prints("1\n");
}

fn mountinfo_is_in_the_order_of_the_list() {
    // Since Linux 6.8 it is that of the copies' making.
    let mut b = Bundle::new();
    fs::create_dir(b.file("source")).unwrap();
    let source = b.text("source");
    b.mount("/one", "tmpfs", "tmpfs", &[])
        .bind(Path::new(&source), "/two", &[])
        .mount("/three", "tmpfs", "tmpfs", &[])
        .mount("/four", "", &source, &["rbind", "ro"])
        .mount("/five", "tmpfs", "tmpfs", &[]);
    let run = b.args(&["cat", "/proc/self/mountinfo"]).run_ok();
    let order: Vec<&str> = run
        .lines()
        .iter()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| ["/one", "/two", "/three", "/four", "/five"].contains(point))
        .collect();
    assert_eq!(order, ["/one", "/two", "/three", "/four", "/five"], "{run}");
}

fn an_option_that_a_mount_cannot_honour_is_refused_by_its_place() {
    for option in [
        "read-only",
        "RO",
        "no-exec",
        "size=1m",
        "src-nofollow",
        "sync",
    ] {
        let mut b = Bundle::new();
        let n = b.config["mounts"].as_array().unwrap().len();
        b.mount("/to", "bind", "/usr", &["bind", option]);
        b.run().fails(&[
            &format!("config.json: mounts[{n}].options[1]"),
            &format!("{option:?}"),
        ]);
        b.left_nothing();
    }
    for (kind, option) in [("tmpfs", "idmap"), ("ramfs", "tmpcopyup")] {
        let mut b = Bundle::new();
        let n = b.config["mounts"].as_array().unwrap().len();
        b.mount("/to", kind, kind, &[option]);
        b.run().fails(&[&format!("config.json: mounts[{n}]")]);
    }
}

fn a_mount_with_long_options_has_its_flags() {
    has_the_flags_of_long_options(Bundle::new());
    BOTH.iter()
        .for_each(|whose| has_the_flags_of_long_options(whose.bundle()));
}

fn has_the_flags_of_long_options(mut b: Bundle) {
    // Longer than one value of fsconfig(2) may be: several directories whose names are long.
    let lower: Vec<String> = (0..4)
        .map(|n| {
            let path = b.file(&format!("{}{n}", "d".repeat(100)));
            fs::create_dir(&path).unwrap();
            fs::write(path.join(format!("file{n}")), "").unwrap();
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let option = format!("lowerdir={}", lower.join(":"));
    assert!(option.len() > 256);
    b.mount(
        "/to",
        "overlay",
        "overlay",
        &[&option, "ro", "nosuid", "nodev", "noexec"],
    );
    let entry = entry(&table(&mut b), "/to");
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(
            entry.options.iter().any(|o| o == flag),
            "{:?}",
            entry.options
        );
    }
    b.sh("ls /to; touch /to/x || echo refused");
    assert_eq!(b.run_ok().out, "file0\nfile1\nfile2\nfile3\nrefused\n");
    b.left_nothing();
}

fn the_mode_of_a_mount_point_is_not_copied_onto_the_mounted_root() {
    let mut b = Bundle::new();
    let (point, source) = (b.rootfs().join("point"), b.file("source"));
    for (dir, mode) in [(&point, 0o700), (&source, 0o711)] {
        fs::create_dir(dir).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
    }
    b.bind(&source, "/point", &[])
        .args(&["stat", "-c", "%a", "/point"])
        .run_ok()
        .prints("711\n");
    assert_eq!(fs::metadata(source).unwrap().mode() & 0o7777, 0o711);
    assert_eq!(fs::metadata(point).unwrap().mode() & 0o7777, 0o700);
}

fn a_symlinked_destination_is_resolved_inside_the_root() {
    let mut b = Bundle::new();
    fs::create_dir(b.rootfs().join("real")).unwrap();
    symlink("/real", b.rootfs().join("absolute")).unwrap();
    symlink("../../../../real", b.rootfs().join("relative")).unwrap();
    b.mount("/absolute/one", "tmpfs", "tmpfs", &[])
        .mount("/relative/two", "tmpfs", "tmpfs", &[]);
    let table = table(&mut b);
    assert_eq!(entry(&table, "/real/one").kind, "tmpfs");
    assert_eq!(entry(&table, "/real/two").kind, "tmpfs");
}

fn a_relative_destination_is_taken_from_the_root() {
    let mut b = Bundle::new();
    b.mount("rel/ative", "tmpfs", "tmpfs", &[]);
    assert_eq!(entry(&table(&mut b), "/rel/ative").kind, "tmpfs");
}

fn a_read_only_root_refuses_writes() {
    let mut b = Bundle::new();
    b.set("/root/readonly", json!(true))
        .sh("touch /x 2>&1; touch /dev/x && echo dev is not");
    let run = b.run_ok();
    run.prints("touch: /x: Read-only file system\ndev is not\n");
    assert!(!b.rootfs().join("x").exists());
    fs::write(b.rootfs().join("x"), "").unwrap();
}

fn a_read_only_root_still_gets_its_mount_points() {
    let mut b = Bundle::new();
    b.set("/root/readonly", json!(true))
        .mount("/made/here", "tmpfs", "tmpfs", &[]);
    b.set("/process/cwd", json!("/made/here"));
    assert_eq!(entry(&table(&mut b), "/made/here").options[0], "rw");
}

fn the_propagation_of_the_root_is_set() {
    for value in [
        "shared",
        "slave",
        "private",
        "unbindable",
        "rshared",
        "rslave",
        "rprivate",
    ] {
        let mut b = Bundle::new();
        b.set("/linux/rootfsPropagation", json!(value));
        b.args(&["cat", "/proc/self/mountinfo"]);
        // The caller's mounts are shared, as systemd makes them.
        let shared = ["unshare", "--mount", "--propagation", "shared"];
        let root = entry(&b.launch("run", &[]).through(shared).ok(), "/").propagation;
        let kind = value.strip_prefix('r').unwrap_or(value);
        assert_eq!(
            root.contains("shared:"),
            kind == "shared",
            "{value}: {root:?}"
        );
        assert_eq!(
            root.contains("unbindable"),
            kind == "unbindable",
            "{value}: {root:?}"
        );
        assert!(
            kind == "slave" || !root.contains("master:"),
            "{value}: {root:?}"
        );
    }
}

fn the_propagation_of_the_root_is_private_to_the_host_by_default() {
    let mut b = Bundle::new();
    b.capabilities(&["CAP_SYS_ADMIN"])
        .sh("mount -t tmpfs tmpfs /tmp && echo up && read line");
    let script = "\"$@\"; cat /proc/self/mountinfo > \"$OUT\"";
    let table = b.text("table");
    let run = b.launch("run", &[]).env("OUT", &table);
    run.through([
        "unshare",
        "--mount",
        "--propagation",
        "shared",
        "sh",
        "-c",
        script,
        "sh",
    ])
    .ok();
    let rootfs = b.text("bundle/rootfs");
    assert!(!b.read("table").contains(&rootfs), "{}", b.read("table"));
}

fn mounts_of_the_container_do_not_show_on_the_host() {
    let mut b = Bundle::new();
    let _running = b.mount("/m", "tmpfs", "tmpfs", &[]).waits().up();
    assert_eq!(
        runtime_tests::host::mounts_beneath(&b.dir),
        Vec::<std::path::PathBuf>::new()
    );
}

fn nothing_of_the_host_is_left_in_the_mount_table() {
    let mut b = Bundle::new();
    let table = table(&mut b);
    let points: Vec<&str> = table
        .lines()
        .iter()
        .filter_map(|l| l.split(' ').nth(4))
        .collect();
    assert_eq!(
        points,
        ["/", "/proc", "/dev", "/dev/pts", "/sys"],
        "{table}"
    );
}

fn masked_paths_are_empty_and_refuse_writes() {
    let mut b = Bundle::new();
    fs::create_dir(b.rootfs().join("secrets")).unwrap();
    fs::write(b.rootfs().join("secrets/key"), "secret\n").unwrap();
    fs::write(b.rootfs().join("secret"), "secret\n").unwrap();
    b.set(
        "/linux/maskedPaths",
        json!([
            "/secrets",
            "/secret",
            "/proc/kcore",
            "/proc/acpi",
            "/sys/firmware"
        ]),
    );
    b.capabilities(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    b.sh("cat /secret /proc/kcore; ls -A /secrets /sys/firmware; stat -c '%t:%T' /secret; touch /secrets/x 2>&1; echo end");
    let run = b.run_ok();
    run.prints("/secrets:\n\n/sys/firmware:\n1:3\ntouch: /secrets/x: Read-only file system\nend\n");
    assert_eq!(
        fs::read_to_string(b.rootfs().join("secret")).unwrap(),
        "secret\n"
    );
}

fn read_only_paths_refuse_writes_and_keep_their_flags() {
    let mut b = Bundle::new();
    fs::write(b.rootfs().join("file"), "").unwrap();
    b.mount("/m", "tmpfs", "tmpfs", &["nosuid", "nodev", "noexec"])
        .mount("/m/below", "tmpfs", "tmpfs", &["nosuid"]);
    b.set(
        "/linux/readonlyPaths",
        json!(["/m", "/file", "/proc/sys", "/m", "/proc/sys"]),
    );
    b.capabilities(&["CAP_DAC_OVERRIDE"]);
    b.sh("for f in /m/x /file /proc/sys/kernel/hostname; do (echo x > $f) 2>&1; done; cat /proc/self/mountinfo");
    let run = b.run_ok();
    assert_eq!(run.out.matches("Read-only file system").count(), 3, "{run}");
    assert_eq!(
        entry(&run, "/m").options,
        ["ro", "nosuid", "nodev", "noexec", "relatime"]
    );
    // With all that lies beneath.
    assert_eq!(
        entry(&run, "/m/below").options,
        ["ro", "nosuid", "relatime"]
    );
    assert_eq!(entry(&run, "/proc/sys").options[0], "ro");
}

fn missing_masked_and_read_only_paths_are_fine() {
    let mut b = Bundle::new();
    b.set(
        "/linux/maskedPaths",
        json!(["/nothing", "/proc/nothing/at/all"]),
    );
    b.set(
        "/linux/readonlyPaths",
        json!(["/nothing", "/proc/nothing/at/all"]),
    )
    .run_ok();
    assert!(!b.rootfs().join("nothing").exists());
}

fn sysctls_are_set_in_the_containers_namespaces() {
    let mut b = Bundle::new();
    b.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096", "net/ipv4/ip_default_ttl": "33", "kernel.domainname": "example.org"}));
    b.sh("cd /proc/sys; cat net/ipv4/ip_forward kernel/msgmax net/ipv4/ip_default_ttl kernel/domainname");
    b.run_ok().prints("1\n4096\n33\nexample.org\n");
}

fn a_sysctl_without_its_namespace_is_refused() {
    for (kind, key) in [
        ("network", "net.ipv4.ip_forward"),
        ("ipc", "kernel.msgmax"),
        ("uts", "kernel.domainname"),
    ] {
        let before = fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).unwrap();
        let mut b = Bundle::new();
        b.without_namespace(kind)
            .set("/linux/sysctl", json!({key: "12345"}))
            .run()
            .fails(&[key]);
        assert_eq!(
            fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).unwrap(),
            before
        );
        b.left_nothing();
    }
}

fn a_sysctl_outside_every_namespace_is_refused() {
    for key in [
        "vm.swappiness",
        "kernel.panic",
        "net.ipv4/../../kernel.panic",
        "kernel.hostname",
    ] {
        let mut b = Bundle::new();
        b.set("/linux/sysctl", json!({key: "12345"}))
            .run()
            .fails(&[key]);
        b.left_nothing();
    }
}
