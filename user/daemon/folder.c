/* SPDX-License-Identifier: MIT */
/*
 * sandboxDir: one native document a sandbox, as POST /v1/sandboxes takes it, but without "pid", as the operator wrote it
 * down: attached when the file comes, changed when it changes, detached when it goes. A document that cannot be
 * read, or whose change fails, leaves the sandbox as it is.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "api/place.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/device.h"
#include "kern/cgroup.h"

#define SUFFIX	  ".json"
#define NAMES_MAX 10000u
/* Many files that come at once are one look. */
#define LOOK_MS 20
/* A file that is gone may be on its way back: editors rename the old one away before they write the new one. Detaching
 * in between would open the sandbox. */
#define GONE_MS 500
#define GONE_NS (GONE_MS * 1000000ull)

struct document {
	char *text, *policy;
	struct json json; /* of `text` */
	struct place place;
	struct api_create create; /* its texts are those of `json` */
};

/* A file, and which id it is or, while it cannot be read, was the document of. */
struct entry {
	struct entry *next;
	char *file;
	char id[API_ID_MAX + 1];
	char before[API_ID_MAX + 1]; /* it named this one until now */
	struct document document;    /* as read in this look */
	bool is_read;
	bool seen;
	uint64_t gone_ns; /* since then it is not there; 0: it is */
};

struct folder {
	int fd;	      /* inotify */
	int timer_fd; /* looks again */
	struct entry *entries;
	size_t count;
};

static void document_done(struct document *document)
{
	json_done(&document->json);
	free(document->text);
	free(document->policy);
	*document = (struct document){0};
}

static int check_keys(const struct json *json, struct error *err)
{
	static const char *const keys[] = {"id", "policy", PLACE_KEYS};

	if (json->nodes->type != JSON_OBJECT)
		return error_set(err, -EINVAL, "expected an object, found %s",
				 json_type_name(json->nodes->type));
	for (const struct json_node *m = json_first(json, json->nodes); m; m = json_next(json, m)) {
		size_t i = 0;

		while (i < sizeof(keys) / sizeof(keys[0]) && strcmp(keys[i], m->key) != 0)
			i++;
		if (i == sizeof(keys) / sizeof(keys[0]))
			return error_set(err, -EINVAL, "unknown key '%.100s'", m->key);
	}
	return 0;
}

static int read_id(struct document *document, struct error *err)
{
	const struct json_node *id = json_member(&document->json, document->json.nodes, "id");

	if (id && id->type != JSON_STRING)
		return error_set(err, -EINVAL, "id: expected a string, found %s",
				 json_type_name(id->type));
	if (!id || strlen(id->string) > API_ID_MAX)
		return error_set(err, -EINVAL, "id: expected 1 to %d of a-z, 0-9, '_' and '-'",
				 API_ID_MAX);
	document->create.id = id->string;
	return 0;
}

static int read_members(struct document *document, struct error *err)
{
	const struct json *json = &document->json;
	struct api_create *create = &document->create;
	const struct json_node *policy;
	int r = check_keys(json, err);

	if (!r)
		r = read_id(document, err);
	if (!r)
		r = place_read(json, &document->place, create, err);
	/* A number that another process has by now. */
	if (!r && create->pid)
		r = error_set(err, -EINVAL, "pid: expected either cgroup or netdev");
	if (r < 0)
		return r;
	policy = json_member(json, json->nodes, "policy");
	document->policy =
		policy ? strndup(json->text + policy->offset, policy->end - policy->offset)
		       : strdup("{}");
	create->document = document->policy;
	create->document_size = document->policy ? strlen(document->policy) : 0;
	return document->policy ? 0 : error_set(err, -ENOMEM, "out of memory");
}

/* The document keeps its text: what is read of it points there. */
static int read_document(const char *path, struct document *document, struct error *err)
{
	struct json_place place = {0};
	size_t size;
	int r = io_read_file(path, JSON_MAX_BYTES, &document->text, &size, err);

	if (r < 0)
		return r;
	r = json_parse(document->text, size, &document->json, &place, err);
	if (r == -EINVAL)
		return error_prepend(err, r, "%s:%u:%u: ", path, place.line, place.column);
	if (!r)
		r = read_members(document, err);
	return r < 0 ? error_prepend(err, r, "%s: ", path) : 0;
}

/* ---- what follows from a document ---- */

static void say(const char *path, const struct api_result *result)
{
	if (result->status != API_OK)
		log_error("%s: %s", path, result->err.text);
	for (size_t i = 0; result->status == API_WEAK && i < result->warnings.count; i++)
		log_error("%s: %s", path, result->warnings.items[i]);
	if (result->status == API_WEAK)
		log_error("%s: \"allowWeak\": true attaches it as it is", path);
}

static void attach_new(struct daemon *daemon, const char *path, const struct document *document)
{
	struct api_result result = {0};

	daemon_create_from_dir(daemon, &document->create, &result);
	say(path, &result);
	api_result_done(&result);
}

static void change_present(struct daemon *daemon, const char *path, struct sandbox *sandbox,
			   const struct document *document)
{
	cleanup(compiled_done) struct compiled compiled = {0};
	const struct changing changing = {.sandbox = sandbox,
					  .compiled = &compiled,
					  .dialect = API_NATIVE,
					  .document = document->policy,
					  .document_size = strlen(document->policy)};
	const struct api_change change = {.dialect = API_NATIVE,
					  .document = document->policy,
					  .document_size = changing.document_size};
	struct api_result result = {0};
	bool other_device =
		sandbox_is_device(sandbox) && device_set(daemon, path, sandbox, &document->create);

	if (!other_device && !sandbox->damaged && sandbox->stored.document &&
	    strcmp(sandbox->stored.document, document->policy) == 0)
		return;
	result.status = daemon_compile(daemon, API_NATIVE, &change, &compiled, &result.err);
	if (result.status == API_OK)
		daemon_change(daemon, &changing, &result);
	say(path, &result);
	api_result_done(&result);
}

/* A device that is called otherwise since is what its document meant. */
static bool is_its_device(const struct sandbox *sandbox, const struct api_create *create)
{
	return create->netdev && sandbox_is_device(sandbox) &&
	       (!strcmp(create->netdev, sandbox->stored.netdev) ||
		!strcmp(create->netdev, sandbox->netdev));
}

/* One that moves would be open for a moment, or for longer where the new place cannot be had. */
static bool is_elsewhere(const struct daemon *daemon, const char *path,
			 const struct sandbox *sandbox, const struct document *document)
{
	const char *cgroup = document->create.cgroup;
	cleanup_free char *relative = NULL;
	struct error err = {0};

	if (is_its_device(sandbox, &document->create))
		return false;
	if (cgroup && cgroup_relative(daemon->root_path, cgroup, &relative, &err) < 0) {
		relative = NULL;
		log_error("%s: %s; what it was before stays in force", path, err.text);
		return true;
	}
	if (relative && sandbox->stored.cgroup && !strcmp(sandbox->stored.cgroup + 1, relative))
		return false;
	log_error("%s: sandbox '%s' stays on %s with the policy it has: take its document away "
		  "before it names another place",
		  path, document->create.id,
		  sandbox->stored.cgroup ? sandbox->stored.cgroup : sandbox->netdev);
	return true;
}

/* A sandbox whose cgroup is gone is attached again only here: its document names the path, and somebody wrote it down
 * or asked for it just now. */
static void follow_document(struct daemon *daemon, const char *path,
			    const struct document *document)
{
	struct sandbox *sandbox = registry_find(&daemon->registry, document->create.id);
	struct api_result result = {0};

	if (sandbox && !sandbox->stored.from_dir) {
		log_error("%s: there is a sandbox '%s' already, made by the API", path,
			  document->create.id);
		return;
	}
	if (sandbox && sandbox->at && kern_attachment_is_alive(sandbox->at)) {
		if (!is_elsewhere(daemon, path, sandbox, document))
			change_present(daemon, path, sandbox, document);
		return;
	}
	/* What cannot be read of it is in force: to attach it anew would end that first. */
	if (sandbox && sandbox->damaged && !sandbox->gone && !sandbox->at) {
		log_error("%s: sandbox '%s' is damaged, and stays as it is enforced: %s", path,
			  document->create.id, sandbox->advice ? sandbox->advice : "detach it");
		return;
	}
	if (sandbox) {
		daemon_remove(daemon, sandbox, &result);
		say(path, &result);
		api_result_done(&result);
	}
	attach_new(daemon, path, document);
}

/* ---- files ---- */

static struct entry *entry_of(struct folder *folder, const char *file)
{
	struct entry *entry = folder->entries;

	while (entry && strcmp(entry->file, file) != 0)
		entry = entry->next;
	if (entry || folder->count >= NAMES_MAX)
		return entry;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return NULL;
	entry->file = strdup(file);
	if (!entry->file) {
		free(entry);
		return NULL;
	}
	entry->next = folder->entries;
	folder->entries = entry;
	folder->count++;
	return entry;
}

static void detach_id(struct daemon *daemon, const char *id)
{
	struct sandbox *sandbox = registry_find(&daemon->registry, id);
	struct api_result result = {0};

	if (!sandbox || !sandbox->stored.from_dir)
		return;
	daemon_remove(daemon, sandbox, &result);
	say(id, &result);
	api_result_done(&result);
}

static bool is_document(const char *name)
{
	size_t length = strlen(name);

	return name[0] != '.' && length > strlen(SUFFIX) &&
	       strcmp(name + length - strlen(SUFFIX), SUFFIX) == 0;
}

static void read_file(struct daemon *daemon, const char *file)
{
	struct entry *entry = entry_of(daemon->folder, file);
	cleanup_free char *path = NULL;
	struct error err = {0};

	if (!entry) {
		log_error("%s: more than %u files: '%s' is left out", daemon->config.sandbox_dir,
			  NAMES_MAX, file);
		return;
	}
	entry->seen = true;
	entry->gone_ns = 0;
	if (asprintf(&path, "%s/%s", daemon->config.sandbox_dir, file) < 0) {
		path = NULL;
		return;
	}
	document_done(&entry->document);
	if (read_document(path, &entry->document, &err) < 0) {
		document_done(&entry->document);
		log_error("%s; what it was before stays in force", err.text);
		return;
	}
	entry->is_read = true;
	if (strcmp(entry->id, entry->document.create.id) != 0)
		memcpy(entry->before, entry->id, sizeof(entry->before));
	(void)snprintf(entry->id, sizeof(entry->id), "%s", entry->document.create.id);
}

static const struct entry *find_document(const struct folder *folder, const char *id)
{
	const struct entry *first = NULL;

	for (const struct entry *e = folder->entries; e; e = e->next) {
		if (!strcmp(e->id, id) && (!first || strcmp(e->file, first->file) < 0))
			first = e;
	}
	return first;
}

/* Of two files with one id the first by name counts, readable or not: the policy does not go to and fro. */
static void follow_entry(struct daemon *daemon, const struct entry *entry)
{
	const struct entry *first = find_document(daemon->folder, entry->id);
	cleanup_free char *path = NULL;

	if (asprintf(&path, "%s/%s", daemon->config.sandbox_dir, entry->file) < 0) {
		path = NULL;
		return;
	}
	if (first == entry)
		follow_document(daemon, path, &entry->document);
	else
		log_error("%s: left out, as %s is the document of '%s'", path, first->file,
			  entry->id);
}

static void detach_unnamed(struct daemon *daemon, const char *id)
{
	if (id[0] && !find_document(daemon->folder, id))
		detach_id(daemon, id);
}

static void entry_free(struct entry *entry)
{
	document_done(&entry->document);
	free(entry->file);
	free(entry);
}

/* True: it is looked for again. */
static bool forget_if_gone(struct daemon *daemon, struct entry **at)
{
	struct entry *entry = *at;
	uint64_t now_ns = loop_boot_ns();

	if (!entry->gone_ns)
		entry->gone_ns = now_ns;
	if (now_ns - entry->gone_ns < GONE_NS)
		return true;
	*at = entry->next;
	daemon->folder->count--;
	detach_unnamed(daemon, entry->id);
	entry_free(entry);
	return false;
}

/* Documents that went while no daemon looked. */
static void detach_orphans(struct daemon *daemon)
{
	for (struct sandbox *s = daemon->registry.first, *next; s; s = next) {
		next = s->next;
		if (s->stored.from_dir)
			detach_unnamed(daemon, s->stored.id);
	}
}

static void look_again(struct daemon *daemon, uint64_t in_ms)
{
	const struct loop_period period = {.first_ms = in_ms};

	if (loop_timer_set(daemon->folder->timer_fd, &period) < 0)
		log_error("%s: changes are not seen before SIGHUP", daemon->config.sandbox_dir);
}

/* First the ids that no file has any more, as another may want their place; then what the files say. */
static void follow_all(struct daemon *daemon)
{
	struct folder *folder = daemon->folder;
	bool broken = false, waits = false;

	for (struct entry **at = &folder->entries; *at;) {
		struct entry *entry = *at;

		broken = broken || (entry->seen && !entry->id[0]);
		if (!entry->seen && !forget_if_gone(daemon, at))
			continue;
		waits = waits || !entry->seen;
		at = &entry->next;
	}
	for (struct entry *e = folder->entries; e; e = e->next) {
		detach_unnamed(daemon, e->before);
		e->before[0] = '\0';
	}
	/* Of a file that cannot be read nobody knows which sandbox it is about. */
	if (!broken)
		detach_orphans(daemon);
	for (struct entry *e = folder->entries; e; e = e->next) {
		if (e->is_read)
			follow_entry(daemon, e);
		document_done(&e->document);
		e->is_read = false;
	}
	if (waits)
		look_again(daemon, GONE_MS);
}

/* The same directory again is no second watch; one that was not there before is followed from now on. */
static int watch(const struct daemon *daemon)
{
	if (inotify_add_watch(daemon->folder->fd, daemon->config.sandbox_dir,
			      IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE |
				      IN_ONLYDIR) < 0)
		return -errno;
	return 0;
}

void daemon_folder_reload(struct daemon *daemon)
{
	struct folder *folder = daemon->folder;
	struct dirent **names = NULL;
	int n;

	if (!folder)
		return;
	(void)watch(daemon);
	n = scandir(daemon->config.sandbox_dir, &names, NULL, alphasort);
	if (n < 0) {
		if (errno != ENOENT)
			log_error("%s: %s; what is attached stays", daemon->config.sandbox_dir,
				  strerror(errno));
		return;
	}
	for (struct entry *e = folder->entries; e; e = e->next)
		e->seen = false;
	for (int i = 0; i < n; i++) {
		if (is_document(names[i]->d_name))
			read_file(daemon, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	follow_all(daemon);
}

static int on_timer(void *context, int fd)
{
	(void)fd;
	daemon_folder_reload(context);
	return 0;
}

static int on_inotify(void *context, int fd)
{
	char events[4096] __attribute__((aligned(8)));

	/* What it was is asked of the directory: an editor's way of saving is a row of events. */
	while (read(fd, events, sizeof(events)) > 0)
		continue;
	look_again(context, LOOK_MS);
	return 0;
}

int daemon_folder_start(struct daemon *daemon, struct error *err)
{
	const struct loop_period off = {.off = true};
	const char *dir = daemon->config.sandbox_dir;
	struct folder *folder = calloc(1, sizeof(*folder));
	int r;

	if (!folder)
		return error_set(err, -ENOMEM, "out of memory");
	daemon->folder = folder;
	folder->timer_fd = -1;
	folder->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	r = folder->fd < 0 ? -errno : 0;
	if (!r)
		r = loop_timer(daemon->loop, &off, on_timer, daemon, &folder->timer_fd);
	if (!r)
		r = loop_watch(daemon->loop, folder->fd, on_inotify, daemon);
	if (!r)
		r = watch(daemon);
	if (r == -ENOENT) {
		log_info("%s is not there: no sandbox comes from it; SIGHUP looks again", dir);
		return 0;
	}
	if (r < 0)
		return error_set(err, r, "cannot follow %s: %s", dir, strerror(-r));
	daemon_folder_reload(daemon);
	return 0;
}

void daemon_folder_end(struct daemon *daemon)
{
	struct folder *folder = daemon->folder;

	if (!folder)
		return;
	while (folder->entries) {
		struct entry *next = folder->entries->next;

		entry_free(folder->entries);
		folder->entries = next;
	}
	loop_timer_end(daemon->loop, folder->timer_fd);
	cleanup_close_(&folder->fd);
	free(folder);
	daemon->folder = NULL;
}
