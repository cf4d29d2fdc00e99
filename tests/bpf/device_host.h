/* SPDX-License-Identifier: MIT */
/* A host of its own, as posternd has one, and sandboxes on wires. */
#ifndef TESTS_BPF_DEVICE_HOST_H
#define TESTS_BPF_DEVICE_HOST_H

#include "device_fixture.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "kern/host.h"
#include "kern/host_object.h"

struct host {
	struct wires *wires;
	struct kern_host *kern;
	char dir[96];
};

static inline struct kern_host *open_host(const struct host *host)
{
	const struct kern_host_options options = {
		.dir = host->dir, .cgroup_root_fd = host->wires->place->root, .max_sandboxes = 64};
	const struct table_always_row root = {.value = {.kind = PST_ALWAYS_OPEN}};
	struct kern_host *kern = NULL;
	struct error err = {{0}};

	check(kern_host_open(&options, &kern, &err));
	check(kern_host_set_always(kern, &root, 1, &err));
	return kern;
}

static inline struct host start_host(struct wires *wires)
{
	struct host host = {.wires = wires};

	(void)snprintf(host.dir, sizeof(host.dir), "%s/postern-%d", wires->place->bpffs,
		       wires->place->runs++);
	host.kern = open_host(&host);
	assert_int_equal(kern_host_adopted(host.kern), 0);
	return host;
}

static inline void end_host(struct host *host)
{
	kern_host_close(host->kern);
	assert_int_equal(pin_remove_dir(host->dir), 0);
}

static inline struct kern_own own_of(const struct wire *wire)
{
	char mac[32], address[32];
	const char *macs[] = {mac}, *addresses[] = {address};
	struct kern_own own;
	struct error err = {{0}};

	(void)snprintf(mac, sizeof(mac), "02:00:00:00:02:%02x", wire->number);
	(void)snprintf(address, sizeof(address), "10.99.%d.2", wire->number);
	check(kern_own_parse(macs, 1, addresses, 1, &own, &err));
	return own;
}

struct one {
	char name[40];
	uint64_t id;
	struct kern_attachment *at;
};

static inline int try_attach(struct host *host, const struct wire *wire, enum kern_tc tc,
			     struct one *one, struct error *err)
{
	const struct kern_attach_device device = {
		.ifindex = wire->ifindex, .tc = tc, .own = own_of(wire)};
	struct kern_attach how = {
		.name = one->name, .device = &device, .netns_cookie = host->wires->cookie};

	(void)snprintf(one->name, sizeof(one->name), "pst-%d-%d", getpid(),
		       host->wires->place->runs);
	one->id = how.id = (uint64_t)++host->wires->place->runs;
	return kern_attachment_new(host->kern, &how, &one->at, err);
}

static inline struct one attach(struct host *host, const struct wire *wire, enum kern_tc tc)
{
	struct one one = {.at = NULL};
	struct error err = {{0}};

	check(try_attach(host, wire, tc, &one, &err));
	return one;
}

static inline void detach(struct one *one)
{
	kern_attachment_detach(one->at);
	kern_attachment_free(one->at);
	one->at = NULL;
}

/* `salt` makes policies of equal meaning different. */
static inline void stage(struct host *host, struct one *one, uint8_t verdict, uint8_t salt)
{
	const uint8_t hash[KERN_HASH_SIZE] = {verdict, salt, 1};
	struct kern_policy *policy = NULL;
	struct error err = {{0}};
	struct bare bare;
	struct table *table = bare_table(&bare, verdict);

	table->n_rules = 3;
	table->inbound = PST_INBOUND_ALLOW;
	check(kern_policy_load(host->kern, table, hash, &policy, &err));
	check(kern_attachment_stage(one->at, policy, kern_host_next_generation(host->kern), &err));
	kern_policy_put(policy);
}

static inline void change(struct host *host, struct one *one, uint8_t verdict)
{
	struct error err = {{0}};

	stage(host, one, verdict, 0);
	check(kern_attachment_flip(one->at, &err));
}

static inline int change_fails(struct host *host, struct one *one)
{
	struct error err = {{0}};

	stage(host, one, PST_VERDICT_ALLOW, 0);
	return kern_attachment_flip(one->at, &err);
}

static inline struct kern_device_info info_of(const struct one *one)
{
	struct kern_device_info info;

	assert_int_equal(kern_attachment_device(one->at, &info), 0);
	return info;
}

/* What the daemon does when it starts again. */
static inline void restart_host(struct host *host)
{
	kern_host_close(host->kern);
	host->kern = open_host(host);
}

static inline int try_adopt(struct host *host, struct one *one, uint64_t where)
{
	struct error err = {{0}};
	int r = kern_attachment_adopt(host->kern, one->name, where, NULL, &one->at, &err);

	if (r < 0)
		one->at = NULL;
	if (r < 0 && r != -ENOENT)
		fail_msg("%s", err.text);
	assert_int_equal(kern_host_adopted(host->kern), 0);
	return r;
}

static inline void leave(struct one *one)
{
	kern_attachment_free(one->at);
	one->at = NULL;
}

static inline bool has_tcx(void)
{
	return !kern_tc_try(KERN_TC_TCX);
}

/* One host for all: what a test leaves behind, the next one meets. */
static inline int open_all(void **state)
{
	struct wires *wires;
	struct host *host = calloc(1, sizeof(*host));

	assert_non_null(host);
	wires_open(state);
	wires = *state;
	*host = start_host(wires);
	wires->host = host;
	return 0;
}

static inline int close_all(void **state)
{
	struct wires *wires = *state;

	end_host(wires->host);
	free(wires->host);
	return wires_close(state);
}

#endif
