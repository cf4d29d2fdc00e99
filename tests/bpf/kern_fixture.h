/* SPDX-License-Identifier: MIT */
/*
 * A place of one's own for tests that load and attach: a bpffs in a private mount namespace, a cgroup that stands
 * for the root, runs in both, and processes that go in and try something. Needs root.
 */
#ifndef TESTS_BPF_KERN_FIXTURE_H
#define TESTS_BPF_KERN_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "kern/cgroup.h"
#include "kern/pin.h"
#include "kern/sandbox.h"

/* In an emulated machine (TEST_LIGHT) much waits, and on Linux 6.1 each slot that comes back. */
#define FIXTURE_DEADLINE_NS (getenv("TEST_LIGHT") ? 120000000000ULL : 10000000000ULL)

struct place {
	char root_name[64];
	int real_root; /* of cgroup2 */
	int root;      /* what the code under test takes for it */
	char bpffs[64];
	int runs; /* made so far: names are unique */
};

struct run {
	char name[32];
	char path[64]; /* of the cgroup, below place.root */
	char *pin_dir;
	int cgroup;
	struct kern_sandbox *sandbox;
};

#define check(call)                                                                                \
	do {                                                                                       \
		struct error *err_ = &err;                                                         \
		int r_ = (call);                                                                   \
		if (r_ < 0)                                                                        \
			fail_msg("%s: %s (%s)", #call, strerror(-r_), err_->text);                 \
	} while (0)

static inline int place_open(void **state)
{
	struct place *place = calloc(1, sizeof(*place));
	struct rlimit files;
	struct error err = {{0}};

	assert_non_null(place);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max; /* as posternd does */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	(void)snprintf(place->bpffs, sizeof(place->bpffs), "/tmp/pst-bpf-XXXXXX");
	assert_non_null(mkdtemp(place->bpffs));
	assert_int_equal(mount("bpf", place->bpffs, "bpf", 0, "mode=0700"), 0);
	(void)snprintf(place->root_name, sizeof(place->root_name), "pst-kern-%d", getpid());
	check(cgroup_open_root(&place->real_root, NULL, &err));
	check(cgroup_create(place->real_root, place->root_name, &place->root, &err));
	*state = place;
	return 0;
}

static inline int place_close(void **state)
{
	struct place *place = *state;

	close(place->root);
	assert_int_equal(cgroup_remove_tree(place->real_root, place->root_name), 0);
	close(place->real_root);
	/* Busy: the locks of the runs live as long as this process (pin.h). */
	assert_int_equal(umount2(place->bpffs, MNT_DETACH), 0);
	assert_int_equal(rmdir(place->bpffs), 0);
	free(place);
	return 0;
}

/* Pins directory and cgroup, in the order that pin.h asks for. `parent`: another run's cgroup path, or NULL. */
static inline struct run run_make(struct place *place, const char *parent)
{
	struct run run = {.cgroup = -1};
	struct error err = {{0}};

	(void)snprintf(run.name, sizeof(run.name), "pst-%d-%d", getpid(), place->runs++);
	(void)snprintf(run.path, sizeof(run.path), "%s/%s", parent ? parent : PIN_RUN_DIR,
		       run.name);
	check(pin_make_dir(place->bpffs, run.name, &run.pin_dir, &err));
	check(cgroup_create(place->root, run.path, &run.cgroup, &err));
	return run;
}

static inline void run_load(struct run *run)
{
	struct kern_sandbox_options options = {
		.id = 42, .cgroup_fd = run->cgroup, .cgroup_level = 3, .netns_cookie = 1};
	const struct table_always_row root = {.value = {.kind = PST_ALWAYS_OPEN}};
	struct error err = {{0}};

	check(kern_sandbox_load(&options, &run->sandbox, &err));
	check(kern_sandbox_set_always(run->sandbox, &root, 1, &err));
}

/* A table of defaults alone: the roots of both tries decide nothing. */
struct bare {
	struct table_row4 root4;
	struct table_row6 root6;
	struct pst_ports unused;
	struct table table;
};

static inline struct table *bare_table(struct bare *bare, uint8_t verdict)
{
	memset(bare, 0, sizeof(*bare));
	bare->table.rows4 = &bare->root4;
	bare->table.rows6 = &bare->root6;
	bare->table.ports = &bare->unused;
	bare->table.n_rows4 = bare->table.n_rows6 = bare->table.n_ports = 1;
	bare->table.default_verdict = verdict;
	return &bare->table;
}

static inline void run_apply_default(struct run *run, uint8_t verdict)
{
	struct error err = {{0}};
	struct bare bare;

	check(kern_sandbox_apply(run->sandbox, bare_table(&bare, verdict), &err));
}

static inline void run_attach(struct run *run)
{
	struct error err = {{0}};

	check(kern_sandbox_attach(run->sandbox, run->pin_dir, &err));
}

static inline void run_flip(struct run *run)
{
	struct error err = {{0}};

	check(kern_sandbox_flip(run->sandbox, &err));
}

/* A run with a policy in force. */
static inline struct run run_start(struct place *place, const char *parent, uint8_t verdict)
{
	struct run run = run_make(place, parent);

	run_load(&run);
	run_apply_default(&run, verdict);
	run_attach(&run);
	run_flip(&run);
	return run;
}

static inline void run_end(struct place *place, struct run *run)
{
	if (run->sandbox)
		kern_sandbox_detach(run->sandbox);
	kern_sandbox_free(run->sandbox);
	close(run->cgroup);
	assert_int_equal(cgroup_remove_tree(place->root, run->path), 0);
	assert_int_equal(pin_remove_dir(run->pin_dir), 0);
	free(run->pin_dir);
}

/* A map that the run has pinned. */
static inline int run_open_map(const struct run *run, const char *name)
{
	char path[256];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/maps/%s", run->pin_dir, name);
	fd = bpf_obj_get(path);
	assert_true(fd >= 0);
	return fd;
}

static inline void enter(int cgroup)
{
	int fd = openat(cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0", 1) != 1)
		_exit(251);
	close(fd);
}

/* The errno of a UDP socket() and connect() to `address` from inside the cgroup; 0: they worked.
 * Where there is no route the error is not EPERM: EPERM always means that a hook denied it. */
static inline int connect_inside(int cgroup, const char *address)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		int fd;

		enter(cgroup);
		if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
			_exit(250);
		/* Without a policy there is not even a socket. */
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
			_exit(errno);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) < 250);
	return WEXITSTATUS(status);
}

#define assert_denied(cgroup, address)	assert_int_equal(connect_inside(cgroup, address), EPERM)
#define assert_allowed(cgroup, address) assert_int_not_equal(connect_inside(cgroup, address), EPERM)

/* The kernel counts from a cgroup upwards, one after the other. */
static inline void await_populated(int cgroup)
{
	bool populated = false;

	for (uint64_t end = loop_boot_ns() + FIXTURE_DEADLINE_NS;
	     !populated && loop_boot_ns() < end;)
		assert_int_equal(cgroup_is_populated(cgroup, &populated), 0);
	assert_true(populated);
}

/* A process that sits in the cgroup until it is killed. */
static inline pid_t member_start(int cgroup)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		enter(cgroup);
		for (;;)
			pause();
	}
	await_populated(cgroup);
	return pid;
}

/* Kills a child of ours and waits until its cgroup, if one is given, has noticed. */
static inline void child_kill(pid_t pid, int cgroup)
{
	bool populated = cgroup >= 0;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	for (uint64_t end = loop_boot_ns() + FIXTURE_DEADLINE_NS;
	     populated && loop_boot_ns() < end;)
		assert_int_equal(cgroup_is_populated(cgroup, &populated), 0);
	assert_false(populated);
}

/* "DIR/KIND/NAME" exists. */
static inline bool is_pinned(const char *dir, const char *what)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, what);
	return !access(path, F_OK);
}

#endif
