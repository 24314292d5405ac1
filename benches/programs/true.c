// The payload of every timed container: exits at once, so that the figure is the runtime's.
// It has no libc, whose start-up would add the same constant to every figure.
#include "bare.h"

void bare_main(long *stack) {
  (void)stack;
  leave(0);
}
