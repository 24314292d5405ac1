//! What Go's reader accepts is accepted: null and empty values are absent, unknown fields are ignored, and the form of the
//! file does not matter. The plan is the one of the small spec each time.

use super::*;

#[track_caller]
fn changes_nothing(pointer: &str, value: Value) {
    let plan = |spec: &Value| planned(spec, &facts(Cgroups::V2)).unwrap();
    let (plain, changed) = (plan(&small()), plan(&with(pointer, value)));
    assert_eq!(changed.lines(), plain.lines());
    assert_eq!(changed.warnings, Vec::<String>::new());
    assert_eq!(changed.cgroup.unwrap().limits.values.len(), 0);
}

/// The name of a test, and the value at a pointer that changes nothing.
macro_rules! accepted {
    ($($name:ident($pointer:literal, $($value:tt)+);)*) => {$(
        #[test]
        fn $name() {
            changes_nothing($pointer, json!($($value)+));
        }
    )*};
}

accepted! {
    null_hostname("/hostname", null);
    null_domainname("/domainname", null);
    null_mounts("/mounts", null);
    null_hooks("/hooks", null);
    null_annotations("/annotations", null);
    null_root_readonly("/root/readonly", null);
    null_terminal("/process/terminal", null);
    null_console_size("/process/consoleSize", null);
    null_user("/process/user", null);
    null_umask("/process/user/umask", null);
    null_additional_gids("/process/user/additionalGids", null);
    null_capabilities("/process/capabilities", null);
    null_ambient("/process/capabilities", { "ambient": null });
    null_rlimits("/process/rlimits", null);
    null_oom_score("/process/oomScoreAdj", null);
    null_scheduler("/process/scheduler", null);
    null_io_priority("/process/ioPriority", null);
    null_affinity("/process/execCPUAffinity", null);
    null_no_new_privileges("/process/noNewPrivileges", null);
    null_apparmor_profile("/process/apparmorProfile", null);
    null_selinux_label("/process/selinuxLabel", null);
    null_devices("/linux/devices", null);
    null_seccomp("/linux/seccomp", null);
    null_sysctl("/linux/sysctl", null);
    null_resources("/linux/resources", null);
    null_resources_inside("/linux/resources", { "memory": null, "cpu": { "shares": null }, "pids": null, "devices": null });
    null_cgroups_path("/linux/cgroupsPath", null);
    null_masked_paths("/linux/maskedPaths", null);
    null_readonly_paths("/linux/readonlyPaths", null);
    null_propagation("/linux/rootfsPropagation", null);
    null_mount_label("/linux/mountLabel", null);
    null_uid_mappings("/linux/uidMappings", null);
    null_gid_mappings("/linux/gidMappings", null);
    null_time_offsets("/linux/timeOffsets", null);
    null_intel_rdt("/linux/intelRdt", null);
    null_net_devices("/linux/netDevices", null);
    null_personality("/linux/personality", null);
    null_memory_policy("/linux/memoryPolicy", null);

    empty_hostname("/hostname", "");
    empty_apparmor_profile("/process/apparmorProfile", "");
    empty_selinux_label("/process/selinuxLabel", "");
    empty_propagation("/linux/rootfsPropagation", "");
    empty_mount_label("/linux/mountLabel", "");
    empty_cgroups_path("/linux/cgroupsPath", "");
    empty_hooks("/hooks", { "prestart": null, "poststop": [] });
    empty_annotations("/annotations", {});
    empty_devices("/linux/devices", []);
    empty_masked_paths("/linux/maskedPaths", []);
    empty_sysctl("/linux/sysctl", {});
    empty_net_devices("/linux/netDevices", {});
    empty_namespace_path("/linux/namespaces", [{ "type": "mount" }, { "type": "pid", "path": "" }]);

    unknown_field("/x-new", { "any": [1, "thing", null] });
    unknown_field_of_root("/root/x-new", [{}]);
    unknown_field_of_process("/process/x-new", 1.5);
    unknown_field_of_user("/process/user/x-new", -1);
    unknown_field_of_linux("/linux/x-new", true);
    unknown_field_of_a_namespace("/linux/namespaces", [{ "type": "mount", "x": {} }, { "type": "pid" }]);
    another_platform("/windows", { "layerFolders": [] });
    user_name_of_windows("/process/user/username", "x");
    a_null_platform("/vm", null);
}

/// The small spec in another form.
#[track_caller]
fn reads_the_same(text: String) {
    let plain = planned(&small(), &facts(Cgroups::V2)).unwrap();
    assert_eq!(
        plan_of(&text, &facts(Cgroups::V2)).unwrap().lines(),
        plain.lines()
    );
}

#[test]
fn blanks_do_not_matter() {
    let text = serde_json::to_string_pretty(&small()).unwrap();
    reads_the_same(format!("\n\t {}\r\n ", text.replace('\n', "\r\n\t")));
}

#[test]
fn the_order_of_keys_does_not_matter() {
    let small = small();
    let keys = ["root", "ociVersion", "linux", "process"];
    let fields = keys.map(|key| format!("\"{key}\":{}", small[key]));
    reads_the_same(format!("{{{}}}", fields.join(",")));
}

#[test]
fn the_case_of_keys_does_not_matter() {
    let text = small().to_string();
    reads_the_same(
        text.replace("ociVersion", "OCIVERSION")
            .replace("\"cwd\"", "\"CWD\""),
    );
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    let text = small().to_string();
    reads_the_same(text.replace("\"cwd\":", "\"cwd\":\"/elsewhere\",\"cwd\":"));
}

#[test]
fn characters_may_be_escaped() {
    let mut spec = small();
    spec["process"]["args"] = json!(["echo", "tab\tquote\"back\\slash/ünï\u{1F600}"]);
    let text = spec.to_string();
    let escaped = text
        .replace('ü', "\\u00fc")
        .replace('\u{1F600}', "\\ud83d\\ude00")
        .replace('/', "\\/");
    assert_ne!(text, escaped);
    let plan = |text: &str| plan_of(text, &facts(Cgroups::V2)).unwrap().lines();
    assert_eq!(plan(&escaped), plan(&text));
}

#[test]
fn no_part_of_a_spec_is_a_spec() {
    let text = small().to_string();
    for end in 0..text.len() {
        let error = plan_of(&text[..end], &facts(Cgroups::V2)).err().unwrap();
        let text = error.to_string();
        assert!(text.starts_with("config.json: line 1, column "), "{text}");
    }
}

#[test]
fn a_null_process_is_planned_and_not_started() {
    let mut spec = small();
    spec["process"] = Value::Null;
    let lines = planned(&spec, &facts(Cgroups::V2)).unwrap().lines();
    assert_eq!(lines.last().unwrap(), "execute: config.json has no process");
}
