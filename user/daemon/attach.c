/* SPDX-License-Identifier: MIT */
/* Sandboxes come: made here with a cgroup of our own, or attached to what is there. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/attach.h"
#include "daemon/device.h"
#include "daemon/relay.h"
#include "kern/cgroup.h"
#include "kern/netns.h"

/* No namespace's cookie: the kernel counts up from 1. */
#define NO_NETNS UINT64_MAX

/* ---- ids ---- */

static int draw(uint64_t *ret_number)
{
	uint64_t number = 0;

	while (!number) {
		if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number) &&
		    errno != EINTR)
			return -errno;
		number >>= 11; /* 53 bits: JSON readers keep numbers as doubles */
	}
	*ret_number = number;
	return 0;
}

/* E2B's ids are letters and digits, Brimble's 24 hexadecimal digits. */
static int draw_id(enum api_dialect dialect, char id[API_ID_MAX + 1])
{
	uint64_t a = 0, b = 0;
	int r = draw(&a);

	if (!r)
		r = draw(&b);
	if (r < 0)
		return r;
	if (dialect == API_BRIMBLE)
		(void)snprintf(id, API_ID_MAX + 1, "%012llx%012llx",
			       (unsigned long long)(a & 0xffffffffffff),
			       (unsigned long long)(b & 0xffffffffffff));
	else
		(void)snprintf(id, API_ID_MAX + 1, "i%010llx%09llx",
			       (unsigned long long)(a & 0xffffffffff),
			       (unsigned long long)(b & 0xfffffffff));
	return 0;
}

static bool is_id(const char *id)
{
	size_t length = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789_-");

	return length && length <= API_ID_MAX && !id[length];
}

static int new_kernel_id(const struct daemon *daemon, uint64_t *ret_id)
{
	int r;

	do
		r = draw(ret_id);
	while (!r && registry_find_kernel(&daemon->registry, *ret_id));
	return r;
}

/* ---- places ---- */

/* An attach below or above another sandbox: two policies for one process. */
static const struct sandbox *find_related(const struct daemon *daemon, const char *path)
{
	size_t length = strlen(path);

	for (const struct sandbox *s = daemon->registry.first; s; s = s->next) {
		size_t other = s->stored.cgroup ? strlen(s->stored.cgroup) : 0;
		size_t shorter = length < other ? length : other;

		if (!other || (!s->at && !s->damaged) || s->gone ||
		    memcmp(path, s->stored.cgroup, shorter) != 0)
			continue;
		if (length == other || (length > other ? path : s->stored.cgroup)[shorter] == '/')
			return s;
	}
	return NULL;
}

/* The path below the cgroup2 root, without a leading '/': where to attach to. */
static int choose_path(const struct daemon *daemon, const struct api_create *create, const char *id,
		       char **ret_path, struct error *err)
{
	if (create->pid)
		return members_cgroup_of_tree(create->pid, ret_path, err);
	if (create->cgroup)
		return cgroup_relative(daemon->root_path, create->cgroup, ret_path, err);
	if (asprintf(ret_path, "%s/%s", daemon->config.cgroup_parent, id) < 0) {
		*ret_path = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

static bool is_owned(const struct api_create *create)
{
	return !create->cgroup && !create->netdev && !create->pid;
}

/* Opened once, and used by descriptor from here on. */
static int open_place(const struct daemon *daemon, const char *path, bool owned, int *ret_fd,
		      struct error *err)
{
	cleanup_close int fd = -1;
	int r;

	r = cgroup_refuse_own(path, err);
	if (r < 0)
		return r;
	if (!owned)
		r = cgroup_open(daemon->root_fd, path, &fd, err);
	else if (!faccessat(daemon->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW))
		r = error_set(err, -EEXIST, "the cgroup %s is there already, and is not ours",
			      path);
	else
		r = cgroup_create(daemon->root_fd, path, &fd, err);
	if (!r)
		*ret_fd = TAKE_FD(fd);
	return r;
}

/* ---- create ---- */

struct making {
	struct daemon *daemon;
	const struct api_create *create;
	struct stored stored; /* what will be of it */
	char *path;	      /* below the cgroup2 root; NULL: behind a device */
	int cgroup_fd;
	struct kern_attach_device device;
	struct kern_attachment *at;
	bool made_cgroup;
};

static void making_done(struct making *making)
{
	if (making->at) {
		kern_attachment_detach(making->at);
		kern_attachment_free(making->at);
	}
	if (making->made_cgroup)
		(void)cgroup_remove(making->daemon->root_fd, making->path);
	cleanup_close_(&making->cgroup_fd);
	free(making->path);
	stored_done(&making->stored);
}

static int fill_stored(struct making *making, const struct api_caller *caller, struct error *err)
{
	const struct api_create *create = making->create;
	struct stored *stored = &making->stored;
	uint64_t cgroup_number = 0;
	int r = new_kernel_id(making->daemon, &stored->kernel_id);

	if (!r && making->path)
		r = cgroup_id(making->cgroup_fd, &cgroup_number);
	if (r < 0)
		return error_set(err, r, "cannot name the sandbox: %s", strerror(-r));
	(void)snprintf(stored->owner, sizeof(stored->owner), "%s", caller->owner);
	stored->dialect = create->dialect;
	stored->owned = is_owned(create);
	stored->allow_weak = create->allow_weak;
	stored->cgroup_id = cgroup_number;
	stored->created_ms = stored->changed_ms = daemon_now_ms();
	stored->ends_ms = create->timeout_ms ? stored->created_ms + create->timeout_ms : 0;
	stored->extra = strdup(create->extra ? create->extra : "{}");
	if (making->path && asprintf(&stored->cgroup, "/%s", making->path) < 0)
		stored->cgroup = NULL;
	return stored->extra && (stored->cgroup || stored->netdev)
		       ? 0
		       : error_set(err, -ENOMEM, "out of memory");
}

/*
 * Where the resolvers' replies arrive: where its members are; nobody is in it yet: where we are. Of several
 * namespaces one may have been made inside, for replies of its own: none is trusted then, unless one is ours, which
 * nobody inside can have made.
 */
static int find_netns(const struct making *making, uint64_t *ret_cookie, struct error *err)
{
	struct members_netns_list list = {0};
	int r = members_netns(making->cgroup_fd, &list, err);
	bool is_one = list.count == 1 && !list.truncated;

	if (!r && !list.count)
		r = netns_cookie(ret_cookie, err);
	else if (!r && (is_one || list.items[0].fd < 0))
		*ret_cookie = list.items[0].cookie;
	else if (!r)
		*ret_cookie = NO_NETNS;
	if (!r && *ret_cookie == NO_NETNS)
		log_warning("%s: its members are in several network namespaces: no name is learned",
			    making->stored.id);
	members_netns_done(&list);
	return r;
}

static int attach_to_device(struct making *making, struct error *err)
{
	struct kern_attach attach = {.name = making->stored.id,
				     .id = making->stored.kernel_id,
				     .cgroup_fd = -1,
				     .device = &making->device,
				     .is_running = true};
	struct kern_device_info info;
	int r = netns_cookie(&attach.netns_cookie, err);

	if (!r)
		r = kern_attachment_new(making->daemon->kern, &attach, &making->at, err);
	if (r < 0)
		return r;
	making->stored.netns_cookie = attach.netns_cookie;
	r = kern_attachment_device(making->at, &info);
	if (r < 0)
		return error_set(err, r, "cannot read what is attached: %s", strerror(-r));
	(void)snprintf(making->stored.tc, sizeof(making->stored.tc), "%s", kern_tc_name(info.tc));
	return 0;
}

static int attach(struct making *making, struct error *err)
{
	struct kern_attach attach = {.name = making->stored.id,
				     .id = making->stored.kernel_id,
				     .cgroup_fd = making->cgroup_fd,
				     .cgroup_level = (uint32_t)cgroup_level(making->path)};
	int r = find_netns(making, &attach.netns_cookie, err);

	/* Not known: as if it were. */
	if (cgroup_is_populated(making->cgroup_fd, &attach.is_running) < 0)
		attach.is_running = true;
	if (!r && attach.cgroup_level > PST_MAX_CGROUP_LEVEL)
		r = error_set(err, -EINVAL, "'%s' is more than %d levels deep", making->path,
			      PST_MAX_CGROUP_LEVEL);
	making->stored.netns_cookie = attach.netns_cookie;
	return r ? r : kern_attachment_new(making->daemon->kern, &attach, &making->at, err);
}

/* They are bounded as what lives is: a socket that was passed on keeps its cgroup's links. What was not made here is
 * not: it would be free where it could not be attached again. */
static size_t count_all(const struct daemon *daemon)
{
	size_t n = daemon->registry.count;

	for (const struct ending *e = daemon->endings; e; e = e->next)
		n += e->owned;
	return n;
}

/* Its pins have the name still, and are needed. */
static bool is_ending(const struct daemon *daemon, const char *id)
{
	for (const struct ending *e = daemon->endings; e; e = e->next) {
		if (strcmp(e->id, id) == 0)
			return true;
	}
	return false;
}

static size_t count_of(const struct daemon *daemon, const char *owner)
{
	size_t n = 0;

	for (const struct sandbox *s = daemon->registry.first; s; s = s->next)
		n += !strcmp(s->stored.owner, owner);
	for (const struct ending *e = daemon->endings; e; e = e->next)
		n += e->owned && !strcmp(e->owner, owner);
	return n;
}

/* One tenant is not to take the room of all. */
static enum api_status refuse_too_many(const struct daemon *daemon, const char *owner,
				       struct error *err)
{
	uint32_t max = daemon->config.max_per_owner;

	if (!max || !owner[0] || count_of(daemon, owner) < max)
		return API_OK;
	(void)error_set(err, -ENOSPC,
			"there are %zu sandboxes of this owner already (with those that end), "
			"limits.sandboxesPerOwner is %u",
			count_of(daemon, owner), max);
	return API_FULL;
}

static enum api_status name_it(struct making *making, struct error *err)
{
	const struct daemon *daemon = making->daemon;
	const char *wanted = making->create->id;
	char *id = making->stored.id;

	if (wanted && !is_id(wanted)) {
		(void)error_set(err, -EINVAL,
				"bad id '%.64s', expected 1 to 64 of a-z, 0-9, '_' and '-'",
				wanted);
		return API_INVALID;
	}
	if (wanted && (daemon_relay_is_own(wanted) || daemon_is_left(wanted))) {
		(void)error_set(err, -EINVAL, "ids that begin with '%s' or '%s' are ours", RELAY_ID,
				KERN_LEFT);
		return API_INVALID;
	}
	if (wanted)
		(void)snprintf(id, sizeof(making->stored.id), "%s", wanted);
	else if (draw_id(making->create->dialect, id) < 0)
		return API_FAILED;
	if (registry_find(&daemon->registry, id)) {
		(void)error_set(err, -EEXIST, "there is a sandbox '%s' already", id);
		return API_CONFLICT;
	}
	if (is_ending(daemon, id)) {
		(void)error_set(err, -EEXIST, "what was inside of '%s' is not gone yet: try again",
				id);
		return API_CONFLICT;
	}
	if (count_all(daemon) >= daemon->config.max_sandboxes) {
		(void)error_set(
			err, -ENOSPC,
			"there are %zu sandboxes already (with those that end), limits.sandboxes is %u",
			count_all(daemon), daemon->config.max_sandboxes);
		return API_FULL;
	}
	return API_OK;
}

static enum api_status status_of(int r)
{
	switch (-r) {
	case EINVAL:
	case ENOENT:
	case ENOTDIR:
	case ENODEV: /* of a cgroup that went meanwhile */
	case ENAMETOOLONG:
	case ELOOP:
	case EXDEV:
	case EPERM:
	case ESRCH:
		return API_INVALID;
	case EEXIST:
	case EBUSY: /* the device has one */
		return API_CONFLICT;
	case EOPNOTSUPP:
		return API_UNSUPPORTED;
	case ENOSPC:
	case EMFILE:
	case ENFILE:
		return API_FULL;
	}
	return API_FAILED;
}

static enum api_status place_it(struct making *making, struct api_result *result)
{
	struct error *err = &result->err;
	const struct sandbox *other;
	bool owned = is_owned(making->create);
	char *full = NULL;
	int r;

	if (making->create->netdev)
		return device_place(making->daemon, making->create, &making->device,
				    &making->stored, result);
	r = choose_path(making->daemon, making->create, making->stored.id, &making->path, err);
	if (!r && daemon_relay_is_place(making->path))
		r = error_set(err, -EINVAL, "'%s' is a relay's cgroup", making->path);
	if (r < 0)
		return status_of(r);
	if (asprintf(&full, "/%s", making->path) < 0)
		return API_FAILED;
	other = find_related(making->daemon, full);
	free(full);
	if (other) {
		(void)error_set(err, -EEXIST, "'%s' meets the cgroup of sandbox '%s': %s",
				making->path, other->stored.id, other->stored.cgroup);
		return API_CONFLICT;
	}
	r = open_place(making->daemon, making->path, owned, &making->cgroup_fd, err);
	making->made_cgroup = !r && owned;
	return r < 0 ? status_of(r) : API_OK;
}

/* With the policy that it is to get: what that cannot hold is known before anything is in force. */
static enum api_status refuse_weak(struct making *making, const struct policy *policy,
				   struct api_result *result)
{
	struct sandbox like = {.stored = making->stored, .at = making->at};
	struct api_hole holes[API_MAX_HOLES];
	size_t count = 0;

	if (making->create->dialect != API_NATIVE || making->create->allow_weak)
		return API_OK;
	if (making->create->netdev)
		(void)snprintf(like.netdev, sizeof(like.netdev), "%s", making->stored.netdev);
	if (daemon_holes_of(making->daemon, &like, policy, holes, &count, &result->err) < 0)
		return API_FAILED;
	if (!count)
		return API_OK;
	api_texts_done(&result->warnings);
	(void)error_set(&result->err, -EPERM, "%zu ways around the policy are open", count);
	for (size_t i = 0; i < count; i++) {
		struct error line;

		(void)error_set(&line, 0, "%s: %s", holes[i].name, holes[i].text);
		if (api_texts_add(&result->warnings, line.text) < 0)
			return API_FAILED;
	}
	return API_WEAK;
}

static enum api_status attach_and_say(struct making *making, struct error *err)
{
	int r = making->create->netdev ? attach_to_device(making, err) : attach(making, err);

	return r < 0 ? status_of(r) : API_OK;
}

/* The registry has it from its first change on; before, nobody but us knows of it. */
static void enforce(struct making *making, const struct compiled *compiled, const char *document,
		    struct api_result *result)
{
	struct daemon *daemon = making->daemon;
	struct sandbox *sandbox;
	struct changing changing = {.compiled = compiled,
				    .dialect = making->create->dialect,
				    .document = document,
				    .document_size = strlen(document)};

	sandbox = registry_add(&daemon->registry, &making->stored);
	if (!sandbox) {
		daemon_refuse(result, API_FAILED, "out of memory");
		return;
	}
	sandbox->at = making->at;
	changing.sandbox = sandbox;
	daemon_change(daemon, &changing, result);
	if (result->status == API_OK) {
		making->at = NULL;
		making->made_cgroup = false;
		return;
	}
	sandbox->at = NULL;
	registry_remove(&daemon->registry, sandbox);
}

static void make(struct making *making, const struct api_caller *caller, char *ret_id,
		 struct api_result *result)
{
	const struct api_create *create = making->create;
	cleanup(compiled_done) struct compiled compiled = {0};
	const char *document = create->document ? create->document : "{}";
	const struct api_change change = {.dialect = create->dialect,
					  .document = document,
					  .document_size =
						  create->document ? create->document_size : 2};
	struct error *err = &result->err;

	result->status = daemon_compile(making->daemon, create->dialect, &change, &compiled, err);
	if (result->status == API_OK)
		result->status = refuse_too_many(making->daemon, caller->owner, err);
	if (result->status == API_OK)
		result->status = name_it(making, err);
	if (result->status == API_OK)
		result->status = place_it(making, result);
	if (result->status == API_OK && fill_stored(making, caller, err) < 0)
		result->status = API_FAILED;
	/* Whose frames a program ahead of ours sees is known when ours are there; they deny everything so far. */
	if (result->status == API_OK && create->netdev)
		result->status = attach_and_say(making, err);
	if (result->status == API_OK)
		result->status = refuse_weak(making, compiled.policy, result);
	if (result->status == API_OK && !create->netdev)
		result->status = attach_and_say(making, err);
	if (result->status != API_OK)
		return;
	(void)snprintf(ret_id, API_ID_MAX + 1, "%s", making->stored.id);
	enforce(making, &compiled, document, result);
}

void daemon_create(struct daemon *daemon, const struct api_caller *caller,
		   const struct api_create *create, char *ret_id, struct api_result *result)
{
	cleanup(making_done) struct making making = {
		.daemon = daemon, .create = create, .cgroup_fd = -1};

	make(&making, caller, ret_id, result);
	if (result->status == API_OK)
		log_info("%s: created", ret_id);
}

void daemon_create_from_dir(struct daemon *daemon, const struct api_create *create,
			    struct api_result *result)
{
	const struct api_caller operator= {.role = API_ROLE_OPERATOR};
	cleanup(making_done) struct making making = {
		.daemon = daemon, .create = create, .stored = {.from_dir = true}, .cgroup_fd = -1};
	char id[API_ID_MAX + 1];

	make(&making, &operator, id, result);
	if (result->status == API_OK)
		log_info("%s: created", id);
}
