/* SPDX-License-Identifier: MIT */
/* Whole files and whole writes, retried over EINTR, bounded. */
#ifndef BASE_IO_H
#define BASE_IO_H

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/* Reads all of path ("-": standard input), at most `max` bytes, into a NUL-terminated block that the caller
 * frees. -EFBIG beyond max; other failures as -errno. err names the path. */
int io_read_file(const char *path, size_t max, char **ret_text, size_t *ret_size,
		 struct error *err);
/* Writes all of it; 0 or -errno. */
int io_write_all(int fd, const void *bytes, size_t size);
/* Creates or replaces path with mode 0600, by way of a temporary file and rename. */
int io_replace_file(const char *path, const void *bytes, size_t size, struct error *err);

#endif
