/* SPDX-License-Identifier: MIT */
/* A process in a sandbox that does what it is told, one thing at a time, and says how it went. */
#ifndef TESTS_BPF_CLIENT_FIXTURE_H
#define TESTS_BPF_CLIENT_FIXTURE_H

#include "net_fixture.h"

#include "policy/policy.h"
#include "table/table.h"

#define CLIENT_SLOTS	 32
#define CLIENT_TIMEOUT_S 10
/* For what should go unanswered: TCP has sent it again by then, and what is denied was not to arrive at once either. */
#define CLIENT_SILENCE_MS 500

/* Until `condition` holds, for time that cannot be moved. */
#define wait_until(condition)                                                                      \
	do {                                                                                       \
		uint64_t end_ = loop_boot_ns() + FIXTURE_DEADLINE_NS;                              \
		while (!(condition) && loop_boot_ns() < end_)                                      \
			usleep(1000);                                                              \
		assert_true(condition);                                                            \
	} while (0)

enum client_op {
	CLIENT_RESOLVE,		/* asks NET_RESOLVER for `name`, waits for the answer */
	CLIENT_ASK,		/* the same, without waiting */
	CLIENT_RACE,		/* resolves `name` and connects to what came at once */
	CLIENT_CONNECT,		/* a socket of `type` into `slot` */
	CLIENT_TALK,		/* sends four bytes on `slot`, waits for their echo */
	CLIENT_TALK_UNANSWERED, /* the same, but not for long: EAGAIN */
	CLIENT_SEND_TO,		/* one datagram, without connect() */
	CLIENT_TALK_TO, /* the same on `slot`, which is made for it when it is empty; waits for the echo */
	CLIENT_TALK_TO_UNANSWERED, /* the same, but not for long: EAGAIN */
	CLIENT_WAIT,		   /* for an error on `slot` */
	CLIENT_ACCEPT,		   /* from the listener, into `slot` */
	CLIENT_CLOSE,
};

struct client_order {
	enum client_op op;
	int slot, type,
		lease_map; /* lease_map: -1, or where the address must be when the answer is read */
	uint16_t port, qtype;
	char name[254]; /* or an address */
};

struct client_report {
	int error;  /* errno; 0: it went well */
	int count;  /* addresses in the answer */
	int leased; /* of these, how many lease_map had */
	struct in_addr first;
};

struct client {
	pid_t pid;
	int fd;
};

static inline void client_limit_ms(int fd, int ms)
{
	const struct timeval limit = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

static inline void client_limit(int fd)
{
	client_limit_ms(fd, CLIENT_TIMEOUT_S * 1000);
}

static inline socklen_t client_address(const char *text, uint16_t port,
				       struct sockaddr_storage *out)
{
	struct sockaddr_in *four = (struct sockaddr_in *)(void *)out;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		return sizeof(*four);
	}
	(void)inet_pton(AF_INET6, text, &six->sin6_addr);
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(port);
	return sizeof(*six);
}

static inline int client_connect(int *slot, int type, const char *text, uint16_t port)
{
	struct sockaddr_storage to;
	socklen_t size = client_address(text, port, &to);

	*slot = socket(to.ss_family, type | SOCK_CLOEXEC, 0);
	if (*slot < 0)
		return errno;
	client_limit(*slot);
	return connect(*slot, (struct sockaddr *)&to, size) ? errno : 0;
}

static inline int client_talk(int fd)
{
	char bytes[4] = "ping";

	if (send(fd, bytes, 4, MSG_NOSIGNAL) != 4 || recv(fd, bytes, 4, 0) != 4)
		return errno ? errno : EPIPE;
	return memcmp(bytes, "ping", 4) ? EBADMSG : 0;
}

static inline int client_send_to(const char *text, uint16_t port)
{
	struct sockaddr_storage to;
	socklen_t size = client_address(text, port, &to);
	int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), error = 0;
	char bytes[4] = "ping";

	client_limit(fd);
	if (sendto(fd, bytes, 4, 0, (struct sockaddr *)&to, size) != 4 ||
	    recv(fd, bytes, 4, 0) != 4)
		error = errno;
	close(fd);
	return error;
}

static inline int client_talk_to(int *slot, const char *text, uint16_t port, int limit_ms)
{
	struct sockaddr_storage to;
	socklen_t size = client_address(text, port, &to);
	char bytes[4] = "ping";

	if (*slot <= 0) {
		*slot = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (*slot < 0)
			return errno;
	}
	client_limit_ms(*slot, limit_ms);
	if (sendto(*slot, bytes, 4, 0, (struct sockaddr *)&to, size) != 4 ||
	    recv(*slot, bytes, 4, 0) != 4)
		return errno;
	return 0;
}

/* The question's size. */
static inline size_t client_question(const struct client_order *order, uint8_t m[512])
{
	static uint16_t txid;
	size_t at = 12;

	memset(m, 0, 512);
	txid++;
	m[0] = (uint8_t)(txid >> 8);
	m[1] = (uint8_t)txid;
	m[2] = 1;
	m[5] = 1;
	for (const char *label = order->name; *label;) {
		size_t n = strcspn(label, ".");

		m[at] = (uint8_t)n;
		memcpy(m + at + 1, label, n);
		at += n + 1;
		label += n + (label[n] == '.');
	}
	m[at + 1] = (uint8_t)(order->qtype >> 8);
	m[at + 2] = (uint8_t)order->qtype;
	m[at + 4] = 1;
	return at + 5;
}

static inline bool client_has_lease(int map, const uint8_t *bytes, size_t size)
{
	struct pst_addr key = {.addr = {[10] = 0xff, 0xff}};
	struct pst_lease lease;

	memcpy(key.addr + 16 - size, bytes, size);
	return !bpf_map_lookup_elem(map, &key, &lease);
}

/* The addresses of an answer as this fixture's server writes it: records that begin with c00c. */
static inline void client_read_answer(const struct client_order *order, const uint8_t *m, size_t n,
				      size_t at, struct client_report *report)
{
	while (at + 12 <= n) {
		size_t size = (size_t)m[at + 10] << 8 | m[at + 11];

		if (at + 12 + size > n)
			return;
		if (!report->count && size == 4)
			memcpy(&report->first, m + at + 12, 4);
		report->count++;
		if (order->lease_map >= 0)
			report->leased += client_has_lease(order->lease_map, m + at + 12, size);
		at += 12 + size;
	}
}

static inline void client_resolve(const struct client_order *order, bool wait,
				  struct client_report *report)
{
	struct sockaddr_storage to;
	socklen_t size = client_address(NET_RESOLVER, 53, &to);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint8_t m[4096];
	size_t asked = client_question(order, m);
	ssize_t n = 0;

	client_limit(fd);
	if (sendto(fd, m, asked, 0, (struct sockaddr *)&to, size) < 0 ||
	    (wait && (n = recv(fd, m, sizeof(m), 0)) < 0))
		report->error = errno;
	if (n > 0)
		client_read_answer(order, m, (size_t)n, asked, report);
	close(fd);
}

static inline void client_race(const struct client_order *order, struct client_report *report)
{
	char text[INET_ADDRSTRLEN];
	int fd = -1;

	client_resolve(order, true, report);
	if (report->error || !report->count)
		return;
	(void)inet_ntop(AF_INET, &report->first, text, sizeof(text));
	report->error = client_connect(&fd, SOCK_STREAM, text, order->port);
	if (fd >= 0)
		close(fd);
}

static inline int client_wait(int fd)
{
	struct pollfd ready = {.fd = fd};
	socklen_t size = sizeof(int);
	int error = 0;

	if (poll(&ready, 1, CLIENT_TIMEOUT_S * 1000) != 1)
		return 0;
	(void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	return error;
}

static inline void client_obey(const struct client_order *order, int slots[CLIENT_SLOTS],
			       struct client_report *report)
{
	int *slot = &slots[order->slot];

	errno = 0;
	switch (order->op) {
	case CLIENT_RESOLVE:
	case CLIENT_ASK:
		client_resolve(order, order->op == CLIENT_RESOLVE, report);
		break;
	case CLIENT_RACE:
		client_race(order, report);
		break;
	case CLIENT_CONNECT:
		report->error = client_connect(slot, order->type, order->name, order->port);
		break;
	case CLIENT_TALK:
		report->error = client_talk(*slot);
		break;
	case CLIENT_TALK_UNANSWERED:
		client_limit_ms(*slot, CLIENT_SILENCE_MS);
		report->error = client_talk(*slot);
		client_limit(*slot);
		break;
	case CLIENT_SEND_TO:
		report->error = client_send_to(order->name, order->port);
		break;
	case CLIENT_TALK_TO:
	case CLIENT_TALK_TO_UNANSWERED:
		report->error = client_talk_to(slot, order->name, order->port,
					       order->op == CLIENT_TALK_TO ? CLIENT_TIMEOUT_S * 1000
									   : CLIENT_SILENCE_MS);
		break;
	case CLIENT_WAIT:
		report->error = client_wait(*slot);
		break;
	case CLIENT_ACCEPT:
		*slot = accept4(slots[0], NULL, NULL, SOCK_CLOEXEC);
		report->error = *slot < 0 ? errno : 0;
		client_limit(*slot);
		break;
	case CLIENT_CLOSE:
		close(*slot);
		break;
	}
}

/* `listener`: slot 0, or -1. Says first that it is there. */
static inline void client_run(int fd, int listener)
{
	const struct client_report ready = {.error = 0};
	int slots[CLIENT_SLOTS] = {listener};
	struct client_order order;

	if (send(fd, &ready, sizeof(ready), MSG_NOSIGNAL) != sizeof(ready))
		_exit(1);
	while (recv(fd, &order, sizeof(order), 0) == sizeof(order)) {
		struct client_report report = {.error = 0};

		client_obey(&order, slots, &report);
		if (send(fd, &report, sizeof(report), MSG_NOSIGNAL) != sizeof(report))
			break;
	}
	_exit(0);
}

static inline void client_tell(const struct client *client, const struct client_order *order)
{
	assert_int_equal(send(client->fd, order, sizeof(*order), 0), sizeof(*order));
}

static inline struct client_report client_hear(const struct client *client)
{
	struct client_report report;

	assert_int_equal(recv(client->fd, &report, sizeof(report), 0), sizeof(report));
	return report;
}

static inline struct client_report client_do(const struct client *client, struct client_order order)
{
	client_tell(client, &order);
	return client_hear(client);
}

/* Without assertions: a child that jumped back into the tests would run the rest of them. */
static inline int client_listen(uint16_t port)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 64))
		_exit(1);
	return fd;
}

static inline struct client client_start(int cgroup, int listen_port)
{
	struct client client;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	client.pid = fork();
	assert_true(client.pid >= 0);
	if (!client.pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		if (cgroup >= 0)
			enter(cgroup);
		client_run(pair[1], listen_port ? client_listen((uint16_t)listen_port) : -1);
	}
	close(pair[1]);
	client.fd = pair[0];
	(void)client_hear(&client);
	return client;
}

static inline void client_end(struct client *client)
{
	int status;

	/* Not only closed: children that were started later hold it too. */
	shutdown(client->fd, SHUT_RDWR);
	close(client->fd);
	assert_int_equal(waitpid(client->pid, &status, 0), client->pid);
}

static inline struct client_order client_name_order(enum client_op op, const char *name)
{
	struct client_order order = {.op = op, .lease_map = -1, .qtype = 1};

	(void)snprintf(order.name, sizeof(order.name), "%s", name);
	return order;
}

static inline int client_resolves(const struct client *client, const char *name)
{
	return client_do(client, client_name_order(CLIENT_RESOLVE, name)).error;
}

static inline int client_asks(const struct client *client, const char *name)
{
	return client_do(client, client_name_order(CLIENT_ASK, name)).error;
}

static inline int client_connects(const struct client *client, int slot, int type,
				  const char *address, uint16_t port)
{
	struct client_order order = client_name_order(CLIENT_CONNECT, address);

	order.slot = slot;
	order.type = type;
	order.port = port;
	return client_do(client, order).error;
}

static inline int client_talk_op(const struct client *client, enum client_op op, int slot,
				 const char *address, uint16_t port)
{
	struct client_order order = client_name_order(op, address);

	order.slot = slot;
	order.port = port;
	return client_do(client, order).error;
}

static inline int client_talks_to(const struct client *client, int slot, const char *address,
				  uint16_t port)
{
	return client_talk_op(client, CLIENT_TALK_TO, slot, address, port);
}

static inline int client_slot_op(const struct client *client, enum client_op op, int slot)
{
	struct client_order order = client_name_order(op, "");

	order.slot = slot;
	return client_do(client, order).error;
}

/* Into `slot` by TCP, as far as the answer of 203.0.113.1, which there is none: client_hear() tells how it ended. */
static inline void client_begins_connecting(const struct client *client, int slot)
{
	struct client_order order = client_name_order(CLIENT_CONNECT, "203.0.113.1");
	struct pollfd early = {.fd = client->fd, .events = POLLIN};

	order.slot = slot;
	order.type = SOCK_STREAM;
	order.port = 80;
	client_tell(client, &order);
	assert_int_equal(poll(&early, 1, 100), 0);
}

/* Somebody `there` connects to the client's listener at `port`, and is accepted into `slot`; returns the peer's end. */
static inline int client_is_called(const struct client *client, const struct net *net, int slot,
				   uint16_t port)
{
	int peer = -1;

	net_go(net->there);
	assert_int_equal(client_connect(&peer, SOCK_STREAM, "192.0.2.1", port), 0);
	net_go(net->here);
	assert_int_equal(client_slot_op(client, CLIENT_ACCEPT, slot), 0);
	return peer;
}

/* Connects by TCP and lets go again. */
static inline int client_reaches(const struct client *client, const char *address, uint16_t port)
{
	int error = client_connects(client, CLIENT_SLOTS - 1, SOCK_STREAM, address, port);

	(void)client_slot_op(client, CLIENT_CLOSE, CLIENT_SLOTS - 1);
	return error;
}

/* ---- policies ---- */

/* A native document in force. */
static inline void run_apply(struct run *run, const char *json)
{
	cleanup_policy struct policy *policy = NULL;
	cleanup_table struct table *table = NULL;
	struct error err = {{0}};

	check(policy_parse("p", json, strlen(json), POLICY_FROM_FILE, &policy, &err));
	check(table_compile(policy, NULL, &table, &err));
	check(kern_sandbox_apply(run->sandbox, table, &err));
	run_flip(run);
}

/* A sandbox that expects its packets in `here`, with room for `leases` addresses (0: the usual). */
static inline void run_begin(struct run *run, const struct net *net, uint32_t leases,
			     const char *json)
{
	const struct table_always_row root = {.value = {.kind = PST_ALWAYS_OPEN}};
	struct kern_sandbox_options options = {.id = loop_boot_ns(),
					       .cgroup_fd = run->cgroup,
					       .cgroup_level = 3,
					       .netns_cookie = net->cookie,
					       .leases = leases};
	struct error err = {{0}};

	check(kern_sandbox_load(&options, &run->sandbox, &err));
	check(kern_sandbox_set_always(run->sandbox, &root, 1, &err));
	run_apply_default(run, PST_VERDICT_DENY);
	run_attach(run);
	run_apply(run, json);
}

static inline struct run run_start_with(struct place *place, const struct net *net, uint32_t leases,
					const char *json)
{
	struct run run = run_make(place, NULL);

	run_begin(&run, net, leases, json);
	return run;
}

static inline size_t end_denied(const struct run *run)
{
	struct error err = {{0}};
	size_t ended = 99;

	check(kern_sandbox_end_denied(run->sandbox, -1, &ended, &err));
	return ended;
}

/* ---- a place and its net ---- */

struct world {
	struct place *place;
	struct net *net;
};

static inline int world_open(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	void *place;

	assert_non_null(world);
	place_open(&place);
	world->place = place;
	world->net = net_open();
	*state = world;
	return 0;
}

static inline int world_close(void **state)
{
	struct world *world = *state;
	void *place = world->place;

	net_close(world->net);
	free(world);
	return place_close(&place);
}

#endif
