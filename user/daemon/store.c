/* SPDX-License-Identifier: MIT */
/* The state directory: opened, locked, and its files written and read whole; see store.h. */
#include "daemon/store.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "daemon/store_file.h"

static const char *const place_names[STORE_PLACES] = {
	[STORE_SANDBOXES] = "sandboxes",
	[STORE_POLICIES] = "policies",
	[STORE_CHANGES] = "changes",
};

char *store_path(const struct store *store, enum store_place place, const char *name)
{
	char *path = NULL;

	return asprintf(&path, "%s/%s/%s", store->dir, place_names[place], name) < 0 ? NULL : path;
}

int store_fail(const struct store *store, enum store_place place, const char *name, int code,
	       struct error *err)
{
	return error_set(err, code, "%s/%s/%s: %s", store->dir, place_names[place], name,
			 strerror(-code));
}

bool store_is_id(const char *text)
{
	size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-");

	return size >= 1 && size <= API_ID_MAX && !text[size];
}

bool store_parse_number(const char *text, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (!text[0] || (text[0] == '0' && text[1]))
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, *text - '0', &number))
			return false;
	}
	*ret_number = number;
	return true;
}

#define HEAD	  "{\"version\":1,\"sum\":\""
#define HEAD_SIZE (sizeof(HEAD) - 1)
#define SUM_SIZE  16u
#define BODY	  (HEAD_SIZE + SUM_SIZE + 2) /* behind the sum's quote and comma */

/*
 * FNV-1a, eight bytes a step: each step is a bijection, so one changed byte always changes the sum. It guards against
 * accidents, nothing else.
 */
static uint64_t sum_of(const char *text, size_t size)
{
	uint64_t sum = 0xcbf29ce484222325u ^ size, word;

	for (; size; text += sizeof(word)) {
		size_t n = size < sizeof(word) ? size : sizeof(word);

		word = 0;
		memcpy(&word, text, n);
		sum = (sum ^ le64toh(word)) * 0x100000001b3u;
		size -= n;
	}
	return sum;
}

static void print_sum(const char *text, size_t size, char sum[SUM_SIZE + 1])
{
	snprintf(sum, SUM_SIZE + 1, "%016" PRIx64, sum_of(text, size));
}

void store_begin(struct buf *text)
{
	buf_puts(text, HEAD "0000000000000000\",");
}

int store_seal(struct buf *text)
{
	char sum[SUM_SIZE + 1];

	if (buf_status(text) < 0)
		return buf_status(text);
	if (text->size > STORE_MAX_BYTES)
		return -EFBIG;
	print_sum(text->data + BODY, text->size - BODY, sum);
	memcpy(text->data + HEAD_SIZE, sum, SUM_SIZE);
	return 0;
}

const char *store_behind_head(const struct store_text *text, size_t *ret_size)
{
	if (text->size <= BODY || memcmp(text->text, HEAD, HEAD_SIZE) != 0)
		return NULL;
	*ret_size = text->size - BODY;
	return text->text + BODY;
}

void store_sum_so_far(const char *text, size_t size, char ret_sum[STORE_SUM_SIZE + 1])
{
	print_sum(text + BODY, size - BODY, ret_sum);
}

const char *store_sum(const struct buf *text)
{
	return text->data + HEAD_SIZE;
}

static int check_seal(const char *text, size_t size, struct error *err)
{
	char sum[SUM_SIZE + 1];

	if (size <= BODY)
		return error_set(err, -EBADMSG, "cut off after %zu bytes", size);
	if (memcmp(text, HEAD, HEAD_SIZE) != 0 || memcmp(text + BODY - 2, "\",", 2) != 0)
		return error_set(err, -EBADMSG,
				 "not in the format that this build reads (version 1)");
	print_sum(text + BODY, size - BODY, sum);
	if (memcmp(text + HEAD_SIZE, sum, SUM_SIZE) != 0)
		return error_set(err, -EBADMSG, "its sum is wrong: cut off or changed");
	return 0;
}

void store_text_done(struct store_text *text)
{
	if (text->text)
		explicit_bzero(text->text, text->size);
	free(text->text);
	memset(text, 0, sizeof(*text));
}

void store_buf_done(struct buf *text)
{
	if (text->data)
		explicit_bzero(text->data, text->size);
	buf_done(text);
}

static int read_whole(int fd, struct store_text *text)
{
	size_t used = 0;

	while (used < text->size) {
		ssize_t n = read(fd, text->text + used, text->size - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	text->size = used;
	text->text[used] = '\0';
	return 0;
}

static int load(const struct store *store, enum store_place place, const char *name,
		struct store_text *text)
{
	cleanup_close int fd = -1;
	struct stat st;

	fd = openat(store->fd[place], name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -ENOTSUP;
	if (st.st_size > STORE_MAX_BYTES)
		return -EFBIG;
	text->size = (size_t)st.st_size;
	text->changed_ms =
		(uint64_t)st.st_mtim.tv_sec * 1000 + (uint64_t)st.st_mtim.tv_nsec / 1000000;
	text->text = malloc(text->size + 1);
	return text->text ? read_whole(fd, text) : -ENOMEM;
}

int store_load(const struct store *store, enum store_place place, const char *name,
	       struct store_text *ret_text, struct error *err)
{
	cleanup(store_text_done) struct store_text text = {0};
	int r = load(store, place, name, &text);

	if (r < 0)
		return store_fail(store, place, name, r, err);
	r = check_seal(text.text, text.size, err);
	if (r < 0)
		return error_prepend(err, r, "%s/%s/%s: ", store->dir, place_names[place], name);
	*ret_text = text;
	text = (struct store_text){0};
	return 0;
}

int store_load_raw(const struct store *store, enum store_place place, const char *name,
		   struct store_text *ret_text)
{
	cleanup(store_text_done) struct store_text text = {0};
	int r = load(store, place, name, &text);

	if (r < 0)
		return r;
	*ret_text = text;
	text = (struct store_text){0};
	return 0;
}

static int create(int dir, const char *name)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dir, name, flags, 0600);

	/* Left over by a daemon that died. */
	if (fd < 0 && errno == EEXIST && unlinkat(dir, name, 0) == 0)
		fd = openat(dir, name, flags, 0600);
	return fd < 0 ? -errno : fd;
}

int store_write(const struct store *store, enum store_place place, const char *name,
		const struct buf *text, struct error *err)
{
	int fd = create(store->fd[place], name), r;

	if (fd < 0)
		return store_fail(store, place, name, fd, err);
	r = io_write_all(fd, text->data, text->size);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0)
		return 0;
	unlinkat(store->fd[place], name, 0);
	return store_fail(store, place, name, r, err);
}

int store_rename(const struct store *store, enum store_place place, const char *from,
		 const char *to, struct error *err)
{
	int fd = store->fd[place];

	if (renameat(fd, from, fd, to) < 0)
		return store_fail(store, place, from, -errno, err);
	if (fsync(fd) < 0)
		return store_fail(store, place, "", -errno, err);
	return 0;
}

/* Is it ours, and nobody else's to enter? What lies in it has secrets, and decides what is allowed. */
static int check_private(int fd, const char *path, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (st.st_uid != geteuid())
		return error_set(err, -EPERM, "%s: belongs to user %u, not to the daemon's", path,
				 st.st_uid);
	if (st.st_mode & 077)
		return error_set(err, -EPERM, "%s: others can enter it (chmod 0700 %s)", path,
				 path);
	return 0;
}

/* The operator's directory may be a link; nothing below it is followed. */
static int open_dir(struct store *store, struct error *err)
{
	const char *dir = store->dir;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return error_set(err, -errno, "%s: %s", dir, strerror(errno));
	store->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->dir_fd < 0)
		return error_set(err, -errno, "%s: %s", dir, strerror(errno));
	return check_private(store->dir_fd, dir, err);
}

static int lock_dir(struct store *store, struct error *err)
{
	store->lock_fd = openat(store->dir_fd, "lock",
				O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
	if (store->lock_fd < 0)
		return error_set(err, -errno, "%s/lock: %s", store->dir, strerror(errno));
	if (flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return error_set(err, -EBUSY, "%s: another posternd uses it", store->dir);
	return error_set(err, -errno, "%s/lock: %s", store->dir, strerror(errno));
}

static int open_place(struct store *store, enum store_place place, struct error *err)
{
	const char *name = place_names[place];
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", store->dir, name);
	if (mkdirat(store->dir_fd, name, 0700) < 0 && errno != EEXIST)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	fd = openat(store->dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	store->fd[place] = fd;
	return check_private(fd, path, err);
}

static int open_all(struct store *store, struct error *err)
{
	int r = open_dir(store, err);

	if (r == 0)
		r = lock_dir(store, err);
	for (unsigned place = 0; r == 0 && place < STORE_PLACES; place++)
		r = open_place(store, place, err);
	if (r == 0 && fsync(store->dir_fd) < 0)
		r = error_set(err, -errno, "%s: %s", store->dir, strerror(errno));
	return r;
}

int store_open(const char *dir, struct store **ret_store, struct error *err)
{
	struct store *store = calloc(1, sizeof(*store));
	int r = -ENOMEM;

	if (store) {
		store->dir_fd = store->lock_fd = -1;
		for (unsigned place = 0; place < STORE_PLACES; place++)
			store->fd[place] = -1;
		store->dir = strdup(dir);
	}
	if (store && store->dir)
		r = open_all(store, err);
	else
		error_set(err, r, "%s: %s", dir, strerror(-r));
	if (r < 0) {
		store_close(store);
		return r;
	}
	*ret_store = store;
	return 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	for (unsigned place = 0; place < STORE_PLACES; place++) {
		if (store->fd[place] >= 0)
			close(store->fd[place]);
	}
	if (store->dir_fd >= 0)
		close(store->dir_fd);
	if (store->lock_fd >= 0)
		close(store->lock_fd); /* and so unlocked */
	free(store->changes);
	free(store->dir);
	free(store);
}
