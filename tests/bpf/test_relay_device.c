/* SPDX-License-Identifier: MIT */
/*
 * Behind a device: TCP that the policy sends through the relay arrives at its transparent listener, with its origin, and
 * nowhere else, ever. The oracle of "nowhere else" is a namespace that the host forwards to, and what arrives there.
 */
#define _GNU_SOURCE
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
	int sniffer;  /* on its device */
	struct wire wire;
	struct one one;
	struct kern_relay_sockets relay;
	int origins;
};

/* ---- the scene ---- */

static int listen_far(void)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(FAR_PORT)};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static int sniff(const char *device)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ALL),
				 .sll_ifindex = (int)if_nametoindex(device)};
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/* The host forwards between the wires and a namespace behind it. It does not look for a packet's socket before it looks
 * for a route: on others, that hides what was not given to one. */
static void open_far(struct scene *s)
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
	s->sniffer = sniff("far");
	net_go(s->wires->here);
}

static struct kern_own own_both(const struct wire *wire)
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
static void route_wire(const struct scene *s)
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

static void put_in_force(struct scene *s, uint8_t verdict, uint32_t flags, bool keep)
{
	struct table_row4 root4 = {.key = {.prefixlen = 0}};
	struct table_row6 root6 = {.key = {.prefixlen = 0}};
	struct pst_ports unused = {.count = 0};
	struct table table = {.rows4 = &root4,
			      .n_rows4 = 1,
			      .rows6 = &root6,
			      .n_rows6 = 1,
			      .ports = &unused,
			      .n_ports = 1,
			      .n_rules = 3,
			      .flags = flags,
			      .keep = keep,
			      .inbound = PST_INBOUND_DENY,
			      .default_verdict = verdict};
	const uint8_t hash[KERN_HASH_SIZE] = {verdict, (uint8_t)flags, 7, keep};
	struct kern_policy *policy = NULL;
	struct error err = {{0}};

	check(kern_policy_load(s->host->kern, &table, hash, &policy, &err));
	check(kern_attachment_stage(s->one.at, policy, kern_host_next_generation(s->host->kern),
				    &err));
	kern_policy_put(policy);
	check(kern_attachment_flip(s->one.at, &err));
}

static void set_relay(struct scene *s)
{
	const struct kern_relay_listen how = {.netns_fd = -1, .transparent = true};
	struct error err = {{0}};

	check(kern_relay_listen(&how, &s->relay, &err));
	check(kern_attachment_set_relay(s->one.at, &s->relay, &s->origins, &err));
}

static struct scene scene_begin(struct wires *wires, enum kern_tc tc)
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

static void scene_end(struct scene *s)
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

static bool waits_for(int fd, short events, int ms)
{
	struct pollfd one = {.fd = fd, .events = events};

	return poll(&one, 1, ms) == 1;
}

#define WAIT_MS 60000

/* A socket of the sandbox's that connects, without waiting. `port`: its own; 0: any. */
static int call_from(const struct scene *s, const char *address, uint16_t port, uint16_t own_port)
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

static int call(const struct scene *s, const char *address)
{
	return call_from(s, address, FAR_PORT, 0);
}

/* How the connect ends: 0 or errno. */
static int outcome(int fd)
{
	int error = 0;
	socklen_t size = sizeof(error);

	assert_true(waits_for(fd, POLLOUT, WAIT_MS));
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size), 0);
	return error;
}

static int accept_one(int listener)
{
	int fd;

	assert_true(waits_for(listener, POLLIN, WAIT_MS));
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void assert_carries(int from, int to)
{
	char bytes[8] = "";

	assert_int_equal(send(from, "hello", 5, MSG_NOSIGNAL), 5);
	assert_true(waits_for(to, POLLIN, WAIT_MS));
	assert_int_equal(recv(to, bytes, sizeof(bytes), 0), 5);
	assert_memory_equal(bytes, "hello", 5);
}

/* The error that a socket comes to, by itself or by what it sends. */
static int ends_with(int fd)
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
static struct seen seen_far(const struct scene *s)
{
	uint8_t bytes[256];
	struct seen seen = {0};
	ssize_t n;

	while ((n = recv(s->sniffer, bytes, sizeof(bytes), MSG_TRUNC)) > 0) {
		bool six = bytes[0] >> 4 == 6;
		size_t l4 = six ? 40 : 20, end = six ? 40U + (bytes[4] << 8 | bytes[5])
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
static void fence(const struct scene *s)
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
static void assert_nothing_went_far(const struct scene *s)
{
	fence(s);
	assert_int_equal(seen_far(s).tcp, 0);
}

static uint64_t denied(const struct scene *s, int reason)
{
	uint64_t counts[PST_REASON_MAX];

	assert_int_equal(kern_host_counters(s->host->kern, counts), 0);
	return counts[reason];
}

/* ---- at the listener ---- */

static struct pst_origin take_origin(const struct scene *s, int accepted)
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
static void assert_is_called_as(const struct scene *s, int accepted, const char *address)
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

static int listener_of(const struct scene *s, const char *address)
{
	return strchr(address, ':') ? s->relay.tcp6 : s->relay.tcp4;
}

struct pair {
	int inside, relay;
};

static struct pair relayed(const struct scene *s, const char *address)
{
	struct pair p = {.inside = call(s, address)};

	assert_int_equal(outcome(p.inside), 0);
	p.relay = accept_one(listener_of(s, address));
	return p;
}

static void pair_end(struct pair *p)
{
	close(p->inside);
	close(p->relay);
}

static const char *const both[] = {FAR4, FAR6};

static void arrives_with_its_origin_in(struct wires *wires, enum kern_tc tc)
{
	struct scene s = scene_begin(wires, tc);

	for (int i = 0; i < 2; i++) {
		struct pair p = relayed(&s, both[i]);

		assert_is_called_as(&s, p.relay, both[i]);
		assert_carries(p.inside, p.relay);
		assert_carries(p.relay, p.inside);
		/* Half-closed, and to the end. */
		assert_int_equal(shutdown(p.inside, SHUT_WR), 0);
		assert_int_equal(ends_with(p.relay), 0);
		assert_carries(p.relay, p.inside);
		pair_end(&p);
	}
	assert_nothing_went_far(&s);
	/* Without the relay the same goes where it was for: that the way is there. */
	put_in_force(&s, ALLOWED, 0, false);
	for (int i = 0; i < 2; i++) {
		int inside = call(&s, both[i]), far;

		assert_int_equal(outcome(inside), 0);
		far = accept_one(s.listener);
		assert_carries(inside, far);
		close(inside);
		close(far);
	}
	assert_int_not_equal(seen_far(&s).with_data, 0);
	scene_end(&s);
}

static void arrives_with_its_origin(void **state)
{
	arrives_with_its_origin_in(*state, KERN_TC_AUTO);
}

static void arrives_with_its_origin_by_clsact(void **state)
{
	arrives_with_its_origin_in(*state, KERN_TC_CLSACT);
}

/* ---- without it ---- */

static void is_refused_when_the_listener_is_gone_in(struct wires *wires, enum kern_tc tc)
{
	struct scene s = scene_begin(wires, tc);
	struct pair p = relayed(&s, FAR4);
	uint64_t before = denied(&s, PST_REASON_RELAY_DOWN);

	kern_relay_close(&s.relay);
	for (int i = 0; i < 2; i++) {
		int inside = call(&s, both[i]);

		assert_int_equal(outcome(inside), ECONNREFUSED);
		close(inside);
	}
	assert_int_equal(denied(&s, PST_REASON_RELAY_DOWN), before + 2);
	/* Its last connection has its socket still; then not even that one goes on. */
	assert_carries(p.inside, p.relay);
	close(p.relay);
	assert_int_equal(ends_with(p.inside), 0);
	(void)send(p.inside, "direct?", 7, MSG_NOSIGNAL);
	assert_nothing_went_far(&s);
	/* Another one is there. */
	cleanup_close_(&s.origins);
	set_relay(&s);
	put_in_force(&s, ALLOWED, PST_SANDBOX_PROXIED, false);
	close(p.inside);
	p = relayed(&s, FAR6);
	assert_carries(p.inside, p.relay);
	pair_end(&p);
	/* Nobody's by its record. */
	{
		struct error err = {{0}};
		int inside;

		check(kern_attachment_set_relay(s.one.at, NULL, NULL, &err));
		check(kern_attachment_refresh(s.one.at, kern_host_next_generation(s.host->kern),
					      &err));
		inside = call(&s, FAR4);
		assert_int_equal(outcome(inside), ECONNREFUSED);
		close(inside);
	}
	assert_nothing_went_far(&s);
	scene_end(&s);
}

static void is_refused_when_the_listener_is_gone(void **state)
{
	is_refused_when_the_listener_is_gone_in(*state, KERN_TC_AUTO);
}

static void is_refused_when_the_listener_is_gone_by_clsact(void **state)
{
	is_refused_when_the_listener_is_gone_in(*state, KERN_TC_CLSACT);
}

/* The rule is gone: nothing is delivered, and nothing forwarded. */
static void goes_nowhere_without_the_rule(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	struct pair p = relayed(&s, FAR4);
	struct error err = {{0}};
	int inside;

	net_relay_route_remove(&s.route);
	inside = call(&s, FAR4);
	assert_int_equal(send(p.inside, "direct?", 7, MSG_NOSIGNAL), 7);
	assert_false(waits_for(s.relay.tcp4, POLLIN, CLIENT_SILENCE_MS));
	assert_false(waits_for(p.relay, POLLIN, 0));
	assert_nothing_went_far(&s);
	/* Sent again, it arrives: what was silent was the way. */
	check(net_relay_route_add(&s.route, &err));
	assert_int_equal(outcome(inside), 0);
	assert_true(waits_for(p.relay, POLLIN, WAIT_MS));
	close(inside);
	pair_end(&p);
	scene_end(&s);
}

/* ---- over a change ---- */

static void goes_on_over_a_change_that_leaves_it_to_the_relay(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	struct pair p = relayed(&s, FAR4);
	struct error err = {{0}};

	check(kern_attachment_refresh(s.one.at, kern_host_next_generation(s.host->kern), &err));
	assert_carries(p.relay, p.inside);
	assert_carries(p.inside, p.relay);
	put_in_force(&s, ALLOWED, PST_SANDBOX_PROXIED | PST_SANDBOX_RULES, false);
	assert_carries(p.inside, p.relay);
	assert_carries(p.relay, p.inside);
	assert_nothing_went_far(&s);
	pair_end(&p);
	scene_end(&s);
}

/* Its socket on the host has the port that was called, which a service of the host's may have as well. */
static void leaves_its_port_to_the_host(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	struct pair p = relayed(&s, FAR6), q = relayed(&s, FAR4);
	int service = listen_far(); /* in our own namespace */

	assert_carries(p.inside, p.relay);
	assert_carries(q.inside, q.relay);
	pair_end(&p);
	p = relayed(&s, FAR6);
	assert_carries(p.inside, p.relay);
	assert_false(waits_for(service, POLLIN, 0));
	close(service);
	pair_end(&p);
	pair_end(&q);
	scene_end(&s);
}

/* In the middle of a stream nobody else understands it, or may have it. */
static void is_reset_when_it_would_go_directly(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	struct pair p = relayed(&s, FAR4), q = relayed(&s, FAR6);

	put_in_force(&s, ALLOWED, 0, false);
	assert_int_equal(send(p.inside, "secret", 6, MSG_NOSIGNAL), 6);
	assert_int_equal(ends_with(p.inside), ECONNRESET);
	assert_int_equal(ends_with(p.relay), ECONNRESET);
	/* And by what the relay sends. */
	assert_int_equal(send(q.relay, "secret", 6, MSG_NOSIGNAL), 6);
	assert_int_equal(ends_with(q.inside), ECONNRESET);
	assert_nothing_went_far(&s);
	pair_end(&p);
	pair_end(&q);
	scene_end(&s);
}

static void is_reset_when_it_is_denied(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	struct pair p = relayed(&s, FAR4);
	uint64_t before = denied(&s, PST_REASON_DEFAULT_DENY);

	put_in_force(&s, DENIED, PST_SANDBOX_PROXIED, false);
	assert_int_equal(send(p.inside, "secret", 6, MSG_NOSIGNAL), 6);
	assert_int_equal(ends_with(p.inside), ECONNRESET);
	assert_int_equal(ends_with(p.relay), ECONNRESET);
	assert_true(denied(&s, PST_REASON_DEFAULT_DENY) > before);
	put_in_force(&s, ALLOWED, PST_SANDBOX_PROXIED, false);
	assert_nothing_went_far(&s);
	pair_end(&p);
	scene_end(&s);
}

static void a_direct_one_is_reset_when_the_relay_takes_over(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	uint64_t before = denied(&s, PST_REASON_NO_ORIGIN);

	for (int i = 0; i < 2; i++) {
		int inside, far;

		put_in_force(&s, ALLOWED, 0, false);
		inside = call(&s, both[i]);
		assert_int_equal(outcome(inside), 0);
		far = accept_one(s.listener);
		assert_carries(inside, far);
		put_in_force(&s, ALLOWED, PST_SANDBOX_PROXIED, false);
		fence(&s);
		(void)seen_far(&s);
		assert_int_equal(send(inside, "secret", 6, MSG_NOSIGNAL), 6);
		assert_int_equal(ends_with(inside), ECONNRESET);
		assert_int_equal(ends_with(far), ECONNRESET);
		fence(&s);
		/* Its peer is told by a RST, and by nothing else. */
		{
			struct seen seen = seen_far(&s);

			assert_int_equal(seen.with_data, 0);
			assert_int_equal(seen.tcp, seen.resets);
		}
		close(inside);
		close(far);
	}
	assert_true(denied(&s, PST_REASON_NO_ORIGIN) >= before + 2);
	scene_end(&s);
}

/* existing: keep. What was the relay's stays the relay's; what was not stays away from it. */
static void is_kept_as_it_was(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	struct pair p;
	int inside, far;

	put_in_force(&s, ALLOWED, 0, true);
	inside = call(&s, FAR6);
	assert_int_equal(outcome(inside), 0);
	far = accept_one(s.listener);
	assert_carries(inside, far);
	put_in_force(&s, ALLOWED, PST_SANDBOX_PROXIED, true);
	p = relayed(&s, FAR4);
	assert_carries(p.inside, p.relay);
	assert_carries(inside, far);
	assert_carries(far, inside);
	fence(&s);
	(void)seen_far(&s);
	put_in_force(&s, ALLOWED, 0, true);
	assert_carries(p.inside, p.relay);
	put_in_force(&s, DENIED, PST_SANDBOX_PROXIED, true);
	assert_carries(p.inside, p.relay);
	assert_carries(p.relay, p.inside);
	put_in_force(&s, ALLOWED, 0, true);
	assert_nothing_went_far(&s);
	pair_end(&p);
	close(inside);
	close(far);
	scene_end(&s);
}

/* What a rule would deny goes there too, and is told once. */
static void in_audit_it_is_relayed_and_told(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	uint64_t before = denied(&s, PST_REASON_DEFAULT_DENY);
	struct pair p;

	put_in_force(&s, DENIED, PST_SANDBOX_PROXIED | PST_SANDBOX_AUDIT, false);
	p = relayed(&s, FAR4);
	assert_int_equal(take_origin(&s, p.relay).reason, PST_REASON_DEFAULT_DENY);
	assert_carries(p.inside, p.relay);
	assert_carries(p.relay, p.inside);
	assert_int_equal(denied(&s, PST_REASON_DEFAULT_DENY), before + 1);
	assert_nothing_went_far(&s);
	pair_end(&p);
	scene_end(&s);
}

/* ---- what is not the relay's ---- */

static uint16_t sum_of(const uint8_t *bytes, size_t size, uint32_t sum)
{
	for (size_t i = 0; i + 1 < size; i += 2)
		sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* A SYN of the sandbox's, for a tuple that it has a socket for. */
static void forge_syn(const struct scene *s, uint16_t from_port)
{
	uint8_t n = (uint8_t)s->wire.number, pseudo[32] = {10, 99, n, 2, 10, 99, n, 1, 0, 6, 0, 20};
	uint8_t packet[40] = {0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 99, n, 2, 10, 99, n, 1};
	struct sockaddr_in to = {.sin_family = AF_INET};
	uint8_t *tcp = packet + 20;
	uint16_t sum;
	int fd;

	tcp[0] = (uint8_t)(from_port >> 8), tcp[1] = (uint8_t)from_port;
	tcp[2] = FAR_PORT >> 8, tcp[3] = FAR_PORT & 255;
	tcp[7] = 77, tcp[12] = 0x50, tcp[13] = 2, tcp[14] = 0x40;
	memcpy(pseudo + 12, tcp, 20);
	sum = sum_of(pseudo, sizeof(pseudo), 0);
	tcp[16] = (uint8_t)(sum >> 8), tcp[17] = (uint8_t)sum;
	memcpy(&to.sin_addr, packet + 16, 4);
	net_go(s->wires->there);
	fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	assert_int_equal(sendto(fd, packet, sizeof(packet), 0, (struct sockaddr *)&to, sizeof(to)),
			 sizeof(packet));
	close(fd);
	net_go(s->wires->here);
}

/*
 * The host itself listens where the sandbox calls. The connection is direct, then that is the relay's; and a forged SYN
 * of its tuple makes it one of the relay's, which its socket on the host is not.
 */
static void another_socket_of_that_tuple_gets_nothing(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	char address[32];
	int inside, host, accepted;

	(void)snprintf(address, sizeof(address), "10.99.%d.1", s.wire.number);
	put_in_force(&s, ALLOWED, 0, false);
	host = listen_far(); /* in our own namespace */
	inside = call_from(&s, address, FAR_PORT, 5555);
	assert_int_equal(outcome(inside), 0);
	accepted = accept_one(host);
	assert_carries(inside, accepted);
	put_in_force(&s, ALLOWED, PST_SANDBOX_PROXIED, false);
	forge_syn(&s, 5555);
	fence(&s);
	(void)send(inside, "secret", 6, MSG_NOSIGNAL);
	assert_false(waits_for(accepted, POLLIN, CLIENT_SILENCE_MS));
	/* A connection of its own does arrive. */
	close(inside);
	inside = call_from(&s, address, FAR_PORT, 0);
	assert_int_equal(outcome(inside), 0);
	close(accept_one(s.relay.tcp4));
	assert_int_equal(waits_for(host, POLLIN, 0), 0);
	close(inside);
	close(accepted);
	close(host);
	scene_end(&s);
}

/* Nobody can be told of a connection: it is refused, and told when there is room again. */
static void is_refused_when_too_many_are_on_their_way(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	struct pst_origin old = {.sandbox = s.one.id, .time_ns = loop_boot_ns()};
	struct pst_origin_key key = {.addr = {[10] = 0xff, 0xff, 192, 0, 2, 1}};
	struct pair p;
	int inside;

	for (key.port = 1; key.port <= PST_MAX_ORIGINS; key.port++)
		assert_int_equal(bpf_map_update_elem(s.origins, &key, &old, BPF_NOEXIST), 0);
	inside = call(&s, FAR4);
	assert_int_equal(outcome(inside), ECONNREFUSED);
	assert_int_equal(denied(&s, PST_REASON_RELAY_BUSY), 1);
	close(inside);
	/* As if they were there for long. */
	old.time_ns = 1;
	for (key.port = 1; key.port <= PST_MAX_ORIGINS; key.port++)
		assert_int_equal(bpf_map_update_elem(s.origins, &key, &old, BPF_EXIST), 0);
	inside = -1;
	for (int tries = 0; tries < 100; tries++) {
		inside = call(&s, FAR4);
		if (!outcome(inside))
			break;
		close(inside);
		usleep(20000);
	}
	p = (struct pair){.inside = inside, .relay = accept_one(s.relay.tcp4)};
	assert_carries(p.inside, p.relay);
	assert_nothing_went_far(&s);
	pair_end(&p);
	scene_end(&s);
}

/* ---- the way of the packets ---- */

static int count_rules(const char *family)
{
	char command[128], line[256];
	int count = 0;
	FILE *list;

	(void)snprintf(command, sizeof(command), "ip %s rule show", family);
	list = popen(command, "re");
	assert_non_null(list);
	while (fgets(line, sizeof(line), list))
		count += strstr(line, "0x50535202") != NULL;
	assert_int_equal(pclose(list), 0);
	return count;
}

static void rules_are_there_as_long_as_somebody_needs_them(void **state)
{
	struct relay_route a = RELAY_ROUTE_NONE, b = RELAY_ROUTE_NONE;
	struct error err = {{0}};

	(void)state;
	assert_int_equal(count_rules("-4") + count_rules("-6"), 0);
	for (int i = 0; i < 2; i++)
		check(net_relay_route_add(&a, &err));
	check(net_relay_route_add(&b, &err));
	assert_int_equal(count_rules("-4"), 3);
	assert_int_equal(count_rules("-6"), 3);
	net_relay_route_remove(&a);
	net_relay_route_remove(&a);
	assert_int_equal(count_rules("-4"), 3);
	/* Somebody removes what is ours. */
	shell("ip rule del pref 6; ip -6 rule del pref 5");
	check(net_relay_route_add(&b, &err));
	assert_int_equal(count_rules("-4"), 3);
	assert_int_equal(count_rules("-6"), 3);
	net_relay_route_remove(&b);
	assert_int_equal(count_rules("-4") + count_rules("-6"), 0);
	shell("! ip route show table %u | grep -q .", RELAY_ROUTE_TABLE);
	shell("! ip -6 route show table %u | grep -q .", RELAY_ROUTE_TABLE);
}

/* Settings of a host that carry the mark to where it would bring home what is to leave. */
static void works_where_marks_are_taken_over(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);

	shell("echo 1 >/proc/sys/net/ipv4/tcp_fwmark_accept; "
	      "echo 1 >/proc/sys/net/ipv4/conf/all/src_valid_mark; "
	      "echo 1 >/proc/sys/net/ipv4/conf/%s/rp_filter",
	      s.wire.name);
	for (int i = 0; i < 2; i++) {
		struct pair p = relayed(&s, both[i]);

		assert_carries(p.inside, p.relay);
		assert_carries(p.relay, p.inside);
		pair_end(&p);
	}
	shell("echo 0 >/proc/sys/net/ipv4/tcp_fwmark_accept; "
	      "echo 0 >/proc/sys/net/ipv4/conf/all/src_valid_mark");
	scene_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_are_there_as_long_as_somebody_needs_them),
		cmocka_unit_test(arrives_with_its_origin),
		cmocka_unit_test(arrives_with_its_origin_by_clsact),
		cmocka_unit_test(is_refused_when_the_listener_is_gone),
		cmocka_unit_test(is_refused_when_the_listener_is_gone_by_clsact),
		cmocka_unit_test(goes_nowhere_without_the_rule),
		cmocka_unit_test(goes_on_over_a_change_that_leaves_it_to_the_relay),
		cmocka_unit_test(leaves_its_port_to_the_host),
		cmocka_unit_test(is_reset_when_it_would_go_directly),
		cmocka_unit_test(is_reset_when_it_is_denied),
		cmocka_unit_test(a_direct_one_is_reset_when_the_relay_takes_over),
		cmocka_unit_test(is_kept_as_it_was),
		cmocka_unit_test(in_audit_it_is_relayed_and_told),
		cmocka_unit_test(another_socket_of_that_tuple_gets_nothing),
		cmocka_unit_test(is_refused_when_too_many_are_on_their_way),
		cmocka_unit_test(works_where_marks_are_taken_over),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
