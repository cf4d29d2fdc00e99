/* SPDX-License-Identifier: MIT */
/* What a relay gets of the kernel side: sockets, marks, slots, leases and hits; and what it does not get. */
#define _GNU_SOURCE
#include <poll.h>

#include "device_host.h"
#include "names_fixture.h"

#include "kern/relay.h"

/* ---- sockets ---- */

static const struct kern_relay_sockets none = KERN_RELAY_NO_SOCKETS;

static struct kern_relay_sockets listen_in(int netns, bool transparent)
{
	const struct kern_relay_listen how = {.netns_fd = netns, .transparent = transparent};
	struct kern_relay_sockets sockets = none;
	struct error err = {{0}};

	check(kern_relay_listen(&how, &sockets, &err));
	assert_int_not_equal(sockets.port, 0);
	return sockets;
}

static int option_of(int fd, int level, int option)
{
	int value = -1;
	socklen_t size = sizeof(value);

	assert_int_equal(getsockopt(fd, level, option, &value, &size), 0);
	return value;
}

static uint64_t netns_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size), 0);
	return cookie;
}

static void assert_is_at(int fd, int family, const char *address, uint16_t port)
{
	struct sockaddr_storage at = {0};
	const struct sockaddr_in *four = (const struct sockaddr_in *)&at;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&at;
	socklen_t size = sizeof(at);
	char text[INET6_ADDRSTRLEN];
	bool is_four = family == AF_INET;

	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
	assert_int_equal(at.ss_family, family);
	assert_int_equal(ntohs(is_four ? four->sin_port : six->sin6_port), port);
	assert_non_null(inet_ntop(
		family, is_four ? (const void *)&four->sin_addr : (const void *)&six->sin6_addr,
		text, sizeof(text)));
	assert_string_equal(text, address);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void listens_on_one_port_of_the_namespaces_own_loopback(void **state)
{
	struct wires *wires = *state;
	struct kern_relay_sockets s = listen_in(wires->there, false);
	char device[IFNAMSIZ] = "";
	socklen_t size = sizeof(device);
	uint64_t there;
	struct error err = {{0}};

	check(netns_cookie_of(wires->there, &there, &err));
	assert_is_at(s.tcp4, AF_INET, "127.0.0.1", s.port);
	assert_is_at(s.tcp6, AF_INET6, "::1", s.port);
	assert_is_at(s.udp4, AF_INET, "0.0.0.0", s.port);
	assert_is_at(s.udp6, AF_INET6, "::1", s.port);
	assert_int_equal(netns_of(s.tcp4), there);
	assert_int_equal(netns_of(s.udp6), there);
	assert_int_equal(option_of(s.tcp4, SOL_SOCKET, SO_ACCEPTCONN), 1);
	assert_int_equal(option_of(s.tcp6, SOL_SOCKET, SO_ACCEPTCONN), 1);
	assert_int_equal(option_of(s.tcp4, SOL_IP, IP_TRANSPARENT), 0);
	assert_int_equal(option_of(s.tcp4, SOL_SOCKET, SO_REUSEPORT), 0);
	assert_int_not_equal(option_of(s.tcp4, SOL_TCP, TCP_FASTOPEN), 0);
	assert_int_equal(option_of(s.udp4, SOL_IP, IP_PKTINFO), 1);
	assert_int_equal(option_of(s.udp6, SOL_IPV6, IPV6_RECVPKTINFO), 1);
	assert_int_equal(getsockopt(s.udp4, SOL_SOCKET, SO_BINDTODEVICE, device, &size), 0);
	assert_string_equal(device, "lo");
	/* Ours is where it was. */
	check(netns_cookie(&there, &err));
	assert_int_equal(there, wires->cookie);
	kern_relay_close(&s);
	assert_int_equal(s.tcp4, -1);
	assert_int_equal(s.port, 0);
}

static void transparent_listeners_are_tcps_alone(void **state)
{
	struct wires *wires = *state;
	struct kern_relay_sockets s = listen_in(-1, true);

	assert_is_at(s.tcp4, AF_INET, "127.0.0.1", s.port);
	assert_is_at(s.tcp6, AF_INET6, "::1", s.port);
	assert_int_equal(s.udp4, -1);
	assert_int_equal(s.udp6, -1);
	assert_int_equal(option_of(s.tcp4, SOL_IP, IP_TRANSPARENT), 1);
	assert_int_equal(option_of(s.tcp6, SOL_IPV6, IPV6_TRANSPARENT), 1);
	assert_int_equal(netns_of(s.tcp4), wires->cookie);
	kern_relay_close(&s);
}

/* Who comes later cannot put his listener beside ours: not even who is root there. */
/* Blocking calls, with an end. */
static int wait_for(int fd, short events, int timeout_ms)
{
	struct pollfd one = {.fd = fd, .events = events};

	return poll(&one, 1, timeout_ms) == 1 && !(one.revents & POLLERR);
}

/* What was somebody's server calls a service of this host. */
static bool can_call(int fd, uint16_t port, int timeout_ms)
{
	const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
	const struct sockaddr_in service = {.sin_family = AF_INET,
					    .sin_port = htons(port),
					    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	(void)connect(fd, &nobody, sizeof(nobody));
	if (!connect(fd, (const struct sockaddr *)&service, sizeof(service)))
		return true;
	return errno == EINPROGRESS && wait_for(fd, POLLOUT, timeout_ms);
}

static int call_and_accept(int listener, uint16_t port, int *ret_client)
{
	const struct sockaddr_in at = {.sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char byte = 'x';
	int accepted;

	*ret_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(*ret_client, (const struct sockaddr *)&at, sizeof(at)), 0);
	assert_true(wait_for(listener, POLLIN, 30000));
	accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(accepted >= 0);
	/* It serves, both ways. */
	assert_int_equal(send(*ret_client, &byte, 1, 0), 1);
	assert_true(wait_for(accepted, POLLIN, 30000));
	assert_int_equal(recv(accepted, &byte, 1, 0), 1);
	assert_int_equal(send(accepted, &byte, 1, 0), 1);
	assert_int_equal(recv(*ret_client, &byte, 1, 0), 1);
	return accepted;
}

/* One that was taken over has them; they are of a cgroup without a policy. */
static void a_listener_and_what_it_accepts_call_nobody(void **state)
{
	struct kern_relay_sockets service = listen_in(-1, false), relay = listen_in(-1, false);
	int plain = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), client, off = 0;
	int accepted = call_and_accept(relay.tcp4, relay.port, &client);

	(void)state;
	assert_int_equal(setsockopt(relay.tcp4, SOL_SOCKET, SO_DETACH_FILTER, &off, sizeof(off)),
			 -1);
	assert_int_equal(setsockopt(accepted, SOL_SOCKET, SO_DETACH_FILTER, &off, sizeof(off)), -1);
	assert_int_equal(setsockopt(accepted, SOL_SOCKET, SO_LOCK_FILTER, &off, sizeof(off)), -1);
	/* The control. */
	assert_true(can_call(plain, service.port, 30000));
	assert_false(can_call(relay.tcp4, service.port, 1500));
	assert_false(can_call(accepted, service.port, 1500));
	close(plain);
	close(client);
	close(accepted);
	kern_relay_close(&service);
	kern_relay_close(&relay);
}

static void shares_its_port_with_nobody(void **state)
{
	struct wires *wires = *state;
	int one = 1;

	for (int kind = 0; kind < 4; kind++) {
		struct kern_relay_sockets s = listen_in(wires->there, kind & 1);
		struct sockaddr_in at = {.sin_family = AF_INET,
					 .sin_port = htons(s.port),
					 .sin_addr.s_addr =
						 htonl(kind & 2 ? INADDR_ANY : INADDR_LOOPBACK)};
		int fd;

		net_go(wires->there);
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
		assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), -1);
		assert_int_equal(errno, EADDRINUSE);
		close(fd);
		net_go(wires->here);
		kern_relay_close(&s);
	}
}

/* A namespace of few ports, where another socket has some of UDP's: tries until one is free for all. */
static void finds_the_port_that_is_free_for_all(void **state)
{
	struct wires *wires = *state;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
	struct kern_relay_sockets s;
	int taken[4];

	net_go(wires->there);
	shell("echo 40000 40009 >/proc/sys/net/ipv4/ip_local_port_range");
	for (uint16_t i = 0; i < 4; i++) {
		taken[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		/* TCP takes odd or even ones first. */
		at.sin_port = htons((uint16_t)(40000 + 2 * i));
		assert_int_equal(bind(taken[i], (struct sockaddr *)&at, sizeof(at)), 0);
	}
	net_go(wires->here);
	s = listen_in(wires->there, false);
	assert_in_range(s.port, 40000, 40009);
	for (uint16_t i = 0; i < 4; i++)
		assert_int_not_equal(s.port, 40000 + 2 * i);
	assert_is_at(s.tcp4, AF_INET, "127.0.0.1", s.port);
	assert_is_at(s.udp4, AF_INET, "0.0.0.0", s.port);
	assert_is_at(s.udp6, AF_INET6, "::1", s.port);
	kern_relay_close(&s);
	for (int i = 0; i < 4; i++)
		close(taken[i]);
	net_go(wires->there);
	shell("echo 32768 60999 >/proc/sys/net/ipv4/ip_local_port_range");
	net_go(wires->here);
}

/* Nor does it wait for the namespace's loopback device to be up. */
static void does_without_ipv6(void **state)
{
	struct wires *wires = *state;
	struct kern_relay_sockets s;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	for (int up = 0; up < 2; up++) {
		s = listen_in(-1, false);
		assert_is_at(s.tcp4, AF_INET, "127.0.0.1", s.port);
		assert_is_at(s.udp4, AF_INET, "0.0.0.0", s.port);
		assert_int_equal(s.tcp6, -1);
		assert_int_equal(s.udp6, -1);
		kern_relay_close(&s);
		shell("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up");
	}
	net_go(wires->here);
}

/* ---- marks and slots ---- */

static uint64_t mark_of(int owners, int fd)
{
	struct pst_owner owner = {0};

	return bpf_map_lookup_elem(owners, &fd, &owner) ? 0 : owner.relay_of;
}

static size_t used_of(const struct host *host)
{
	struct kern_usage usage[16];
	size_t n = kern_host_usage(host->kern, usage, 16);

	for (size_t i = 0; i < n; i++) {
		if (!strcmp(usage[i].name, "relay"))
			return usage[i].used;
	}
	fail_msg("no pool of relays");
	return 0;
}

static uint64_t listener_at(const struct host *host, uint32_t slot, uint32_t ipv6)
{
	uint32_t key = 2 * slot + ipv6;
	uint64_t cookie = 0;

	return bpf_map_lookup_elem(host->kern->object.map_fd[KERN_MAP_LISTENERS], &key, &cookie)
		       ? 0
		       : cookie;
}

static void comes_with_the_next_record_and_goes_with_one(void **state)
{
	struct wires *wires = *state;
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct one one = attach(host, &wire, KERN_TC_AUTO);
	struct kern_relay_sockets s = listen_in(-1, true);
	int owners = host->kern->object.map_fd[KERN_MAP_OWNERS];
	const struct pst_sandbox *record;
	cleanup_close int origins = -1;
	struct error err = {{0}};
	uint32_t slot;

	change(host, &one, PST_VERDICT_ALLOW);
	record = kern_attachment_record(one.at);
	check(kern_attachment_set_relay(one.at, &s, &origins, &err));
	assert_true(origins >= 0);
	assert_int_equal(mark_of(owners, s.tcp4), one.id);
	assert_int_equal(mark_of(owners, s.tcp6), one.id);
	assert_int_equal(record->relay_port, 0);
	check(kern_attachment_refresh(one.at, kern_host_next_generation(host->kern), &err));
	assert_int_equal(record->relay_port, s.port);
	assert_int_not_equal(record->relay_slot, 0);
	assert_int_equal(used_of(host), 1);
	slot = record->relay_slot;
	assert_int_not_equal(listener_at(host, slot, 0), 0);
	assert_int_not_equal(listener_at(host, slot, 1), 0);
	/* A change of policy keeps it; and so does another relay the slot. */
	change(host, &one, PST_VERDICT_DENY);
	assert_int_equal(record->relay_port, s.port);
	kern_relay_close(&s);
	assert_int_equal(listener_at(host, slot, 0), 0);
	s = listen_in(-1, true);
	cleanup_close_(&origins);
	check(kern_attachment_set_relay(one.at, &s, &origins, &err));
	change(host, &one, PST_VERDICT_ALLOW);
	assert_int_equal(record->relay_port, s.port);
	assert_int_equal(record->relay_slot, slot);
	/* Nobody's: from the next record on, and then the slot is free again, with no listener in it. */
	check(kern_attachment_set_relay(one.at, NULL, NULL, &err));
	assert_int_equal(record->relay_port, s.port);
	check(kern_attachment_refresh(one.at, kern_host_next_generation(host->kern), &err));
	assert_int_equal(record->relay_port, 0);
	assert_int_equal(record->relay_slot, 0);
	assert_int_equal(listener_at(host, slot, 0), 0);
	wait_until(!used_of(host));
	kern_relay_close(&s);
	detach(&one);
	wire_end(&wire);
}

static void a_slot_that_no_record_came_to_name_is_given_back(void **state)
{
	struct wires *wires = *state;
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct one one = attach(host, &wire, KERN_TC_AUTO);
	struct kern_relay_sockets s = listen_in(-1, true);
	cleanup_close int origins = -1;
	struct error err = {{0}};

	check(kern_attachment_set_relay(one.at, &s, &origins, &err));
	assert_int_equal(used_of(host), 1);
	detach(&one);
	wait_until(!used_of(host));
	kern_relay_close(&s);
	wire_end(&wire);
}

/* The listener of then is dead: refused, until there is another one. */
static void adopted_it_is_nobodys_until_it_is_set_again(void **state)
{
	struct host host = start_host(*state);
	struct wire wire = wire_make(host.wires);
	struct one one = attach(&host, &wire, KERN_TC_AUTO);
	struct kern_relay_sockets s = listen_in(-1, true);
	cleanup_close int origins = -1;
	struct error err = {{0}};
	uint32_t slot;

	check(kern_attachment_set_relay(one.at, &s, &origins, &err));
	change(&host, &one, PST_VERDICT_ALLOW);
	slot = kern_attachment_record(one.at)->relay_slot;
	leave(&one);
	kern_relay_close(&s);
	restart_host(&host);
	assert_int_equal(try_adopt(&host, &one, 0), 0);
	assert_int_equal(kern_attachment_record(one.at)->relay_slot, slot);
	assert_int_equal(listener_at(&host, slot, 0), 0);
	/* Not those that were only ready. */
	wait_until(used_of(&host) == 1);
	s = listen_in(-1, true);
	cleanup_close_(&origins);
	check(kern_attachment_set_relay(one.at, &s, &origins, &err));
	check(kern_attachment_refresh(one.at, kern_host_next_generation(host.kern), &err));
	assert_int_equal(kern_attachment_record(one.at)->relay_port, s.port);
	assert_int_equal(kern_attachment_record(one.at)->relay_slot, slot);
	assert_int_not_equal(listener_at(&host, slot, 0), 0);
	/* And once more, without: a refresh alone takes it out. */
	leave(&one);
	kern_relay_close(&s);
	restart_host(&host);
	assert_int_equal(try_adopt(&host, &one, 0), 0);
	check(kern_attachment_refresh(one.at, kern_host_next_generation(host.kern), &err));
	assert_int_equal(kern_attachment_record(one.at)->relay_port, 0);
	wait_until(!used_of(&host));
	detach(&one);
	wire_end(&wire);
	end_host(&host);
}

/* ---- leases and hits ---- */

static struct run start_run(struct wires *wires, const char *json)
{
	const struct table_always_row rows[] = {
		{.value = {.kind = PST_ALWAYS_OPEN}},
		/* 10.0.0.0/8 */
		{.key = {.prefixlen = 104, .addr = {[10] = 0xff, 0xff, 10}},
		 .value = {.kind = PST_ALWAYS_RANGE}}};
	struct run run = run_make(wires->place, NULL);
	struct kern_sandbox_options options = {.id = loop_boot_ns(),
					       .cgroup_fd = run.cgroup,
					       .cgroup_level = 3,
					       .netns_cookie = wires->cookie,
					       .relay = true};
	struct error err = {{0}};

	check(kern_sandbox_load(&options, &run.sandbox, &err));
	check(kern_sandbox_set_always(run.sandbox, rows, 2, &err));
	run_apply_default(&run, PST_VERDICT_DENY);
	run_attach(&run);
	run_apply(&run, json);
	return run;
}

static struct pst_lesson_answer answer_of(const char *address, uint32_t ttl_s)
{
	struct pst_lesson_answer answer = {.ttl_s = ttl_s};
	struct pst_addr key = address_key(address);

	memcpy(answer.addr, key.addr, 16);
	return answer;
}

static size_t teach(struct run *run, const char *name, const char *address, uint32_t ttl_s)
{
	const struct pst_lesson_answer answer = answer_of(address, ttl_s);
	size_t learned = 99;

	assert_int_equal(kern_sandbox_teach(run->sandbox, name, &answer, 1, &learned), 0);
	return learned;
}

/* Where connect_inside() goes. */
#define TAUGHT POLICY("\"api.example.com:9\",\"*.example.org:9\"")

static void what_is_taught_is_a_lease(void **state)
{
	struct run run = start_run(*state, TAUGHT);
	struct found found;

	assert_int_equal(teach(&run, "api.example.com", "198.51.100.7", 300), 1);
	assert_int_equal(teach(&run, "deep.in.example.org", "2001:db8:1::7", 300), 1);
	found = find_leases(&run, "198.51.100.7", "api.example.com");
	assert_int_equal(found.leases, 1);
	assert_int_not_equal(found.last.ports, 0);
	assert_true(found.last.left_ns > 200 * SECOND_NS && found.last.left_ns <= 300 * SECOND_NS);
	assert_int_equal(find_leases(&run, "2001:db8:1::7", "deep.in.example.org").leases, 1);
	/* And it lets out: the oracle of what does not. */
	assert_denied(run.cgroup, "198.51.100.8");
	assert_allowed(run.cgroup, "198.51.100.7");
	/* Again: the same lease, for longer. */
	assert_int_equal(teach(&run, "api.example.com", "198.51.100.7", 600), 1);
	found = find_leases(&run, "198.51.100.7", NULL);
	assert_int_equal(found.leases, 1);
	assert_true(found.last.left_ns > 500 * SECOND_NS);
	run_end(((struct wires *)*state)->place, &run);
}

static void what_no_rule_covers_or_is_always_denied_is_none(void **state)
{
	struct run run = start_run(*state, TAUGHT);

	assert_int_equal(teach(&run, "example.com", "198.51.100.7", 300), 0);
	assert_int_equal(teach(&run, "example.org", "198.51.100.7", 300), 0);
	assert_int_equal(teach(&run, "api.example.com.evil.test", "198.51.100.7", 300), 0);
	assert_int_equal(teach(&run, "xapi.example.com", "198.51.100.7", 300), 0);
	assert_int_equal(teach(&run, "", "198.51.100.7", 300), 0);
	/* As it is, and as a translator makes it. */
	assert_int_equal(teach(&run, "api.example.com", "10.1.2.3", 300), 0);
	assert_int_equal(teach(&run, "api.example.com", "64:ff9b::a01:203", 300), 0);
	assert_int_equal(find_leases(&run, NULL, NULL).leases, 0);
	assert_denied(run.cgroup, "198.51.100.7");
	assert_denied(run.cgroup, "10.1.2.3");
	/* The same name, elsewhere. */
	assert_int_equal(teach(&run, "api.example.com", "198.51.100.7", 300), 1);
	run_end(((struct wires *)*state)->place, &run);
}

static void of_several_addresses_those_that_may_be_are_leases(void **state)
{
	struct run run = start_run(*state, TAUGHT);
	struct pst_lesson_answer answers[PST_DNS_MAX_ADDRESSES + 1];
	size_t learned = 99;

	memset(answers, 0, sizeof(answers));
	answers[0] = answer_of("10.0.0.1", 300);
	answers[1] = answer_of("198.51.100.1", 300);
	answers[2] = answer_of("2001:db8:1::1", 300);
	assert_int_equal(kern_sandbox_teach(run.sandbox, "api.example.com", answers, 3, &learned),
			 0);
	assert_int_equal(learned, 2);
	assert_int_equal(find_leases(&run, NULL, "api.example.com").leases, 2);
	/* Nothing more than what is said: no address of an earlier lesson. */
	assert_int_equal(kern_sandbox_teach(run.sandbox, "a.example.org", answers, 0, &learned), 0);
	assert_int_equal(learned, 0);
	assert_int_equal(find_leases(&run, NULL, "a.example.org").leases, 0);
	assert_int_equal(kern_sandbox_teach(run.sandbox, "api.example.com", answers,
					    PST_DNS_MAX_ADDRESSES + 1, &learned),
			 -EINVAL);
	for (unsigned i = 0; i < PST_DNS_MAX_ADDRESSES; i++) {
		answers[i] = answer_of("198.51.100.0", 60);
		answers[i].addr[15] = (uint8_t)(i + 1);
	}
	assert_int_equal(kern_sandbox_teach(run.sandbox, "b.example.org", answers,
					    PST_DNS_MAX_ADDRESSES, &learned),
			 0);
	assert_int_equal(learned, PST_DNS_MAX_ADDRESSES);
	assert_int_equal(find_leases(&run, NULL, "b.example.org").leases, PST_DNS_MAX_ADDRESSES);
	run_end(((struct wires *)*state)->place, &run);
}

static void ttls_are_the_policys(void **state)
{
	struct run run = start_run(*state, SHORT("\"api.example.com\""));
	struct found found;

	assert_int_equal(teach(&run, "api.example.com", "198.51.100.7", 86400), 1);
	found = find_leases(&run, "198.51.100.7", NULL);
	assert_int_equal(found.leases, 1);
	assert_true(found.last.left_ns <= SECOND_NS);
	assert_int_equal(teach(&run, "api.example.com", "198.51.100.8", 0), 1);
	run_end(((struct wires *)*state)->place, &run);
}

/* A policy without names; or none at all. */
static void who_learns_nothing_is_taught_nothing(void **state)
{
	struct wires *wires = *state;
	struct host *host = wires->host;
	struct run run =
		start_run(wires, "{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"192.0.2.0/24\"]}");
	struct wire wire = wire_make(wires);
	struct one one = attach(host, &wire, KERN_TC_AUTO);
	const struct pst_lesson_answer answer = answer_of("198.51.100.7", 300);
	size_t learned = 99;

	assert_int_equal(teach(&run, "api.example.com", "198.51.100.7", 300), 0);
	assert_int_equal(kern_attachment_teach(one.at, "api.example.com", &answer, 1, &learned), 0);
	assert_int_equal(learned, 0);
	change(host, &one, PST_VERDICT_ALLOW);
	learned = 99;
	assert_int_equal(kern_attachment_teach(one.at, "api.example.com", &answer, 1, &learned), 0);
	assert_int_equal(learned, 0);
	detach(&one);
	wire_end(&wire);
	run_end(wires->place, &run);
}

static void hits_are_added_to_a_rule_that_is_there(void **state)
{
	struct run run = start_run(*state, TAUGHT);
	struct kern_tally tally = {.rule = 2, .connections = 1, .packets = 3, .bytes = 4000};
	struct pst_rule_hits hits[3];

	for (int i = 0; i < 2; i++)
		assert_int_equal(kern_sandbox_tally(run.sandbox, &tally), 0);
	assert_int_equal(kern_sandbox_rule_hits(run.sandbox, hits, 3), 0);
	assert_int_equal(hits[2].connections, 2);
	assert_int_equal(hits[2].packets, 6);
	assert_int_equal(hits[2].bytes, 8000);
	assert_int_not_equal(hits[2].last_ns, 0);
	assert_int_equal(hits[1].connections + hits[0].connections, 0);
	tally.rule = 1000;
	assert_int_equal(kern_sandbox_tally(run.sandbox, &tally), -ENOENT);
	run_end(((struct wires *)*state)->place, &run);
}

/* What was not asked for costs no `postern run` its time. */
static void is_loaded_only_where_it_was_asked_for(void **state)
{
	struct wires *wires = *state;
	struct run run = run_start(wires->place, NULL, PST_VERDICT_DENY);
	const struct pst_lesson_answer answer = answer_of("198.51.100.7", 300);
	size_t learned = 99;

	assert_int_equal(kern_sandbox_teach(run.sandbox, "a.test", &answer, 1, &learned),
			 -EOPNOTSUPP);
	run_end(wires->place, &run);
}

/* The cgroup kind, one sandbox: all four sockets are its own, from the flip on. */
static void marks_the_sockets_of_a_run(void **state)
{
	struct wires *wires = *state;
	struct run run = start_run(wires, TAUGHT);
	struct kern_relay_sockets s = listen_in(-1, false);
	cleanup_close int owners = run_open_map(&run, "pst_owners"), origins = -1;
	struct pst_sandbox record = record_of(&run);
	struct error err = {{0}};

	check(kern_sandbox_set_relay(run.sandbox, &s, &origins, &err));
	assert_int_equal(mark_of(owners, s.tcp4), record.id);
	assert_int_equal(mark_of(owners, s.tcp6), record.id);
	assert_int_equal(mark_of(owners, s.udp4), record.id);
	assert_int_equal(mark_of(owners, s.udp6), record.id);
	assert_int_equal(record_of(&run).relay_port, 0);
	run_flip(&run);
	record = record_of(&run);
	assert_int_equal(record.relay_port, s.port);
	run_apply(&run, TAUGHT);
	assert_int_equal(record_of(&run).relay_port, s.port);
	assert_int_equal(record_of(&run).relay_slot, record.relay_slot);
	check(kern_sandbox_set_relay(run.sandbox, NULL, NULL, &err));
	run_flip(&run);
	assert_int_equal(record_of(&run).relay_port, 0);
	kern_relay_close(&s);
	run_end(wires->place, &run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listens_on_one_port_of_the_namespaces_own_loopback),
		cmocka_unit_test(transparent_listeners_are_tcps_alone),
		cmocka_unit_test(a_listener_and_what_it_accepts_call_nobody),
		cmocka_unit_test(shares_its_port_with_nobody),
		cmocka_unit_test(finds_the_port_that_is_free_for_all),
		cmocka_unit_test(does_without_ipv6),
		cmocka_unit_test(comes_with_the_next_record_and_goes_with_one),
		cmocka_unit_test(a_slot_that_no_record_came_to_name_is_given_back),
		cmocka_unit_test(adopted_it_is_nobodys_until_it_is_set_again),
		cmocka_unit_test(what_is_taught_is_a_lease),
		cmocka_unit_test(what_no_rule_covers_or_is_always_denied_is_none),
		cmocka_unit_test(of_several_addresses_those_that_may_be_are_leases),
		cmocka_unit_test(ttls_are_the_policys),
		cmocka_unit_test(who_learns_nothing_is_taught_nothing),
		cmocka_unit_test(hits_are_added_to_a_rule_that_is_there),
		cmocka_unit_test(is_loaded_only_where_it_was_asked_for),
		cmocka_unit_test(marks_the_sockets_of_a_run),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
