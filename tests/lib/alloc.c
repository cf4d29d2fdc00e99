/* SPDX-License-Identifier: MIT */
/* malloc(), calloc(), realloc() and free() of the C library, with a countdown and a count of blocks. */
#include <errno.h>
#include <stddef.h>

#include "tests/lib/alloc.h"

#ifdef __SANITIZE_ADDRESS__
#define OWN_ALLOCATOR 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OWN_ALLOCATOR 0
#endif
#endif

#ifndef OWN_ALLOCATOR
#define OWN_ALLOCATOR 1
#endif

static unsigned long left; /* allocations until the one that fails; 0: off */
static bool failed;
static long live; /* tests that use it have one thread */

void alloc_fail_at(unsigned long n)
{
	left = n;
	failed = false;
}

bool alloc_has_failed(void)
{
	return failed;
}

long alloc_live(void)
{
	return live;
}

#if OWN_ALLOCATOR

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *block);

/* Declared here, as <stdlib.h> would bring macros and attributes of its own. */
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *old, size_t size);
void free(void *block);

static bool must_fail(void)
{
	if (!left || --left)
		return false;
	failed = true;
	errno = ENOMEM;
	return true;
}

static void *counted(void *block)
{
	live += block != NULL;
	return block;
}

void *malloc(size_t size)
{
	return must_fail() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
	return must_fail() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *old, size_t size)
{
	void *block;

	if (must_fail())
		return NULL;
	block = __libc_realloc(old, size);
	live += !old && block;
	return block;
}

void free(void *block)
{
	live -= block != NULL;
	__libc_free(block);
}

#endif
