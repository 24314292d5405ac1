//! Random specs that make sense on any host, made with oci-spec's builders. The same seed gives the same spec.
//! Fields that depend on the host are left out: LSM labels, RDT, RDMA, the files of cgroup v2, network devices.

use std::collections::{HashMap, HashSet};

use oci_spec::OciSpecError;
use oci_spec::runtime::*;

/// xorshift64*
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn up_to(&mut self, max: u64) -> u64 {
        self.next() % (max + 1)
    }

    fn coin(&mut self) -> bool {
        self.up_to(1) == 1
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.up_to(of.len() as u64 - 1) as usize].clone()
    }

    /// A random subset of `of`, in its order.
    fn some<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        of.iter().filter(|_| self.coin()).cloned().collect()
    }

    fn id(&mut self) -> u32 {
        self.up_to(65535) as u32
    }

    /// A string with characters that JSON must escape.
    fn text(&mut self) -> String {
        let letters = [
            'a', 'Z', '9', '_', '"', '\\', '\n', '\t', '<', 'é', '→', '🦀', '\u{7f}',
        ];
        (0..1 + self.up_to(8))
            .map(|_| self.pick(&letters))
            .collect()
    }
}

fn strings(list: Vec<&str>) -> Vec<String> {
    list.into_iter().map(String::from).collect()
}

/// Calls a setter of a builder with a probability of one half.
macro_rules! maybe {
    ($dice:ident, $builder:ident $(.$set:ident($value:expr))*) => {
        $(if $dice.coin() { $builder = $builder.$set($value); })*
    };
}

pub fn spec(seed: u64) -> Result<Spec, OciSpecError> {
    let dice = &mut Dice::new(seed);
    let linux = linux(dice)?;
    let has = |kind| {
        let list = linux.namespaces().as_deref().unwrap_or_default();
        list.iter().any(|namespace| namespace.typ() == kind)
    };
    let (uts, user) = (has(LinuxNamespaceType::Uts), has(LinuxNamespaceType::User));

    let root = RootBuilder::default().path("rootfs").readonly(dice.coin());
    let mut spec = SpecBuilder::default()
        .version(dice.pick(&["1.0.0", "1.0.2-dev", "1.2.1", "1.3.0"]))
        .process(process(dice)?)
        .root(root.build()?)
        .mounts(mounts(dice, user)?)
        .linux(linux)
        .build()?;
    spec.set_hostname((uts && dice.coin()).then(|| "box".to_string()));
    spec.set_domainname((uts && dice.coin()).then(|| "example.org".to_string()));
    spec.set_hooks(if dice.coin() {
        Some(hooks(dice)?)
    } else {
        None
    });
    let pairs = (0..dice.up_to(3)).map(|_| (dice.text(), dice.text()));
    let pairs: HashMap<_, _> = pairs.collect();
    spec.set_annotations(Some(pairs).filter(|pairs| !pairs.is_empty()));
    Ok(spec)
}

fn process(dice: &mut Dice) -> Result<Process, OciSpecError> {
    let mut user = UserBuilder::default().uid(dice.id()).gid(dice.id());
    maybe!(
        dice,
        user.umask(dice.up_to(0o777) as u32)
            .additional_gids((0..dice.up_to(4)).map(|_| dice.id()).collect::<Vec<_>>())
    );

    let mut args = vec!["sh".to_string()];
    args.extend((0..dice.up_to(3)).map(|_| dice.text()));
    let env = (0..dice.up_to(3)).map(|n| format!("KEY{n}={}", dice.text()));
    let mut process = ProcessBuilder::default()
        .terminal(false)
        .user(user.build()?)
        .args(args)
        .env(env.collect::<Vec<_>>())
        .cwd(dice.pick(&["/", "/tmp", "/no/such/place"]))
        .rlimits(rlimits(dice)?);
    let size = BoxBuilder::default()
        .height(dice.up_to(65535))
        .width(dice.up_to(65535));
    maybe!(
        dice,
        process
            .console_size(size.build()?)
            .capabilities(capabilities(dice)?)
            .no_new_privileges(dice.coin())
            .apparmor_profile("")
            .selinux_label("")
            .oom_score_adj(dice.up_to(1000) as i32)
            .io_priority(io_priority(dice)?)
            .scheduler(scheduler(dice)?)
            .exec_cpu_affinity(ExecCPUAffinityBuilder::default().initial("0").build()?)
    );
    process.build()
}

fn rlimits(dice: &mut Dice) -> Result<Vec<PosixRlimit>, OciSpecError> {
    use PosixRlimitType::*;
    let all = [
        RlimitCpu,
        RlimitFsize,
        RlimitData,
        RlimitStack,
        RlimitCore,
        RlimitRss,
        RlimitNproc,
        RlimitNofile,
        RlimitMemlock,
        RlimitAs,
        RlimitLocks,
        RlimitSigpending,
        RlimitMsgqueue,
        RlimitNice,
        RlimitRtprio,
        RlimitRttime,
    ];
    let chosen = dice.some(&all);
    let limit = |kind| {
        let hard = if dice.coin() {
            u64::MAX
        } else {
            dice.up_to(1 << 20)
        };
        let soft = if dice.coin() {
            hard
        } else {
            dice.up_to(hard.min(1 << 20))
        };
        PosixRlimitBuilder::default()
            .typ(kind)
            .hard(hard)
            .soft(soft)
            .build()
    };
    chosen.into_iter().map(limit).collect()
}

fn capabilities(dice: &mut Dice) -> Result<LinuxCapabilities, OciSpecError> {
    use Capability::*;
    // Each set is a subset of the one before it, as capset(2) and prctl(2) require.
    let bounding = dice.some(&[
        Chown, Fowner, Kill, NetAdmin, NetRaw, Setgid, Setuid, SysAdmin, Bpf, Perfmon,
    ]);
    let permitted = dice.some(&bounding);
    let effective = dice.some(&permitted);
    let inheritable = dice.some(&permitted);
    let ambient = dice.some(&inheritable);
    let set = |list: Vec<Capability>| list.into_iter().collect::<HashSet<_>>();
    LinuxCapabilitiesBuilder::default()
        .bounding(set(bounding))
        .permitted(set(permitted))
        .effective(set(effective))
        .inheritable(set(inheritable))
        .ambient(set(ambient))
        .build()
}

fn io_priority(dice: &mut Dice) -> Result<LinuxIOPriority, OciSpecError> {
    use IOPriorityClass::*;
    let class = dice.pick(&[IoprioClassRt, IoprioClassBe, IoprioClassIdle]);
    let priority = if class == IoprioClassIdle {
        0
    } else {
        dice.up_to(7) as i64
    };
    LinuxIOPriorityBuilder::default()
        .class(class)
        .priority(priority)
        .build()
}

fn scheduler(dice: &mut Dice) -> Result<Scheduler, OciSpecError> {
    use LinuxSchedulerPolicy::*;
    let policy = dice.pick(&[
        SchedOther,
        SchedBatch,
        SchedIdle,
        SchedFifo,
        SchedRr,
        SchedDeadline,
    ]);
    let scheduler = SchedulerBuilder::default().policy(policy);
    match policy {
        SchedOther | SchedBatch => scheduler.nice(dice.up_to(39) as i32 - 20).build(),
        SchedFifo | SchedRr => scheduler.priority(1 + dice.up_to(98) as i32).build(),
        SchedDeadline => scheduler
            .runtime(1_000_000_u64)
            .deadline(2_000_000_u64)
            .period(3_000_000_u64)
            .flags(dice.some(&[LinuxSchedulerFlag::SchedFlagReclaim]))
            .build(),
        _ => scheduler.build(),
    }
}

fn mount(to: &str, kind: &str, from: &str, options: Vec<&str>) -> Result<Mount, OciSpecError> {
    let mount = MountBuilder::default()
        .destination(to)
        .typ(kind)
        .source(from);
    mount.options(strings(options)).build()
}

fn mounts(dice: &mut Dice, user: bool) -> Result<Vec<Mount>, OciSpecError> {
    let secure = ["nosuid", "noexec", "nodev"];
    let mut mounts = vec![
        mount("/proc", "proc", "proc", dice.some(&secure))?,
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            vec!["nosuid", "strictatime", "mode=755", "size=65536k"],
        )?,
    ];
    let others = [
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            vec!["newinstance", "ptmxmode=0666", "mode=0620"],
        )?,
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            dice.some(&["nosuid", "noexec", "mode=1777", "size=65536k"]),
        )?,
        mount("/dev/mqueue", "mqueue", "mqueue", dice.some(&secure))?,
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            dice.some(&["nosuid", "noexec", "nodev", "ro"]),
        )?,
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            dice.some(&["nosuid", "noexec", "relatime", "ro"]),
        )?,
        mount(
            "/data",
            "bind",
            "/usr",
            vec![
                dice.pick(&["bind", "rbind"]),
                dice.pick(&["ro", "rro", "rw"]),
            ],
        )?,
        mount(
            "/shared",
            "none",
            "/usr",
            vec![
                "rbind",
                dice.pick(&["rprivate", "rslave", "private", "slave"]),
            ],
        )?,
        mount(
            "/a b/ü",
            "tmpfs",
            "tmpfs",
            vec![dice.pick(&["noatime", "relatime", "nodiratime", "nosymfollow"])],
        )?,
    ];
    mounts.extend(dice.some(&others));
    if !user && dice.coin() {
        mounts.push(mapped(dice)?);
    }
    Ok(mounts)
}

fn mapped(dice: &mut Dice) -> Result<Mount, OciSpecError> {
    MountBuilder::default()
        .destination("/mapped")
        .typ("bind")
        .source("/usr")
        .options(strings(vec!["bind", dice.pick(&["idmap", "ridmap"])]))
        .uid_mappings(mapping(dice)?)
        .gid_mappings(mapping(dice)?)
        .build()
}

fn mapping(dice: &mut Dice) -> Result<Vec<LinuxIdMapping>, OciSpecError> {
    let mapping = LinuxIdMappingBuilder::default()
        .container_id(0_u32)
        .size(65536_u32);
    Ok(vec![mapping.host_id(100_000 + dice.id()).build()?])
}

fn hooks(dice: &mut Dice) -> Result<Hooks, OciSpecError> {
    let mut list = || {
        let hook = |dice: &mut Dice| {
            let mut hook = HookBuilder::default().path("/bin/true");
            maybe!(
                dice,
                hook.args(vec!["true".to_string(), dice.text()])
                    .env(vec![format!("A={}", dice.text())])
                    .timeout(1 + dice.up_to(60) as i64)
            );
            hook.build()
        };
        (0..dice.up_to(2))
            .map(|_| hook(dice))
            .collect::<Result<Vec<_>, _>>()
    };
    HooksBuilder::default()
        .create_runtime(list()?)
        .create_container(list()?)
        .start_container(list()?)
        .poststart(list()?)
        .poststop(list()?)
        .build()
}

fn linux(dice: &mut Dice) -> Result<Linux, OciSpecError> {
    use LinuxNamespaceType::*;
    let mut kinds = vec![Mount, Pid];
    kinds.extend(dice.some(&[Network, Ipc, Uts, User, Cgroup, Time]));
    let namespace = |kind: &LinuxNamespaceType| LinuxNamespaceBuilder::default().typ(*kind).build();
    let namespaces = kinds.iter().map(namespace).collect::<Result<Vec<_>, _>>()?;
    let has = |kind| kinds.contains(&kind);

    let mut sysctl = HashMap::new();
    for (kind, name, value) in [
        (Network, "net.ipv4.ip_forward", "1"),
        (Network, "net.ipv4.ping_group_range", "0 1"),
        (Ipc, "kernel.shmmax", "1048576"),
        (Ipc, "fs.mqueue.msg_max", "20"),
    ] {
        if has(kind) && dice.coin() {
            sysctl.insert(name.to_string(), value.to_string());
        }
    }

    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .sysctl(sysctl)
        .devices(devices(dice)?)
        .masked_paths(strings(dice.some(&[
            "/proc/kcore",
            "/proc/keys",
            "/sys/firmware",
            "/no/such/path",
        ])))
        .readonly_paths(strings(dice.some(&[
            "/proc/bus",
            "/proc/sys",
            "/no/such/path",
        ])));
    if has(User) {
        linux = linux
            .uid_mappings(mapping(dice)?)
            .gid_mappings(mapping(dice)?);
    }
    if has(Time) {
        let offset = LinuxTimeOffsetBuilder::default();
        let offset = offset
            .secs(dice.up_to(1000) as i64)
            .nanosecs(dice.up_to(999_999_999) as u32);
        linux = linux.time_offsets(HashMap::from([(
            dice.pick(&["monotonic", "boottime"]).to_string(),
            offset.build()?,
        )]));
    }
    maybe!(
        dice,
        linux
            .resources(resources(dice)?)
            .cgroups_path(dice.pick(&["/runtime-test/box", "runtime-test/box", ""]))
            .seccomp(seccomp(dice)?)
            .rootfs_propagation(dice.pick(&[
                "",
                "private",
                "slave",
                "shared",
                "unbindable",
                "rprivate",
                "rslave"
            ]))
            .mount_label("")
            .personality(personality(dice)?)
    );
    linux.build()
}

fn personality(dice: &mut Dice) -> Result<LinuxPersonality, OciSpecError> {
    use LinuxPersonalityDomain::*;
    LinuxPersonalityBuilder::default()
        .domain(dice.pick(&[PerLinux, PerLinux32]))
        .build()
}

fn devices(dice: &mut Dice) -> Result<Vec<LinuxDevice>, OciSpecError> {
    use LinuxDeviceType::*;
    let mut list = Vec::new();
    for (path, kind, major, minor) in [
        ("/dev/fuse", C, 10, 229),
        ("/dev/loop0", B, 7, 0),
        ("/dev/net/tun", U, 10, 200),
        ("/run/fifo", P, 0, 0),
    ] {
        let mut device = LinuxDeviceBuilder::default()
            .path(path)
            .typ(kind)
            .major(major)
            .minor(minor);
        maybe!(
            dice,
            device
                .file_mode(dice.up_to(0o777) as u32)
                .uid(dice.id())
                .gid(dice.id())
        );
        if dice.coin() {
            list.push(device.build()?);
        }
    }
    Ok(list)
}

fn resources(dice: &mut Dice) -> Result<LinuxResources, OciSpecError> {
    use LinuxDeviceType::*;
    let mut rules = vec![
        LinuxDeviceCgroupBuilder::default()
            .allow(false)
            .access("rwm")
            .build()?,
    ];
    for _ in 0..dice.up_to(4) {
        let mut rule = LinuxDeviceCgroupBuilder::default()
            .allow(dice.coin())
            .typ(dice.pick(&[B, C]))
            .access(dice.pick(&["r", "rw", "rwm", "m"]));
        maybe!(
            dice,
            rule.major(dice.up_to(255) as i64)
                .minor(dice.up_to(255) as i64)
        );
        rules.push(rule.build()?);
    }
    // cgroup v1 cannot deny a part of what an earlier rule allowed, and reports an error, so denials come first.
    rules.sort_by_key(|rule| rule.allow());

    let limit = dice.pick(&[-1_i64, 64 << 20, 1 << 40]);
    let mut memory = LinuxMemoryBuilder::default();
    maybe!(
        dice,
        memory
            .limit(limit)
            .reservation(dice.pick(&[-1_i64, 32 << 20]))
            .check_before_update(dice.coin())
            .use_hierarchy(dice.coin())
    );
    let mut cpu = LinuxCpuBuilder::default();
    maybe!(
        dice,
        cpu.shares(2 + dice.up_to(1000))
            .quota(dice.pick(&[-1_i64, 50_000]))
            .period(100_000_u64)
            .cpus("0")
            .mems("0")
    );
    let mut resources = LinuxResourcesBuilder::default().devices(rules);
    maybe!(
        dice,
        resources.memory(memory.build()?).cpu(cpu.build()?).pids(
            LinuxPidsBuilder::default()
                .limit(dice.pick(&[-1_i64, 0, 1, 1000]))
                .build()?
        )
    );
    resources.build()
}

const NAMES: [&str; 7] = [
    "ptrace",
    "mount",
    "clone",
    "personality",
    "no_such_call",
    "socket",
    "ioctl",
];

fn seccomp(dice: &mut Dice) -> Result<LinuxSeccomp, OciSpecError> {
    use {Arch::*, LinuxSeccompAction::*, LinuxSeccompFilterFlag::*, LinuxSeccompOperator::*};
    let actions = [
        ScmpActKill,
        ScmpActKillThread,
        ScmpActKillProcess,
        ScmpActTrap,
        ScmpActErrno,
        ScmpActLog,
        ScmpActAllow,
    ];
    let operators = [
        ScmpCmpNe,
        ScmpCmpLt,
        ScmpCmpLe,
        ScmpCmpEq,
        ScmpCmpGe,
        ScmpCmpGt,
        ScmpCmpMaskedEq,
    ];
    let mut syscalls = Vec::new();
    for _ in 0..dice.up_to(6) {
        let args = (0..dice.up_to(3) as usize).map(|index| {
            let mut arg = LinuxSeccompArgBuilder::default()
                .index(index)
                .value(dice.pick(&[0, 1, u64::from(u32::MAX), 1 << 32, u64::MAX]))
                .op(dice.pick(&operators));
            maybe!(dice, arg.value_two(dice.pick(&[0, 1, u64::MAX])));
            arg.build()
        });
        let args: Vec<_> = args.collect::<Result<_, _>>()?;
        let action = dice.pick(&actions);
        let names = dice.some(&NAMES);
        let mut syscall = LinuxSyscallBuilder::default()
            .names(strings(if names.is_empty() {
                vec!["kexec_load"]
            } else {
                names
            }))
            .action(action)
            .args(args);
        if action == ScmpActErrno && dice.coin() {
            syscall = syscall.errno_ret(1 + dice.up_to(100) as u32);
        }
        syscalls.push(syscall.build()?);
    }
    let mut seccomp = LinuxSeccompBuilder::default()
        .default_action(dice.pick(&[ScmpActAllow, ScmpActLog, ScmpActErrno]))
        .syscalls(syscalls);
    maybe!(
        dice,
        seccomp
            .architectures(dice.some(&[
                ScmpArchX86_64,
                ScmpArchX86,
                ScmpArchX32,
                ScmpArchAarch64,
                ScmpArchRiscv64
            ]))
            .flags(dice.some(&[SeccompFilterFlagLog, SeccompFilterFlagSpecAllow]))
    );
    seccomp.build()
}
