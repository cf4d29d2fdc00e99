/* SPDX-License-Identifier: MIT */
/* Changes of the store: always beside the old file first, then by rename. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/store_file.h"

#define cleanup_secret cleanup(store_buf_done)

static void print_tmp(const struct stored *stored, char name[STORE_NAME_MAX])
{
	snprintf(name, STORE_NAME_MAX, "%s.%" PRIu64 ".tmp", stored->id, stored->generation);
}

static void print_name(const char *id, char name[STORE_NAME_MAX])
{
	snprintf(name, STORE_NAME_MAX, "%s.json", id);
}

static int check_id(const struct store *store, const char *id, struct error *err)
{
	if (store_is_id(id))
		return 0;
	return error_set(err, -EINVAL, "%s: '%.80s' is no id", store->dir, id);
}

static const struct store_change *find_change(const struct store *store, uint64_t generation)
{
	for (size_t i = 0; i < store->n_changes; i++) {
		if (store->changes[i].generation == generation)
			return &store->changes[i];
	}
	return NULL;
}

/* Written under a name that is not in force. */
static int write_aside(const struct store *store, const struct stored *stored, const char *name,
		       struct error *err)
{
	cleanup_secret struct buf text = {0};
	struct stored shallow = *stored;
	int r = check_id(store, stored->id, err);

	if (r < 0)
		return r;
	/* Under another generation than its change's it has to have the document itself. */
	shallow.in_change = stored->in_change && find_change(store, stored->generation);
	r = store_put_stored(&text, &shallow);
	if (r < 0)
		return store_fail(store, STORE_SANDBOXES, name, r, err);
	return store_write(store, STORE_SANDBOXES, name, &text, err);
}

int store_prepare(struct store *store, const struct stored *stored, struct error *err)
{
	char tmp[STORE_NAME_MAX];

	print_tmp(stored, tmp);
	return write_aside(store, stored, tmp, err);
}

int store_commit(struct store *store, const struct stored *stored, struct error *err)
{
	char tmp[STORE_NAME_MAX], name[STORE_NAME_MAX];
	int r = check_id(store, stored->id, err);

	if (r < 0)
		return r;
	print_tmp(stored, tmp);
	print_name(stored->id, name);
	return store_rename(store, STORE_SANDBOXES, tmp, name, err);
}

void store_abort(struct store *store, const struct stored *stored)
{
	char tmp[STORE_NAME_MAX];

	print_tmp(stored, tmp);
	if (store_is_id(stored->id))
		unlinkat(store->fd[STORE_SANDBOXES], tmp, 0);
}

/* Not ID.GENERATION.tmp: what is half written under that name would look like the file in force. */
int store_replace(struct store *store, const struct stored *stored, struct error *err)
{
	char tmp[STORE_NAME_MAX], name[STORE_NAME_MAX];
	int r;

	snprintf(tmp, sizeof(tmp), "%s." STORE_REPLACING ".tmp", stored->id);
	print_name(stored->id, name);
	r = write_aside(store, stored, tmp, err);
	if (r < 0)
		return r;
	r = store_rename(store, STORE_SANDBOXES, tmp, name, err);
	if (r < 0)
		unlinkat(store->fd[STORE_SANDBOXES], tmp, 0);
	return r;
}

int store_remove(struct store *store, const char *id, struct error *err)
{
	int fd = store->fd[STORE_SANDBOXES], r = check_id(store, id, err);
	char name[STORE_NAME_MAX];

	if (r < 0)
		return r;
	print_name(id, name);
	if (unlinkat(fd, name, 0) < 0 && errno != ENOENT)
		return store_fail(store, STORE_SANDBOXES, name, -errno, err);
	return fsync(fd) < 0 ? store_fail(store, STORE_SANDBOXES, name, -errno, err) : 0;
}

/* Written, renamed and fsynced; replaces nothing that is the same already. */
static int write_now(const struct store *store, enum store_place place, const char *name,
		     const struct buf *text, struct error *err)
{
	cleanup(store_text_done) struct store_text old = {0};
	char tmp[STORE_NAME_MAX + 8];
	int r;

	if (store_load(store, place, name, &old, NULL) == 0 && old.size == text->size &&
	    memcmp(old.text, text->data, old.size) == 0)
		return 0;
	snprintf(tmp, sizeof(tmp), "%s.tmp", name);
	r = store_write(store, place, tmp, text, err);
	if (r == 0)
		r = store_rename(store, place, tmp, name, err);
	if (r < 0)
		unlinkat(store->fd[place], tmp, 0);
	return r;
}

/* Named by what it means and by what it says: policies of one hash may differ in secrets. */
static int write_policy(const struct store *store, const struct store_policy *policy,
			char name[STORE_NAME_MAX], struct error *err)
{
	cleanup_secret struct buf text = {0};
	int r;

	store_begin(&text);
	buf_puts(&text, "\"dialect\":");
	buf_json_string(&text, store_dialect_name(policy->dialect));
	buf_puts(&text, ",\"document\":");
	buf_json_string(&text, policy->document);
	buf_puts(&text, "}\n");
	r = store_seal(&text);
	if (r < 0)
		return error_set(err, r, "%s/policies: %s", store->dir, strerror(-r));
	snprintf(name, STORE_NAME_MAX, "%s-%.16s.json", policy->hash, store_sum(&text));
	return write_now(store, STORE_POLICIES, name, &text, err);
}

static int put_ids(const struct store *store, struct buf *text, const struct store_many *many,
		   struct error *err)
{
	if (many->n_ids > JSON_MAX_ENTRIES)
		return error_set(err, -E2BIG, "%s: a change for more than %u sandboxes", store->dir,
				 JSON_MAX_ENTRIES);
	buf_puts(text, ",\"ids\":[");
	for (size_t i = 0; i < many->n_ids; i++) {
		int r = check_id(store, many->ids[i], err);

		if (r < 0)
			return r;
		buf_puts(text, i ? ",\"" : "\"");
		buf_puts(text, many->ids[i]);
		buf_puts(text, "\"");
	}
	buf_puts(text, "]}\n");
	return 0;
}

static int write_change(const struct store *store, const struct store_many *many,
			const char *policy, struct error *err)
{
	cleanup_buf struct buf text = {0};
	char name[STORE_NAME_MAX];
	int r;

	snprintf(name, sizeof(name), "%" PRIu64 ".json", many->generation);
	store_begin(&text);
	store_put_number(&text, "generation", many->generation);
	buf_printf(&text, ",\"policyHash\":\"%s\",\"policy\":\"%s\"", many->policy.hash, policy);
	r = put_ids(store, &text, many, err);
	if (r < 0)
		return r;
	r = store_seal(&text);
	if (r < 0)
		return store_fail(store, STORE_CHANGES, name, r, err);
	return write_now(store, STORE_CHANGES, name, &text, err);
}

int store_remember_change(struct store *store, uint64_t generation, const char *policy)
{
	struct store_change *more;

	if (find_change(store, generation))
		return -EEXIST;
	more = reallocarray(store->changes, store->n_changes + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	store->changes = more;
	more[store->n_changes].generation = generation;
	snprintf(more[store->n_changes++].policy, STORE_NAME_MAX, "%s", policy);
	return 0;
}

static bool is_hash(const char *text)
{
	size_t size = strspn(text, "0123456789abcdef");

	return size >= 1 && size <= 64 && !text[size];
}

int store_prepare_many(struct store *store, const struct store_many *many, struct error *err)
{
	char policy[STORE_NAME_MAX];
	int r;

	if (!is_hash(many->policy.hash))
		return error_set(err, -EINVAL, "%s: '%.80s' is no hash", store->dir,
				 many->policy.hash);
	r = write_policy(store, &many->policy, policy, err);
	if (r < 0)
		return r;
	/* Before the change's file: from here on abort and forget know what to remove. */
	r = store_remember_change(store, many->generation, policy);
	if (r < 0)
		return error_set(err, r, "%s/changes/%" PRIu64 ": %s", store->dir, many->generation,
				 strerror(-r));
	r = write_change(store, many, policy, err);
	if (r < 0)
		store_abort_many(store, many->generation);
	return r;
}

bool store_needs_policy(const struct store *store, const char *policy)
{
	for (size_t i = 0; i < store->n_changes; i++) {
		if (strcmp(store->changes[i].policy, policy) == 0)
			return true;
	}
	return false;
}

void store_forget_many(struct store *store, uint64_t generation)
{
	char name[STORE_NAME_MAX];

	snprintf(name, sizeof(name), "%" PRIu64 ".json", generation);
	unlinkat(store->fd[STORE_CHANGES], name, 0);
	fsync(store->fd[STORE_CHANGES]);
	for (size_t i = 0; i < store->n_changes; i++) {
		struct store_change gone = store->changes[i];

		if (gone.generation != generation)
			continue;
		store->changes[i] = store->changes[--store->n_changes];
		if (!store_needs_policy(store, gone.policy))
			unlinkat(store->fd[STORE_POLICIES], gone.policy, 0);
		return;
	}
}

void store_abort_many(struct store *store, uint64_t generation)
{
	store_forget_many(store, generation);
}
