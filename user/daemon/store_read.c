/* SPDX-License-Identifier: MIT */
/*
 * What the state directory has, once for each id. The kernel decides: of ID.json, ID.GENERATION.tmp and the changes for
 * many that list the id, the one whose generation is in force. Nothing that cannot be read is touched.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/store_file.h"

#define cleanup_stored cleanup(stored_done)

struct reading {
	struct store *store;
	const struct store_reader *reader;
	struct store_names names;
	struct store_changes changes;
};

enum file_kind { FILE_FOREIGN = 0, FILE_JSON, FILE_TMP, FILE_REPLACING };

struct file {
	enum file_kind kind;
	char id[API_ID_MAX + 1]; /* "": the name begins with none */
	uint64_t generation;	 /* FILE_TMP */
};

/* ID.json, ID.GENERATION.tmp or ID.replacing.tmp: an id has no dot. */
static struct file parse_name(const char *name)
{
	struct file file = {.kind = FILE_FOREIGN};
	size_t size = strcspn(name, "."), middle;
	char digits[24];

	if (size == 0 || size > API_ID_MAX || !name[size])
		return file;
	memcpy(file.id, name, size);
	if (!store_is_id(file.id)) {
		file.id[0] = '\0';
		return file;
	}
	name += size + 1;
	if (strcmp(name, "json") == 0)
		file.kind = FILE_JSON;
	else if (strcmp(name, STORE_REPLACING ".tmp") == 0)
		file.kind = FILE_REPLACING;
	middle = strcspn(name, ".");
	if (file.kind || middle >= sizeof(digits) || strcmp(name + middle, ".tmp") != 0)
		return file;
	memcpy(digits, name, middle);
	digits[middle] = '\0';
	if (store_parse_number(digits, &file.generation))
		file.kind = FILE_TMP;
	return file;
}

static int load(const struct reading *reading, const char *name, const struct file *file,
		struct stored *ret_stored, struct error *err)
{
	cleanup(store_text_done) struct store_text text = {0};
	cleanup_free char *path = store_path(reading->store, STORE_SANDBOXES, name);
	int r = path ? store_load(reading->store, STORE_SANDBOXES, name, &text, err)
		     : store_fail(reading->store, STORE_SANDBOXES, name, -ENOMEM, err);

	if (r == 0)
		r = store_parse_stored(path, &text, ret_stored, err);
	if (r < 0)
		return r;
	if (strcmp(ret_stored->id, file->id) == 0 &&
	    (file->kind != FILE_TMP || ret_stored->generation == file->generation))
		return 0;
	stored_done(ret_stored);
	return error_set(err, -EBADMSG, "%s: has another sandbox or generation than its name says",
			 path);
}

/* The files of one id: names[first..end). */
struct candidates {
	const char *id, *json, *tmp; /* names; tmp: the one of the generation in force */
	uint64_t in_force;
	size_t first, end;
};

static void tell_foreign(const struct reading *reading, const char *name)
{
	log_warning("%s/sandboxes/%s: not a file of posternd: ignored", reading->store->dir, name);
}

static void sort_out(const struct reading *reading, struct candidates *c)
{
	for (size_t i = c->first; i < c->end; i++) {
		const char *name = reading->names.items[i];
		struct file file = parse_name(name);

		if (file.kind == FILE_FOREIGN)
			tell_foreign(reading, name);
		if (file.kind == FILE_JSON)
			c->json = name;
		if (file.kind == FILE_TMP && c->in_force && file.generation == c->in_force)
			c->tmp = name;
	}
}

static void remove_left_over(const struct reading *reading, const struct candidates *c)
{
	for (size_t i = c->first; i < c->end; i++) {
		const char *name = reading->names.items[i];
		enum file_kind kind = parse_name(name).kind;

		if (kind == FILE_TMP || kind == FILE_REPLACING)
			unlinkat(reading->store->fd[STORE_SANDBOXES], name, 0);
	}
}

/* The change whose policy it has, if that is not its own file's. */
static struct store_loaded_change *
change_for(const struct reading *reading, const struct candidates *c, const struct stored *stored)
{
	struct store_loaded_change *change;

	if (c->in_force && stored->generation == c->in_force)
		return NULL;
	change = store_find_change(&reading->changes, c->id, c->in_force);
	if (change && !c->in_force && change->generation <= stored->generation)
		return NULL;
	return change;
}

static int take_change(const struct reading *reading, const struct candidates *c,
		       struct stored *stored, struct error *err)
{
	struct store_loaded_change *change = change_for(reading, c, stored);

	if (!change && c->in_force && c->in_force != stored->generation &&
	    store_change_is_damaged(&reading->changes, c->in_force))
		return error_set(err, -EBADMSG,
				 "%s/changes/%" PRIu64
				 ".json: has the policy in force, and cannot be read",
				 reading->store->dir, c->in_force);
	if (!change && stored->in_change) {
		change = store_find_change(&reading->changes, c->id, stored->generation);
		if (!change)
			return error_set(err, -EBADMSG,
					 "%s/sandboxes/%s: its policy is that of changes/%" PRIu64
					 ".json, which cannot be read",
					 reading->store->dir, c->json, stored->generation);
	}
	return change ? store_fill_in(reading->store, change, stored, err) : 0;
}

/* Finishes the commit that a daemon did not live to make. */
static int take_tmp(const struct reading *reading, const struct candidates *c,
		    struct stored *ret_stored, struct error *err)
{
	const struct file file = parse_name(c->tmp);
	char name[STORE_NAME_MAX];
	int r = load(reading, c->tmp, &file, ret_stored, err);

	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "%s.json", c->id);
	r = store_rename(reading->store, STORE_SANDBOXES, c->tmp, name, err);
	if (r == 0)
		r = take_change(reading, c, ret_stored, err);
	if (r < 0)
		stored_done(ret_stored);
	return r;
}

static int take_json(const struct reading *reading, const struct candidates *c,
		     struct stored *ret_stored, struct error *err)
{
	const struct file file = parse_name(c->json);
	int r = load(reading, c->json, &file, ret_stored, err);

	/* The policy in force waits in the .tmp: take_tmp() is next. */
	if (r < 0 || (c->tmp && ret_stored->generation != c->in_force))
		return r;
	r = take_change(reading, c, ret_stored, err);
	if (r < 0)
		stored_done(ret_stored);
	return r;
}

static int take(const struct reading *reading, const struct candidates *c,
		struct stored *ret_stored, struct error *err)
{
	int r = c->json ? take_json(reading, c, ret_stored, err) : -ENOENT;

	if (!c->tmp || store_is_shortage(r) || (r == 0 && ret_stored->generation == c->in_force))
		return r;
	if (r == 0)
		stored_done(ret_stored);
	return take_tmp(reading, c, ret_stored, err);
}

/* Or its owner would lose it with its document. */
static int tell_damaged(const struct reading *reading, const struct candidates *c,
			const struct error *err)
{
	const char *const names[] = {c->json, c->tmp};
	struct stored known = {.id = ""};
	bool found = false;

	for (size_t i = 0; !found && i < sizeof(names) / sizeof(names[0]); i++) {
		cleanup(store_text_done) struct store_text text = {0};

		found = names[i] &&
			!store_load_raw(reading->store, STORE_SANDBOXES, names[i], &text) &&
			store_salvage(&text, c->id, &known);
	}
	(void)snprintf(known.id, sizeof(known.id), "%s", c->id);
	return reading->reader->damaged(reading->reader->context, &known, err);
}

static int read_one(struct reading *reading, struct candidates *c)
{
	const struct store_reader *reader = reading->reader;
	cleanup_stored struct stored stored = {.id = ""};
	struct error err = {.text = ""};
	int r;

	r = reader->in_force(reader->context, c->id, &c->in_force);
	if (r < 0) {
		log_error("%s: cannot read what is in force: %s", c->id, strerror(-r));
		return r;
	}
	sort_out(reading, c);
	if (!c->json && !c->tmp) {
		remove_left_over(reading, c);
		return 0;
	}
	r = take(reading, c, &stored, &err);
	if (store_is_shortage(r)) {
		log_error("%s", err.text);
		return r;
	}
	if (r < 0) {
		reading->changes.damaged = true;
		return tell_damaged(reading, c, &err);
	}
	remove_left_over(reading, c);
	return reader->found(reader->context, &stored);
}

static int read_all(struct reading *reading)
{
	const struct store_names *names = &reading->names;
	int r = 0;

	for (size_t i = 0, end; r == 0 && i < names->count; i = end) {
		struct file file = parse_name(names->items[i]);
		struct candidates c = {.id = file.id, .first = i};

		/* What begins with the id and a dot lies together, whatever follows. */
		for (end = i + 1; file.id[0] && end < names->count; end++) {
			if (strcmp(parse_name(names->items[end]).id, file.id) != 0)
				break;
		}
		c.end = end;
		if (file.id[0])
			r = read_one(reading, &c);
		else
			tell_foreign(reading, names->items[i]);
	}
	return r;
}

int store_read(struct store *store, const struct store_reader *reader, struct error *err)
{
	struct reading reading = {.store = store, .reader = reader};
	int r = store_load_changes(store, &reading.changes, err);

	if (r == 0)
		r = store_list(store, STORE_SANDBOXES, &reading.names, err);
	if (r == 0) {
		r = read_all(&reading);
		if (r < 0)
			error_set(err, r, "%s/sandboxes: %s", store->dir, strerror(-r));
		else
			store_sweep_changes(store, &reading.changes);
	}
	store_names_done(&reading.names);
	store_changes_done(&reading.changes);
	return r;
}
