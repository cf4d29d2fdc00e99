/* SPDX-License-Identifier: MIT */
/* What was there before: maps that somebody else offers, links that a socket still needs. */
#define _GNU_SOURCE
#include "host_fixture.h"

#include <linux/bpf.h>
#include <sys/syscall.h>

/* ---- maps of programs ---- */

/* With BPF_LD and BPF_IMM, which are 0. */
#define LOAD_MAP BPF_DW

struct offer {
	int quotas, open, program;
};

static void offer_done(struct offer *offer)
{
	close(offer->quotas);
	close(offer->open);
	close(offer->program);
}

/* Maps that are called, and tagged, as those of `dir`, and a program that uses them. */
static struct offer make_offer(enum bpf_prog_type type, const char *dir)
{
	struct offer offer = {.quotas = bpf_map_create(BPF_MAP_TYPE_ARRAY, "pst_quotas",
						       sizeof(__u32), sizeof(struct pst_quota), 8,
						       NULL),
			      .open = bpf_map_create(BPF_MAP_TYPE_ARRAY, "pst_open", sizeof(__u32),
						     sizeof(struct pst_open), 1, NULL)};
	const struct pst_quota tag = {.next_ns = kern_host_tag(dir)};
	const struct bpf_insn code[] = {
		{.code = LOAD_MAP, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = offer.quotas},
		{0},
		{.code = LOAD_MAP, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = offer.open},
		{0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	const __u32 zero = 0;

	assert_true(offer.quotas >= 0 && offer.open >= 0);
	assert_int_equal(bpf_map_update_elem(offer.quotas, &zero, &tag, BPF_ANY), 0);
	offer.program = bpf_prog_load(type, "pst_egress", "GPL", code,
				      sizeof(code) / sizeof(code[0]), NULL);
	assert_true(offer.program >= 0);
	return offer;
}

static bool finds_open(const char *dir)
{
	int maps[KERN_MAP_COUNT];
	bool found;

	(void)kern_host_find_maps(dir, maps);
	found = maps[KERN_MAP_OPEN] >= 0;
	for (int i = 0; i < KERN_MAP_COUNT; i++)
		cleanup_close_(&maps[i]);
	return found;
}

/* Where the kernel lets everybody load programs, of these kinds. */
static void maps_of_programs_that_anybody_may_load_are_not_taken(void **state)
{
	static const enum bpf_prog_type anybodys[] = {BPF_PROG_TYPE_SOCKET_FILTER,
						      BPF_PROG_TYPE_CGROUP_SKB};
	struct place *place = *state;
	struct offer offer;
	char dir[96];

	(void)snprintf(dir, sizeof(dir), "%s/offered-%d", place->bpffs, place->runs++);
	for (size_t i = 0; i < sizeof(anybodys) / sizeof(anybodys[0]); i++) {
		offer = make_offer(anybodys[i], dir);
		assert_false(finds_open(dir));
		offer_done(&offer);
	}
	/* The control: by a kind that takes rights they are found. */
	offer = make_offer(BPF_PROG_TYPE_SCHED_CLS, dir);
	assert_true(finds_open(dir));
	offer_done(&offer);
	assert_false(finds_open(dir));
}

/* ---- links that a socket needs ---- */

/* Of a process that was inside, and is not any more. */
static int socket_of(int cgroup)
{
	int status = 0, place = dup(cgroup);
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);

	assert_true(pid >= 0);
	if (!pid) {
		int fd;

		enter(cgroup);
		fd = socket(AF_INET, SOCK_DGRAM, 0);
		_exit(fd < 0 || dup2(fd, place) < 0 || close(fd));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	return place;
}

static int try_socket(int fd)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};

	assert_int_equal(inet_pton(AF_INET, OUTSIDE, &to.sin_addr), 1);
	return connect(fd, (struct sockaddr *)&to, sizeof(to)) ? errno : 0;
}

static void remove_place(struct host *host, struct one *one)
{
	close(one->cgroup);
	assert_int_equal(cgroup_remove_tree(host->place->root, one->path), 0);
}

static int count_one(void *context, const char *name)
{
	*(int *)context += strncmp(name, KERN_LEFT, strlen(KERN_LEFT)) == 0;
	return 0;
}

static int count_left(const struct host *host)
{
	int count = 0;

	assert_int_equal(kern_host_names(host->kern, count_one, &count), 0);
	return count;
}

static int adopt_left(void *context, const char *name)
{
	struct kern_attachment *at = NULL;
	struct error err = {{0}};

	if (strncmp(name, KERN_LEFT, strlen(KERN_LEFT)) == 0)
		assert_int_equal(kern_attachment_adopt(context, name, 0, NULL, &at, &err), -ENOENT);
	return 0;
}

/* The kernel lets its links go a moment after the socket; the next start finds that. */
static void await_none_left(const struct host *host)
{
	for (uint64_t end = loop_boot_ns() + FIXTURE_DEADLINE_NS;
	     count_left(host) && loop_boot_ns() < end; usleep(1000))
		assert_int_equal(kern_host_names(host->kern, adopt_left, host->kern), 0);
	assert_int_equal(count_left(host), 0);
}

/* What was handed on is judged for as long as it is there, whoever gets the name. */
static void who_gets_a_name_opens_no_socket_of_who_had_it(void **state)
{
	struct host host = start_host(*state);
	struct one old = attach(&host), next = {.cgroup = -1};
	struct kern_attach again = {.name = old.name, .id = 99, .cgroup_level = 2};
	struct error err = {{0}};
	int socket;

	change(&host, &old, PST_VERDICT_ALLOW, 0);
	socket = socket_of(old.cgroup);
	assert_int_not_equal(try_socket(socket), EPERM);
	change(&host, &old, PST_VERDICT_DENY, 0);
	assert_int_equal(try_socket(socket), EPERM);
	/* The daemon goes, and the cgroup. */
	kern_attachment_free(old.at);
	remove_place(&host, &old);
	kern_host_close(host.kern);
	host.kern = open_host(&host);
	assert_int_equal(kern_attachment_adopt(host.kern, old.name, 0, NULL, &old.at, &err),
			 -ENOENT);
	assert_int_equal(kern_host_adopted(host.kern), 0);
	assert_int_equal(try_socket(socket), EPERM);

	(void)snprintf(next.path, sizeof(next.path), "%s-next", old.name);
	check(cgroup_create(host.place->root, next.path, &next.cgroup, &err));
	again.cgroup_fd = next.cgroup;
	check(kern_attachment_new(host.kern, &again, &next.at, &err));
	assert_int_equal(connect_inside(next.cgroup, OUTSIDE), EPERM);
	assert_int_equal(try_socket(socket), EPERM);
	assert_true(count_left(&host) == 1);
	/* And once more, by who is there still. */
	change(&host, &next, PST_VERDICT_ALLOW, 0);
	assert_int_equal(try_socket(socket), EPERM);
	close(socket);
	await_none_left(&host);
	detach(&host, &next);
	end_host(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_of_programs_that_anybody_may_load_are_not_taken),
		cmocka_unit_test(who_gets_a_name_opens_no_socket_of_who_had_it),
	};

	return cmocka_run_group_tests_name("host_left", tests, place_open, place_close);
}
