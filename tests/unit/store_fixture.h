/* SPDX-License-Identifier: MIT */
/* What the tests of the store share: a state directory for each test, and what a read of it gave. */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "daemon/store.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define HASH	     "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SECRET	     "Bearer \"s3cret\" \\ \xc3\xa9\n"

static char root[64], dir[96];
static struct store *store;
static struct error err;

static inline int open_store(void **state)
{
	(void)state;
	strcpy(root, access("/dev/shm", W_OK) == 0 ? "/dev/shm/pst-store-XXXXXX"
						   : "/tmp/pst-store-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	snprintf(dir, sizeof(dir), "%s/state", root);
	return store_open(dir, &store, &err);
}

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	return remove(path);
}

static inline int close_store(void **state)
{
	(void)state;
	store_close(store);
	store = NULL;
	return nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* As a daemon that died and came again. */
static inline void reopen(void)
{
	store_close(store);
	store = NULL;
	assert_int_equal(store_open(dir, &store, &err), 0);
}

static inline const char *in_dir(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static inline bool exists(const char *name)
{
	return faccessat(AT_FDCWD, in_dir(name), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline size_t count_files(const char *name)
{
	DIR *stream = opendir(in_dir(name));
	const struct dirent *entry;
	size_t count = 0;

	assert_non_null(stream);
	while ((entry = readdir(stream)))
		count += entry->d_name[0] != '.';
	closedir(stream);
	return count;
}

/* Nothing is owned: literals. */
static inline struct stored sample(const char *id, uint64_t generation, const char *document)
{
	struct stored stored = {
		.owner = "team-1",
		.dialect = API_BRIMBLE,
		.document_dialect = API_E2B,
		.kernel_id = UINT64_MAX - 1,
		.generation = generation,
		.owned = true,
		.from_dir = true,
		.cgroup = (char *)(uintptr_t) "/postern/x",
		.cgroup_id = 1ull << 63,
		.document = (char *)(uintptr_t)document,
		.extra = (char *)(uintptr_t) "{\"templateID\":\"base\"}",
		.policy_hash = HASH,
		.created_ms = 1,
		.changed_ms = 2,
		.ends_ms = UINT64_MAX,
		.allow_weak = true,
	};

	snprintf(stored.id, sizeof(stored.id), "%s", id);
	return stored;
}

static inline void put(const char *id, uint64_t generation, const char *document)
{
	struct stored stored = sample(id, generation, document);

	if (store_prepare(store, &stored, &err) < 0 || store_commit(store, &stored, &err) < 0)
		fail_msg("%s", err.text);
}

static inline void prepare(const char *id, uint64_t generation, const char *document)
{
	struct stored stored = sample(id, generation, document);

	if (store_prepare(store, &stored, &err) < 0)
		fail_msg("%s", err.text);
}

static inline struct store_many many_of(uint64_t generation, const char *document,
					const char *const *ids, size_t n)
{
	return (struct store_many){
		.generation = generation,
		.policy = {.hash = HASH, .dialect = API_NATIVE, .document = document},
		.ids = ids,
		.n_ids = n};
}

static inline void put_many(uint64_t generation, const char *document, const char *const *ids,
			    size_t n)
{
	const struct store_many many = many_of(generation, document, ids, n);

	if (store_prepare_many(store, &many, &err) < 0)
		fail_msg("%s", err.text);
}

/* What a read gave. */
static struct {
	uint64_t in_force;
	int cannot_tell; /* -errno of in_force() */
	struct stored found[4];
	size_t n_found, n_damaged;
	char damaged[API_ID_MAX + 1];
	char owner[API_OWNER_MAX + 1]; /* of the last one that was damaged */
	bool from_dir;
	struct error why;
	bool count_only;
} got;

static inline int in_force(void *context, const char *id, uint64_t *ret_generation)
{
	(void)context;
	(void)id;
	*ret_generation = got.in_force;
	return got.cannot_tell;
}

static inline int found(void *context, struct stored *stored)
{
	(void)context;
	if (!got.count_only && got.n_found < COUNT(got.found)) {
		got.found[got.n_found] = *stored;
		memset(stored, 0, sizeof(*stored));
	}
	got.n_found++;
	return 0;
}

static inline int damaged(void *context, const struct stored *known, const struct error *why)
{
	(void)context;
	got.n_damaged++;
	strcpy(got.damaged, known->id);
	strcpy(got.owner, known->owner);
	got.from_dir = known->from_dir;
	got.why = *why;
	return 0;
}

static inline void forget(void)
{
	for (size_t i = 0; i < COUNT(got.found); i++)
		stored_done(&got.found[i]);
	memset(&got, 0, sizeof(got));
}

static const struct store_reader reader = {
	.in_force = in_force, .found = found, .damaged = damaged};

static inline void read_back(uint64_t generation_in_force)
{
	forget();
	got.in_force = generation_in_force;
	if (store_read(store, &reader, &err) < 0)
		fail_msg("%s", err.text);
}

static inline void assert_found(uint64_t generation, const char *document)
{
	assert_int_equal(got.n_damaged, 0);
	assert_int_equal(got.n_found, 1);
	assert_int_equal(got.found[0].generation, generation);
	assert_string_equal(got.found[0].document, document);
}

static inline int forget_and_close(void **state)
{
	forget();
	return close_store(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_store, forget_and_close)

#endif
