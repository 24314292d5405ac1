// The program for what busybox cannot do inside a container: raw system calls, descriptor lists, races and attacks.
// Statically linked and copied into every test's root: `helper VERB ARGS` prints its result on stdout.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/user.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static int say(const char *what, long r) {
    if (r < 0) printf("%s: %s\n", what, strerrorname_np(errno));
    else printf("%s: ok\n", what);
    fflush(stdout);
    return r < 0;
}

// Prints every open file descriptor and its target, without opening a descriptor that would show up itself.
static int fds(void) {
    char link[64], target[4096];
    for (int fd = 0; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) < 0) continue;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, target, sizeof target - 1);
        target[n < 0 ? 0 : n] = 0;
        printf("%d %s\n", fd, target);
    }
    return 0;
}

// Executes a command with `count` descriptors open on `path`, from number 3 on.
static int leak(char **a) {
    int count = atoi(a[0]);
    for (int i = 0; i < count; i++) {
        int fd = open(a[1], O_RDONLY);
        if (fd != 3 + i) { dup2(fd, 3 + i); close(fd); }
    }
    execvp(a[2], a + 2);
    return 127;
}

static long raw_ptrace(int request, pid_t pid, long data) { return syscall(SYS_ptrace, request, pid, 0, data); }

// The tracer of `inject`. Process 0 is `first` from its exec on. Its descendants are 1, 2, ... in the order of their creation;
// what they execute is no longer the command, and not traced.
static void trace(pid_t first, int ready, char **a) {
    enum { PROCESSES = 16, CALLS = 512 };
    static struct { pid_t pid; int is_program, count[CALLS]; } all[PROCESSES];
    int known = 0, counting = 0, pending = 0, done = 0, status;
    int process = atoi(a[0]), call = atoi(a[1]), n = atoi(a[2]), error = atoi(a[3]);
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;
    if (raw_ptrace(PTRACE_SEIZE, first, options) || raw_ptrace(PTRACE_INTERRUPT, first, 0)) _exit(1);
    write(ready, "", 1);
    close(ready);
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
        if (!WIFSTOPPED(status)) continue;
        int signal = WSTOPSIG(status), event = status >> 16, i = 0;
        while (i < known && all[i].pid != pid) i++;
        if (i == known && known < PROCESSES) all[known++].pid = pid;
        if (event == PTRACE_EVENT_EXEC) {
            counting = 1;
            if (i > 0 && i < PROCESSES) all[i].is_program = 1;
        }
        if (signal == (SIGTRAP | 0x80) && counting && i < PROCESSES && !all[i].is_program) {
            struct ptrace_syscall_info info;
            struct user_regs_struct r;
            syscall(SYS_ptrace, PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info);
            syscall(SYS_ptrace, PTRACE_GETREGS, pid, 0, &r);
            if (info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr < CALLS) {
                int count = ++all[i].count[info.entry.nr];
                if (i == process && (int)info.entry.nr == call && count == n) {
                    pending = pid;
                    r.orig_rax = -1;
                    syscall(SYS_ptrace, PTRACE_SETREGS, pid, 0, &r);
                    if (error == 0) kill(pid, SIGKILL);
                }
            } else if (info.op == PTRACE_SYSCALL_INFO_EXIT && pending == pid) {
                r.rax = -error;
                syscall(SYS_ptrace, PTRACE_SETREGS, pid, 0, &r);
                pending = 0;
                done = 1;
            }
            signal = 0;
        } else if (event || signal == (SIGTRAP | 0x80)) signal = 0;
        raw_ptrace(done ? PTRACE_DETACH : PTRACE_SYSCALL, pid, signal);
    }
    FILE *log = fopen(a[4], "w");
    for (int i = 0; i < known; i++)
        for (int c = 0; c < CALLS; c++)
            if (all[i].count[c]) fprintf(log, "%d %d %d\n", i, c, all[i].count[c]);
    fprintf(log, "end\n");
    fclose(log);
    _exit(0);
}

// inject PROCESS CALL N ERROR LOG COMMAND...: runs the command and makes the N-th CALL of one process fail with ERROR (with 0,
// kills the process there). LOG lists how often each process made each call, and ends with the line `end`.
static int inject(char **a) {
    int ready[2];
    char c;
    pid_t self = getpid();
    pipe(ready);
    if (!fork()) {
        if (fork()) _exit(0);
        close(ready[0]);
        trace(self, ready[1], a);
    }
    wait(0);
    close(ready[1]);
    read(ready[0], &c, 1);
    close(ready[0]);
    execvp(a[5], a + 5);
    return 127;
}

static long int80(long nr) {
    long r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(nr) : "memory", "r8", "r9", "r10", "r11");
    return r;
}

// Makes a raw call with up to three arguments. The exit status distinguishes a kill from an errno.
static int nr(char **a, int n) {
    long v[4] = {0};
    for (int i = 0; i < n && i < 4; i++) v[i] = strtol(a[i], 0, 0);
    long r = syscall(v[0], v[1], v[2], v[3]);
    if (r < 0) printf("%s\n", strerrorname_np(errno)); else printf("ok\n");
    return 0;
}

// Swaps two names until stdin closes.
static int swap(char **a) {
    struct pollfd in = {0, POLLIN, 0};
    printf("up\n"); fflush(stdout);
    while (poll(&in, 1, 0) == 0)
        for (int i = 0; i < 50; i++) syscall(SYS_renameat2, AT_FDCWD, a[0], AT_FDCWD, a[1], 2 /* RENAME_EXCHANGE */);
    return 0;
}

// An attacker in the same pid namespace: prints each executable, and each open descriptor above 2, of other processes that it
// can see and that is not in `known`, until stdin closes.
static int scan(char **known) {
    char path[64], target[4096];
    long seen = 0, said = 0;
    struct pollfd in = {0, POLLIN, 0};
    printf("up\n"); fflush(stdout);
    while (poll(&in, 1, 0) == 0) {
        for (int pid = 2; pid < 300 && said < 20; pid++) {
            if (pid == getpid()) continue;
            snprintf(path, sizeof path, "/proc/%d", pid);
            if (access(path, F_OK)) continue;
            seen++;
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            ssize_t n = readlink(path, target, sizeof target - 1);
            if (n > 0) {
                target[n] = 0;
                int ok = 0;
                for (char **k = known; *k; k++) ok |= !strcmp(*k, target);
                if (!ok) { said++; printf("exe %s\n", target); fflush(stdout); }
            }
            for (int fd = 3; fd < 40; fd++) {
                snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
                n = readlink(path, target, sizeof target - 1);
                if (n > 0) { said++; target[n] = 0; printf("fd %d %s\n", fd, target); fflush(stdout); }
            }
        }
    }
    printf("seen %s\n", seen ? "some" : "none");
    return 0;
}

// Says once what none of `known` is, of the command lines, names and environments of other processes of this pid namespace and of
// their descriptors that are no sockets, pipes or devices, until stdin closes.
static void say_once(const char *what, const char *text, char **known) {
    static char seen[64][300];
    char line[300];
    snprintf(line, sizeof line, "%s %s", what, text);
    for (char **k = known; *k; k++) if (!strcmp(*k, line)) return;
    for (int i = 0; i < 64; i++) {
        if (!strcmp(seen[i], line)) return;
        if (!seen[i][0]) { strcpy(seen[i], line); printf("%s\n", line); fflush(stdout); return; }
    }
}

static int peek(char **known) {
    static const char *files[] = {"cmdline", "comm", "environ"};
    char path[64], text[280];
    struct pollfd in = {0, POLLIN, 0};
    printf("up\n"); fflush(stdout);
    while (poll(&in, 1, 0) == 0)
        for (int pid = 2; pid < 400; pid++) {
            if (pid == getpid()) continue;
            snprintf(path, sizeof path, "/proc/%d", pid);
            if (access(path, F_OK)) continue;
            for (int i = 0; i < 3; i++) {
                snprintf(path, sizeof path, "/proc/%d/%s", pid, files[i]);
                int fd = open(path, O_RDONLY);
                ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
                close(fd);
                if (n <= 0) continue;
                while (n && (!text[n - 1] || text[n - 1] == '\n')) n--;
                for (ssize_t j = 0; j < n; j++) if (!text[j]) text[j] = ' ';
                text[n] = 0;
                if (n) say_once(files[i], text, known);
            }
            for (int fd = 0; fd < 40; fd++) {
                snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
                ssize_t n = readlink(path, text, sizeof text - 1);
                text[n < 0 ? 0 : n] = 0;
                if (n > 0 && fd > 2 && text[0] == '/' && text[1]) say_once("fd", text, known);
            }
        }
    return 0;
}

// Catches executables of `size` bytes that other processes run, says so, holds them, and tries to write to them until
// stdin closes: the attack on the host's binary.
static int overwrite(char **a) {
    char path[64];
    int held[64], n = 0, wrote = 0, last = 0;
    off_t size = strtoll(a[0], 0, 0);
    struct stat st, known[64];
    struct pollfd in = {0, POLLIN, 0};
    printf("up\n"); fflush(stdout);
    while (poll(&in, 1, 0) == 0) {
        for (int pid = 2; pid < 300 && n < 64; pid++) {
            if (pid == getpid()) continue;
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            int fd = open(path, O_RDONLY | O_CLOEXEC), old = 0;
            if (fd < 0) continue;
            if (fstat(fd, &st) || st.st_size != size) { close(fd); continue; }
            for (int i = 0; i < n; i++) old |= known[i].st_ino == st.st_ino && known[i].st_dev == st.st_dev;
            if (!old) known[n] = st, held[n++] = fd; else close(fd);
            printf("caught\n"); fflush(stdout);
        }
        for (int i = 0; i < n; i++) {
            snprintf(path, sizeof path, "/proc/self/fd/%d", held[i]);
            int fd = open(path, O_WRONLY);
            if (fd < 0) { last = errno; continue; }
            if (pwrite(fd, "spoiled", 7, 0) == 7) wrote++; else last = errno;
            close(fd);
        }
    }
    printf("held %d wrote %d last %s\n", n, wrote, last ? strerrorname_np(last) : "none");
    return 0;
}

// Executes a file by descriptor, as fexecve(3) does, so that the program has no path name.
static int by_descriptor(char **a) {
    int fd = open(a[0], O_RDONLY);
    extern char **environ;
    syscall(SYS_execveat, fd, "", a, environ, AT_EMPTY_PATH);
    return 127;
}

// An agent at listenerPath. Prints the one message it receives, then refuses mkdir and lets all other calls continue, until no
// process uses the filter or stdin closes. Then prints the calls it was asked about.
static int agent(char **a) {
    struct sockaddr_un name = {AF_UNIX};
    static char text[65536], asked[1024];
    union { char space[CMSG_SPACE(16 * sizeof(int))]; struct cmsghdr align; } control;
    strncpy(name.sun_path, a[0], sizeof name.sun_path - 1);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(s, (void *)&name, sizeof name) || listen(s, 4)) return say("listen", -1);
    printf("up\n"); fflush(stdout);
    struct pollfd first[2] = {{s, POLLIN, 0}, {0, POLLIN, 0}};
    while (poll(first, 2, -1) < 0) {}
    if (!first[0].revents) { printf("nobody came\n"); return 0; }
    int c = accept(s, 0, 0);
    struct iovec iov = {text, sizeof text - 1};
    struct msghdr m = {0, 0, &iov, 1, &control, sizeof control, 0};
    ssize_t n = recvmsg(c, &m, MSG_CMSG_CLOEXEC);
    if (n < 0) return say("recvmsg", n);
    int fds[16], count = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
        if (h->cmsg_type == SCM_RIGHTS) for (unsigned i = 0; i < (h->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) memcpy(&fds[count++], CMSG_DATA(h) + i * sizeof(int), sizeof(int));
    printf("descriptors %d\nmessage %.*s\n", count, (int)n, text); fflush(stdout);
    printf("more %zd\n", recv(c, text, sizeof text, 0)); fflush(stdout);
    struct pollfd both[2] = {{fds[0], POLLIN, 0}, {0, POLLIN, 0}};
    while (count) {
        if (poll(both, 2, -1) < 0) continue;
        if (both[0].revents & POLLIN) {
            struct seccomp_notif q = {0};
            if (ioctl(fds[0], SECCOMP_IOCTL_NOTIF_RECV, &q)) continue;
            struct seccomp_notif_resp r = {.id = q.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
            if (q.data.nr >= 0 && q.data.nr < 1024) asked[q.data.nr] = 1;
            if (q.data.nr == SYS_mkdir || q.data.nr == SYS_mkdirat) r.flags = 0, r.error = -ENOMEDIUM;
            ioctl(fds[0], SECCOMP_IOCTL_NOTIF_SEND, &r);
        } else if (both[0].revents || both[1].revents) break;
    }
    printf("asked");
    for (int i = 0; i < 1024; i++) if (asked[i]) printf(" %d", i);
    printf("\n");
    return 0;
}

static void on_signal(int s) { printf("signal %d\n", s); fflush(stdout); if (s != SIGWINCH) _exit(40 + s); }

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    const char *verb = argv[1];
    char **a = argv + 2;
    int n = argc - 2;
    if (!strcmp(verb, "args")) { for (int i = 0; i < argc; i++) printf("[%s]", argv[i]); printf("\n"); return 0; }
    if (!strcmp(verb, "env")) { extern char **environ; for (char **e = environ; *e; e++) puts(*e); return 0; }
    if (!strcmp(verb, "fds")) return fds();
    if (!strcmp(verb, "leak")) return leak(a);
    if (!strcmp(verb, "inject")) return inject(a);
    if (!strcmp(verb, "nr")) return nr(a, n);
    if (!strcmp(verb, "int80")) { long r = int80(strtol(a[0], 0, 0)); printf("%s\n", r < 0 ? strerrorname_np(-r) : "ok"); return 0; }
    if (!strcmp(verb, "swap")) return swap(a);
    if (!strcmp(verb, "by-descriptor")) return by_descriptor(a);
    if (!strcmp(verb, "agent")) return agent(a);
    if (!strcmp(verb, "scan")) return scan(a);
    if (!strcmp(verb, "peek")) return peek(a);
    if (!strcmp(verb, "overwrite")) return overwrite(a);
    if (!strcmp(verb, "tiocsti")) { char c = 'x'; return say("tiocsti", ioctl(0, TIOCSTI, &c)); }
    if (!strcmp(verb, "ctty")) { int fd = open("/dev/tty", O_RDWR); return say("ctty", fd); }
    if (!strcmp(verb, "openpty")) { // opens /dev/ptmx and prints the name and device number of the slave
        int n, m = open("/dev/ptmx", O_RDWR | O_NOCTTY), zero = 0;
        struct stat st;
        char name[64];
        if (m < 0 || ioctl(m, TIOCGPTN, &n) || ioctl(m, TIOCSPTLCK, &zero)) return say("openpty", -1);
        snprintf(name, sizeof name, "/dev/pts/%d", n);
        if (stat(name, &st)) return say("stat", -1);
        printf("pty %d %s %d:%d\n", n, name, (int)(st.st_rdev >> 8), (int)(st.st_rdev & 255));
        return 0;
    }
    if (!strcmp(verb, "open")) { // open PATH r|w
        int fd = open(a[0], *a[1] == 'w' ? O_WRONLY : O_RDONLY);
        if (fd < 0) return say("open", -1);
        char c;
        return say("open", *a[1] == 'w' ? 0 : read(fd, &c, 1));
    }
    if (!strcmp(verb, "mkdir")) return say("mkdir", mkdir(a[0], 0755));
    if (!strcmp(verb, "mount")) return say("mount", mount(a[0], a[1], a[0], 0, 0));
    if (!strcmp(verb, "unshare")) return say("unshare", unshare(strtol(a[0], 0, 0)));
    if (!strcmp(verb, "nested-proc")) { // mounts a fresh proc in new user, pid and mount namespaces
        if (say("unshare", unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID))) return 2;
        pid_t p = fork();
        if (p == 0) _exit(say("mount", mount("proc", a[0], "proc", 0, 0)));
        int status;
        waitpid(p, &status, 0);
        return WEXITSTATUS(status);
    }
    if (!strcmp(verb, "keyring")) { // prints the serial number and the name of the session keyring
        long id = syscall(SYS_keyctl, 0 /* GET_KEYRING_ID */, -3, 0);
        char text[256] = "";
        syscall(SYS_keyctl, 6 /* DESCRIBE */, id, text, sizeof text);
        printf("%ld %s\n", id, text);
        return 0;
    }
    if (!strcmp(verb, "eat")) { // touches that many MiB
        size_t size = strtoul(a[0], 0, 0) << 20;
        char *p = malloc(size);
        for (size_t i = 0; i < size; i += 4096) p[i] = 1;
        printf("ate %s\n", a[0]);
        return 0;
    }
    if (!strcmp(verb, "direct")) { // writes that many MiB, bypassing the page cache
        int fd = open(a[0], O_WRONLY | O_DIRECT), mib = atoi(a[1]);
        void *block;
        if (fd < 0 || posix_memalign(&block, 4096, 1 << 20)) return say("open", -1);
        for (int i = 0; i < mib; i++) if (write(fd, block, 1 << 20) != 1 << 20) return say("write", -1);
        printf("wrote %d\n", mib);
        return 0;
    }
    if (!strcmp(verb, "fork")) { // prints how many children can exist at once
        int made = 0;
        while (made < 100) { pid_t p = fork(); if (p == 0) { pause(); _exit(0); } if (p < 0) break; made++; }
        printf("forked %d %s\n", made, made < 100 ? strerrorname_np(errno) : "");
        kill(0, SIGKILL);
        return 0;
    }
    if (!strcmp(verb, "signals")) { // prints received signals; exits with 40 + number on all but SIGWINCH
        for (int s = 1; s < 32; s++) if (s != SIGKILL && s != SIGSTOP && s != SIGCHLD && s != SIGURG && s != SIGCONT && s != SIGTSTP && s != SIGTTIN && s != SIGTTOU) signal(s, on_signal);
        printf("up\n"); fflush(stdout);
        for (;;) pause();
    }
    if (!strcmp(verb, "blocked")) { // executes a command with every signal blocked and SIGUSR1, SIGPIPE and SIGCHLD ignored
        sigset_t all; sigfillset(&all); sigprocmask(SIG_BLOCK, &all, 0);
        signal(SIGUSR1, SIG_IGN); signal(SIGPIPE, SIG_IGN); signal(SIGCHLD, SIG_IGN);
        execvp(a[0], a); return 127;
    }
    if (!strcmp(verb, "conmon")) { // PID-FILE COMMAND: runs it as conmon does and waits for the processes reparented to us
        int status = 0, pid = 0;
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        pid_t child = fork();
        if (child == 0) { execvp(a[1], a + 1); _exit(127); }
        waitpid(child, &status, 0);
        printf("runtime %d\n", WEXITSTATUS(status)); fflush(stdout);
        FILE *f = fopen(a[0], "r");
        if (!f) return say("pid file", -1);
        if (fscanf(f, "%d", &pid) != 1 || fgetc(f) != EOF) { printf("pid file: not a number alone\n"); return 1; }
        if (waitpid(pid, &status, 0) != pid) return say("waitpid", -1);
        printf("process %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
        return say("more children", waitpid(-1, &status, WNOHANG)) ? 0 : 1; // ECHILD: no process is left
    }
    if (!strcmp(verb, "notify")) { // sends each argument to $NOTIFY_SOCKET
        struct sockaddr_un to = {AF_UNIX};
        const char *path = getenv("NOTIFY_SOCKET");
        int s = socket(AF_UNIX, SOCK_DGRAM, 0);
        if (!path) { printf("no NOTIFY_SOCKET\n"); return 1; }
        strncpy(to.sun_path, path, sizeof to.sun_path - 1);
        for (int i = 0; i < n; i++)
            if (sendto(s, a[i], strlen(a[i]), 0, (struct sockaddr *)&to, sizeof to) < 0) return say("sendto", -1);
        return 0;
    }
    if (!strcmp(verb, "subreap")) { prctl(PR_SET_CHILD_SUBREAPER, 1); execvp(a[0], a); return 127; }
    if (!strcmp(verb, "winsize")) { struct winsize w; if (ioctl(0, TIOCGWINSZ, &w)) return say("winsize", -1); printf("%d %d\n", w.ws_row, w.ws_col); return 0; }
    if (!strcmp(verb, "winch")) { // prints the size now and at the next SIGWINCH
        sigset_t set; sigemptyset(&set); sigaddset(&set, SIGWINCH); sigprocmask(SIG_BLOCK, &set, 0);
        for (int i = 0; i < 2; i++) { struct winsize w; int s; if (i) sigwait(&set, &s); ioctl(0, TIOCGWINSZ, &w); printf("size %d %d\n", w.ws_row, w.ws_col); fflush(stdout); }
        return 0;
    }
    if (!strcmp(verb, "rlimits")) { struct rlimit r; for (int i = 0; i < 16; i++) { getrlimit(i, &r); printf("%d %ld %ld\n", i, (long)r.rlim_cur, (long)r.rlim_max); } return 0; }
    if (!strcmp(verb, "clock")) { struct timespec t; clock_gettime(!strcmp(a[0], "boot") ? CLOCK_BOOTTIME : CLOCK_MONOTONIC, &t); printf("%ld\n", (long)t.tv_sec); return 0; }
    if (!strcmp(verb, "uname")) { char h[256], d[256]; gethostname(h, 256); getdomainname(d, 256); printf("%s %s\n", h, d); return 0; }
    fprintf(stderr, "helper: no verb %s\n", verb);
    return 2;
}
