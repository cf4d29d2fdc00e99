/* SPDX-License-Identifier: MIT */
/*
 * A sandbox on a wire, a relay's transparent listeners, and a namespace behind the host that the host forwards to: what
 * arrives there is the oracle of "nothing went directly".
 */
#ifndef TESTS_BPF_RELAY_SCENE_H
#define TESTS_BPF_RELAY_SCENE_H

#include "device_host.h"
#include "client_fixture.h"

#include "kern/relay.h"
#include "net/relay_route.h"

#define FAR4	 "198.51.100.7"
#define FAR6	 "2001:db8:f::7"
#define FAR_PORT 8080

struct scene {
	struct wires *wires;
	struct host *host;
	struct relay_route route;
	int far;      /* the namespace behind the host */
	int listener; /* of both families, there */
	int sniffer;  /* on its devices */
	struct wire wire;
	struct one one;
	struct kern_relay_sockets relay;
	int origins;
};

/* ---- the scene ---- */

static inline int listen_far(void)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(FAR_PORT)};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static inline int sniff(void)
{
	const struct sockaddr_ll all = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&all, sizeof(all)), 0);
	return fd;
}

/* The host forwards between the wires and a namespace behind it. It does not look for a packet's socket before it looks
 * for a route: on others, that hides what was not given to one. */
static inline void open_far(struct scene *s)
{
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	s->far = netns_open();
	net_go(s->wires->here);
	shell("ip link add pst-far address 02:00:00:00:03:01 type veth "
	      "peer name far address 02:00:00:00:03:02 netns /proc/%d/fd/%d; "
	      "ip addr add 198.51.100.1/24 dev pst-far; "
	      "ip addr add 2001:db8:f::1/64 dev pst-far nodad; ip link set pst-far up; "
	      "ip neigh replace " FAR4 " lladdr 02:00:00:00:03:02 nud permanent dev pst-far; "
	      "ip neigh replace " FAR6 " lladdr 02:00:00:00:03:02 nud permanent dev pst-far; "
	      "echo 1 >/proc/sys/net/ipv4/ip_forward; "
	      "echo 0 >/proc/sys/net/ipv4/ip_early_demux; "
	      "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
	      getpid(), s->far);
	net_go(s->far);
	shell("ip link set lo up; ip addr add " FAR4 "/24 dev far; "
	      "ip addr add " FAR6 "/64 dev far nodad; ip link set far up; "
	      "ip neigh replace 198.51.100.1 lladdr 02:00:00:00:03:01 nud permanent dev far; "
	      "ip neigh replace 2001:db8:f::1 lladdr 02:00:00:00:03:01 nud permanent dev far; "
	      "ip route add default via 198.51.100.1; ip -6 route add default via 2001:db8:f::1");
	s->listener = listen_far();
	s->sniffer = sniff();
	net_go(s->wires->here);
}

static inline struct kern_own own_both(const struct wire *wire)
{
	char mac[32], four[32], six[32];
	const char *macs[] = {mac}, *addresses[] = {four, six};
	struct kern_own own;
	struct error err = {{0}};

	(void)snprintf(mac, sizeof(mac), "02:00:00:00:02:%02x", wire->number);
	(void)snprintf(four, sizeof(four), "10.99.%d.2", wire->number);
	(void)snprintf(six, sizeof(six), "fd99:%d::2", wire->number);
	check(kern_own_parse(macs, 1, addresses, 2, &own, &err));
	return own;
}

/* IPv6, and the way to everywhere. */
static inline void route_wire(const struct scene *s)
{
	int n = s->wire.number;

	shell("ip addr add fd99:%d::1/64 dev %s nodad; "
	      "ip neigh replace fd99:%d::2 lladdr 02:00:00:00:02:%02x nud permanent dev %s",
	      n, s->wire.name, n, n, s->wire.name);
	net_go(s->wires->there);
	shell("ip addr add fd99:%d::2/64 dev eth%d nodad; "
	      "ip neigh replace fd99:%d::1 lladdr 02:00:00:00:01:%02x nud permanent dev eth%d; "
	      "ip route replace default via 10.99.%d.1 dev eth%d; "
	      "ip -6 route replace default via fd99:%d::1 dev eth%d",
	      n, n, n, n, n, n, n, n, n);
	net_go(s->wires->here);
}

#define ALLOWED PST_VERDICT_ALLOW
#define DENIED	PST_VERDICT_DENY

static inline void put_in_force(struct scene *s, uint8_t verdict, uint32_t flags, bool keep)
{
	const uint8_t hash[KERN_HASH_SIZE] = {verdict, (uint8_t)flags, 7, keep};
	struct kern_policy *policy = NULL;
	struct error err = {{0}};
	struct bare bare;
	struct table *table = bare_table(&bare, verdict);

	table->n_rules = 3;
	table->flags = flags;
	table->keep = keep;
	table->inbound = PST_INBOUND_DENY;
	check(kern_policy_load(s->host->kern, table, hash, &policy, &err));
	check(kern_attachment_stage(s->one.at, policy, kern_host_next_generation(s->host->kern),
				    &err));
	kern_policy_put(policy);
	check(kern_attachment_flip(s->one.at, &err));
}

static inline void set_relay(struct scene *s)
{
	const struct kern_relay_listen how = {.netns_fd = -1, .transparent = true};
	struct error err = {{0}};

	check(kern_relay_listen(&how, &s->relay, &err));
	check(kern_attachment_set_relay(s->one.at, &s->relay, &s->origins, &err));
}

static inline struct scene scene_begin(struct wires *wires, enum kern_tc tc)
{
	struct scene s = {.wires = wires,
			  .host = wires->host,
			  .route = RELAY_ROUTE_NONE,
			  .relay = KERN_RELAY_NO_SOCKETS,
			  .origins = -1};
	struct error err = {{0}};
	struct kern_own own;

	open_far(&s);
	s.wire = wire_make(wires);
	route_wire(&s);
	s.one = attach(s.host, &s.wire, tc);
	own = own_both(&s.wire);
	check(kern_attachment_set_own(s.one.at, &own, &err));
	check(net_relay_route_add(&s.route, &err));
	set_relay(&s);
	put_in_force(&s, ALLOWED, PST_SANDBOX_PROXIED, false);
	return s;
}

static inline void scene_end(struct scene *s)
{
	net_relay_route_remove(&s->route);
	kern_relay_close(&s->relay);
	cleanup_close_(&s->origins);
	detach(&s->one);
	wire_end(&s->wire);
	/* While its other end is there: else both go when they like. */
	shell("ip link del pst-far");
	close(s->listener);
	close(s->sniffer);
	close(s->far);
}

/* ---- what is done and seen ---- */

static inline bool waits_for(int fd, short events, int ms)
{
	struct pollfd one = {.fd = fd, .events = events};

	return poll(&one, 1, ms) == 1;
}

#define WAIT_MS 60000

/* A socket of the sandbox's that connects, without waiting. `port`: its own; 0: any. */
static inline int call_from(const struct scene *s, const char *address, uint16_t port,
			    uint16_t own_port)
{
	struct sockaddr_storage to, own = {0};
	socklen_t size = client_address(address, port, &to);
	int fd, one = 1;

	net_go(s->wires->there);
	fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	if (own_port) {
		own.ss_family = to.ss_family;
		((struct sockaddr_in *)&own)->sin_port = htons(own_port);
		assert_int_equal(bind(fd, (struct sockaddr *)&own, size), 0);
	}
	assert_int_equal(connect(fd, (struct sockaddr *)&to, size), -1);
	assert_int_equal(errno, EINPROGRESS);
	net_go(s->wires->here);
	return fd;
}

static inline int call(const struct scene *s, const char *address)
{
	return call_from(s, address, FAR_PORT, 0);
}

/* How the connect ends: 0 or errno. */
static inline int outcome(int fd)
{
	int error = 0;
	socklen_t size = sizeof(error);

	assert_true(waits_for(fd, POLLOUT, WAIT_MS));
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size), 0);
	return error;
}

static inline int accept_one(int listener)
{
	int fd;

	assert_true(waits_for(listener, POLLIN, WAIT_MS));
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static inline void assert_carries(int from, int to)
{
	char bytes[8] = "";

	assert_int_equal(send(from, "hello", 5, MSG_NOSIGNAL), 5);
	assert_true(waits_for(to, POLLIN, WAIT_MS));
	assert_int_equal(recv(to, bytes, sizeof(bytes), 0), 5);
	assert_memory_equal(bytes, "hello", 5);
}

/* The error that a socket comes to, by itself or by what it sends. */
static inline int ends_with(int fd)
{
	char byte;

	if (!waits_for(fd, POLLIN, WAIT_MS))
		return -1;
	return recv(fd, &byte, 1, 0) < 0 ? errno : 0;
}

struct seen {
	int tcp; /* segments from the sandbox */
	int with_data;
	int resets;
};

/* Everything that arrived there so far: what came earlier over the same devices has come by then. */
static inline struct seen seen_far(const struct scene *s)
{
	uint8_t bytes[256];
	struct seen seen = {0};
	ssize_t n;

	while ((n = recv(s->sniffer, bytes, sizeof(bytes), MSG_TRUNC)) > 0) {
		bool six = bytes[0] >> 4 == 6;
		size_t l4 = six ? 40 : 20, end = six ? 40 + (size_t)(bytes[4] << 8 | bytes[5])
						     : (size_t)(bytes[2] << 8 | bytes[3]);
		/* 10.99.0.0/16, fd99::/16: not what is sent from there. */
		bool ours = six ? bytes[8] == 0xfd && bytes[9] == 0x99
				: bytes[12] == 10 && bytes[13] == 99;

		if (!ours || bytes[six ? 6 : 9] != IPPROTO_TCP)
			continue;
		seen.tcp++;
		seen.resets += bytes[l4 + 13] & 4 ? 1 : 0;
		seen.with_data += end > l4 + (bytes[l4 + 12] >> 4) * 4U;
	}
	return seen;
}

/* A datagram that the policy lets go directly, and that comes behind whatever else was sent. */
static inline void fence(const struct scene *s)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
	int far, near;
	char byte;

	net_go(s->far);
	far = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(far, (struct sockaddr *)&to, sizeof(to)), 0);
	net_go(s->wires->there);
	near = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(inet_pton(AF_INET, FAR4, &to.sin_addr), 1);
	assert_int_equal(sendto(near, "f", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
	net_go(s->wires->here);
	assert_true(waits_for(far, POLLIN, WAIT_MS));
	assert_int_equal(recv(far, &byte, 1, 0), 1);
	close(near);
	close(far);
}

/* Nothing of TCP has come, though datagrams do. */
static inline void assert_nothing_went_far(const struct scene *s)
{
	fence(s);
	assert_int_equal(seen_far(s).tcp, 0);
}

static inline uint64_t denied(const struct scene *s, int reason)
{
	uint64_t counts[PST_REASON_MAX];

	assert_int_equal(kern_host_counters(s->host->kern, counts), 0);
	return counts[reason];
}

/* ---- at the listener ---- */

static inline struct pst_origin take_origin(const struct scene *s, int accepted)
{
	struct sockaddr_storage peer;
	socklen_t size = sizeof(peer);
	struct pst_origin_key key = {.addr = {[10] = 0xff, 0xff}};
	struct pst_origin origin;

	assert_int_equal(getpeername(accepted, (struct sockaddr *)&peer, &size), 0);
	key.port = ntohs(((struct sockaddr_in *)&peer)->sin_port);
	if (peer.ss_family == AF_INET)
		memcpy(key.addr + 12, &((struct sockaddr_in *)&peer)->sin_addr, 4);
	else
		memcpy(key.addr, &((struct sockaddr_in6 *)&peer)->sin6_addr, 16);
	assert_int_equal(bpf_map_lookup_and_delete_elem(s->origins, &key, &origin), 0);
	return origin;
}

/* Where the accepted socket says that it was called is what the sandbox called, and so is the origin. */
static inline void assert_is_called_as(const struct scene *s, int accepted, const char *address)
{
	struct pst_addr wanted = {.addr = {[10] = 0xff, 0xff}};
	struct pst_origin origin = take_origin(s, accepted);
	struct sockaddr_storage own;
	socklen_t size = sizeof(own);

	if (inet_pton(AF_INET, address, wanted.addr + 12) != 1)
		assert_int_equal(inet_pton(AF_INET6, address, wanted.addr), 1);
	assert_int_equal(getsockname(accepted, (struct sockaddr *)&own, &size), 0);
	assert_int_equal(ntohs(((struct sockaddr_in *)&own)->sin_port), FAR_PORT);
	if (own.ss_family == AF_INET)
		assert_memory_equal(&((struct sockaddr_in *)&own)->sin_addr, wanted.addr + 12, 4);
	else
		assert_memory_equal(&((struct sockaddr_in6 *)&own)->sin6_addr, wanted.addr, 16);
	assert_int_equal(origin.sandbox, s->one.id);
	assert_int_equal(origin.generation, kern_attachment_record(s->one.at)->generation);
	assert_memory_equal(origin.addr, wanted.addr, 16);
	assert_int_equal(origin.port, FAR_PORT);
	assert_int_equal(origin.step, PST_STEP_DEFAULT);
	assert_int_equal(origin.reason, PST_REASON_ALLOW_DEFAULT);
	assert_int_equal(origin.name.prefixlen, 0);
}

static inline int listener_of(const struct scene *s, const char *address)
{
	return strchr(address, ':') ? s->relay.tcp6 : s->relay.tcp4;
}

struct pair {
	int inside, relay;
};

static inline struct pair relayed(const struct scene *s, const char *address)
{
	struct pair p = {.inside = call(s, address)};

	assert_int_equal(outcome(p.inside), 0);
	p.relay = accept_one(listener_of(s, address));
	return p;
}

static inline void pair_end(struct pair *p)
{
	close(p->inside);
	close(p->relay);
}

static const char *const both[] = {FAR4, FAR6};

#endif
