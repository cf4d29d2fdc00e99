/* SPDX-License-Identifier: MIT */
/* A relay inside of a test, which holds the starter's end of its socketpair and turns its loop. */
#ifndef TESTS_RELAY_FIXTURE_H
#define TESTS_RELAY_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "relay/core.h"
#include "relay_items.h"

#define DEADLINE_NS 30000000000ULL

struct fixture {
	struct relay relay;
	int starter; /* nonblocking */
	int end;     /* the relay's */
};

/* One round of the loop, at most 10 ms long. */
static inline void turn(struct fixture *f)
{
	const struct timeval soon = {.tv_usec = 10000};

	event_base_loopexit(f->relay.base, &soon);
	assert_true(event_base_loop(f->relay.base, EVLOOP_ONCE) >= 0);
}

/* Turns the loop until the condition holds. */
#define UNTIL(f, condition)                                                                        \
	do {                                                                                       \
		uint64_t until_end_ = loop_monotonic_ns() + DEADLINE_NS;                           \
		while (!(condition)) {                                                             \
			assert_true(loop_monotonic_ns() < until_end_);                             \
			turn(f);                                                                   \
		}                                                                                  \
	} while (0)

static inline int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int ends[2];

	if (!f || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) < 0)
		return -1;
	f->starter = ends[0];
	f->end = ends[1];
	f->relay.base = event_base_new();
	f->relay.limits = (struct relay_limits){.connections = PST_RELAY_CONNECTIONS,
						.total = PST_RELAY_TOTAL,
						.head_bytes = PST_RELAY_HEAD_BYTES,
						.head_ms = PST_RELAY_HEAD_MS,
						.idle_ms = PST_RELAY_IDLE_MS,
						.dial_ms = PST_RELAY_DIAL_MS};
	if (!f->relay.base || resolver_new(&f->relay, &f->relay.resolver) < 0 ||
	    control_new(&f->relay, f->end, &f->relay.control) < 0)
		return -1;
	*state = f;
	return 0;
}

static inline int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	while (f->relay.sandboxes)
		sandbox_free(f->relay.sandboxes);
	control_free(f->relay.control);
	resolver_free(f->relay.resolver);
	relay_tls_done(&f->relay);
	tally_stop(&f->relay);
	free(f->relay.shared);
	event_base_free(f->relay.base);
	if (f->starter >= 0)
		close(f->starter);
	close(f->end);
	free(f);
	return 0;
}

/* A sandbox with the items' policy, as SANDBOX would make it. Takes the items. */
static inline struct relay_sandbox *add_sandbox(struct fixture *f, uint64_t id, struct buf *items)
{
	struct relay_sandbox *sandbox = calloc(1, sizeof(*sandbox));

	assert_non_null(sandbox);
	sandbox->relay = &f->relay;
	sandbox->id = id;
	sandbox->origins = -1;
	assert_int_equal(relay_policy_parse(items->data, items->size, &sandbox->policy), 0);
	buf_done(items);
	sandbox->next = f->relay.sandboxes;
	f->relay.sandboxes = sandbox;
	return sandbox;
}

static inline void change_policy(struct relay_sandbox *sandbox, struct buf *items)
{
	relay_policy_unref(sandbox->policy);
	assert_int_equal(relay_policy_parse(items->data, items->size, &sandbox->policy), 0);
	buf_done(items);
}

union heard {
	struct pst_relay_header header;
	struct pst_relay_event event;
	struct pst_relay_count count;
	struct pst_relay_answer answer;
	struct pst_relay_lease lease;
	struct pst_relay_sign sign;
	uint8_t bytes[PST_RELAY_MAX_MESSAGE];
};

/* The next message of that type; others are passed over. 0: none is there. */
static inline size_t hear(struct fixture *f, uint32_t type, union heard *ret_heard)
{
	for (;;) {
		ssize_t size = recv(f->starter, ret_heard, sizeof(*ret_heard), MSG_DONTWAIT);

		if (size <= 0)
			return 0;
		assert_int_equal(ret_heard->header.size, size);
		if (ret_heard->header.type == type)
			return (size_t)size;
	}
}

static inline void tell(struct fixture *f, const void *message, size_t size, const int *fds,
			unsigned n_fds)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(8 * sizeof(int))] = {0};
	struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	struct cmsghdr *c;

	if (n_fds) {
		header.msg_control = room;
		header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&header);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	assert_int_equal(sendmsg(f->starter, &header, MSG_NOSIGNAL), size);
}

static inline int memfd_of(const struct buf *items, int seals)
{
	int fd = memfd_create("policy", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, items->data, items->size), items->size);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

/* Two TCP sockets of loopback, connected to each other; nonblocking. */
static inline void tcp_pair(int pair[2])
{
	struct endpoint at = {.addr = {.bytes = {[10] = 0xff, 0xff, 127, 0, 0, 1}}};
	struct sockaddr_storage address;
	socklen_t size = endpoint_write(&at, &address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(listener >= 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(pair[0], (struct sockaddr *)&address, size), 0);
	pair[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(pair[1] >= 0);
	assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	close(listener);
}

#endif
