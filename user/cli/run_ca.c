/* SPDX-License-Identifier: MIT */
/*
 * A file in a directory that is root's: what is trusted is nobody's to write. One that a killed run left is removed by
 * the next one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "cli/run_ca.h"

#define RUN_DIR "/run/postern-run"

/* Files are called by the process that made them. */
static void sweep(void)
{
	DIR *dir = opendir(RUN_DIR);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char *end = NULL;
		long pid = strtol(entry->d_name, &end, 10);

		if (pid > 0 && strcmp(end, ".pem") == 0 && kill((pid_t)pid, 0) && errno == ESRCH)
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir)
		(void)closedir(dir);
}

static int copy(int from, int to)
{
	char bytes[16384];
	off_t at = 0;
	ssize_t n;

	while ((n = pread(from, bytes, sizeof(bytes), at)) > 0) {
		int r = io_write_all(to, bytes, (size_t)n);

		if (r < 0)
			return r;
		at += n;
	}
	return n < 0 ? -errno : 0;
}

static int fill(const char *path, const char *ca, int trust_fd)
{
	cleanup_close int fd = -1;
	int r;

	(void)unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	r = fchmod(fd, 0644) < 0 ? -errno : io_write_all(fd, ca, strlen(ca));
	return r || trust_fd < 0 ? r : copy(trust_fd, fd);
}

/* Ours alone to write, whoever made it before. */
static int make_dir(void)
{
	struct stat is;

	if (mkdir(RUN_DIR, 0755) && errno != EEXIST)
		return -errno;
	if (lstat(RUN_DIR, &is) < 0)
		return -errno;
	return S_ISDIR(is.st_mode) && !is.st_uid && !(is.st_mode & 022) ? 0 : -EPERM;
}

int run_ca_write(const char *ca, int trust_fd, char **ret_path, struct error *err)
{
	cleanup_free char *path = NULL;
	int r = ca ? make_dir() : -ENOENT;

	if (!r && asprintf(&path, RUN_DIR "/%d.pem", (int)getpid()) < 0) {
		path = NULL;
		r = -ENOMEM;
	}
	if (!r) {
		sweep();
		r = fill(path, ca, trust_fd);
	}
	if (r < 0)
		return error_set(err, r, "cannot write what CMD is to trust: %s", strerror(-r));
	*ret_path = TAKE_PTR(path);
	return 0;
}

void run_ca_remove(char *path)
{
	if (!path)
		return;
	(void)unlink(path);
	(void)rmdir(RUN_DIR);
	free(path);
}

int run_ca_environment(const char *path)
{
	static const char *const names[] = {"NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE",
					    "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
					    "GIT_SSL_CAINFO"};

	for (size_t i = 0; path && i < sizeof(names) / sizeof(names[0]); i++) {
		if (setenv(names[i], path, 1) < 0)
			return -errno;
	}
	return 0;
}
