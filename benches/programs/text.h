// Text handling shared by the programs without a libc: numbers and copies.
// Every function returns the end of its output.
#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>

static inline size_t length(const char *s) {
  size_t n = 0;
  while (s[n])
    n++;
  return n;
}

static inline char *put(char *to, const char *from) {
  while (*from)
    *to++ = *from++;
  return to;
}

static inline char *put_number(char *to, unsigned long n) {
  char digits[20];
  int i = sizeof digits;
  do {
    digits[--i] = '0' + n % 10;
    n /= 10;
  } while (n);
  while (i < (int)sizeof digits)
    *to++ = digits[i++];
  return to;
}

#endif
