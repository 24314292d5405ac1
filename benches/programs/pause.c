// The payload of the containers for `state` and `exec`: sleeps until it is killed.
// As the init of its pid namespace it ignores every other signal.
#include "bare.h"

void bare_main(long *stack) {
  (void)stack;
  for (;;)
    sys(__NR_ppoll, 0, 0, 0, 0, 0);
}
