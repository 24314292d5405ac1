// floor MODE ROOTFS PROGRAM CGROUP...: runs the default bundle at the lowest cost that the kernel allows.
// Makes only the system calls that the bundle asks for, once each: no JSON, no state directory, no safe path lookup,
// no checks.
//
// MODE v2 creates one cgroup and clones into it; v2-devices also loads the bundle's device rules. v1 creates and
// joins one cgroup in each given hierarchy, and the container sees each of them under /sys/fs/cgroup.
#include "bare.h"
#include "text.h"
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/keyctl.h>
#include <linux/mount.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/stat.h>

#define MNT_DETACH 2
#define ENOENT 2
#define EBUSY 16
#define EINVAL 22
#define MAX_CGROUPS 32
#define V1_ROOT "/sys/fs/cgroup/"

static enum { V1, V2 } mode;
static int device_rules;
static const char *rootfs;
static char **argv, **envp;
static char **cgroups;
static int cgroup_count;
static int cgroup_fds[MAX_CGROUPS]; // v2: the directory; v1: every cgroup.procs

static __attribute__((noinline, noreturn)) void fail(const char *what, long error) {
  static char line[256];
  char *end = put_number(put(put(put(line, "floor: "), what), ": errno "), -error);
  *end++ = '\n';
  sys(__NR_write, 2, line, end - line);
  leave(111);
}

static inline long must(const char *what, long ret) {
  if (ret < 0)
    fail(what, ret);
  return ret;
}

static void mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data) {
  must(target, sys(__NR_mount, source, target, type, flags, data));
}

static void bind_read_only(const char *source, const char *target) {
  mount(source, target, 0, MS_BIND | MS_REC, 0);
  mount(0, target, 0, MS_BIND | MS_REMOUNT | MS_RDONLY, 0);
}

static void nodes(int dev) {
  static const struct {
    const char *name;
    unsigned int number;
  } devices[] = {{"null", 0x103},   {"zero", 0x105},    {"full", 0x107},
                 {"random", 0x108}, {"urandom", 0x109}, {"tty", 0x500}};
  static const char *const directories[] = {"pts", "shm", "mqueue"};
  static const char *const links[][2] = {{"/proc/self/fd", "fd"},
                                         {"/proc/self/fd/0", "stdin"},
                                         {"/proc/self/fd/1", "stdout"},
                                         {"/proc/self/fd/2", "stderr"},
                                         {"pts/ptmx", "ptmx"}};
  sys(__NR_umask, 0);
  for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
    must(devices[i].name, sys(__NR_mknodat, dev, devices[i].name, S_IFCHR | 0666, devices[i].number));
  for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
    must(directories[i], sys(__NR_mkdirat, dev, directories[i], 0755));
  for (size_t i = 0; i < sizeof links / sizeof *links; i++)
    must(links[i][1], sys(__NR_symlinkat, links[i][0], dev, links[i][1]));
  sys(__NR_umask, 022);
}

static void cgroup_view(void) {
  const unsigned long safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;
  if (mode == V2) {
    mount("cgroup", "sys/fs/cgroup", "cgroup2", safe | MS_RDONLY | MS_RELATIME, 0);
    return;
  }
  mount("tmpfs", "sys/fs/cgroup", "tmpfs", safe, "mode=755");
  for (int i = 0; i < cgroup_count; i++) {
    static char target[128];
    const char *hierarchy = cgroups[i] + sizeof V1_ROOT - 1;
    char *end = put(target, "sys/fs/cgroup/");
    while (*hierarchy && *hierarchy != '/')
      *end++ = *hierarchy++;
    *end = 0;
    must(target, sys(__NR_mkdirat, AT_FDCWD, target, 0755));
    mount(cgroups[i], target, 0, MS_BIND, 0);
    mount(0, target, 0, MS_BIND | MS_REMOUNT | MS_RDONLY | safe, 0);
  }
  mount(0, "sys/fs/cgroup", 0, MS_BIND | MS_REMOUNT | MS_RDONLY | safe, 0);
}

static void file_system(void) {
  mount(0, "/", 0, MS_REC | MS_PRIVATE, 0);
  mount(rootfs, rootfs, 0, MS_BIND | MS_REC, 0);
  must("rootfs", sys(__NR_chdir, rootfs));
  mount("proc", "proc", "proc", 0, 0);
  mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
  int dev = must("dev", sys(__NR_openat, AT_FDCWD, "dev", O_PATH | O_DIRECTORY | O_CLOEXEC));
  nodes(dev);
  mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
  mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k");
  mount("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, 0);
  mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, 0);
  cgroup_view();

  // pivot_root(".", ".") stacks the old root on top of the new one, so it needs no directory of its own.
  must("pivot_root", sys(__NR_pivot_root, ".", "."));
  must("umount", sys(__NR_umount2, ".", MNT_DETACH));
  must("chdir", sys(__NR_chdir, "/"));
}

static void masked_and_read_only(void) {
  static const char *const masked[] = {"/proc/acpi",         "/proc/asound",     "/proc/kcore",
                                       "/proc/keys",         "/proc/latency_stats", "/proc/timer_list",
                                       "/proc/timer_stats",  "/proc/sched_debug", "/sys/firmware",
                                       "/proc/scsi"};
  static const char *const read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
  const char *empty = 0;
  for (size_t i = 0; i < sizeof masked / sizeof *masked; i++) {
    // Check first, because a failing bind mount waits for an RCU grace period.
    struct statx stat;
    long ret = sys(__NR_statx, AT_FDCWD, masked[i], AT_SYMLINK_NOFOLLOW, STATX_TYPE, &stat);
    if (ret == -ENOENT)
      continue;
    must(masked[i], ret);
    if ((stat.stx_mode & S_IFMT) != S_IFDIR) {
      mount("/dev/null", masked[i], 0, MS_BIND, 0);
    } else if (!empty) {
      empty = masked[i];
      mount("tmpfs", empty, "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1");
    } else {
      mount(empty, masked[i], 0, MS_BIND, 0);
    }
  }
  for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++) {
    struct statx stat;
    if (sys(__NR_statx, AT_FDCWD, read_only[i], AT_SYMLINK_NOFOLLOW, STATX_TYPE, &stat) == 0)
      bind_read_only(read_only[i], read_only[i]);
  }
  mount(0, "/", 0, MS_BIND | MS_REMOUNT | MS_RDONLY, 0);
}

static void loopback_up(void) {
  struct {
    char name[16];
    short flags;
    char rest[22];
  } request = {.name = "lo", .flags = 1 | 0x40 /* IFF_UP | IFF_RUNNING */};
  int socket = must("socket", sys(__NR_socket, 2 /* AF_INET */, 2 /* SOCK_DGRAM */ | O_CLOEXEC, 0));
  must("lo", sys(__NR_ioctl, socket, 0x8914 /* SIOCSIFFLAGS */, &request));
  sys(__NR_close, socket);
}

static void identity(void) {
  const uint64_t keep = 1UL << CAP_AUDIT_WRITE | 1UL << CAP_KILL | 1UL << CAP_NET_BIND_SERVICE;
  static const uint64_t open_files[2] = {1024, 1024};
  // Ignored, as in a runtime: the kernel may lack key rings, and the host may forbid them.
  sys(__NR_keyctl, KEYCTL_JOIN_SESSION_KEYRING, "_ses.floor");
  sys(__NR_setsid);
  must("rlimit", sys(__NR_prlimit64, 0, 7 /* RLIMIT_NOFILE */, open_files, 0));
  must("setgroups", sys(__NR_setgroups, 0, 0));
  must("setresgid", sys(__NR_setresgid, 0, 0, 0));
  must("setresuid", sys(__NR_setresuid, 0, 0, 0));

  for (int cap = 0; cap <= CAP_LAST_CAP; cap++) {
    if (keep >> cap & 1)
      continue;
    long ret = sys(__NR_prctl, PR_CAPBSET_DROP, cap);
    if (ret != -EINVAL) // EINVAL: the kernel is older than our headers
      must("bounding set", ret);
  }
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct sets[2] = {{keep, keep, 0}, {keep >> 32, keep >> 32, 0}};
  must("capset", sys(__NR_capset, &header, sets));
  must("no_new_privs", sys(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1));
}

// Runs on the parent's memory and stack, as a vfork child does, so it must never return.
static __attribute__((noinline, noreturn)) void child(void) {
  if (mode == V1)
    for (int i = 0; i < cgroup_count; i++)
      must(cgroups[i], sys(__NR_write, cgroup_fds[i], "0", 1));
  file_system();
  masked_and_read_only();
  loopback_up();
  must("hostname", sys(__NR_sethostname, "runc", 4));
  identity();
  must("close_range", sys(__NR_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */));
  must("cwd", sys(__NR_chdir, "/"));
  fail("execve", sys(__NR_execve, argv[0], argv, envp));
}

// The rules that `devices: [{"allow": false}]` results in: the default devices, and mknod of any device.
static void attach_device_rules(int cgroup) {
#define INSN(c, d, s, o, i) {.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)}
#define LOAD(reg, offset) INSN(BPF_LDX | BPF_MEM | BPF_W, reg, 1, offset, 0)
#define IF_EQ(reg, value, skip) INSN(BPF_JMP | BPF_JEQ | BPF_K, reg, 0, skip, value)
#define IF_NE(reg, value, skip) INSN(BPF_JMP | BPF_JNE | BPF_K, reg, 0, skip, value)
  static const struct bpf_insn rules[] = {
      LOAD(2, 0), // access_type: access in the upper half, type in the lower
      LOAD(4, 4), // major
      LOAD(5, 8), // minor
      INSN(BPF_ALU | BPF_MOV | BPF_X, 3, 2, 0, 0),
      INSN(BPF_ALU | BPF_RSH | BPF_K, 3, 0, 0, 16),
      IF_EQ(3, BPF_DEVCG_ACC_MKNOD, 14),
      INSN(BPF_ALU | BPF_AND | BPF_K, 2, 0, 0, 0xffff),
      IF_NE(2, BPF_DEVCG_DEV_CHAR, 10),
      IF_EQ(4, 136, 11), // pts
      IF_NE(4, 1, 5),
      IF_EQ(5, 3, 9), // null
      IF_EQ(5, 5, 8), // zero
      IF_EQ(5, 7, 7), // full
      IF_EQ(5, 8, 6), // random
      IF_EQ(5, 9, 5), // urandom
      IF_NE(4, 5, 2),
      IF_EQ(5, 0, 3), // tty
      IF_EQ(5, 2, 2), // ptmx
      INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
      INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
      INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1),
      INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
  };
  static union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
                                .insn_cnt = sizeof rules / sizeof *rules};
  load.insns = (uintptr_t)rules;
  load.license = (uintptr_t) "Apache-2.0";
  int program = must("device rules", sys(__NR_bpf, BPF_PROG_LOAD, &load, sizeof load));
  static union bpf_attr attach = {.attach_type = BPF_CGROUP_DEVICE, .attach_flags = BPF_F_ALLOW_MULTI};
  attach.target_fd = cgroup;
  attach.attach_bpf_fd = program;
  must("device rules", sys(__NR_bpf, BPF_PROG_ATTACH, &attach, sizeof attach));
  sys(__NR_close, program);
}

// A cgroup of the v1 cpuset hierarchy accepts no process before it has processors and memory nodes.
static void inherit_cpuset(const char *cgroup) {
  static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    static char path[512], value[4096];
    *put(put(put(path, cgroup), "/../"), files[i]) = 0;
    int from = must(path, sys(__NR_openat, AT_FDCWD, path, O_CLOEXEC));
    long size = must(path, sys(__NR_read, from, value, sizeof value));
    *put(put(put(path, cgroup), "/"), files[i]) = 0;
    int to = must(path, sys(__NR_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC));
    must(path, sys(__NR_write, to, value, size));
    sys(__NR_close, from);
    sys(__NR_close, to);
  }
}

static int starts(const char *s, const char *with) {
  while (*with && *s == *with)
    s++, with++;
  return !*with;
}

void bare_main(long *stack) {
  int count = stack[0];
  char **args = (char **)(stack + 1);
  envp = args + count + 1;
  if (count < 5 || count - 4 > MAX_CGROUPS)
    fail("usage: floor MODE ROOTFS PROGRAM CGROUP...", 0);
  mode = starts(args[1], "v1") ? V1 : V2;
  device_rules = starts(args[1], "v2-devices");
  rootfs = args[2];
  static char *program[2];
  program[0] = args[3];
  argv = program;
  cgroups = args + 4;
  cgroup_count = mode == V1 ? count - 4 : 1;

  for (int i = 0; i < cgroup_count; i++) {
    must(cgroups[i], sys(__NR_mkdirat, AT_FDCWD, cgroups[i], 0755));
    if (mode == V2) {
      // bpf() refuses an O_PATH descriptor; clone3 accepts one.
      int path = device_rules ? 0 : O_PATH;
      cgroup_fds[i] = must(cgroups[i], sys(__NR_openat, AT_FDCWD, cgroups[i], path | O_DIRECTORY | O_CLOEXEC));
      if (device_rules)
        attach_device_rules(cgroup_fds[i]);
    } else {
      if (starts(cgroups[i], V1_ROOT "cpuset/"))
        inherit_cpuset(cgroups[i]);
      static char file[512];
      *put(put(file, cgroups[i]), "/cgroup.procs") = 0;
      cgroup_fds[i] = must(file, sys(__NR_openat, AT_FDCWD, file, O_WRONLY | O_CLOEXEC));
    }
  }

  static int pidfd;
  static struct clone_args clone = {
      .flags = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | CLONE_PIDFD | CLONE_VM | CLONE_VFORK,
      .exit_signal = 17 /* SIGCHLD */,
  };
  clone.pidfd = (uintptr_t)&pidfd;
  if (mode == V2) {
    clone.flags |= CLONE_NEWCGROUP | CLONE_INTO_CGROUP;
    clone.cgroup = cgroup_fds[0];
  }
  long pid = must("clone3", sys(__NR_clone3, &clone, sizeof clone));
  if (pid == 0)
    child();

  static struct {
    int signo, error, code, pad, pid, uid, status;
    char rest[100];
  } info;
  must("waitid", sys(__NR_waitid, 3 /* P_PIDFD */, pidfd, &info, 4 /* WEXITED */, 0));
  for (int i = 0; i < cgroup_count; i++) {
    long ret;
    while ((ret = sys(__NR_unlinkat, AT_FDCWD, cgroups[i], AT_REMOVEDIR)) == -EBUSY)
      ;
    must("rmdir", ret);
  }
  leave(info.code == 1 /* CLD_EXITED */ ? info.status : 128 + info.status);
}
