/* SPDX-License-Identifier: MIT */
/* Reading directories by descriptor; this room's own business. */
#ifndef KERN_DIR_H
#define KERN_DIR_H

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#define cleanup_dir cleanup(dir_closep)

static inline void dir_closep(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* The directory `path` below fd (".": itself), from its beginning, never through a link; NULL with errno. */
static inline DIR *dir_open(int fd, const char *path)
{
	int copy = openat(fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);

	if (!dir && copy >= 0)
		close(copy);
	return dir;
}

#endif
