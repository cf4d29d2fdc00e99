/* SPDX-License-Identifier: MIT */
/* changes/GENERATION.json and policies/HASH-SUM.json, read: which policy for many each id got last. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/store_file.h"

bool store_is_shortage(int code)
{
	return code == -ENOMEM || code == -EMFILE || code == -ENFILE;
}

void store_names_done(struct store_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->items[i]);
	free(names->items);
	memset(names, 0, sizeof(*names));
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(struct store_names *names, const char *name)
{
	char **more;

	if ((names->count & (names->count - 1)) == 0) {
		more = reallocarray(names->items, names->count ? 2 * names->count : 1,
				    sizeof(*more));
		if (!more)
			return -ENOMEM;
		names->items = more;
	}
	names->items[names->count] = strdup(name);
	return names->items[names->count] ? (int)(names->count++, 0) : -ENOMEM;
}

static int list(int dir_fd, struct store_names *names)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	do {
		errno = 0;
		entry = readdir(dir);
		if (!entry)
			r = -errno;
		else if (entry->d_name[0] != '.')
			r = add_name(names, entry->d_name);
	} while (entry && r == 0);
	closedir(dir);
	return r;
}

int store_list(const struct store *store, enum store_place place, struct store_names *ret_names,
	       struct error *err)
{
	struct store_names names = {0};
	int r = list(store->fd[place], &names);

	if (r < 0) {
		store_names_done(&names);
		return store_fail(store, place, "", r, err);
	}
	if (names.count)
		qsort(names.items, names.count, sizeof(*names.items), by_name);
	*ret_names = names;
	return 0;
}

static void change_free(struct store_loaded_change *change)
{
	json_reader_done(&change->reader);
	store_text_done(&change->text);
	if (change->document)
		explicit_bzero(change->document, strlen(change->document));
	free(change->document);
	free(change->path);
	free(change);
}

void store_changes_done(struct store_changes *changes)
{
	for (size_t i = 0; i < changes->count; i++)
		change_free(changes->items[i]);
	free(changes->items);
	free(changes->listed);
	free(changes->unread);
	memset(changes, 0, sizeof(*changes));
}

static int read_generation(const struct json_reader *rd, const struct json_node *node,
			   void *context)
{
	return store_read_number(rd, node, &((struct store_loaded_change *)context)->generation);
}

static int read_hash(const struct json_reader *rd, const struct json_node *node, void *context)
{
	return json_reader_string(rd, node, &((struct store_loaded_change *)context)->policy_hash);
}

static int read_policy(const struct json_reader *rd, const struct json_node *node, void *context)
{
	return json_reader_string(rd, node, &((struct store_loaded_change *)context)->policy);
}

static int check_id(const struct json_reader *rd, const struct json_node *node, void *context)
{
	const char *id = NULL;
	int r = json_reader_string(rd, node, &id);

	(void)context;
	if (r == 0 && !store_is_id(id))
		r = json_reader_refuse(rd, node, "'%.80s' is no id", id);
	return r;
}

static int check_ids(const struct json_reader *rd, const struct json_node *node, void *context)
{
	return json_reader_list(rd, node, check_id, context);
}

static int parse_change(struct store_loaded_change *change, uint64_t generation, struct error *err)
{
	static const struct json_key keys[] = {{"version", NULL, true},
					       {"sum", NULL, true},
					       {"generation", read_generation, true},
					       {"policyHash", read_hash, true},
					       {"policy", read_policy, true},
					       {"ids", check_ids, true},
					       {NULL, NULL, false}};
	int r = json_reader_open_within(change->path, change->text.text, change->text.size,
					STORE_MAX_BYTES, err, &change->reader);

	if (r == 0)
		r = json_reader_object(&change->reader, change->reader.json.nodes, keys, change);
	if (r < 0)
		return r;
	if (change->generation != generation || strlen(change->policy_hash) > 64 ||
	    strlen(change->policy) >= STORE_NAME_MAX || strchr(change->policy, '/'))
		return error_set(err, -EBADMSG, "%s: has another change than its name says",
				 change->path);
	return 0;
}

static int load_change(struct store *store, const char *name, uint64_t generation,
		       struct store_changes *changes, struct error *err)
{
	struct store_loaded_change *change = calloc(1, sizeof(*change)), **more;
	int r = change ? 0 : -ENOMEM;

	if (r == 0) {
		change->path = store_path(store, STORE_CHANGES, name);
		more = reallocarray(changes->items, changes->count + 1, sizeof(*more));
		if (more)
			changes->items = more;
		r = more && change->path ? 0 : -ENOMEM;
	}
	if (r < 0)
		store_fail(store, STORE_CHANGES, name, r, err);
	if (r == 0)
		r = store_load(store, STORE_CHANGES, name, &change->text, err);
	if (r == 0)
		r = parse_change(change, generation, err);
	if (r == 0)
		r = store_remember_change(store, generation, change->policy);
	if (r == -EEXIST) /* by an earlier read, or our own */
		r = 0;
	if (r == 0)
		changes->items[changes->count++] = change;
	else if (change)
		change_free(change);
	return r;
}

/* "GENERATION.json" */
static bool parse_name(const char *name, uint64_t *ret_generation)
{
	char digits[24];
	size_t size = strcspn(name, ".");

	if (size >= sizeof(digits) || strcmp(name + size, ".json") != 0)
		return false;
	memcpy(digits, name, size);
	digits[size] = '\0';
	return store_parse_number(digits, ret_generation);
}

static bool is_tmp(const char *name)
{
	size_t size = strlen(name);

	return size > 9 && strcmp(name + size - 9, ".json.tmp") == 0;
}

static int note_unread(struct store_changes *changes, uint64_t generation, const struct error *why)
{
	uint64_t *more = reallocarray(changes->unread, changes->n_unread + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	changes->unread = more;
	more[changes->n_unread++] = generation;
	changes->damaged = true;
	log_error("%s", why->text);
	return 0;
}

bool store_change_is_damaged(const struct store_changes *changes, uint64_t generation)
{
	for (size_t i = 0; i < changes->n_unread; i++) {
		if (changes->unread[i] == generation)
			return true;
	}
	return false;
}

static int load_all(struct store *store, const struct store_names *names,
		    struct store_changes *changes, struct error *err)
{
	for (size_t i = 0; i < names->count; i++) {
		const char *name = names->items[i];
		struct error why = {.text = ""};
		uint64_t generation;
		int r;

		if (is_tmp(name)) {
			unlinkat(store->fd[STORE_CHANGES], name, 0);
			continue;
		}
		if (!parse_name(name, &generation)) {
			log_warning("%s/changes/%s: not a file of posternd: ignored", store->dir,
				    name);
			continue;
		}
		r = load_change(store, name, generation, changes, &why);
		if (store_is_shortage(r))
			return error_set(err, r, "%s", why.text);
		if (r < 0 && note_unread(changes, generation, &why) < 0)
			return store_fail(store, STORE_CHANGES, name, -ENOMEM, err);
	}
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct store_listed *x = a, *y = b;
	int order = strcmp(x->id, y->id);

	if (order)
		return order;
	return x->change->generation < y->change->generation
		       ? -1
		       : x->change->generation > y->change->generation;
}

static const struct json_node *ids_of(const struct store_loaded_change *change)
{
	const struct json *json = &change->reader.json;

	return json_member(json, json->nodes, "ids");
}

static int list_ids(struct store_changes *changes)
{
	const struct json_node *id;
	size_t room = 1;

	for (size_t i = 0; i < changes->count; i++)
		room += ids_of(changes->items[i])->count;
	changes->listed = calloc(room, sizeof(*changes->listed));
	if (!changes->listed)
		return -ENOMEM;
	for (size_t i = 0; i < changes->count; i++) {
		struct store_loaded_change *change = changes->items[i];
		const struct json *json = &change->reader.json;

		for (id = json_first(json, ids_of(change)); id; id = json_next(json, id))
			changes->listed[changes->n_listed++] =
				(struct store_listed){id->string, change};
	}
	qsort(changes->listed, changes->n_listed, sizeof(*changes->listed), by_id);
	return 0;
}

int store_load_changes(struct store *store, struct store_changes *ret_changes, struct error *err)
{
	cleanup(store_changes_done) struct store_changes changes = {0};
	cleanup(store_names_done) struct store_names names = {0};
	int r = store_list(store, STORE_CHANGES, &names, err);

	if (r == 0)
		r = load_all(store, &names, &changes, err);
	if (r < 0)
		return r;
	r = list_ids(&changes);
	if (r < 0)
		return store_fail(store, STORE_CHANGES, "", r, err);
	*ret_changes = changes;
	changes = (struct store_changes){0};
	return 0;
}

struct store_loaded_change *store_find_change(const struct store_changes *changes, const char *id,
					      uint64_t generation)
{
	struct store_loaded_change *found = NULL;
	size_t low = 0, high = changes->n_listed;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(changes->listed[middle].id, id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < changes->n_listed && strcmp(changes->listed[low].id, id) == 0; low++) {
		struct store_loaded_change *change = changes->listed[low].change;

		if (generation == 0 || change->generation == generation)
			found = change;
	}
	return found;
}

static int read_dialect(const struct json_reader *rd, const struct json_node *node, void *context)
{
	return store_read_dialect(rd, node, &((struct store_loaded_change *)context)->dialect);
}

static int read_document(const struct json_reader *rd, const struct json_node *node, void *context)
{
	struct store_loaded_change *change = context;
	const char *document = NULL;
	int r = json_reader_string(rd, node, &document);

	if (r < 0)
		return r;
	change->document = strdup(document);
	return change->document ? 0 : json_reader_fail(rd, node, -ENOMEM);
}

/* Once for all sandboxes of the change. */
static int load_document(const struct store *store, struct store_loaded_change *change,
			 struct error *err)
{
	static const struct json_key keys[] = {{"version", NULL, true},
					       {"sum", NULL, true},
					       {"dialect", read_dialect, true},
					       {"document", read_document, true},
					       {NULL, NULL, false}};
	cleanup(store_text_done) struct store_text text = {0};
	cleanup_free char *path = store_path(store, STORE_POLICIES, change->policy);
	cleanup_json_reader struct json_reader rd = {.name = path};
	int r;

	if (change->document)
		return 0;
	r = path ? store_load(store, STORE_POLICIES, change->policy, &text, err)
		 : store_fail(store, STORE_POLICIES, change->policy, -ENOMEM, err);
	if (r == 0)
		r = json_reader_open_within(path, text.text, text.size, STORE_MAX_BYTES, err, &rd);
	return r == 0 ? json_reader_object(&rd, rd.json.nodes, keys, change) : r;
}

int store_fill_in(const struct store *store, struct store_loaded_change *change,
		  struct stored *stored, struct error *err)
{
	char *document;
	int r = load_document(store, change, err);

	if (r < 0)
		return r;
	document = strdup(change->document);
	if (!document)
		return store_fail(store, STORE_POLICIES, change->policy, -ENOMEM, err);
	if (stored->document)
		explicit_bzero(stored->document, strlen(stored->document));
	free(stored->document);
	stored->document = document;
	stored->document_dialect = change->dialect;
	if (stored->generation != change->generation) {
		stored->generation = change->generation;
		stored->changed_ms = change->text.changed_ms;
	}
	snprintf(stored->policy_hash, sizeof(stored->policy_hash), "%s", change->policy_hash);
	stored->in_change = true;
	change->used = true;
	return 0;
}

void store_sweep_changes(struct store *store, const struct store_changes *changes)
{
	cleanup(store_names_done) struct store_names names = {0};

	if (changes->damaged)
		return;
	for (size_t i = 0; i < changes->count; i++) {
		if (!changes->items[i]->used)
			store_forget_many(store, changes->items[i]->generation);
	}
	if (store_list(store, STORE_POLICIES, &names, NULL) < 0)
		return;
	for (size_t i = 0; i < names.count; i++) {
		if (!store_needs_policy(store, names.items[i]))
			unlinkat(store->fd[STORE_POLICIES], names.items[i], 0);
	}
}
