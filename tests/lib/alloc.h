/* SPDX-License-Identifier: MIT */
/*
 * Lets the n-th allocation fail. Linked into every unit test; harmless until asked. Not in sanitizer builds, which
 * have an allocator of their own: tests that use it are named test_*_oom.c and built without.
 */
#ifndef TESTS_LIB_ALLOC_H
#define TESTS_LIB_ALLOC_H

#include <stdbool.h>

/* Counting from now, allocation number n (the first is 1) returns NULL, once. 0: none fails any more. */
void alloc_fail_at(unsigned long n);
/* Whether that allocation has come. */
bool alloc_has_failed(void);
/* Blocks that are allocated now: equal before and after means that nothing leaked. */
long alloc_live(void);

#endif
