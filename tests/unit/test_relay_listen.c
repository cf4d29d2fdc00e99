/* SPDX-License-Identifier: MIT */
/* Listeners of the relay: connections with and without an origin; what listens no longer. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/syscall.h>

#include "relay_fixture.h"

static int listening(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

/* Events that came to something in one turn of the loop. */
static int busy_in_a_turn(struct fixture *f)
{
	(void)event_base_get_max_events(f->relay.base, EVENT_BASE_COUNT_ACTIVE, 1);
	assert_true(event_base_loop(f->relay.base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
	return event_base_get_max_events(f->relay.base, EVENT_BASE_COUNT_ACTIVE, 1);
}

static void a_listener_that_was_ended_from_outside_keeps_nobody_busy(void **state)
{
	struct fixture *f = *state;
	struct buf items = {.data = NULL};
	struct relay_sandbox *sandbox;
	union heard heard;
	int fd = listening();

	items_policy(&items, 1, 0);
	sandbox = add_sandbox(f, 5, &items);
	assert_int_equal(listener_add(sandbox, fd), 0);
	listeners_start(sandbox);
	assert_int_equal(busy_in_a_turn(f), 0);
	/* What SOCK_DESTROY makes of it, too. */
	assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
	assert_int_equal(busy_in_a_turn(f), 1);
	assert_int_equal(busy_in_a_turn(f), 0);
	/* Who can make another one is told. */
	assert_int_equal(hear(f, PST_RELAY_SHUT, &heard), sizeof(heard.header));
	assert_int_equal(heard.header.sandbox, 5);
}

/* ---- origins ---- */

static long bpf(int cmd, union bpf_attr *attr)
{
	return syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

/* -1: this user may make none. */
static int new_origins(void)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_HASH;
	attr.key_size = sizeof(struct pst_origin_key);
	attr.value_size = sizeof(struct pst_origin);
	attr.max_entries = 16;
	return (int)bpf(BPF_MAP_CREATE, &attr);
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in at;
	socklen_t size = sizeof(at);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
	return ntohs(at.sin_port);
}

/* A connection to the listener, which the kernel has written down so many ns ago, for that sandbox. */
static int connect_to(int listener, int origins, uint64_t sandbox, uint64_t ago_ns)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct pst_origin_key key = {.addr = {[10] = 0xff, 0xff, 127, 0, 0, 1}};
	struct pst_origin origin = {.sandbox = sandbox,
				    .time_ns = loop_boot_ns() - ago_ns,
				    .generation = 1,
				    .port = 22,
				    .step = PST_STEP_DEFAULT,
				    .reason = PST_REASON_ALLOW_DEFAULT};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	union bpf_attr attr;

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	key.port = port_of(fd);
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (__u32)origins;
	attr.key = (__u64)(uintptr_t)&key;
	attr.value = (__u64)(uintptr_t)&origin;
	assert_int_equal(bpf(BPF_MAP_UPDATE_ELEM, &attr), 0);
	to.sin_port = htons(port_of(listener));
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* What the relay tells of it: the reason. (The destination is 0.0.0.0:22, which nobody dials.) */
static enum pst_reason reason_for(struct fixture *f, struct relay_sandbox *sandbox, uint64_t of,
				  uint64_t ago_ns)
{
	int listener = listening(), client;
	union heard heard, next;

	assert_int_equal(listener_add(sandbox, listener), 0);
	listeners_start(sandbox);
	client = connect_to(listener, sandbox->origins, of, ago_ns);
	UNTIL(f, hear(f, PST_RELAY_EVENT, &heard));
	while (sandbox->sessions)
		session_end(sandbox->sessions, true);
	while (hear(f, PST_RELAY_EVENT, &next))
		;
	close(client);
	listeners_free(sandbox);
	return heard.event.reason;
}

static void an_origin_serves_its_sandbox_while_it_is_new(void **state)
{
	struct fixture *f = *state;
	struct buf items = {.data = NULL};
	struct relay_sandbox *sandbox;

	items_policy(&items, 1, 0);
	sandbox = add_sandbox(f, 5, &items);
	sandbox->origins = new_origins();
	if (sandbox->origins < 0)
		skip();
	assert_int_equal(reason_for(f, sandbox, 5, 0), PST_REASON_ALLOW_DEFAULT);
	assert_int_equal(reason_for(f, sandbox, 6, 0), PST_REASON_NO_ORIGIN);
	/* Left behind by a SYN whose connection was never accepted, for whoever has the port next. */
	assert_int_equal(reason_for(f, sandbox, 5, PST_ORIGIN_NS + 1000000000ULL),
			 PST_REASON_NO_ORIGIN);
}

static int option(int fd, int level, int name)
{
	int value = 0;
	socklen_t size = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
	return value;
}

/* Without TCP_NODELAY a reply within TLS waits for the ACK of what was sent before it: 40 ms. */
static void what_is_accepted_holds_nothing_back(void **state)
{
	struct fixture *f = *state;
	struct buf items = {.data = NULL};
	struct relay_sandbox *sandbox;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int accepted, listener = listening(), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	items_policy(&items, 1, 0);
	sandbox = add_sandbox(f, 5, &items);
	assert_int_equal(option(listener, IPPROTO_TCP, TCP_NODELAY), 0);
	assert_int_equal(listener_add(sandbox, listener), 0);
	to.sin_port = htons(port_of(listener));
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(accepted >= 0);
	assert_int_equal(option(accepted, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(option(accepted, SOL_SOCKET, SO_KEEPALIVE), 1);
	close(accepted);
	close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_listener_that_was_ended_from_outside_keeps_nobody_busy),
		TEST(an_origin_serves_its_sandbox_while_it_is_new),
		TEST(what_is_accepted_holds_nothing_back),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
