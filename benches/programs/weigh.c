// weigh PROGRAM [ARGUMENT...]: runs one program and writes "PEAK_KIB STATUS\n": the largest VmHWM of it and its descendants.
// It reads VmHWM by ptrace just before each process exits, because ru_maxrss lags behind by up to 32 pages per CPU.
#include "bare.h"
#include "text.h"
#include <linux/fcntl.h>
#include <linux/ptrace.h>
#include <linux/sched.h>

#define SIGTRAP 5
#define SIGSTOP 19
#define WALL 0x40000000 /* __WALL: wait for threads too */
#define FOLLOW (PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT)

static unsigned long peak_of(long pid) {
  static char text[8192];
  char *end = put_number(put(text, "/proc/"), pid);
  *put(end, "/status") = 0;
  int fd = sys(__NR_openat, AT_FDCWD, text, O_CLOEXEC);
  if (fd < 0)
    return 0;
  long n = sys(__NR_read, fd, text, sizeof text - 1);
  sys(__NR_close, fd);
  text[n < 0 ? 0 : n] = 0;
  for (const char *p = text; *p; p++) {
    if (p[0] != 'V' || p[1] != 'm' || p[2] != 'H' || p[3] != 'W' || p[4] != 'M')
      continue;
    unsigned long kib = 0;
    for (p += 6; *p && *p != '\n'; p++)
      if (*p >= '0' && *p <= '9')
        kib = kib * 10 + (*p - '0');
    return kib;
  }
  return 0;
}

void bare_main(long *stack) {
  char **argv = (char **)(stack + 1);
  char **envp = argv + stack[0] + 1;
  if (stack[0] < 2)
    leave(2);
  int report = sys(__NR_fcntl, 1, F_DUPFD_CLOEXEC, 10);
  int null = sys(__NR_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
  if (report < 0 || null < 0 || sys(__NR_dup3, null, 0, 0) < 0 || sys(__NR_dup3, null, 1, 0) < 0)
    leave(2);

  static struct clone_args clone = {.exit_signal = 17 /* SIGCHLD */};
  long program = sys(__NR_clone3, &clone, sizeof clone);
  if (program == 0) {
    sys(__NR_ptrace, PTRACE_TRACEME);
    sys(__NR_execve, argv[1], argv + 1, envp);
    leave(127);
  }

  unsigned long peak = 0;
  int followed = 0, code = 2;
  for (;;) {
    int status = 0;
    long pid = sys(__NR_wait4, -1, &status, WALL, 0);
    if (pid == -4 /* EINTR */)
      continue;
    if (pid < 0)
      break;
    if ((status & 0xff) != 0x7f) { // the process has exited
      if (pid != program)
        continue;
      code = status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff;
      break; // our exit detaches from the processes it left running
    }
    if (!followed)
      followed = sys(__NR_ptrace, PTRACE_SETOPTIONS, pid, 0, FOLLOW) == 0;
    int event = status >> 16, signal = status >> 8 & 0xff;
    if (event == PTRACE_EVENT_EXIT) {
      unsigned long kib = peak_of(pid);
      if (kib > peak)
        peak = kib;
    }
    // SIGTRAP and SIGSTOP come from the tracing; no program here sends them.
    int pass = event || signal == SIGTRAP || signal == SIGSTOP ? 0 : signal;
    sys(__NR_ptrace, PTRACE_CONT, pid, 0, pass);
  }

  char line[48];
  char *end = put_number(line, peak);
  *end++ = ' ';
  end = put_number(end, code);
  *end++ = '\n';
  leave(sys(__NR_write, report, line, end - line) == end - line ? 0 : 2);
}
