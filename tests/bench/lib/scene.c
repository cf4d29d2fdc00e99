/* SPDX-License-Identifier: MIT */
/* Cgroups and sandboxes for the benchmarks, made by the same calls as `postern run` makes them. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kern/cgroup.h"
#include "kern/netns.h"
#include "kern/pin.h"
#include "tests/bench/lib/bench.h"

static void demand(int r, const struct error *err)
{
	if (r < 0)
		bench_fail(err->text, r);
}

int bench_cgroup(const char *parent, const char *name)
{
	cleanup_close int root = -1;
	struct error err = {0};
	char path[128];
	int fd = -1;

	snprintf(path, sizeof(path), "%s/%s", parent, name);
	demand(cgroup_open_root(&root, NULL, &err), &err);
	demand(cgroup_create(root, path, &fd, &err), &err);
	return fd;
}

struct policy *bench_parse(const struct buf *text)
{
	struct policy *policy = NULL;
	struct error err = {0};

	demand(policy_parse("bench", text->data, text->size, POLICY_FROM_FILE, &policy, &err),
	       &err);
	return policy;
}

struct table *bench_compile(const struct policy *policy)
{
	const struct table_env env = {0};
	struct table *table = NULL;
	struct error err = {0};

	demand(table_compile(policy, &env, &table, &err), &err);
	return table;
}

char *bench_pin_dir(const char *parent, const char *name)
{
	cleanup_free char *bpffs = NULL, *dir = NULL;
	struct error err = {0};
	char *pin_dir;

	demand(pin_find_bpffs(&bpffs, &err), &err);
	if (asprintf(&dir, "%s/%s", bpffs, parent) < 0 ||
	    asprintf(&pin_dir, "%s/%s", dir, name) < 0)
		bench_fail("pins", ENOMEM);
	if (mkdir(dir, 0700) && errno != EEXIST)
		bench_fail(dir, errno);
	if (mkdir(pin_dir, 0700))
		bench_fail(pin_dir, errno);
	return pin_dir;
}

void bench_write_always(struct kern_sandbox *sandbox)
{
	const struct table_always_input input = {0};
	cleanup_free struct table_always_row *rows = NULL;
	struct error err = {0};
	size_t count;
	int r = table_always(&input, &rows, &count);

	if (r < 0)
		bench_fail("always-denied set", r);
	demand(kern_sandbox_set_always(sandbox, rows, count, &err), &err);
}

static void load(struct bench_sandbox *sandbox, const struct table *table)
{
	/* As `postern run` does it. */
	struct kern_sandbox_options options = {
		.cgroup_fd = sandbox->cgroup_fd,
		.cgroup_level = 2,
		.no_trie = !(table->flags & (PST_SANDBOX_TRIE4 | PST_SANDBOX_TRIE6))};
	struct error err = {0};

	options.id = bench_now_ns();
	demand(netns_cookie(&options.netns_cookie, &err), &err);
	demand(kern_sandbox_load(&options, &sandbox->kern, &err), &err);
}

static void step(struct bench_sandbox *sandbox, enum bench_step which, const struct table *table)
{
	struct error err = {0};
	int r = 0;

	switch (which) {
	case BENCH_LOAD:
		load(sandbox, table);
		break;
	case BENCH_ALWAYS:
		bench_write_always(sandbox->kern);
		break;
	case BENCH_APPLY:
		r = kern_sandbox_apply(sandbox->kern, table, &err);
		break;
	case BENCH_ATTACH:
		r = kern_sandbox_attach(sandbox->kern, sandbox->pin_dir, &err);
		break;
	case BENCH_FLIP:
		r = kern_sandbox_flip(sandbox->kern, &err);
		break;
	case BENCH_PLACES:
	case BENCH_STEPS:
		break;
	}
	demand(r, &err);
}

void bench_sandbox_open(struct bench_sandbox *sandbox, const char *parent, const char *name,
			const struct table *table, uint64_t *took_ns)
{
	uint64_t marks[BENCH_STEPS + 1];

	*sandbox = (struct bench_sandbox){.cgroup_fd = -1};
	marks[BENCH_PLACES] = bench_now_ns();
	sandbox->pin_dir = bench_pin_dir(parent, name);
	sandbox->cgroup_fd = bench_cgroup(parent, name);
	for (enum bench_step i = BENCH_LOAD; i < BENCH_STEPS; i++) {
		marks[i] = bench_now_ns();
		step(sandbox, i, table);
	}
	marks[BENCH_STEPS] = bench_now_ns();
	for (int i = 0; took_ns && i < BENCH_STEPS; i++)
		took_ns[i] = marks[i + 1] - marks[i];
}

void bench_sandbox_make(struct bench_sandbox *sandbox, const char *parent, const char *name,
			const struct bench_cidr *cidrs, unsigned count)
{
	cleanup_buf struct buf text = {0};
	cleanup_policy struct policy *policy = NULL;
	cleanup_table struct table *table = NULL;

	bench_policy_text(cidrs, count, &text);
	policy = bench_parse(&text);
	table = bench_compile(policy);
	bench_sandbox_open(sandbox, parent, name, table, NULL);
}

void bench_sandbox_close(struct bench_sandbox *sandbox)
{
	kern_sandbox_detach(sandbox->kern);
	kern_sandbox_free(sandbox->kern);
	(void)pin_remove_dir(sandbox->pin_dir);
	if (sandbox->cgroup_fd >= 0)
		close(sandbox->cgroup_fd);
	free(sandbox->pin_dir);
}
