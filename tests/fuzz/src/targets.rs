//! The parsers: what their input is made from, and what must hold of each input whatever it is.

use crate::input;
use fastrand::Rng;
use runtime::cli::{self, Globals, Request};
use runtime::dbus::{self, Body, Head, Object, Reader};
use runtime::facts::{Cgroups, Facts, Location, pseudo_mounts};
use runtime::limits::{Current, Driver, Limits, devices, systemd};
use runtime::netlink::{self, Address, Answer, Link, Route};
use runtime::plan::{self, Options};
use runtime::spec::{Process, Resources, Seccomp, Spec, template::default_spec};
use runtime::state::{self, Stat, State};
use runtime::stats::{self, Stats};
use serde_json::Value;
use std::sync::LazyLock;

pub struct Target {
    pub name: &'static str,
    pub input: fn(&mut Rng) -> Vec<u8>,
    pub check: fn(&[u8], &mut Rng),
}

pub const TARGETS: [Target; 7] = [
    Target {
        name: "config",
        input: |random| input::json(random, &CONFIGS),
        check: config,
    },
    Target {
        name: "seccomp",
        input: |random| input::json(random, &PROFILES),
        check: seccomp,
    },
    Target {
        name: "state",
        input: |random| input::json(random, &STATES),
        check: state,
    },
    Target {
        name: "kernel",
        input: |random| input::text(random, &KERNEL),
        check: kernel,
    },
    Target {
        name: "dbus",
        input: message,
        check: dbus,
    },
    Target {
        name: "netlink",
        input: datagram,
        check: rtnetlink,
    },
    Target {
        name: "cli",
        input: command_line,
        check: command,
    },
];

fn documents(texts: &[&str]) -> Vec<Value> {
    texts
        .iter()
        .map(|text| serde_json::from_str(text).expect("JSON"))
        .collect()
}

static CONFIGS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    documents(&[
        include_str!("../corpus/config.json"),
        include_str!("../corpus/config.json"),
        include_str!("../../data/engines/containerd.json"),
        &include_str!("../../data/engines/docker.json").replace("@BUNDLE@", "/b"),
        &include_str!("../../data/engines/podman-userns.json").replace("@BUNDLE@", "/b"),
        &default_spec(true, None),
        &default_spec(false, Some((1000, 1000))),
    ])
});

static PROFILES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut all = documents(&[
        include_str!("../../data/docker-seccomp.json"),
        include_str!("../../../bpf/tests/data/containerd.json"),
        include_str!("../../../bpf/tests/data/podman.json"),
    ]);
    all.extend(
        CONFIGS
            .iter()
            .map(|config| config["linux"]["seccomp"].clone()),
    );
    all
});

static STATES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let configs = CONFIGS.iter().map(|config| {
        let config = config.to_string();
        let spec = Spec::read(config.as_bytes()).expect("a spec");
        let plan = plan::plan(&spec, &able(), &options(&Driver::Cgroupfs));
        let plan = plan.unwrap_or_else(|error| panic!("{error}"));
        serde_json::to_value(&plan.state).expect("a state")
    });
    configs.collect()
});

/// Most often a host where everything can be planned, otherwise any.
fn facts(random: &mut Rng) -> Facts {
    if random.u8(..4) != 0 {
        return able();
    }
    let root = random.bool();
    Facts {
        euid: if root { 0 } else { 1000 },
        egid: if root { 0 } else { 1000 },
        privileged: root || random.bool(),
        may_mount: random.bool(),
        setgroups_denied: random.bool(),
        in_user_namespace: random.bool(),
        has_kcore: random.bool(),
        apparmor: random.bool(),
        selinux: random.bool(),
        cgroups: match random.bool() {
            true => Cgroups::V2,
            false => Cgroups::of_mountinfo(MOUNTINFO),
        },
        ..able()
    }
}

fn able() -> Facts {
    Facts {
        euid: 0,
        egid: 0,
        privileged: true,
        may_mount: true,
        setgroups_denied: false,
        in_user_namespace: false,
        last_capability: 40,
        permitted: u64::MAX,
        bounding: u64::MAX,
        has_kcore: true,
        apparmor: true,
        selinux: true,
        cgroups: Cgroups::V2,
        caller: None,
    }
}

fn options(cgroups: &Driver) -> Options<'_> {
    Options {
        id: "box",
        bundle: "/srv/box",
        wait: true,
        no_pivot: None,
        no_new_keyring: false,
        preserve_fds: 0,
        listen_fds: 0,
        relays: false,
        console_size: None,
        cgroups,
        created: "2026-11-28T00:00:00Z",
        notify: Some("/run/notify"),
    }
}

/// config.json: a plan or one error, for any host; of a plan there is a description and a state that can be read again.
fn config(config: &[u8], random: &mut Rng) {
    let facts = facts(random);
    let cgroups = match random.u8(..3) {
        0 => Driver::Disabled,
        1 => Driver::Cgroupfs,
        _ => Driver::Systemd(String::new()),
    };
    let spec = match Spec::read(config) {
        Ok(spec) => spec,
        Err(error) => return assert!(error.to_string().starts_with("config.json: "), "{error}"),
    };
    let options = options(&cgroups);
    match plan::plan(&spec, &facts, &options) {
        Ok(plan) => {
            assert!(!plan.describe().is_empty());
            let state = serde_json::to_vec(&plan.state).expect("a state");
            State::parse("state.json", &state).expect("a state that is read again");
            if let Some(cgroup) = &plan.cgroup {
                systemd::properties(&cgroup.limits, &Current(None), DRIVERS);
            }
        }
        Err(error) => assert!(error.to_string().starts_with("config.json: "), "{error}"),
    }
    let _ = plan::plan_exec(&spec, &facts, &options, random.bool());
    let _ = Process::parse("process.json", config);
    if let Ok(resources) = Resources::parse("resources.json", config) {
        let now = |_: &str| Some("9223372036854775807 5\n".to_owned());
        let _ = Limits::fitted(&facts.cgroups, true, &resources, &Current(Some(&now)));
    }
}

/// A seccomp profile: a filter that the kernel takes, which does what the profile says.
fn seccomp(profile: &[u8], random: &mut Rng) {
    let Ok(seccomp) = Seccomp::parse("profile.json", profile) else {
        return;
    };
    let _ = plan::with_profile(&seccomp, "profile.json", |profile| {
        let program = plan::compiled(profile, "profile.json")?;
        bpf::verify(&program.instructions).expect("a filter that the kernel takes");
        for _ in 0..4 {
            let call = bpf::Data {
                nr: random.u32(..500),
                arch: bpf::Arch::NATIVE.token(),
                instruction_pointer: 0,
                args: [0; 6].map(|_: u64| {
                    if random.bool() {
                        random.u64(..4)
                    } else {
                        random.u64(..)
                    }
                }),
            };
            let says = bpf::explain(profile, &call)
                .expect("a verdict")
                .action
                .value();
            assert_eq!(bpf::run(&program.instructions, &call), says, "{call:?}");
        }
        Ok(())
    });
}

/// The record of a container: what is read is written the same.
fn state(record: &[u8], random: &mut Rng) {
    let _ = state::check_id(input::word(random));
    let Ok(state) = State::parse("state.json", record) else {
        return;
    };
    let text = serde_json::to_string(&state).expect("a state");
    let again = State::parse("state.json", text.as_bytes()).expect("a state that is read again");
    assert_eq!(serde_json::to_string(&again).expect("a state"), text);
    assert!(serde_json::to_string(&state.oci_state(state::RUNNING)).is_ok());
}

const MOUNTINFO: &str = "25 1 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
30 25 0:26 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 25 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
35 1 0:30 / /proc\\040x rw - proc proc rw
";
const DRIVERS: &str = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n";

const KERNEL: [&[u8]; 9] = [
    MOUNTINFO.as_bytes(),
    DRIVERS.as_bytes(),
    b"7 (sh) S 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0 0 0 0 0 0 0 256 0 0 0\n",
    b"usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\noom_kill 1\nmax 3\n",
    b"some avg10=1.50 avg60=0.00 avg300=0.10 total=9\nfull avg10=0.00 total=0\n",
    b"8:0 rbytes=1 wbytes=2 rios=3 wios=4\n8:0 Read 7\nTotal 7\n",
    b"0-2,5\n",
    b"5000 100000\n",
    b"a *:* rwm\nc 1:3 rwm\nb *:* m\n",
];

/// Every file of a cgroup holds the same text.
struct Same<'t>(&'t str);

impl stats::Files for Same<'_> {
    fn text(&mut self, _: &str) -> Option<&str> {
        Some(self.0)
    }
}

/// What the kernel writes: mountinfo, stat, /proc/devices and the files of a cgroup.
fn kernel(text: &[u8], random: &mut Rng) {
    let text = String::from_utf8_lossy(text);
    let cgroups = Cgroups::of_mountinfo(&text);
    for directory in cgroups.directories(&Location::at("/box")) {
        assert!(directory.starts_with("/sys/fs/cgroup/"), "{directory}");
    }
    pseudo_mounts(&text);
    let _ = Stat::parse(&text);
    let mut out = String::new();
    Stats::new(random.bool(), &["hugepages-2048kB".to_owned()])
        .write(&mut Same(&text), "box", &mut out)
        .expect("a string takes everything");
    let read = |_: &str| Some(text.clone().into_owned());
    for resources in [
        r#"{"memory":{"limit":9,"swap":9},"cpu":{"quota":5,"burst":1}}"#,
        r#"{"cpu":{"period":7}}"#,
    ] {
        let resources = Resources::parse("resources", resources.as_bytes()).expect("resources");
        let Ok(limits) = Limits::fitted(&cgroups, true, &resources, &Current(Some(&read))) else {
            continue;
        };
        systemd::properties(&limits, &Current(Some(&read)), &text);
        for limit in &limits.values {
            limit.undoing(&limit.value, &text);
            limit.clone().keyed().undoing(&limit.value, &text);
        }
    }
    let rules = Resources::parse(
        "resources",
        br#"{"devices":[{"allow":false},{"allow":true,"type":"c","major":1,"minor":3}]}"#,
    );
    let rules = devices::rules(&rules.expect("resources").devices).expect("rules");
    if let Ok(devices::Filter::Lines(lines)) =
        devices::filter(&Cgroups::of_mountinfo(MOUNTINFO), &rules)
    {
        devices::difference(&text, &lines);
    }
}

/// A reply, or what is left of it.
fn message(random: &mut Rng) -> Vec<u8> {
    const OBJECT: Object = Object {
        destination: "org.x",
        path: "/x",
        interface: "org.x.I",
    };
    let mut body = Body::default();
    body.text(input::word(random));
    let mut bytes = dbus::method_call(random.u32(..), &OBJECT, input::word(random), "s", body);
    bytes[1] = random.u8(..6);
    for _ in 0..random.usize(..4) {
        input::scramble(random, &mut bytes);
    }
    if random.u8(..100) == 0 {
        bytes.resize(random.usize(..1 << 20), random.u8(..));
    }
    if let (Some(lengths), 0..8) = (bytes.get(..16).map(<[u8]>::to_vec), random.u8(..10)) {
        // The body takes what is there, or no length would be right.
        let fields =
            u32::from_le_bytes([lengths[12], lengths[13], lengths[14], lengths[15]]) as usize;
        let rest =
            (bytes.len() - 16).saturating_sub(fields.checked_next_multiple_of(8).unwrap_or(0));
        bytes[4..8].copy_from_slice(&(rest as u32).to_le_bytes());
    }
    bytes
}

fn dbus(bytes: &[u8], _: &mut Rng) {
    let Some((head, rest)) = bytes.split_first_chunk::<16>() else {
        return;
    };
    let Some(head) = Head::parse(head) else {
        return;
    };
    let Some(message) = head.message(rest.to_vec()) else {
        return;
    };
    assert!(message.body.len() <= rest.len());
    let mut reader = Reader::new(&message.body);
    while reader.text().is_some() || reader.number().is_some() || reader.signature().is_some() {}
}

/// An answer of the kernel: some messages of links, addresses and routes, and an end.
fn datagram(random: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.usize(1..5) {
        let header: Vec<u8> = (0..random.usize(..24)).map(|_| random.u8(..)).collect();
        let kind = [2, 3, 16, 20, 24][random.usize(..5)];
        let mut request = netlink::Request::get(kind, &header);
        for _ in 0..random.usize(..8) {
            let value: Vec<u8> = (0..random.usize(..20)).map(|_| random.u8(..)).collect();
            request = request.attribute(random.u16(..32), &value);
        }
        let mut message = request.encode(1).expect("a short message");
        message[7] = random.u8(..4);
        bytes.extend(message);
    }
    for _ in 0..random.usize(..3) {
        input::scramble(random, &mut bytes);
    }
    bytes
}

/// What is read can be sent again.
fn rtnetlink(bytes: &[u8], _: &mut Rng) {
    let mut answer = Answer::new(1);
    let _ = answer.read(bytes);
    let _ = answer.decode(Link::parse);
    for address in answer.decode(Address::parse).unwrap_or_default() {
        assert!(address.add(1).encode(1).is_some(), "{}", address.text());
    }
    for route in answer.decode(Route::parse).unwrap_or_default() {
        assert!(route.add(1).encode(1).is_some(), "{}", route.text());
    }
}

/// The commands and flags of the help texts.
fn words() -> Vec<String> {
    let help = |args: &[&str]| match cli::parse(args, &mut Globals::default()) {
        Ok(Request::Help(text)) => text,
        other => panic!("{args:?}: {other:?}"),
    };
    let commands = [
        "spec",
        "create",
        "run",
        "start",
        "state",
        "list",
        "kill",
        "delete",
        "exec",
        "seccomp",
        "features",
        "pause",
        "resume",
        "ps",
        "update",
        "events",
        "checkpoint",
        "restore",
    ];
    let texts = commands
        .iter()
        .map(|name| help(&["help", name]))
        .collect::<String>()
        + &help(&[]);
    let flags = texts
        .split([' ', ',', '\n', '='])
        .filter(|word| word.starts_with('-'))
        .map(String::from);
    flags.chain(commands.map(String::from)).collect()
}

/// Arguments, a line each.
fn command_line(random: &mut Rng) -> Vec<u8> {
    static WORDS: LazyLock<Vec<String>> = LazyLock::new(words);
    let mut arguments = Vec::new();
    let count = if random.u8(..100) == 0 {
        50_000
    } else {
        random.usize(..12)
    };
    for _ in 0..count {
        match random.u8(..6) {
            0 => arguments.push(input::word(random).to_owned()),
            1 => arguments.push(format!(
                "{}={}",
                random.choice(&*WORDS).expect("words"),
                input::word(random)
            )),
            2 => arguments.push(
                random
                    .choice([
                        "box",
                        "1.5GiB",
                        "1m30s",
                        "7",
                        "0:0",
                        "--",
                        "-",
                        "99999999999999999999h",
                    ])
                    .expect("words")
                    .into(),
            ),
            _ => arguments.push(random.choice(&*WORDS).expect("words").clone()),
        }
    }
    let mut text = arguments.join("\n").into_bytes();
    if random.u8(..4) == 0 {
        input::scramble(random, &mut text);
    }
    text
}

fn command(text: &[u8], _: &mut Rng) {
    let text = String::from_utf8_lossy(text);
    let arguments: Vec<&str> = text.split('\n').collect();
    match cli::parse(&arguments, &mut Globals::default()) {
        Ok(_) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
