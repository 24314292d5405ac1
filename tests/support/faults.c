// Runs commands for the fault tests, one after another, and makes one system call of one of their processes fail. It is the
// reaper of every process that they leave, so that it can tell whether one is left.
//
// One job is one line of stdin, its words separated by tabs:
//   run PROCESS CALL N ERROR EXTRA SECONDS OUT ERR COMMAND...
// Process 0 is the command, from its exec on; its descendants are 1, 2, ... in the order of their creation, until they execute a
// program. EXTRA is the pid of one more process to trace (or 0). The N-th CALL of PROCESS fails with ERROR; with 0 the process is
// killed instead. PROCESS -1 is a run without a tracer, and -2 one that counts.
// The answer: STATUS HIT PROCESS:CALL:COUNT ... . STATUS is 128 + the signal of a command that a signal ended, and -1 if it did not
// end in time.
//   left SECONDS
// The answer: the pids that are still there then.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES = 16, CALLS = 512, WORDS = 64 };

static struct process {
    pid_t pid;
    int traced, ended, status, is_program, is_extra, count[CALLS];
} all[PROCESSES];
static int known, counting, hit;
static struct process *pending;

static long trace(long request, pid_t pid, long data) { return syscall(SYS_ptrace, request, pid, 0, data); }

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct process *add(pid_t pid) {
    static struct process spare;
    for (int i = 0; i < known; i++) if (all[i].pid == pid) return &all[i];
    struct process *p = known < PROCESSES ? &all[known++] : &spare;
    memset(p, 0, sizeof *p);
    p->pid = pid;
    return p;
}

static void seize(struct process *p) {
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;
    p->traced = trace(PTRACE_SEIZE, p->pid, options) == 0 && trace(PTRACE_INTERRUPT, p->pid, 0) == 0;
}

// The target of a job.
static int process, call, n, error;

// At the entry or the exit of a call.
static void at_call(struct process *p) {
    struct ptrace_syscall_info info;
    struct user_regs_struct r;
    syscall(SYS_ptrace, PTRACE_GET_SYSCALL_INFO, p->pid, sizeof info, &info);
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr < CALLS && counting && !p->is_program) {
        int count = ++p->count[info.entry.nr];
        if (hit || p - all != process || (int)info.entry.nr != call || count != n) return;
        hit = 1;
        pending = p;
        // The kernel closes a descriptor even if close(2) fails.
        if (call == SYS_close && error) return;
        syscall(SYS_ptrace, PTRACE_GETREGS, p->pid, 0, &r);
        r.orig_rax = -1;
        syscall(SYS_ptrace, PTRACE_SETREGS, p->pid, 0, &r);
        if (error == 0) kill(p->pid, SIGKILL);
    } else if (info.op == PTRACE_SYSCALL_INFO_EXIT && pending == p) {
        syscall(SYS_ptrace, PTRACE_GETREGS, p->pid, 0, &r);
        r.rax = -error;
        syscall(SYS_ptrace, PTRACE_SETREGS, p->pid, 0, &r);
        pending = 0;
    }
}

static void stopped(struct process *p, int status) {
    int signal = status & 0xff, event = status >> 8;
    unsigned long child;
    if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE) {
        syscall(SYS_ptrace, PTRACE_GETEVENTMSG, p->pid, 0, &child);
        add(child)->traced = 1;
    }
    if (event == PTRACE_EVENT_EXEC) {
        if (p == all) counting = 1; else p->is_program = 1;
    }
    if (signal == (SIGTRAP | 0x80)) at_call(p), signal = 0;
    else if (event) signal = 0;
    int done = (hit && !pending) || p->is_program;
    // Of a process that was killed meanwhile, the end has to be waited for here, or its parent does not hear of it.
    if (trace(done ? PTRACE_DETACH : PTRACE_SYSCALL, p->pid, signal) == 0 && done) p->traced = 0;
}

// Looks for news of one process. The end of `extra` is left for others to see, until the command has ended.
static int news(struct process *p) {
    siginfo_t si = {0};
    int options = __WALL | WNOHANG | (p->traced ? WSTOPPED : 0) | (p->is_extra && !all[0].ended ? 0 : WEXITED);
    if (p->ended || (!p->traced && p != all)) return 0;
    if (!(options & (WSTOPPED | WEXITED)) || waitid(P_PID, p->pid, &si, options) || si.si_pid == 0) return 0;
    if (si.si_code == CLD_TRAPPED || si.si_code == CLD_STOPPED) {
        stopped(p, si.si_status);
    } else {
        p->ended = 1;
        p->traced = 0;
        p->status = si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
        if (pending == p) pending = 0;
    }
    return 1;
}

// Lets go of what is still traced, such as a process that waits.
static void let_go(void) {
    for (int i = 0; i < known; i++) if (all[i].traced) trace(PTRACE_INTERRUPT, all[i].pid, 0);
    for (long end = now() + 1000; now() < end;) {
        int traced = 0;
        for (int i = 0; i < known; i++) { news(&all[i]); traced |= all[i].traced; }
        if (!traced) return;
        usleep(200);
    }
}

// What a process that hangs is at, on stderr.
static void show(struct process *p) {
    static const char *files[] = {"stat", "syscall", "wchan", "stack"};
    char path[64], text[1024];
    fprintf(stderr, "hung: %d traced %d ended %d, hit %d pending %d\n", p->pid, p->traced, p->ended, hit, pending == p);
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", p->pid, files[i]);
        int fd = open(path, O_RDONLY);
        ssize_t size = read(fd, text, sizeof text);
        close(fd);
        if (size > 0) fprintf(stderr, "  %s: %.*s\n", files[i], (int)size, text);
    }
}

static void run(char **a) {
    int gate[2], hung = 0;
    char c;
    process = atoi(a[0]), call = atoi(a[1]), n = atoi(a[2]), error = atoi(a[3]);
    pid_t extra = atoi(a[4]);
    long end = now() + 1000 * atol(a[5]);
    known = counting = hit = 0;
    pending = 0;
    pipe2(gate, O_CLOEXEC);
    pid_t pid = fork();
    if (!pid) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, 0);
        close(gate[1]);
        read(gate[0], &c, 1);
        close(0), close(1), close(2);
        open("/dev/null", O_RDONLY);
        open(a[6], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
        open(a[7], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
        execv(a[8], a + 8);
        _exit(126);
    }
    close(gate[0]);
    add(pid);
    if (process != -1) {
        seize(&all[0]);
        if (extra) { struct process *p = add(extra); p->is_extra = 1; seize(p); }
    }
    close(gate[1]);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    while (!all[0].ended) {
        int any = 0;
        for (int i = 0; i < known; i++) any |= news(&all[i]);
        if (any) continue;
        // An orphan that has ended holds up its pid namespace until it is waited for.
        siginfo_t si = {0};
        // The call also returns tracees that stop, whatever its options are.
        if (!waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT | __WALL) && si.si_pid && si.si_code != CLD_TRAPPED) {
            int ours = 0;
            for (int i = 0; i < known; i++) ours |= all[i].pid == si.si_pid;
            if (!ours) { waitpid(si.si_pid, 0, WNOHANG | __WALL); continue; }
        }
        long left = end - now();
        struct timespec t = {left / 1000, left % 1000 * 1000000};
        if (left > 0 && (sigtimedwait(&child, 0, &t) > 0 || errno == EINTR)) continue;
        if (left > 0) continue;
        if (hung) break;
        hung = 1;
        for (int i = 0; i < known; i++) show(&all[i]);
        end = now() + 2000;
        for (int i = 0; i < known; i++) kill(all[i].pid, SIGKILL);
    }
    int was = hit;
    hit = 1; // lets go of every process at its next stop
    pending = 0;
    let_go();
    printf("%d %d", hung ? -1 : all[0].status, was);
    for (int i = 0; i < known && process == -2; i++)
        for (int c = 0; c < CALLS; c++)
            if (all[i].count[c]) printf(" %d:%d:%d", i, c, all[i].count[c]);
    printf("\n");
}

static void left(char **a) {
    char path[64], text[4096];
    long end = now() + 1000 * atol(a[0]);
    while (waitpid(-1, 0, WNOHANG | __WALL) >= 0) {
        if (now() >= end) break;
        usleep(300);
    }
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", getpid(), getpid());
    int fd = open(path, O_RDONLY);
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    printf("%.*s\n", (int)(size > 0 ? size : 0), text);
}

// Ends everything that is left.
static void end_all(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", getpid(), getpid());
    for (int i = 0; i < 2000; i++) {
        FILE *list = fopen(path, "r");
        for (int pid; list && fscanf(list, "%d", &pid) == 1;) kill(pid, SIGKILL);
        if (list) fclose(list);
        if (waitpid(-1, 0, WNOHANG | __WALL) < 0) return;
        usleep(1000);
    }
}

int main(void) {
    static char line[65536];
    char *words[WORDS + 1];
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    while (fgets(line, sizeof line, stdin)) {
        int count = 0;
        for (char *w = strtok(line, "\t\n"); w && count < WORDS; w = strtok(0, "\t\n")) words[count++] = w;
        words[count] = 0;
        if (!strcmp(words[0], "left")) left(words + 1);
        else run(words + 1);
        fflush(stdout);
    }
    end_all();
    return 0;
}
