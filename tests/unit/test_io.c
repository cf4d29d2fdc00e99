/* SPDX-License-Identifier: MIT */
/* Whole files and whole writes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

/* A directory of this process; the path of a file in it. */
static char directory[64];

static int make_directory(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/pst-io-XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	(void)state;
	return rmdir(directory);
}

static const char *in_directory(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void reads_back_what_it_wrote(void **state)
{
	const char *path = in_directory("file");
	char *big = malloc(100000), *text;
	struct error err;
	struct stat st;
	size_t size;

	(void)state;
	assert_non_null(big);
	memset(big, 'x', 100000);
	assert_int_equal(io_replace_file(path, "old", 3, &err), 0);
	assert_int_equal(io_replace_file(path, big, 100000, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(io_read_file(path, 100000, &text, &size, &err), 0);
	assert_int_equal(size, 100000);
	assert_memory_equal(text, big, size);
	assert_int_equal(text[size], 0);
	free(text);
	free(big);
	assert_int_equal(unlink(path), 0);
}

static void refuses_a_file_beyond_the_limit(void **state)
{
	const char *path = in_directory("file");
	char *text = NULL, expected[256];
	struct error err;
	size_t size;

	(void)state;
	assert_int_equal(io_replace_file(path, "12345", 5, &err), 0);
	assert_int_equal(io_read_file(path, 4, &text, &size, &err), -EFBIG);
	assert_null(text);
	snprintf(expected, sizeof(expected), "%s: larger than 4 bytes", path);
	assert_string_equal(err.text, expected);
	assert_int_equal(io_read_file(path, 5, &text, &size, &err), 0);
	assert_string_equal(text, "12345");
	free(text);
	assert_int_equal(unlink(path), 0);
}

static void reads_an_empty_file_as_an_empty_text(void **state)
{
	char *text;
	size_t size;

	(void)state;
	assert_int_equal(io_read_file("/dev/null", 10, &text, &size, NULL), 0);
	assert_int_equal(size, 0);
	assert_string_equal(text, "");
	free(text);
}

static void names_the_file_that_fails(void **state)
{
	struct error err;
	char *text;
	size_t size;

	(void)state;
	assert_int_equal(io_read_file("/nonexistent/file", 10, &text, &size, &err), -ENOENT);
	assert_string_equal(err.text, "/nonexistent/file: No such file or directory");
	assert_int_equal(io_read_file("/", 10, &text, &size, &err), -EISDIR);
	assert_string_equal(err.text, "/: Is a directory");
	assert_int_equal(io_replace_file("/nonexistent/file", "", 0, &err), -ENOENT);
	assert_memory_equal(err.text, "/nonexistent/file", 17);
}

static void leaves_no_temporary_file_behind(void **state)
{
	const char *path = in_directory("sub");
	struct error err;

	(void)state;
	/* A directory that is not empty cannot be replaced by a file. */
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(mkdir(in_directory("sub/x"), 0700), 0);
	path = in_directory("sub");
	assert_true(io_replace_file(path, "x", 1, &err) < 0);
	assert_int_equal(rmdir(in_directory("sub/x")), 0);
	assert_int_equal(rmdir(in_directory("sub")),
			 0); /* remove_directory() fails if more is left */
}

static void reports_a_write_that_fails(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(io_write_all(-1, "x", 1), -EBADF);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(io_write_all(fds[1], "abc", 3), 0);
	close(fds[1]);
	char text[4] = "";
	assert_int_equal(read(fds[0], text, 3), 3);
	assert_string_equal(text, "abc");
	close(fds[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_back_what_it_wrote),
		cmocka_unit_test(refuses_a_file_beyond_the_limit),
		cmocka_unit_test(reads_an_empty_file_as_an_empty_text),
		cmocka_unit_test(names_the_file_that_fails),
		cmocka_unit_test(leaves_no_temporary_file_behind),
		cmocka_unit_test(reports_a_write_that_fails),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
