//! AppArmor: a container's process, and those of `exec`, run under the given profiles. Few test hosts have AppArmor;
//! the guest with systemd does, and apparmor_parser(8) loads the profiles there.

use runtime_tests::{Bundle, Cmd, host, json};
use std::fs;

runtime_tests::tests![
    the_process_is_confined_by_its_profile,
    exec_takes_the_profile_of_the_container_or_its_own,
    a_profile_holds_in_a_user_namespace_and_without_new_privileges,
    a_profile_that_is_not_loaded_is_an_error_and_leaves_nothing,
    an_unconfined_process_says_so,
    a_start_container_hook_runs_under_the_profile,
];

/// A bundle, and a new profile that allows everything except writing /tmp/no.
fn confined() -> (Bundle, Profile) {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if enabled.map_or(true, |text| text.trim() != "Y") {
        runtime_tests::skip!("no AppArmor in this kernel; the test runs in the guest");
    }
    if !rustix::process::geteuid().is_root() {
        runtime_tests::skip!("only root can load profiles");
    }
    let mut b = Bundle::new();
    fs::create_dir_all(b.rootfs().join("tmp")).unwrap();
    let profile = Profile::load(&b, "", "deny /tmp/no w,");
    b.set("/process/apparmorProfile", json!(profile.0));
    b.set("/root/readonly", json!(false));
    (b, profile)
}

/// A loaded profile. Dropping it unloads it.
struct Profile(String);

impl Profile {
    fn load(b: &Bundle, suffix: &str, rules: &str) -> Profile {
        let name = format!("{}{suffix}", b.id);
        let text = format!(
            "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n\
             file, network, capability, mount, umount, signal, ptrace, unix,\n{rules}\n}}\n"
        );
        let file = b.file(&name);
        fs::write(&file, text).unwrap();
        Profile::parser(b, &["--replace", file.to_str().unwrap()]);
        Profile(name)
    }

    fn parser(b: &Bundle, words: &[&str]) {
        Cmd::new(&b.path(), host::program("apparmor_parser"))
            .args(["--skip-cache", "--quiet"])
            .args(words)
            .output()
            .ok();
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let _ = fs::write("/sys/kernel/security/apparmor/.remove", &self.0);
    }
}

const CURRENT: &str = "cat /proc/self/attr/current; echo x > /tmp/yes && echo yes; echo x 2> /dev/null > /tmp/no || echo no";

fn the_process_is_confined_by_its_profile() {
    let (mut b, profile) = confined();
    b.sh(CURRENT)
        .run_ok()
        .prints(&format!("{} (enforce)\nyes\nno\n", profile.0));
}

fn exec_takes_the_profile_of_the_container_or_its_own() {
    let (mut b, profile) = confined();
    let other = Profile::load(&b, "-other", "deny /tmp/yes w,");
    b.waits();
    let _running = b.up();
    let exec = |flags: &[&str], script: &str| {
        let words = [&["exec"], flags, &[&b.id, "sh", "-c", script]].concat();
        b.call(&words).output()
    };
    exec(&[], CURRENT).prints(&format!("{} (enforce)\nyes\nno\n", profile.0));
    let script = "cat /proc/self/attr/current; echo x 2> /dev/null > /tmp/yes || echo no";
    exec(&["--apparmor", &other.0], script).prints(&format!("{} (enforce)\nno\n", other.0));
    exec(&["--apparmor", "no-such"], "echo never")
        .ends(255)
        .says(&["AppArmor", "no-such"])
        .prints("");
}

fn a_profile_holds_in_a_user_namespace_and_without_new_privileges() {
    let (mut b, profile) = confined();
    let expected = format!("{} (enforce)\nyes\nno\n", profile.0);
    b.set("/process/noNewPrivileges", json!(true));
    b.sh(CURRENT).run_ok().prints(&expected);
    fs::remove_file(b.rootfs().join("tmp/yes")).unwrap();
    fs::set_permissions(
        b.rootfs().join("tmp"),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    b.user_namespace();
    b.run_ok().prints(&expected);
}

fn a_profile_that_is_not_loaded_is_an_error_and_leaves_nothing() {
    let (mut b, _profile) = confined();
    b.set("/process/apparmorProfile", json!("no-such"));
    for verb in ["create", "run"] {
        b.launch(verb, &[])
            .output()
            .fails(&["AppArmor", "no-such", "no such file or directory"]);
        b.left_nothing();
    }
}

fn an_unconfined_process_says_so() {
    let (mut b, _profile) = confined();
    b.set("/process/apparmorProfile", json!("unconfined"));
    b.sh("cat /proc/self/attr/current")
        .run_ok()
        .prints("unconfined\n");
}

fn a_start_container_hook_runs_under_the_profile() {
    let (mut b, profile) = confined();
    b.hook("startContainer", "cat /proc/self/attr/current > /tmp/hook");
    b.sh("cat /tmp/hook /proc/self/attr/current")
        .run_ok()
        .prints(&format!("{0} (enforce)\n{0} (enforce)\n", profile.0));
}
