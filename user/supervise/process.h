/* SPDX-License-Identifier: MIT */
/* A relay or the signer as a process: found, started without a right, watched, ended. */
#ifndef SUPERVISE_PROCESS_H
#define SUPERVISE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "supervise/message.h"

/* What all of them have in common. */
struct program {
	int fd; /* O_PATH: of this build, whatever becomes of its path */
	uid_t uid;
	gid_t gid;
	uint64_t files; /* descriptors that one may have */
};
#define PROGRAM_NONE                                                                               \
	{                                                                                          \
		-1, 0, 0, 0                                                                        \
	}

/* Beside this program's own binary, else in ../sbin of it; `user`: NULL: "postern-relay", else nobody. -ENOENT with
 * err. */
int program_find(const char *user, struct program *ret_program, struct error *err);
void program_done(struct program *program);

struct process {
	pid_t pid;
	int pid_fd;    /* readable when it has ended */
	int fd;	       /* our end of the pair; nonblocking */
	int report_fd; /* what it writes to its stderr; nonblocking */
};
#define PROCESS_NONE                                                                               \
	{                                                                                          \
		-1, -1, -1, -1                                                                     \
	}

struct process_options {
	const struct program *program;
	bool is_signer;
	int cgroup_fd; /* that it is born in; -1: ours (tests) */
	int extra_fd;  /* its descriptor PST_RELAY_CA_FD; -1: none */
};

int process_start(const struct process_options *options, struct process *ret_process,
		  struct error *err);
/* Kills it, unless it has ended, and forgets it. Waits until it is gone, 2 s at the most. */
void process_end(struct process *process);
/* Tells it that nothing more will be said; it may speak still. */
void process_leave(const struct process *process);
bool process_is_there(const struct process *process);

/* One packet with up to PST_RELAY_MAX_FDS descriptors. Waits for room a while: -ETIMEDOUT: it does not read. -EPIPE: it
 * has ended. */
struct packet {
	const void *bytes;
	size_t size;
	const int *fds;
	size_t n_fds;
};
/* 1: it had to wait for room. */
int process_send(const struct process *process, const struct packet *packet);
/* The size of what came; 0: it has ended; -EAGAIN: nothing; -EPROTO: too long. Descriptors are not taken. */
int process_receive(const struct process *process, union message *ret_message);

#endif
