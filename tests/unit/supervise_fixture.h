/* SPDX-License-Identifier: MIT */
/* A relay and a signer that are this test's own program: they say what each test needs of them. */
#ifndef TESTS_UNIT_SUPERVISE_FIXTURE_H
#define TESTS_UNIT_SUPERVISE_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/rate.h"
#include "supervise/supervise.h"

#define SELF	     "pst-supervise-test"
#define PROGRAM	     "postern-relay"
#define PEM	     "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
#define WAIT_S	     60
#define GREEDY_SIGNS 20000

enum mode {
	GOOD = 1,
	NEVER_READY, /* ends at once, with a word */
	LIAR,	     /* says at a policy what nobody says */
	DEAF,	     /* applies nothing */
	ASKER,	     /* at a policy: leases and signatures */
	CLAIMER,     /* applies what it was not told */
	IDLER,	     /* at a policy: asks without end, and reads the answers now and then */
	GREEDY,	     /* at a policy: asks for more certificates than there is time for */
	PICKY,	     /* takes no policy of sandbox 6 */
	SHUT,	     /* at its first policy of sandbox 6: somebody has ended its listener */
};

/* ---- the relay ---- */

static inline void say(const void *bytes, size_t size)
{
	if (send(PST_RELAY_FD, bytes, size, 0) != (ssize_t)size)
		_exit(3);
}

static inline void say_event(uint64_t sandbox, const char *name)
{
	struct pst_relay_event event = {
		.header = {.type = PST_RELAY_EVENT, .size = sizeof(event), .sandbox = sandbox},
		.verdict = PST_VERDICT_DENY,
		.reason = PST_REASON_HOST_CHECK,
		.protocol = PST_TCP,
		.rule = 9999};

	(void)snprintf(event.name, sizeof(event.name), "%s", name);
	say(&event, sizeof(event));
}

static inline void say_sign(uint64_t sandbox, const char *name)
{
	struct pst_relay_sign sign = {.header = {.type = PST_RELAY_SIGN,
						 .size = sizeof(sign),
						 .sandbox = sandbox,
						 .seq = 8},
				      .key_size = 4};

	(void)snprintf(sign.name, sizeof(sign.name), "%s", name);
	say(&sign, sizeof(sign));
}

static inline int count_fds(void)
{
	int n = 0;

	for (int fd = 4; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Who it is, and what it was started with beside its end of the pair. */
static inline void say_self(uint64_t sandbox, int n_fds)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "pid-%d-fds-%d-uid-%d-%s", (int)getpid(), n_fds,
		       (int)getuid(), environ && environ[0] ? "env" : "bare");
	say_event(sandbox, text);
}

static inline void ask(uint64_t sandbox)
{
	struct pst_relay_lease lease = {.header = {.type = PST_RELAY_LEASE,
						   .size = sizeof(lease),
						   .sandbox = sandbox,
						   .seq = 7},
					.name = "a.example",
					.count = 2};

	say(&lease, sizeof(lease));
	say_sign(sandbox, "in.a.example");
	say_sign(sandbox, "elsewhere.example");
}

/* Nobody can write before most of what waits is read: so all of it is, just in time. */
static inline void idle(uint64_t sandbox)
{
	const struct timespec while_others_wait = {.tv_nsec = 600000000};
	char bytes[PST_RELAY_MAX_MESSAGE];
	ssize_t n;

	/* Ends when nobody hears it. */
	if (!fork()) {
		for (;;)
			ask(sandbox);
	}
	do {
		(void)nanosleep(&while_others_wait, NULL);
		do
			n = recv(PST_RELAY_FD, bytes, sizeof(bytes), MSG_DONTWAIT);
		while (n > 0);
	} while (n < 0 && errno == EAGAIN);
	_exit(0);
}

/* Reads what is answered as it goes on: neither side waits for the other. */
static inline void want_much(uint64_t sandbox)
{
	char bytes[PST_RELAY_MAX_MESSAGE];

	for (int i = 0; i < GREEDY_SIGNS; i++) {
		say_sign(sandbox, "in.a.example");
		while (recv(PST_RELAY_FD, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
			;
	}
}

static inline void hear_policy(const struct pst_relay_sandbox *told, int mode, unsigned fds,
			       int at_start)
{
	struct pst_relay_answer applied = {.header = {.type = PST_RELAY_APPLIED,
						      .size = sizeof(applied),
						      .sandbox = told->header.sandbox,
						      .seq = told->header.seq + (mode == CLAIMER)},
					   .generation = told->generation,
					   .count = fds};
	const struct pst_relay_header shut = {
		.type = PST_RELAY_SHUT, .size = sizeof(shut), .sandbox = told->header.sandbox};

	if (mode == PICKY && told->header.sandbox == 6)
		applied.status = -12;
	if (mode == LIAR)
		say("nonsense", 8);
	if (mode == ASKER)
		ask(told->header.sandbox);
	if (mode == IDLER)
		idle(told->header.sandbox);
	if (mode == GREEDY)
		want_much(told->header.sandbox);
	if (told->sockets & PST_RELAY_HAS_TCP4)
		say_self(told->header.sandbox, at_start);
	if (mode != DEAF)
		say(&applied, sizeof(applied));
	if (mode == SHUT && told->header.sandbox == 6 && told->header.seq <= 3)
		say(&shut, sizeof(shut));
}

static inline void hear_answer(const struct pst_relay_answer *answer, size_t size)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "%s-%d-%u-%zu",
		       answer->header.type == PST_RELAY_LEASED ? "leased" : "signed",
		       answer->status, answer->count, size - sizeof(*answer));
	say_event(answer->header.sandbox, text);
}

static inline void leave(uint64_t sandbox)
{
	const struct pst_relay_count count = {
		.header = {.type = PST_RELAY_COUNT, .size = sizeof(count), .sandbox = sandbox},
		.connections = 3,
		.bytes_out = 4,
		.bytes_in = 5};

	say(&count, sizeof(count));
	_exit(0);
}

struct heard {
	union {
		struct pst_relay_header header;
		struct pst_relay_hello hello;
		struct pst_relay_sandbox sandbox;
		struct pst_relay_answer answer;
		char bytes[PST_RELAY_MAX_MESSAGE];
	} m;
	size_t size;
	unsigned fds;
};

/* Blocking; 0: the end. */
static inline size_t hear(struct heard *heard)
{
	char control[CMSG_SPACE(16 * sizeof(int))];
	struct iovec piece = {heard->m.bytes, sizeof(heard->m.bytes)};
	struct msghdr message = {.msg_iov = &piece,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	const struct cmsghdr *head;
	ssize_t n;

	n = recvmsg(PST_RELAY_FD, &message, 0);
	head = CMSG_FIRSTHDR(&message);
	heard->fds = head ? (unsigned)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int)) : 0;
	heard->size = n > 0 ? (size_t)n : 0;
	return heard->size;
}

static inline int relay_main(void)
{
	const struct pst_relay_header ready = {.type = PST_RELAY_READY, .size = sizeof(ready)};
	struct heard heard;
	uint64_t sandbox = 0;
	int mode = 0, at_start = count_fds();

	(void)fcntl(PST_RELAY_FD, F_SETFL, 0);
	while (hear(&heard)) {
		if (heard.m.header.type == PST_RELAY_HELLO) {
			mode = (int)heard.m.hello.connections;
			if (mode == NEVER_READY) {
				(void)!write(2, "no\x1b way\n", 8);
				_exit(1);
			}
			say(&ready, sizeof(ready));
		} else if (heard.m.header.type == PST_RELAY_SANDBOX) {
			sandbox = heard.m.header.sandbox;
			hear_policy(&heard.m.sandbox, mode, heard.fds, at_start);
		} else if (heard.m.header.type == PST_RELAY_DROP) {
			say_event(sandbox, "dropped");
		} else {
			hear_answer(&heard.m.answer, heard.size);
		}
	}
	leave(sandbox);
	return 0;
}

static inline int signer_main(void)
{
	struct {
		struct pst_relay_header header;
		char text[sizeof(PEM)];
	} ca = {{.type = PST_RELAY_CA, .size = sizeof(ca.header) + sizeof(PEM) - 1}, PEM};
	struct {
		struct pst_relay_answer answer;
		char certificate[5];
	} reply;
	struct heard heard;

	say(&ca, ca.header.size);
	while (hear(&heard)) {
		memset(&reply, 0, sizeof(reply));
		reply.answer.header = heard.m.header;
		reply.answer.header.type = PST_RELAY_SIGNED;
		reply.answer.header.size = sizeof(reply.answer) + 5;
		say(&reply, sizeof(reply.answer) + 5);
	}
	return 0;
}

#endif
