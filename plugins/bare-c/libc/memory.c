// Memory without a C library: blocks lie one behind the other, and all of them are given back once the
// last one is freed, which is so after each call. A C library for WebAssembly brings imports that no
// plugin gets.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 65536u
#define ALIGN 16u

extern unsigned char __heap_base;

static size_t next;
static size_t held;

// Never null: without memory there is no way on.
void *malloc(size_t bytes) {
  if (held == 0) next = ((size_t)&__heap_base + ALIGN - 1) & ~(size_t)(ALIGN - 1);
  size_t at = next;
  if (bytes > SIZE_MAX - at - ALIGN) abort();
  size_t end = (at + bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
  size_t there = __builtin_wasm_memory_size(0) * PAGE;
  if (end > there) {
    size_t pages = (end - there + PAGE - 1) / PAGE;
    if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) abort();
  }
  next = end;
  held += 1;
  return (void *)at;
}

// Its old length is not known: no more than what lies behind it is copied.
void *realloc(void *old, size_t bytes) {
  size_t end = next;
  void *block = malloc(bytes);
  if (old) {
    size_t had = end - (size_t)old;
    memcpy(block, old, had < bytes ? had : bytes);
    held -= 1;
  }
  return block;
}

void free(void *block) {
  if (block) held -= 1;
}

_Noreturn void abort(void) { __builtin_trap(); }

void *memcpy(void *to, const void *from, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) ((unsigned char *)to)[i] = ((const unsigned char *)from)[i];
  return to;
}

void *memset(void *to, int byte, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) ((unsigned char *)to)[i] = (unsigned char)byte;
  return to;
}

int memcmp(const void *left, const void *right, size_t bytes) {
  const unsigned char *l = left, *r = right;
  for (size_t i = 0; i < bytes; i++)
    if (l[i] != r[i]) return l[i] < r[i] ? -1 : 1;
  return 0;
}

size_t strlen(const char *text) {
  size_t length = 0;
  while (text[length]) length++;
  return length;
}
