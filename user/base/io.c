/* SPDX-License-Identifier: MIT */
/* Whole files and whole writes; see io.h. */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Reads until the end of the file; one byte beyond max is asked for, so that "too big" is known. */
static int read_all(int fd, size_t max, char **ret_text, size_t *ret_size)
{
	cleanup_free char *text = NULL;
	size_t size = 0, room = 0;
	ssize_t n;

	for (;;) {
		if (size + 1 >= room) {
			char *more;

			room = room ? room * 2 : 4096;
			more = realloc(text, room);
			if (!more)
				return -ENOMEM;
			text = more;
		}
		n = read(fd, text + size, room - size - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		size += (size_t)n;
		if (size > max)
			return -EFBIG;
	}
	text[size] = '\0';
	*ret_text = TAKE_PTR(text);
	*ret_size = size;
	return 0;
}

int io_read_file(const char *path, size_t max, char **ret_text, size_t *ret_size, struct error *err)
{
	cleanup_close int opened = -1;
	int fd = STDIN_FILENO, r;

	if (strcmp(path, "-") != 0) {
		opened = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
		if (opened < 0)
			return error_set(err, -errno, "%s: %s", path, strerror(errno));
		fd = opened;
	}
	r = read_all(fd, max, ret_text, ret_size);
	if (r == -EFBIG)
		return error_set(err, r, "%s: larger than %zu bytes", path, max);
	if (r < 0)
		return error_set(err, r, "%s: %s", path, strerror(-r));
	return 0;
}

int io_write_all(int fd, const void *bytes, size_t size)
{
	const char *p = bytes;

	while (size > 0) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

static int write_and_close(int fd, const void *bytes, size_t size)
{
	int r = io_write_all(fd, bytes, size);

	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

int io_replace_file(const char *path, const void *bytes, size_t size, struct error *err)
{
	cleanup_free char *temporary = NULL;
	int fd, r;

	if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
		temporary = NULL;
		return error_set(err, -ENOMEM, "%s: %s", path, strerror(ENOMEM));
	}
	fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
	if (fd < 0)
		return error_set(err, -errno, "%s: %s", temporary, strerror(errno));
	r = write_and_close(fd, bytes, size);
	if (r == 0 && rename(temporary, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(temporary);
		return error_set(err, r, "%s: %s", path, strerror(-r));
	}
	return 0;
}
