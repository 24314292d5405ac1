//! linux.netDevices: dummy devices move from a network namespace of the test's own into the container.

use runtime_tests::{Bundle, Cmd, Output, Running, json, wait_for};

runtime_tests::tests![
    a_network_device_is_moved_with_its_addresses_and_routes,
    a_network_device_is_renamed,
    a_template_lets_the_kernel_choose_a_number,
    several_network_devices_can_swap_their_names,
    a_name_that_exists_in_the_container_is_refused_before_any_move,
    a_missing_network_device_is_refused_before_anything_is_made,
    hooks_run_after_the_move_and_a_failed_start_gives_the_device_back,
    a_device_that_was_down_is_given_back_down,
    a_device_that_the_kernel_will_not_move_is_an_error_with_its_reason,
    a_joined_network_namespace_keeps_the_device,
    a_name_in_a_joined_network_namespace_is_refused,
    a_network_device_moves_into_a_user_namespace,
    root_of_an_unprivileged_user_namespace_moves_its_devices,
    an_ordinary_user_is_refused,
    a_dry_run_shows_the_move,
];

const DUMMY: &str = "ip link add dummy0 mtu 1400 address 02:00:00:00:00:07 type dummy";
const ADDRESSES: &str = "ip addr add 10.9.0.2/24 brd 10.9.0.255 dev dummy0; ip addr add 2001:db8:9::2/64 dev dummy0; ip link set dummy0 up; ip route add 10.77.0.0/16 via 10.9.0.1; ip route add default via 10.9.0.1 metric 50; ip -6 route add 2001:db8:77::/48 via 2001:db8:9::1";
/// The configuration of dummy0, one line each.
const SHOW: &str = "ip -o link show dummy0 | grep -o 'dummy0: <[A-Z,_]*> mtu [0-9]*'; ip -o -4 addr show dummy0 | grep -o 'inet .*global'; ip -o -6 addr show dummy0 | grep -o 'inet6 2001[^ ]*'; ip -4 route show; ip -6 route show | grep -o '^2001:db8:77.*dummy0'";
const SHOWN: &str = "dummy0: <BROADCAST,NOARP,UP,LOWER_UP> mtu 1400\ninet 10.9.0.2/24 brd 10.9.0.255 scope global\ninet6 2001:db8:9::2/64\ndefault via 10.9.0.1 dev dummy0 metric 50 \n10.9.0.0/24 dev dummy0 proto kernel scope link src 10.9.0.2 \n10.77.0.0/16 via 10.9.0.1 dev dummy0 \n2001:db8:77::/48 via 2001:db8:9::1 dev dummy0\n";

/// The words that run a command in a new network namespace, between two scripts.
fn between(before: &str, after: &str) -> [String; 4] {
    let script = format!("{before}\n\"$@\"; status=$?\n{after}\nexit $status");
    ["sh".into(), "-c".into(), script, "sh".into()]
}

/// Runs the bundle in a network namespace of its own.
fn run(b: &Bundle, before: &str, after: &str) -> Output {
    b.launch("run", &[])
        .through(between(before, after))
        .through(["unshare", "--net"])
        .output()
}

fn moving(devices: runtime_tests::Value) -> Bundle {
    let mut b = Bundle::new();
    b.set("/linux/netDevices", devices);
    b
}

fn a_network_device_is_moved_with_its_addresses_and_routes() {
    let mut b = moving(json!({"dummy0": {}}));
    b.sh("cat /sys/class/net/dummy0/mtu /sys/class/net/dummy0/address /sys/class/net/dummy0/flags; ip -4 addr show dummy0 | grep -o 'inet .*'; ip -6 addr show dummy0 | grep -o 'inet6 2001[^ ]*'; ip route; ip -6 route | grep -o '^2001:db8:77.* dev dummy0'");
    let run = run(
        &b,
        &format!("{DUMMY}; {ADDRESSES}"),
        "ip link show dummy0 2>&1",
    );
    assert_eq!(
        run.out,
        "1400\n02:00:00:00:00:07\n0x83\ninet 10.9.0.2/24 brd 10.9.0.255 scope global dummy0\ninet6 2001:db8:9::2/64\ndefault via 10.9.0.1 dev dummy0  metric 50 \n10.9.0.0/24 dev dummy0 scope link  src 10.9.0.2 \n10.77.0.0/16 via 10.9.0.1 dev dummy0 \n2001:db8:77::/48 via 2001:db8:9::1 dev dummy0\nDevice \"dummy0\" does not exist.\n",
        "{run}"
    );
    run.ends(0);
}

fn a_network_device_is_renamed() {
    let mut b = moving(json!({"dummy0": {"name": "inside"}}));
    b.sh("ls /sys/class/net; ip -4 addr show inside | grep -o 'inet .*'; ip route | grep default");
    let run = run(&b, &format!("{DUMMY}; {ADDRESSES}"), "");
    assert_eq!(
        run.out,
        "inside\nlo\ninet 10.9.0.2/24 brd 10.9.0.255 scope global inside\ndefault via 10.9.0.1 dev inside  metric 50 \n",
        "{run}"
    );
}

fn a_template_lets_the_kernel_choose_a_number() {
    let mut b = moving(json!({"dummy0": {"name": "eth%d"}, "dummy1": {"name": "eth%d"}}));
    b.sh("ls /sys/class/net; cat /sys/class/net/eth?/flags");
    let run = run(&b, &format!("{DUMMY}; ip link add dummy1 type dummy"), "");
    assert_eq!(run.out, "eth0\neth1\nlo\n0x83\n0x83\n", "{run}");
}

fn several_network_devices_can_swap_their_names() {
    let mut b = moving(json!({"dummy0": {"name": "dummy1"}, "dummy1": {"name": "dummy0"}}));
    b.sh("cat /sys/class/net/dummy0/mtu /sys/class/net/dummy1/mtu");
    let before = format!("{DUMMY}; ip link add dummy1 mtu 1300 type dummy");
    run(&b, &before, "").prints("1300\n1400\n");
}

fn a_name_that_exists_in_the_container_is_refused_before_any_move() {
    let b = moving(json!({"dummy1": {}, "dummy0": {"name": "lo"}}));
    let before = format!("{DUMMY}; {ADDRESSES}; ip link add dummy1 type dummy");
    let run = run(&b, &before, &format!("{SHOW}; ip link show dummy1 >&2"));
    run.says(&["linux.netDevices.dummy0.name: the container's network namespace already has a network device \"lo\"", "dummy1"]);
    assert_eq!((run.out.as_str(), run.status), (SHOWN, 1), "{run}");
    b.left_nothing();
}

fn a_missing_network_device_is_refused_before_anything_is_made() {
    let b = moving(json!({"dummy0": {}}));
    let run = run(&b, "", "");
    run.fails(&[
        "config.json: linux.netDevices.dummy0: cannot find the network device: no such device",
    ]);
    b.left_nothing();
}

fn hooks_run_after_the_move_and_a_failed_start_gives_the_device_back() {
    for (to, name) in [(json!({}), "dummy0"), (json!({"name": "eth%d"}), "eth0")] {
        let mut b = moving(json!({"dummy0": to}));
        let seen = b.text("seen");
        b.hook(
            "createRuntime",
            &format!("ls /sys/class/net/ > {seen}; ip link show dummy0 2>> {seen}; exit 7"),
        );
        let before = format!("{DUMMY}; {ADDRESSES}");
        let run = run(&b, &before, SHOW);
        run.says(&["exit status 7"]);
        assert_eq!((run.out.as_str(), run.status), (SHOWN, 1), "{name}: {run}");
        assert!(
            b.read("seen").contains("does not exist"),
            "{}",
            b.read("seen")
        );
        b.left_nothing();
    }
}

fn a_device_that_was_down_is_given_back_down() {
    let mut b = moving(json!({"dummy0": {"name": "inside"}}));
    b.hook("createRuntime", "exit 7");
    let before = format!("{DUMMY}; ip addr add 10.9.0.2/24 dev dummy0");
    let run = run(&b, &before, SHOW);
    run.says(&["exit status 7"]);
    assert_eq!(
        run.out, "dummy0: <BROADCAST,NOARP> mtu 1400\ninet 10.9.0.2/24 scope global\n",
        "{run}"
    );
}

fn a_device_that_the_kernel_will_not_move_is_an_error_with_its_reason() {
    let b = moving(json!({"dummy0": {}, "lo": {"name": "other"}}));
    let run = run(&b, &format!("{DUMMY}; {ADDRESSES}"), SHOW);
    run.says(&["config.json: linux.netDevices.lo: cannot move the network device into the container's network namespace: invalid argument"]);
    assert_eq!((run.out.as_str(), run.status), (SHOWN, 1), "{run}");
    b.left_nothing();
}

/// A network namespace in which `script` has run.
fn namespace(b: &Bundle, script: &str) -> Running {
    let holder = Cmd::new(&b.dir, "unshare")
        .args(["--net", "sh", "-c"])
        .arg(format!("{script}; echo up; exec sleep 1000"))
        .spawn();
    wait_for("the namespace exists", || holder.out() == "up\n");
    holder
}

fn a_joined_network_namespace_keeps_the_device() {
    let mut b = moving(json!({"dummy0": {"name": "inside"}}));
    // The index of dummy0 is taken there, and so is its default route's place.
    let holder = namespace(
        &b,
        "ip link add taken type dummy; ip link set taken up; ip addr add 10.8.0.1/24 dev taken; ip route add default via 10.8.0.9 metric 50",
    );
    b.namespace("network", Some(&format!("/proc/{}/ns/net", holder.pid())));
    b.sh("true");
    run(&b, &format!("{DUMMY}; {ADDRESSES}"), "").ends(0);
    let pid = holder.pid().to_string();
    let shown = Cmd::new(&b.dir, "nsenter")
        .args(["-t", &pid, "-n", "sh", "-c"])
        .arg("ip -o -4 addr show inside | grep -o 'inet .*global'; ip route show default; ip route show 10.77.0.0/16")
        .ok();
    shown.prints("inet 10.9.0.2/24 brd 10.9.0.255 scope global\ndefault via 10.8.0.9 dev taken metric 50 \n10.77.0.0/16 via 10.9.0.1 dev inside \n");
}

fn a_name_in_a_joined_network_namespace_is_refused() {
    let mut b = moving(json!({"dummy0": {}}));
    let holder = namespace(&b, "ip link add dummy0 mtu 1234 type dummy");
    b.namespace("network", Some(&format!("/proc/{}/ns/net", holder.pid())));
    let run = run(&b, &format!("{DUMMY}; {ADDRESSES}"), SHOW);
    run.says(&["linux.netDevices.dummy0: the container's network namespace already has a network device \"dummy0\""]);
    assert_eq!((run.out.as_str(), run.status), (SHOWN, 1), "{run}");
}

fn a_network_device_moves_into_a_user_namespace() {
    let mut b = moving(json!({"dummy0": {"name": "inside"}}));
    b.user_namespace().sh(
        "ls /sys/class/net; ip -4 addr show inside | grep -o 'inet .*'; ip route | grep default",
    );
    let run = run(&b, &format!("{DUMMY}; {ADDRESSES}"), "");
    assert_eq!(
        run.out,
        "inside\nlo\ninet 10.9.0.2/24 brd 10.9.0.255 scope global inside\ndefault via 10.9.0.1 dev inside  metric 50 \n",
        "{run}"
    );
}

fn root_of_an_unprivileged_user_namespace_moves_its_devices() {
    let mut b = moving(json!({"dummy0": {"name": "inside"}}));
    b.ordinary();
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    b.set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .sh("ls /sys/class/net; ip -4 addr show inside | grep -o 'inet .*'");
    let script = between(&format!("{DUMMY}; {ADDRESSES}"), "");
    let mut words = vec!["unshare", "-Urn"];
    words.extend(script.iter().map(String::as_str));
    let run = b.run_through(&words, &[]).output();
    assert_eq!(
        run.out, "inside\nlo\ninet 10.9.0.2/24 brd 10.9.0.255 scope global inside\n",
        "{run}"
    );
}

fn an_ordinary_user_is_refused() {
    let mut b = moving(json!({"dummy0": {}}));
    b.ordinary();
    b.run_through(&["env"], &[])
        .output()
        .fails(&["config.json: linux.netDevices: an ordinary user cannot move network devices"]);
}

fn a_dry_run_shows_the_move() {
    let b = moving(json!({"dummy0": {}, "dummy1": {"name": "eth0"}}));
    let run = b.launch("run", &["--dry-run"]).ok();
    for line in [
        "move the network device dummy0 into the container\n",
        "move the network device dummy1 into the container as eth0\n",
        "wait for the network devices\n",
    ] {
        assert!(run.out.contains(line), "{run}");
    }
}
