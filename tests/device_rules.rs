//! Which devices a container may open: the rules of v1, the program of v2, and what an update does to them.

use crate::resources::on_pure_v2;
use runtime_tests::{Bundle, Output, Value, host, json};

runtime_tests::tests![
    forbidden_devices_are_refused_and_allowed_ones_open,
    device_rules_are_an_ebpf_program_on_pure_v2,
    an_update_replaces_the_device_rules,
    an_update_without_devices_leaves_them,
    a_refusal_that_v1_would_forget_is_an_error
];

fn kmsg(b: &mut Bundle, rules: Value) {
    b.set(
        "/linux/devices",
        json!([
            {"type": "c", "path": "/dev/kmsg", "major": 1, "minor": 11, "fileMode": 0o666},
            {"type": "c", "path": "/dev/mem2", "major": 1, "minor": 1, "fileMode": 0o666},
        ]),
    );
    b.set("/linux/resources/devices", rules);
    b.capabilities(&["CAP_MKNOD", "CAP_SYS_RAWIO", "CAP_SYSLOG"]);
}

/// What can be opened for reading (`r`) or writing (`w`); a subshell, because a failed redirection ends the shell.
const TRY: &str = "r() { (: < $1) 2>/dev/null && echo ok || echo no; }; w() { (: > $1) 2>/dev/null && echo ok || echo no; };";

fn open(what: &str) -> String {
    format!("{TRY} {what}")
}

const ALL: &str = "r /dev/kmsg; r /dev/mem2; w /dev/kmsg; w /dev/null; mknod /tmp/x$$ c 1 11 && r /tmp/x$$; w /tmp/x$$";

fn allow_reading_kmsg() -> Value {
    json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
    ])
}

fn forbidden_devices_are_refused_and_allowed_ones_open() {
    for mut b in [Bundle::new(), on_pure_v2()] {
        kmsg(&mut b, allow_reading_kmsg());
        // Making nodes is allowed by default, and what they open is refused all the same.
        b.sh(&open(ALL)).run_ok().prints("ok\nno\nno\nok\nok\nno\n");
        b.left_nothing();
    }
}

fn device_rules_are_an_ebpf_program_on_pure_v2() {
    let mut b = on_pure_v2();
    // Bit by bit: who asks for reading and writing at once is refused for the writing.
    kmsg(
        &mut b,
        json!([
            {"allow": true},
            {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "w"},
        ]),
    );
    let both = "(: <> /dev/kmsg) 2>/dev/null || echo refused";
    b.sh(&open(&format!("r /dev/kmsg; w /dev/kmsg; {both}")));
    b.run_ok().prints("ok\nno\nrefused\n");
}

#[track_caller]
fn exec(b: &Bundle, script: &str) -> Output {
    b.call(&["exec", &b.id, "sh", "-c", &open(script)]).output()
}

fn an_update_replaces_the_device_rules() {
    for mut b in [Bundle::new(), on_pure_v2()] {
        kmsg(&mut b, allow_reading_kmsg());
        let _running = b.waits().up();
        exec(&b, ALL).prints("ok\nno\nno\nok\nok\nno\n");
        let rules = json!({"devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"},
        ]});
        let update = b
            .call(&["update", "--resources", "-", &b.id])
            .stdin_text(&rules.to_string());
        update.ok();
        exec(
            &b,
            "helper open /dev/kmsg r; helper open /dev/kmsg w; helper open /dev/null w",
        )
        .prints("open: EPERM\nopen: ok\nopen: ok\n");
        b.delete(&["--force"]).ok();
        b.left_nothing();
    }
}

fn an_update_without_devices_leaves_them() {
    for mut b in [Bundle::new(), on_pure_v2()] {
        kmsg(&mut b, allow_reading_kmsg());
        let _running = b.waits().up();
        let update = b
            .call(&["update", "--resources", "-", &b.id])
            .stdin_text("{}");
        update.ok();
        exec(&b, ALL).prints("ok\nno\nno\nok\nok\nno\n");
    }
}

fn a_refusal_that_v1_would_forget_is_an_error() {
    host::controller("devices");
    let mut b = Bundle::new();
    kmsg(
        &mut b,
        json!([
            {"allow": false},
            {"allow": true, "type": "c", "major": 1},
            {"allow": false, "type": "c", "major": 1, "minor": 11},
        ]),
    );
    b.run().fails(&["linux.resources.devices[2]", "c 1:* rwm"]);
}
