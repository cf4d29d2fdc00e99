/* SPDX-License-Identifier: MIT */
/* The sandbox of one `postern run`: its cgroup, its pins, its enforcement; made and removed as one. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "cli/run_sandbox.h"
#include "kern/cgroup.h"
#include "kern/netns.h"
#include "kern/pin.h"

#define NAME_MAX_SIZE 40
/* Killing a process that writes to a slow disk takes its time; more than this is a stuck one. */
#define KILL_WAIT_MS 5000
/* The kernel lets go of a cgroup without sockets some 10 ms after its removal. */
#define SOCKETS_WAIT_MS 300

/* 53 bits: reports have it as a JSON number, which many readers keep as a double. */
static int draw_id(uint64_t *ret_id)
{
	uint64_t id = 0;

	while (id == 0) {
		if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id) && errno != EINTR)
			return -errno;
		id >>= 11;
	}
	*ret_id = id;
	return 0;
}

static bool is_ours(const char *path)
{
	return strncmp(path, PIN_RUN_DIR "/", sizeof(PIN_RUN_DIR)) == 0 ||
	       strstr(path, "/" PIN_RUN_DIR "/") != NULL;
}

/* Below the caller's own cgroup when that is a run's, so that the outer policy holds for the inner one too. */
static int choose_path(const char *name, char **ret_path, struct error *err)
{
	cleanup_free char *own = NULL;
	struct error none = {0};
	const char *parent = PIN_RUN_DIR;
	int r;

	r = cgroup_of(getpid(), &own, &none);
	/* A host with cgroup v2 mounted nowhere has everybody in its root. */
	if (r < 0 && r != -ENOENT)
		return error_set(err, r, "%s", none.text);
	if (r == 0 && is_ours(own))
		parent = own;
	if (asprintf(ret_path, "%s/%s", parent, name) < 0) {
		*ret_path = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

static int make_places(struct run_sandbox *sandbox, char name[NAME_MAX_SIZE], struct error *err)
{
	cleanup_free char *bpffs = NULL;
	int r;

	r = cgroup_open_root(&sandbox->root_fd, NULL, err);
	if (r == 0)
		r = pin_find_bpffs(&bpffs, err);
	if (r < 0)
		return r;
	r = pin_sweep(bpffs, sandbox->root_fd);
	if (r < 0)
		log_warning("run: cannot sweep what killed runs left: %s", strerror(-r));
	r = draw_id(&sandbox->id);
	if (r < 0)
		return error_set(err, r, "cannot draw an id: %s", strerror(-r));
	/* The pid is for people who look at cgroups and pins; the id makes the name unique. */
	snprintf(name, NAME_MAX_SIZE, "run-%d-%016" PRIx64, getpid(), sandbox->id);
	r = choose_path(name, &sandbox->cgroup_path, err);
	/* Pins first: a cgroup without them counts as left over (kern/pin.h). */
	if (r == 0)
		r = pin_make_dir(bpffs, name, &sandbox->pin_dir, err);
	if (r == 0)
		r = cgroup_create(sandbox->root_fd, sandbox->cgroup_path, &sandbox->cgroup_fd, err);
	return r;
}

int run_sandbox_follow_host(struct run_sandbox *sandbox, const struct host *host, struct error *err)
{
	cleanup_free struct table_always_row *rows = NULL;
	size_t count;
	int r = host_always(host, &rows, &count, err);

	return r ? r : kern_sandbox_set_always(sandbox->kern, rows, count, err);
}

/* What frames may come from: what CMD was given. */
static int describe_device(const struct run_net *net, struct kern_attach_device *ret_device,
			   struct error *err)
{
	const char *macs[] = {run_net_mac}, *addresses[RUN_NET_FAMILIES];
	struct kern_attach_device device = {.ifindex = net->ifindex};
	char texts[RUN_NET_FAMILIES][CIDR_TEXT_MAX];
	int r;

	for (size_t i = 0; i < net->n_addresses; i++)
		addresses[i] = addr_print(&net->addresses[i], texts[i]);
	r = kern_own_parse(macs, 1, addresses, net->n_addresses, &device.own, err);
	if (r == 0)
		*ret_device = device;
	return r;
}

static int load(struct run_sandbox *sandbox, const struct run_sandbox_options *asked,
		struct error *err)
{
	struct kern_attach_device device;
	struct kern_sandbox_options options = {
		.one_policy = true,
		.no_trie = !(asked->table->flags & (PST_SANDBOX_TRIE4 | PST_SANDBOX_TRIE6)),
		.unix_sockets = asked->table->unix_sockets != PST_UNIX_ALLOW,
		.relay = asked->relay,
		.id = sandbox->id,
		.cgroup_fd = sandbox->cgroup_fd,
		.cgroup_level = (uint32_t)cgroup_level(sandbox->cgroup_path),
	};
	int r = netns_cookie(&options.netns_cookie, err);

	if (r == 0 && sandbox->has_net) {
		r = describe_device(&sandbox->net, &device, err);
		options.device = &device;
	}
	return r == 0 ? kern_sandbox_load(&options, &sandbox->kern, err) : r;
}

static int enforce(struct run_sandbox *sandbox, const struct run_sandbox_options *options,
		   struct error *err)
{
	int r;

	r = load(sandbox, options, err);
	if (r == 0)
		r = run_sandbox_follow_host(sandbox, options->host, err);
	if (r == 0)
		r = kern_sandbox_apply(sandbox->kern, options->table, err);
	if (r == 0)
		r = kern_sandbox_attach(sandbox->kern, sandbox->pin_dir, err);
	if (r == 0)
		r = kern_sandbox_flip(sandbox->kern, err);
	return r;
}

static int make_net(struct run_sandbox *sandbox, const struct run_net_options *options,
		    const char *name, struct error *err)
{
	struct run_net_options named = *options;
	int r;

	named.run = name;
	r = run_net_open(&sandbox->net, &named, err);
	sandbox->has_net = r == 0;
	return r;
}

int run_sandbox_open(struct run_sandbox *ret_sandbox, const struct run_sandbox_options *options,
		     struct error *err)
{
	struct run_sandbox sandbox = {.root_fd = -1, .cgroup_fd = -1};
	char name[NAME_MAX_SIZE] = "";
	int r;

	r = make_places(&sandbox, name, err);
	if (r == 0 && options->net)
		r = make_net(&sandbox, options->net, name, err);
	else if (r == 0)
		run_net_sweep();
	if (r == 0)
		r = enforce(&sandbox, options, err);
	if (r == 0 && sandbox.has_net)
		r = run_net_connect(&sandbox.net, err);
	if (r < 0) {
		run_sandbox_close(&sandbox);
		return r;
	}
	*ret_sandbox = sandbox;
	return 0;
}

static bool empty_cgroup(int cgroup_fd)
{
	bool populated = true;

	if (cgroup_is_populated(cgroup_fd, &populated) == 0 && !populated)
		return true;
	return cgroup_kill(cgroup_fd) == 0 && cgroup_wait_empty(cgroup_fd, KILL_WAIT_MS) == 0;
}

/* The cgroup first: its links are to let go of it only when its last socket is gone. */
static void remove_places(const struct run_sandbox *sandbox)
{
	int r = 0;

	if (sandbox->cgroup_fd >= 0)
		r = cgroup_remove_tree(sandbox->root_fd, sandbox->cgroup_path);
	if (r < 0) {
		/* Somebody is in it: the pins keep it denied, and a later run sweeps it. */
		log_warning("run: cannot remove the cgroup %s: %s", sandbox->cgroup_path,
			    strerror(-r));
		return;
	}
	if (sandbox->kern && kern_sandbox_end(sandbox->kern, SOCKETS_WAIT_MS) < 0) {
		log_info(
			"run: sockets outlive the command: they stay judged, a later run sweeps them");
		return;
	}
	r = sandbox->pin_dir ? pin_remove_run(sandbox->pin_dir, sandbox->root_fd) : 0;
	if (r < 0)
		log_warning("run: cannot remove %s: %s", sandbox->pin_dir, strerror(-r));
}

void run_sandbox_close(struct run_sandbox *sandbox)
{
	if (sandbox->cgroup_fd >= 0 && !empty_cgroup(sandbox->cgroup_fd)) {
		log_warning(
			"run: the cgroup %s has members that cannot be killed: it stays enforced",
			sandbox->cgroup_path);
	} else {
		/* While its device is judged. */
		if (sandbox->has_net)
			run_net_close(&sandbox->net);
		remove_places(sandbox);
	}
	kern_sandbox_free(sandbox->kern);
	if (sandbox->cgroup_fd >= 0)
		close(sandbox->cgroup_fd);
	if (sandbox->root_fd >= 0)
		close(sandbox->root_fd);
	free(sandbox->cgroup_path);
	free(sandbox->pin_dir);
}
