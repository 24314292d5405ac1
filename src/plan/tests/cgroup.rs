//! Where the container's cgroup is: below the caller's, beside it, or where config.json has it.

use super::*;
use crate::facts::{Caller, Location};

/// The directories of the container's cgroup, and the warnings.
fn planned_for(spec: &Value, cgroups: Cgroups, caller: Caller) -> (Vec<String>, Vec<String>) {
    let facts = Facts {
        caller: Some(caller),
        ..facts(cgroups)
    };
    let plan = planned(spec, &facts).unwrap();
    let place = plan.cgroup.unwrap().place();
    assert_eq!(plan.state.place().unwrap(), place);
    (facts.cgroups.directories(&place), plan.warnings)
}

fn in_path(path: &str) -> Caller {
    Caller {
        place: Location::at(path),
        hidden: None,
    }
}

fn limited() -> Value {
    with("/linux/resources", json!({ "pids": { "limit": 10 } }))
}

const NONE: [String; 0] = [];

#[test]
fn without_a_path_it_is_below_the_callers() {
    let v2 = |spec: &Value, path| planned_for(spec, Cgroups::V2, in_path(path));
    let below = ["/sys/fs/cgroup/a/b/box".to_owned()];
    assert_eq!(v2(&small(), "/a/b"), (below.clone().into(), NONE.into()));
    let devices = with(
        "/linux/resources",
        json!({ "devices": [{ "allow": false }] }),
    );
    assert_eq!(v2(&devices, "/a/b"), (below.clone().into(), NONE.into()));
    let no_controller = with(
        "/linux/resources",
        json!({ "unified": { "cgroup.max.depth": "3" } }),
    );
    assert_eq!(v2(&no_controller, "/a/b"), (below.into(), NONE.into()));
}

#[test]
fn limits_on_v2_move_it_beside_the_callers() {
    let v2 = |path| planned_for(&limited(), Cgroups::V2, in_path(path));
    let (directories, warnings) = v2("/a/b");
    assert_eq!(directories, ["/sys/fs/cgroup/a/box"]);
    assert_eq!(
        warnings,
        [
            "the container's cgroup is beside the caller's cgroup /a/b, whose limits do not apply to it: cgroup v2 allows no limits below a cgroup that has processes (linux.cgroupsPath chooses another place)"
        ]
    );
    assert_eq!(v2("/a").0, ["/sys/fs/cgroup/box"]);
    // The root may have both.
    assert_eq!(v2(""), (vec!["/sys/fs/cgroup/box".into()], NONE.into()));
}

#[test]
fn on_v1_it_is_below_the_callers_in_each_hierarchy() {
    let caller = || Caller {
        place: Location {
            path: "/a".into(),
            apart: vec![
                ("devices".into(), String::new()),
                (String::new(), "/u".into()),
            ],
        },
        hidden: None,
    };
    let expected = [
        "/sys/fs/cgroup/memory/a/box",
        "/sys/fs/cgroup/devices/box",
        "/sys/fs/cgroup/unified/u/box",
    ];
    let limited = with("/linux/resources", json!({ "memory": { "limit": 4096 } }));
    for spec in [small(), limited] {
        let (directories, warnings) = planned_for(&spec, hybrid(), caller());
        assert_eq!(directories, expected);
        assert_eq!(warnings, NONE);
        let (directories, _) = planned_for(&spec, v1(), caller());
        assert_eq!(directories, expected[..2]);
    }
}

#[test]
fn a_relative_path_starts_at_the_callers() {
    let at = |path, cgroups| {
        planned_for(
            &with("/linux/cgroupsPath", json!(path)),
            cgroups,
            in_path("/a"),
        )
        .0
    };
    assert_eq!(at("pods/x", Cgroups::V2), ["/sys/fs/cgroup/a/pods/x"]);
    assert_eq!(at("./x/", Cgroups::V2), ["/sys/fs/cgroup/a/x"]);
    assert_eq!(at("/pods/x", Cgroups::V2), ["/sys/fs/cgroup/pods/x"]);
    assert_eq!(at("x", v1())[1], "/sys/fs/cgroup/devices/a/x");
    assert_eq!(at("/x", v1())[1], "/sys/fs/cgroup/devices/x");
}

#[test]
fn a_caller_out_of_sight_is_a_warning() {
    let caller = Caller {
        place: Location::default(),
        hidden: Some("/sys/fs/cgroup".into()),
    };
    let (directories, warnings) = planned_for(&limited(), Cgroups::V2, caller);
    assert_eq!(directories, ["/sys/fs/cgroup/box"]);
    assert_eq!(
        warnings,
        [
            "the caller's cgroup is not visible in /sys/fs/cgroup, so the container's is at its root, where the caller's limits do not apply"
        ]
    );
}

#[test]
fn systemd_puts_it_into_its_slice() {
    let spec = small().to_string();
    let facts = Facts {
        caller: Some(in_path("/a")),
        ..facts(Cgroups::V2)
    };
    let plan = plan_with(&spec, &facts, &Driver::Systemd(String::new())).unwrap();
    assert_eq!(
        plan.cgroup.unwrap().place(),
        Location::at("/system.slice/runtime-box.scope")
    );
}
