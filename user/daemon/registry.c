/* SPDX-License-Identifier: MIT */
/* The sandboxes of this host, by id, by the kernel's id, by creation. */
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/daemon.h"
#include "kern/cgroup.h"

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct sandbox *)a)->stored.id,
		      ((const struct sandbox *)b)->stored.id);
}

static int by_kernel_id(const void *a, const void *b)
{
	uint64_t x = ((const struct sandbox *)a)->stored.kernel_id;
	uint64_t y = ((const struct sandbox *)b)->stored.kernel_id;

	return x < y ? -1 : x > y;
}

static struct sandbox *find(void *const *tree, const struct sandbox *like,
			    int (*order)(const void *, const void *))
{
	struct sandbox *const *found = tfind(like, tree, order);

	return found ? *found : NULL;
}

struct sandbox *registry_find(const struct registry *registry, const char *id)
{
	struct sandbox like = {0};

	if (strlen(id) >= sizeof(like.stored.id))
		return NULL;
	memcpy(like.stored.id, id, strlen(id));
	return find(&registry->by_id, &like, by_id);
}

struct sandbox *registry_find_kernel(const struct registry *registry, uint64_t kernel_id)
{
	const struct sandbox like = {.stored = {.kernel_id = kernel_id}};

	return find(&registry->by_kernel_id, &like, by_kernel_id);
}

static void sandbox_free(struct sandbox *sandbox)
{
	kern_attachment_free(sandbox->at);
	stored_done(&sandbox->stored);
	policy_free(sandbox->policy);
	free(sandbox->advice);
	free(sandbox);
}

struct sandbox *registry_add(struct registry *registry, struct stored *stored)
{
	struct sandbox *sandbox = calloc(1, sizeof(*sandbox));

	if (!sandbox)
		return NULL;
	sandbox->stored = *stored;
	if (stored->netdev)
		(void)snprintf(sandbox->netdev, sizeof(sandbox->netdev), "%s", stored->netdev);
	if (!tsearch(sandbox, &registry->by_id, by_id)) {
		free(sandbox);
		return NULL;
	}
	if (stored->kernel_id && !tsearch(sandbox, &registry->by_kernel_id, by_kernel_id)) {
		(void)tdelete(sandbox, &registry->by_id, by_id);
		free(sandbox);
		return NULL;
	}
	*stored = (struct stored){0};
	sandbox->previous = registry->last;
	if (registry->last)
		registry->last->next = sandbox;
	else
		registry->first = sandbox;
	registry->last = sandbox;
	registry->count++;
	registry->version++;
	return sandbox;
}

void registry_remove(struct registry *registry, struct sandbox *sandbox)
{
	(void)tdelete(sandbox, &registry->by_id, by_id);
	if (sandbox->stored.kernel_id)
		(void)tdelete(sandbox, &registry->by_kernel_id, by_kernel_id);
	if (sandbox->previous)
		sandbox->previous->next = sandbox->next;
	else
		registry->first = sandbox->next;
	if (sandbox->next)
		sandbox->next->previous = sandbox->previous;
	else
		registry->last = sandbox->previous;
	registry->count--;
	registry->version++;
	sandbox_free(sandbox);
}

void registry_done(struct registry *registry)
{
	while (registry->first)
		registry_remove(registry, registry->first);
}

enum api_state sandbox_state(const struct sandbox *sandbox)
{
	if (sandbox->damaged)
		return API_DAMAGED;
	if (sandbox->gone)
		return API_GONE;
	return sandbox->stored.paused ? API_PAUSED : API_RUNNING;
}

int sandbox_open_cgroup(const struct daemon *daemon, const struct sandbox *sandbox, int *ret_fd)
{
	const char *path = sandbox->stored.cgroup;

	return cgroup_open_known(daemon->root_fd, path ? path + 1 : NULL, sandbox->stored.cgroup_id,
				 ret_fd);
}

bool sandbox_is_device(const struct sandbox *sandbox)
{
	return sandbox->stored.netdev;
}

bool sandbox_is_there(const struct daemon *daemon, const struct sandbox *sandbox)
{
	cleanup_close int fd = -1;

	if (sandbox_is_device(sandbox))
		return sandbox->at && kern_attachment_is_alive(sandbox->at);
	return !sandbox_open_cgroup(daemon, sandbox, &fd);
}

const char *sandbox_place(const struct sandbox *sandbox)
{
	return sandbox_is_device(sandbox) ? "device" : "cgroup";
}

struct sandbox *sandbox_for(const struct daemon *daemon, const struct api_caller *caller,
			    const char *id)
{
	struct sandbox *sandbox = registry_find(&daemon->registry, id);

	if (!sandbox || caller->role == API_ROLE_NONE)
		return NULL;
	if (caller->role == API_ROLE_OPERATOR && !caller->owner[0])
		return sandbox;
	return strcmp(sandbox->stored.owner, caller->owner) == 0 ? sandbox : NULL;
}

void sandbox_forget_policy(struct sandbox *sandbox)
{
	policy_free(sandbox->policy);
	sandbox->policy = NULL;
	sandbox->policy_used = false;
}

void sandbox_advise(struct sandbox *sandbox, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return;
	free(sandbox->advice);
	sandbox->advice = copy;
}
