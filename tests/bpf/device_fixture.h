/* SPDX-License-Identifier: MIT */
/*
 * Wires: veth pairs between the namespace that stands for the host and one that stands for what is behind the devices.
 * The oracle is a datagram over a wire, to the host's own address there: whether it comes is asked behind one over a
 * wire that nobody judges, sent by the same processor afterwards.
 */
#ifndef TESTS_BPF_DEVICE_FIXTURE_H
#define TESTS_BPF_DEVICE_FIXTURE_H

#include "net_fixture.h"

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>

#include "kern/device.h"

#define WIRE_PORT 7777

struct wire {
	char name[IFNAMSIZ]; /* of the host's side; the other one is eth and the number */
	int number;
	uint32_t ifindex;
	int inside;  /* a socket there, connected to the host's address */
	int outside; /* a socket of the host, connected to the address there */
};

struct wires {
	struct place *place;
	int here, there; /* namespaces */
	uint64_t cookie;
	int made;
	struct wire fence; /* that nobody judges */
	void *host;	   /* the test's */
};

static inline int wire_socket(const char *own, const char *peer)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(WIRE_PORT)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(inet_pton(AF_INET, own, &at.sin_addr), 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(inet_pton(AF_INET, peer, &at.sin_addr), 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/* A device takes frames a moment after it was set up. */
static inline void wire_await(int from, int to)
{
	struct pollfd waits = {.fd = to, .events = POLLIN};
	char bytes[64];

	for (uint64_t end = loop_boot_ns() + FIXTURE_DEADLINE_NS; loop_boot_ns() < end;) {
		(void)send(from, "pst", 3, MSG_DONTWAIT);
		if (poll(&waits, 1, 5) == 1) {
			(void)recv(to, bytes, sizeof(bytes), 0);
			return;
		}
	}
	fail_msg("a wire carries nothing");
}

/* The devices of a wire, again under the same names and addresses: with an index of the caller's choice, or 0. */
static inline void wire_plug(const struct wires *wires, struct wire *wire, uint32_t ifindex)
{
	char index[32] = "";

	if (ifindex)
		(void)snprintf(index, sizeof(index), "index %u", ifindex);
	shell("ip link add %s %s address 02:00:00:00:01:%02x type veth "
	      "peer name eth%d address 02:00:00:00:02:%02x netns /proc/%d/fd/%d; "
	      "ip addr add 10.99.%d.1/30 dev %s; ip link set %s up; "
	      "ip neigh replace 10.99.%d.2 lladdr 02:00:00:00:02:%02x nud permanent dev %s",
	      index, wire->name, wire->number, wire->number, wire->number, getpid(), wires->there,
	      wire->number, wire->name, wire->name, wire->number, wire->number, wire->name);
	net_go(wires->there);
	shell("ip addr add 10.99.%d.2/30 dev eth%d; ip link set eth%d up; "
	      "ip neigh replace 10.99.%d.1 lladdr 02:00:00:00:01:%02x nud permanent dev eth%d",
	      wire->number, wire->number, wire->number, wire->number, wire->number, wire->number);
	net_go(wires->here);
	wire->ifindex = if_nametoindex(wire->name);
	assert_true(wire->ifindex);
	if (wire->inside >= 0) {
		wire_await(wire->inside, wire->outside);
		wire_await(wire->outside, wire->inside);
	}
}

static inline struct wire wire_make(struct wires *wires)
{
	struct wire wire = {.number = ++wires->made, .inside = -1, .outside = -1};
	char own[32], peer[32];

	(void)snprintf(wire.name, sizeof(wire.name), "pst-w%u", (unsigned)wire.number % 1000);
	wire_plug(wires, &wire, 0);
	(void)snprintf(own, sizeof(own), "10.99.%d.1", wire.number);
	(void)snprintf(peer, sizeof(peer), "10.99.%d.2", wire.number);
	wire.outside = wire_socket(own, peer);
	net_go(wires->there);
	wire.inside = wire_socket(peer, own);
	net_go(wires->here);
	wire_await(wire.inside, wire.outside);
	wire_await(wire.outside, wire.inside);
	return wire;
}

static inline void wire_end(struct wire *wire)
{
	if (if_nametoindex(wire->name))
		shell("ip link del %s", wire->name);
	close(wire->inside);
	close(wire->outside);
}

/* Has it come by the time that the same came over the fence? */
static inline bool wire_comes(int from, int to, int fence_from, int fence_to)
{
	static const char *const word = "pst"; /* what is sent is not asked about */
	struct pollfd waits = {.fd = fence_to, .events = POLLIN};
	char bytes[64];
	bool came;

	while (recv(to, bytes, sizeof(bytes), MSG_DONTWAIT) >= 0)
		;
	/* A denial may come back as an error of the socket, of an earlier datagram too. */
	(void)send(from, word, 3, MSG_DONTWAIT);
	(void)send(from, word, 3, MSG_DONTWAIT);
	assert_int_equal(send(fence_from, word, 3, 0), 3);
	assert_int_equal(poll(&waits, 1, 10000), 1);
	assert_int_equal(recv(fence_to, bytes, sizeof(bytes), 0), 3);
	came = recv(to, bytes, sizeof(bytes), MSG_DONTWAIT) >= 0;
	return came;
}

static inline bool gets_out(const struct wires *wires, const struct wire *wire)
{
	return wire_comes(wire->inside, wire->outside, wires->fence.inside, wires->fence.outside);
}

static inline bool gets_in(const struct wires *wires, const struct wire *wire)
{
	return wire_comes(wire->outside, wire->inside, wires->fence.outside, wires->fence.inside);
}

static inline int wires_open(void **state)
{
	struct wires *wires = calloc(1, sizeof(*wires));
	struct error err = {{0}};
	cpu_set_t one;

	assert_non_null(wires);
	place_open(state);
	wires->place = *state;
	/* What one processor sends over veths arrives in that order. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	wires->there = netns_open();
	shell("ip link set lo up");
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	wires->here = netns_open();
	shell("ip link set lo up");
	check(netns_cookie(&wires->cookie, &err));
	wires->fence = wire_make(wires);
	*state = wires;
	return 0;
}

static inline int wires_close(void **state)
{
	struct wires *wires = *state;

	wire_end(&wires->fence);
	close(wires->here);
	close(wires->there);
	*state = wires->place;
	free(wires);
	return place_close(state);
}

#endif
