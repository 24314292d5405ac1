// The payload of the containers that `state` and `exec` look at: sleeps until it is killed.
// As the first process of its pid namespace it is deaf to every other signal.
#include "bare.h"

void bare_main(long *stack) {
  (void)stack;
  for (;;)
    sys(__NR_ppoll, 0, 0, 0, 0, 0);
}
