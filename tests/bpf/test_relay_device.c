/* SPDX-License-Identifier: MIT */
/* Behind a device: TCP that the policy sends through the relay arrives at its transparent listener, with its origin,
 * and nowhere else, ever. */
#define _GNU_SOURCE
#include "relay_scene.h"

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

/* ---- what is not the relay's ---- */

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

/* The device is a port of a bridge, and the sandbox sends to somebody else on it. */
static void make_bridge(struct scene *s)
{
	int n = s->wire.number;

	shell("ip link add pst-br address 02:00:00:00:05:01 type bridge; ip link set pst-br up; "
	      "ip addr del 10.99.%d.1/30 dev %s; ip link set %s master pst-br; "
	      "ip addr add 10.99.%d.1/30 dev pst-br; "
	      "ip neigh replace 10.99.%d.2 lladdr 02:00:00:00:02:%02x nud permanent dev pst-br",
	      n, s->wire.name, s->wire.name, n, n, n);
	shell("ip link add pst-up type veth peer name far2 address 02:00:00:00:04:02 "
	      "netns /proc/%d/fd/%d; ip link set pst-up master pst-br; ip link set pst-up up",
	      getpid(), s->far);
	net_go(s->far);
	shell("ip link set far2 up; ip route add 10.99.%d.2/32 dev far2; "
	      "ip neigh replace 10.99.%d.2 lladdr 02:00:00:00:02:%02x nud permanent dev far2",
	      n, n, n);
	net_go(s->wires->there);
	shell("ip neigh replace 10.99.%d.1 lladdr 02:00:00:00:04:02 nud permanent dev eth%d", n, n);
	net_go(s->wires->here);
}

/* Whether netfilter of IP looks at frames of bridges: it loses what a frame was given to. */
static bool set_bridge_netfilter(int on)
{
	int fd = open("/proc/sys/net/bridge/bridge-nf-call-iptables", O_WRONLY | O_CLOEXEC);
	bool set = fd >= 0 && write(fd, on ? "1" : "0", 1) == 1;

	if (fd >= 0)
		close(fd);
	return set;
}

static void passes_no_bridge(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	struct pair p;
	int inside, far;

	make_bridge(&s);
	(void)set_bridge_netfilter(0);
	/* That it would. */
	put_in_force(&s, ALLOWED, 0, false);
	inside = call(&s, FAR4);
	assert_int_equal(outcome(inside), 0);
	far = accept_one(s.listener);
	assert_carries(inside, far);
	close(inside);
	close(far);
	put_in_force(&s, ALLOWED, PST_SANDBOX_PROXIED, false);
	fence(&s);
	(void)seen_far(&s);
	p = relayed(&s, FAR4);
	assert_is_called_as(&s, p.relay, FAR4);
	assert_carries(p.inside, p.relay);
	assert_carries(p.relay, p.inside);
	if (set_bridge_netfilter(1)) {
		int lost = call(&s, FAR4);

		assert_false(waits_for(s.relay.tcp4, POLLIN, CLIENT_SILENCE_MS));
		assert_nothing_went_far(&s);
		close(lost);
	}
	/* Nor does it where nobody brings it in: not even by a route. */
	net_relay_route_remove(&s.route);
	for (int on = 1; on >= 0; on--) {
		int lost;

		(void)set_bridge_netfilter(on);
		lost = call(&s, FAR4);
		/* The host may say that it cannot be reached. */
		if (waits_for(lost, POLLOUT, CLIENT_SILENCE_MS))
			assert_int_not_equal(outcome(lost), 0);
		assert_nothing_went_far(&s);
		close(lost);
	}
	assert_int_equal(send(p.inside, "direct?", 7, MSG_NOSIGNAL), 7);
	assert_false(waits_for(p.relay, POLLIN, CLIENT_SILENCE_MS));
	assert_nothing_went_far(&s);
	pair_end(&p);
	scene_end(&s);
	shell("ip link del pst-br; ip link show pst-up >/dev/null 2>&1 && ip link del pst-up || :");
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
		count += strstr(line, "0x50530002") != NULL;
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
		cmocka_unit_test(leaves_its_port_to_the_host),
		cmocka_unit_test(another_socket_of_that_tuple_gets_nothing),
		cmocka_unit_test(passes_no_bridge),
		cmocka_unit_test(is_refused_when_too_many_are_on_their_way),
		cmocka_unit_test(works_where_marks_are_taken_over),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
