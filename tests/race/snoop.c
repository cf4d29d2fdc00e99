/* SPDX-License-Identifier: MIT */
/*
 * Runs a command in a cgroup whose connections wait for a user space that reads DNS replies from a ring buffer:
 *   snoop OBJECT RESOLVER CMD [ARG...]
 * Prints "learned N" when the command has ended.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "kern/cgroup.h"
#include "tests/race/snoop.h"

#define POLL_MS 20

struct snoop {
	struct bpf_object *object;
	struct bpf_link *links[2];
	struct ring_buffer *ring;
	int root_fd, cgroup_fd, allowed_fd;
	char place[32];
	unsigned learned;
};

static _Noreturn void fail(const char *what, int error)
{
	fprintf(stderr, "snoop: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(2);
}

/* The address of the last record: what the race's name server answers has one, at its end. */
static int learn(void *context, void *data, size_t size)
{
	const struct snoop_reply *reply = data;
	struct snoop *snoop = context;
	__u32 address, yes = 1;

	if (size < sizeof(*reply) || reply->size < sizeof(address) || reply->size > SNOOP_SIZE)
		return 0;
	memcpy(&address, reply->bytes + reply->size - sizeof(address), sizeof(address));
	if (bpf_map_update_elem(snoop->allowed_fd, &address, &yes, BPF_ANY) == 0)
		snoop->learned++;
	return 0;
}

static void make_cgroup(struct snoop *snoop)
{
	cleanup_free char *path = NULL;
	struct error err = {0};
	int r = cgroup_open_root(&snoop->root_fd, &path, &err);

	snprintf(snoop->place, sizeof(snoop->place), "pst-snoop-%d", getpid());
	if (r == 0)
		r = cgroup_create(snoop->root_fd, snoop->place, &snoop->cgroup_fd, &err);
	if (r < 0)
		fail(err.text, r);
}

static void remove_cgroup(const struct snoop *snoop)
{
	int r = cgroup_remove(snoop->root_fd, snoop->place);

	if (r < 0)
		fail(snoop->place, r);
}

static void load(struct snoop *snoop, const char *path, const char *resolver)
{
	static const char *const program[] = {"snoop_ingress", "snoop_connect4"};
	struct bpf_map *constants;
	__u32 address;

	snoop->object = bpf_object__open_file(path, NULL);
	if (!snoop->object)
		fail(path, errno);
	constants = bpf_object__find_map_by_name(snoop->object, ".rodata");
	if (!constants || inet_pton(AF_INET, resolver, &address) != 1 ||
	    bpf_map__set_initial_value(constants, &address, sizeof(address)) ||
	    bpf_object__load(snoop->object))
		fail(path, errno);
	for (size_t i = 0; i < 2; i++) {
		struct bpf_program *found =
			bpf_object__find_program_by_name(snoop->object, program[i]);

		snoop->links[i] =
			found ? bpf_program__attach_cgroup(found, snoop->cgroup_fd) : NULL;
		if (!snoop->links[i])
			fail(program[i], errno);
	}
	snoop->allowed_fd = bpf_object__find_map_fd_by_name(snoop->object, "snoop_allowed");
	snoop->ring =
		ring_buffer__new(bpf_object__find_map_fd_by_name(snoop->object, "snoop_replies"),
				 learn, snoop, NULL);
	if (!snoop->ring)
		fail("ring", errno);
}

static pid_t start(const struct snoop *snoop, char **command)
{
	pid_t pid = fork();
	int fd;

	if (pid)
		return pid;
	fd = openat(snoop->cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		fail("cgroup.procs", errno);
	execvp(command[0], command);
	fail(command[0], errno);
}

/* Reads as fast as the ring wakes it, until the command has ended. */
static int serve(struct snoop *snoop, pid_t pid)
{
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0)
		ring_buffer__poll(snoop->ring, POLL_MS);
	ring_buffer__consume(snoop->ring);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

int main(int argc, char **argv)
{
	struct snoop snoop = {.root_fd = -1, .cgroup_fd = -1};
	int code;

	if (argc < 4)
		fail("usage: snoop OBJECT RESOLVER CMD [ARG...]", EINVAL);
	make_cgroup(&snoop);
	load(&snoop, argv[1], argv[2]);
	code = serve(&snoop, start(&snoop, argv + 3));
	printf("learned %u\n", snoop.learned);
	ring_buffer__free(snoop.ring);
	for (size_t i = 0; i < 2; i++)
		bpf_link__destroy(snoop.links[i]);
	bpf_object__close(snoop.object);
	remove_cgroup(&snoop);
	return code;
}
