/* SPDX-License-Identifier: MIT */
/* A daemon's kernel side for tests: opened in a place of its own, with attachments that can be changed. */
#ifndef TESTS_BPF_HOST_FIXTURE_H
#define TESTS_BPF_HOST_FIXTURE_H

#include "kern_fixture.h"

#include <bpf/bpf.h>

#include "kern/host.h"
#include "kern/host_object.h"
#include "kern/netns.h"

struct host {
	struct place *place;
	struct kern_host *kern;
	char dir[96];
};

struct one {
	char name[40], path[64];
	int cgroup;
	struct kern_attachment *at;
};

static inline struct kern_host *open_host(const struct host *host)
{
	const struct kern_host_options options = {.dir = host->dir,
						  .cgroup_root_fd = host->place->root,
						  .max_sandboxes = 64,
						  .with_walk = true};
	struct kern_host *kern = NULL;
	struct error err = {{0}};

	check(kern_host_open(&options, &kern, &err));
	return kern;
}

static inline void set_always(struct kern_host *kern)
{
	const struct table_always_row root = {.value = {.kind = PST_ALWAYS_OPEN}};
	struct error err = {{0}};

	check(kern_host_set_always(kern, &root, 1, &err));
}

static inline struct host start_host(struct place *place)
{
	struct host host = {.place = place};

	(void)snprintf(host.dir, sizeof(host.dir), "%s/postern-%d", place->bpffs, place->runs++);
	host.kern = open_host(&host);
	set_always(host.kern);
	assert_int_equal(kern_host_adopted(host.kern), 0);
	return host;
}

static inline void end_host(struct host *host)
{
	kern_host_close(host->kern);
	assert_int_equal(pin_remove_dir(host->dir), 0);
}

static inline struct one attach(struct host *host)
{
	struct one one = {.cgroup = -1};
	struct kern_attach how = {.name = one.name, .cgroup_level = 2};
	struct error err = {{0}};

	(void)snprintf(one.name, sizeof(one.name), "pst-%d-%d", getpid(), host->place->runs);
	(void)snprintf(one.path, sizeof(one.path), "%s", one.name);
	check(cgroup_create(host->place->root, one.path, &one.cgroup, &err));
	how.id = (uint64_t)++host->place->runs;
	how.cgroup_fd = one.cgroup;
	check(netns_cookie(&how.netns_cookie, &err));
	check(kern_attachment_new(host->kern, &how, &one.at, &err));
	return one;
}

static inline void detach(struct host *host, struct one *one)
{
	kern_attachment_detach(one->at);
	kern_attachment_free(one->at);
	close(one->cgroup);
	assert_int_equal(cgroup_remove_tree(host->place->root, one->path), 0);
}

/* `salt` makes policies of equal meaning different. */
static inline struct kern_policy *load(struct host *host, uint8_t verdict, uint8_t salt,
				       uint32_t rules)
{
	const uint8_t hash[KERN_HASH_SIZE] = {verdict, salt, 1};
	struct kern_policy *policy = NULL;
	struct error err = {{0}};
	struct bare bare;
	struct table *table = bare_table(&bare, verdict);

	table->n_rules = rules;
	table->loopback = PST_LOOPBACK_HOST;
	check(kern_policy_load(host->kern, table, hash, &policy, &err));
	return policy;
}

static inline void stage(struct host *host, struct one *one, uint8_t verdict, uint8_t salt)
{
	struct kern_policy *policy = load(host, verdict, salt, 3);
	struct error err = {{0}};

	check(kern_attachment_stage(one->at, policy, kern_host_next_generation(host->kern), &err));
	kern_policy_put(policy);
}

static inline void change(struct host *host, struct one *one, uint8_t verdict, uint8_t salt)
{
	struct error err = {{0}};

	stage(host, one, verdict, salt);
	check(kern_attachment_flip(one->at, &err));
}

#define OUTSIDE "192.0.2.1"

#endif
