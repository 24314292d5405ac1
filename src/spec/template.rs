//! The output of `runtime spec`: an initial config.json, the same as runc's except for the version. It follows runc
//! of 2025, which gives no ambient capabilities and masks the host's TPM.

use alloc::format;
use alloc::string::String;

/// The error for an existing config.json, in runc's wording.
pub const EXISTS: &str = "File config.json exists. Remove it first";

/// The text of config.json.
///
/// `v2`: the host has cgroup v2 alone, so the container gets a cgroup namespace. `rootless`: the uid and gid of the
/// ordinary user who will run the container.
pub fn default_spec(v2: bool, rootless: Option<(u32, u32)>) -> String {
    let mut spec = String::from(TEMPLATE);
    let mut edit = |from: &str, to: &str| spec = spec.replacen(from, to, 1);

    if v2 {
        edit(
            END_OF_NAMESPACES,
            &format!("{CGROUP_NAMESPACE}{END_OF_NAMESPACES}"),
        );
    }
    if let Some((uid, gid)) = rootless {
        edit(TTY_GROUP, "");
        edit(SYSFS, SYS_OF_THE_HOST);
        let (uids, gids) = (mapping("uidMappings", uid), mapping("gidMappings", gid));
        edit(RESOURCES, &format!("{uids}{gids}"));
        edit(NETWORK_NAMESPACE, "");
        edit(
            END_OF_NAMESPACES,
            &format!("{USER_NAMESPACE}{END_OF_NAMESPACES}"),
        );
    }
    spec
}

fn mapping(name: &str, host_id: u32) -> String {
    MAPPING
        .replace("NAME", name)
        .replace("HOST_ID", &format!("{host_id}"))
}

/// Group 5 is not mapped.
const TTY_GROUP: &str = r#",
				"gid=5""#;

const SYSFS: &str = r#"			"type": "sysfs",
			"source": "sysfs",
			"options": [
"#;

/// Only the owner of a network namespace may mount sysfs, so the host's is bound.
const SYS_OF_THE_HOST: &str = r#"			"type": "none",
			"source": "/sys",
			"options": [
				"rbind",
"#;

const RESOURCES: &str = r#"		"resources": {
			"devices": [
				{
					"allow": false,
					"access": "rwm"
				}
			]
		},
"#;

const MAPPING: &str = r#"		"NAME": [
			{
				"containerID": 0,
				"hostID": HOST_ID,
				"size": 1
			}
		],
"#;

const NETWORK_NAMESPACE: &str = r#"			{
				"type": "network"
			},
"#;

const CGROUP_NAMESPACE: &str = r#",
			{
				"type": "cgroup"
			}"#;

const USER_NAMESPACE: &str = r#",
			{
				"type": "user"
			}"#;

const END_OF_NAMESPACES: &str = r#"
		],
		"maskedPaths""#;

/// For a container of root on a host with cgroup v1.
const TEMPLATE: &str = r#"{
	"ociVersion": "1.3.0",
	"process": {
		"terminal": true,
		"user": {
			"uid": 0,
			"gid": 0
		},
		"args": [
			"sh"
		],
		"env": [
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"TERM=xterm"
		],
		"cwd": "/",
		"capabilities": {
			"bounding": [
				"CAP_AUDIT_WRITE",
				"CAP_KILL",
				"CAP_NET_BIND_SERVICE"
			],
			"effective": [
				"CAP_AUDIT_WRITE",
				"CAP_KILL",
				"CAP_NET_BIND_SERVICE"
			],
			"permitted": [
				"CAP_AUDIT_WRITE",
				"CAP_KILL",
				"CAP_NET_BIND_SERVICE"
			]
		},
		"rlimits": [
			{
				"type": "RLIMIT_NOFILE",
				"hard": 1024,
				"soft": 1024
			}
		],
		"noNewPrivileges": true
	},
	"root": {
		"path": "rootfs",
		"readonly": true
	},
	"hostname": "runc",
	"mounts": [
		{
			"destination": "/proc",
			"type": "proc",
			"source": "proc"
		},
		{
			"destination": "/dev",
			"type": "tmpfs",
			"source": "tmpfs",
			"options": [
				"nosuid",
				"strictatime",
				"mode=755",
				"size=65536k"
			]
		},
		{
			"destination": "/dev/pts",
			"type": "devpts",
			"source": "devpts",
			"options": [
				"nosuid",
				"noexec",
				"newinstance",
				"ptmxmode=0666",
				"mode=0620",
				"gid=5"
			]
		},
		{
			"destination": "/dev/shm",
			"type": "tmpfs",
			"source": "shm",
			"options": [
				"nosuid",
				"noexec",
				"nodev",
				"mode=1777",
				"size=65536k"
			]
		},
		{
			"destination": "/dev/mqueue",
			"type": "mqueue",
			"source": "mqueue",
			"options": [
				"nosuid",
				"noexec",
				"nodev"
			]
		},
		{
			"destination": "/sys",
			"type": "sysfs",
			"source": "sysfs",
			"options": [
				"nosuid",
				"noexec",
				"nodev",
				"ro"
			]
		},
		{
			"destination": "/sys/fs/cgroup",
			"type": "cgroup",
			"source": "cgroup",
			"options": [
				"nosuid",
				"noexec",
				"nodev",
				"relatime",
				"ro"
			]
		}
	],
	"linux": {
		"resources": {
			"devices": [
				{
					"allow": false,
					"access": "rwm"
				}
			]
		},
		"namespaces": [
			{
				"type": "pid"
			},
			{
				"type": "network"
			},
			{
				"type": "ipc"
			},
			{
				"type": "uts"
			},
			{
				"type": "mount"
			}
		],
		"maskedPaths": [
			"/proc/acpi",
			"/proc/asound",
			"/proc/kcore",
			"/proc/keys",
			"/proc/latency_stats",
			"/proc/timer_list",
			"/proc/timer_stats",
			"/proc/sched_debug",
			"/sys/firmware",
			"/proc/scsi",
			"/sys/devices/virtual/tpm"
		],
		"readonlyPaths": [
			"/proc/bus",
			"/proc/fs",
			"/proc/irq",
			"/proc/sys",
			"/proc/sysrq-trigger"
		]
	}
}"#;
