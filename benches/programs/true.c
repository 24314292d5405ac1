// The payload of every container here: leaves at once, so that what is timed is the runtime.
// It has no libc, because a libc's start-up would be the same constant in every figure.
#include "bare.h"

void bare_main(long *stack) {
  (void)stack;
  leave(0);
}
