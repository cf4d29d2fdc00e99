/* SPDX-License-Identifier: MIT */
/*
 * A relay that only looks: it takes each connection's origin out of the map as the real one does, remembers it, and
 * echoes; without an origin it resets. Its DNS sockets answer "pong". And attempts: one socket each, by a process in
 * the sandbox, that tell what the application saw.
 */
#ifndef TESTS_BPF_RELAY_FIXTURE_H
#define TESTS_BPF_RELAY_FIXTURE_H

#include "names_fixture.h"

#include "kern/relay.h"

#define RELAY_SEEN  2048
#define RELAY_FDS   2048
#define RELAY_FIRST 5

struct relay_seen {
	bool has_origin;
	struct pst_origin origin;
};

struct test_relay {
	struct kern_relay_sockets sockets;
	int origins, stop;
	struct pollfd fds[RELAY_FDS];
	int n_fds;
	pthread_t thread;
	struct relay_seen seen[RELAY_SEEN];
	atomic_uint accepted, datagrams; /* what is below them in `seen` is written */
};

/* The key of whoever is at the other end, as the kernel has it from the packet. */
static inline struct pst_origin_key relay_source(int fd)
{
	struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
	const struct sockaddr_in *four = (void *)&peer;
	const struct sockaddr_in6 *six = (void *)&peer;
	struct pst_origin_key key = {.addr = {[10] = 0xff, 0xff}};
	socklen_t size = sizeof(peer);

	(void)getpeername(fd, (struct sockaddr *)&peer, &size);
	if (peer.ss_family == AF_INET) {
		memcpy(key.addr + 12, &four->sin_addr, 4);
		key.port = ntohs(four->sin_port);
	} else {
		memcpy(key.addr, &six->sin6_addr, 16);
		key.port = ntohs(six->sin6_port);
	}
	return key;
}

static inline void relay_accept(struct test_relay *relay, int listener)
{
	const struct linger reset = {.l_onoff = 1};
	struct pst_origin_key key;
	struct relay_seen *seen;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0 || relay->accepted == RELAY_SEEN || relay->n_fds == RELAY_FDS)
		return;
	key = relay_source(fd);
	seen = &relay->seen[relay->accepted];
	seen->has_origin = !bpf_map_lookup_and_delete_elem(relay->origins, &key, &seen->origin);
	if (!seen->has_origin) {
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(fd);
	} else {
		relay->fds[relay->n_fds++] = (struct pollfd){.fd = fd, .events = POLLIN};
	}
	relay->accepted++;
}

static inline void relay_echo(struct pollfd *connection)
{
	char bytes[512];
	ssize_t n = recv(connection->fd, bytes, sizeof(bytes), 0);

	if (n > 0 && send(connection->fd, bytes, (size_t)n, MSG_NOSIGNAL) == n)
		return;
	close(connection->fd);
	connection->fd = -1;
}

/* As whom it was asked. */
static inline void relay_answer(struct test_relay *relay, int fd)
{
	struct sockaddr_storage from;
	_Alignas(struct cmsghdr) char control[256];
	char bytes[512];
	struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr m = {.msg_name = &from,
			   .msg_namelen = sizeof(from),
			   .msg_iov = &part,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};

	if (recvmsg(fd, &m, 0) < 0)
		return;
	relay->datagrams++;
	memcpy(bytes, "pong", 4);
	part.iov_len = 4;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
			((struct in_pktinfo *)(void *)CMSG_DATA(c))->ipi_ifindex = 0;
	(void)sendmsg(fd, &m, 0);
}

static inline void *relay_serve(void *context)
{
	struct test_relay *relay = context;

	while (poll(relay->fds, (nfds_t)relay->n_fds, -1) >= 0 && !relay->fds[0].revents) {
		int n_fds = relay->n_fds;

		for (int i = 1; i < 3; i++)
			if (relay->fds[i].fd >= 0 && relay->fds[i].revents)
				relay_accept(relay, relay->fds[i].fd);
		for (int i = 3; i < RELAY_FIRST; i++)
			if (relay->fds[i].fd >= 0 && relay->fds[i].revents)
				relay_answer(relay, relay->fds[i].fd);
		for (int i = RELAY_FIRST; i < n_fds; i++)
			if (relay->fds[i].fd >= 0 && relay->fds[i].revents)
				relay_echo(&relay->fds[i]);
	}
	return NULL;
}

/* Listeners for the run, in force after the next flip. */
static inline struct test_relay *relay_open(struct run *run)
{
	const struct kern_relay_listen here = {.netns_fd = -1};
	struct test_relay *relay = calloc(1, sizeof(*relay));
	struct error err = {{0}};
	int stop[2];

	assert_non_null(relay);
	check(kern_relay_listen(&here, &relay->sockets, &err));
	check(kern_sandbox_set_relay(run->sandbox, &relay->sockets, &relay->origins, &err));
	assert_int_equal(pipe(stop), 0);
	relay->stop = stop[1];
	relay->fds[0].fd = stop[0];
	relay->fds[1].fd = relay->sockets.tcp4;
	relay->fds[2].fd = relay->sockets.tcp6;
	relay->fds[3].fd = relay->sockets.udp4;
	relay->fds[4].fd = relay->sockets.udp6;
	relay->n_fds = RELAY_FIRST;
	for (int i = 0; i < RELAY_FIRST; i++)
		relay->fds[i].events = POLLIN;
	assert_int_equal(pthread_create(&relay->thread, NULL, relay_serve, relay), 0);
	return relay;
}

/* It ends, and with it its flows; its ports are free. */
static inline void relay_close(struct test_relay *relay)
{
	assert_int_equal(write(relay->stop, "", 1), 1);
	pthread_join(relay->thread, NULL);
	for (int i = RELAY_FIRST; i < relay->n_fds; i++)
		if (relay->fds[i].fd >= 0)
			close(relay->fds[i].fd);
	kern_relay_close(&relay->sockets);
	close(relay->fds[0].fd);
	close(relay->stop);
	close(relay->origins);
	free(relay);
}

/* A run whose policy may need a relay, which it has. */
static inline struct run run_start_relayed(const struct world *world, const char *json,
					   struct test_relay **ret_relay)
{
	const struct table_always_row root = {.value = {.kind = PST_ALWAYS_OPEN}};
	struct run run = run_make(world->place, NULL);
	struct kern_sandbox_options options = {.id = loop_boot_ns(),
					       .cgroup_fd = run.cgroup,
					       .cgroup_level = 3,
					       .netns_cookie = world->net->cookie,
					       .relay = true};
	struct error err = {{0}};

	check(kern_sandbox_load(&options, &run.sandbox, &err));
	check(kern_sandbox_set_always(run.sandbox, &root, 1, &err));
	run_apply_default(&run, PST_VERDICT_DENY);
	run_attach(&run);
	*ret_relay = relay_open(&run);
	run_apply(&run, json);
	return run;
}

/* ---- attempts ---- */

#define TRY_NONBLOCK	1U
#define TRY_BOUND	2U   /* to an address of the uplink */
#define TRY_FAST_OPEN	4U   /* sendto(MSG_FASTOPEN) */
#define TRY_FAST_OPEN_C 8U   /* TCP_FASTOPEN_CONNECT */
#define TRY_DEVICE	16U  /* SO_BINDTODEVICE */
#define TRY_SEND_TO	32U  /* UDP without connect() */
#define TRY_AGAIN	64U  /* the socket was connected to something else before, and let go */
#define TRY_SHORT	128U /* no answer is expected */

#define ATTEMPT_SHORT_MS 300
#define ATTEMPT_LIMIT_MS (getenv("TEST_LIGHT") ? 120000 : 30000)

struct attempt {
	int type;	  /* SOCK_STREAM or SOCK_DGRAM */
	const char *addr; /* "::ffff:...": by an IPv6 socket */
	uint16_t port;
	unsigned how;		 /* TRY_* */
	const char *const *then; /* TRY_SEND_TO: others that the same socket asks, up to NULL */
};

struct outcome {
	int error;     /* of the attempt; 0: the echo came */
	int n_then;    /* of attempt.then, that answered under their own address */
	char peer[80]; /* "address port" that getpeername() or recvfrom() gave; "": none did */
};

static inline void attempt_limit(int fd, const struct attempt *a)
{
	client_limit_ms(fd, a->how & TRY_SHORT ? ATTEMPT_SHORT_MS : ATTEMPT_LIMIT_MS);
}

static inline void attempt_name(const struct sockaddr_storage *at, char text[80])
{
	const struct sockaddr_in *four = (const void *)at;
	const struct sockaddr_in6 *six = (const void *)at;
	char addr[INET6_ADDRSTRLEN] = "?";
	bool ipv6 = at->ss_family == AF_INET6;

	(void)inet_ntop(at->ss_family,
			ipv6 ? (const void *)&six->sin6_addr : (const void *)&four->sin_addr, addr,
			sizeof(addr));
	(void)snprintf(text, 80, "%s %u", addr, ntohs(ipv6 ? six->sin6_port : four->sin_port));
}

static inline int attempt_bind(int fd, const struct attempt *a)
{
	struct sockaddr_storage at;
	socklen_t size;
	int on = 1;

	if (a->how & TRY_DEVICE && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "pst-a", 6))
		return errno;
	if (a->how & TRY_FAST_OPEN_C &&
	    setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on)))
		return errno;
	if (!(a->how & TRY_BOUND))
		return 0;
	if (!strncmp(a->addr, "::ffff:", 7))
		size = client_address("::ffff:192.0.2.1", 0, &at);
	else
		size = client_address(strchr(a->addr, ':') ? "2001:db8::1" : "192.0.2.1", 0, &at);
	return bind(fd, (struct sockaddr *)&at, size) ? errno : 0;
}

/* Connects and sends the first bytes. */
static inline int attempt_connect(int fd, const struct attempt *a)
{
	struct pollfd ready = {.fd = fd, .events = POLLOUT};
	struct sockaddr_storage to;
	socklen_t size = client_address(a->addr, a->port, &to), n = sizeof(int);
	int error = 0;

	if (a->how & TRY_FAST_OPEN)
		return sendto(fd, "ping", 4, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&to,
			      size) == 4
			       ? 0
			       : errno;
	if (connect(fd, (struct sockaddr *)&to, size)) {
		if (errno != EINPROGRESS || !(a->how & TRY_NONBLOCK))
			return errno;
		if (poll(&ready, 1, ATTEMPT_LIMIT_MS) != 1)
			return ETIMEDOUT;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) || error)
			return error;
		(void)fcntl(fd, F_SETFL, 0);
	}
	return send(fd, "ping", 4, MSG_NOSIGNAL) == 4 ? 0 : errno;
}

static inline void attempt_connected(int fd, const struct attempt *a, struct outcome *out)
{
	struct sockaddr_storage peer;
	socklen_t size = sizeof(peer);
	char bytes[4];

	out->error = attempt_connect(fd, a);
	if (out->error)
		return;
	if (recv(fd, bytes, 4, 0) != 4)
		out->error = errno ? errno : EPIPE;
	if (!getpeername(fd, (struct sockaddr *)&peer, &size))
		attempt_name(&peer, out->peer);
}

static inline int attempt_ask(int fd, const char *addr, uint16_t port, char from[80])
{
	struct sockaddr_storage to;
	socklen_t size = client_address(addr, port, &to);
	char bytes[4];

	if (sendto(fd, "ping", 4, 0, (struct sockaddr *)&to, size) != 4)
		return errno;
	size = sizeof(to);
	if (recvfrom(fd, bytes, 4, 0, (struct sockaddr *)&to, &size) != 4)
		return errno;
	attempt_name(&to, from);
	return 0;
}

/* Connected to its own listener, and let go. */
static inline void attempt_spend(int fd)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};
	struct sockaddr_storage at;
	socklen_t size = client_address("127.0.0.1", 0, &at);
	int own = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(own, (struct sockaddr *)&at, size) || listen(own, 1) ||
	    getsockname(own, (struct sockaddr *)&at, &size) ||
	    connect(fd, (struct sockaddr *)&at, size) || connect(fd, &none, sizeof(none)))
		_exit(1);
	close(own);
}

static inline void attempt_run(const struct attempt *a, struct outcome *out)
{
	int family = strchr(a->addr, ':') ? AF_INET6 : AF_INET;
	int nonblock = a->how & TRY_NONBLOCK ? SOCK_NONBLOCK : 0;
	int fd = socket(family, a->type | nonblock | SOCK_CLOEXEC, 0);

	errno = 0;
	if (fd < 0) {
		out->error = errno;
		return;
	}
	attempt_limit(fd, a);
	if (a->how & TRY_AGAIN)
		attempt_spend(fd);
	out->error = attempt_bind(fd, a);
	if (out->error)
		return;
	if (!(a->how & TRY_SEND_TO)) {
		attempt_connected(fd, a, out);
		return;
	}
	out->error = attempt_ask(fd, a->addr, a->port, out->peer);
	for (size_t i = 0; !out->error && a->then && a->then[i]; i++) {
		char expected[80], from[80] = "";

		(void)snprintf(expected, sizeof(expected), "%s %u", a->then[i], a->port);
		out->error = attempt_ask(fd, a->then[i], a->port, from);
		out->n_then += strcmp(from, expected) == 0;
	}
}

/* By a process of its own in that cgroup. */
static inline struct outcome attempt_in(int cgroup, struct attempt a)
{
	struct outcome out = {.error = 0};
	int ends[2], status;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (cgroup >= 0)
			enter(cgroup);
		attempt_run(&a, &out);
		_exit(write(ends[1], &out, sizeof(out)) == sizeof(out) ? 0 : 1);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &out, sizeof(out)), sizeof(out));
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return out;
}

static inline void assert_peer(const struct outcome *out, const struct attempt *a)
{
	char expected[80];

	(void)snprintf(expected, sizeof(expected), "%s %u", a->addr, a->port);
	assert_string_equal(out->peer, expected);
}

static inline const struct pst_origin *last_origin(const struct test_relay *relay)
{
	assert_true(relay->accepted > 0);
	assert_true(relay->seen[relay->accepted - 1].has_origin);
	return &relay->seen[relay->accepted - 1].origin;
}

static inline void assert_origin(const struct run *run, const struct test_relay *relay,
				 const struct attempt *a, int step, int reason)
{
	const struct pst_origin *origin = last_origin(relay);
	struct pst_sandbox record = record_of(run);
	struct pst_addr key = address_key(a->addr);

	assert_int_equal(origin->sandbox, record.id);
	assert_int_equal(origin->generation, record.generation);
	assert_memory_equal(origin->addr, key.addr, 16);
	assert_int_equal(origin->port, a->port);
	assert_int_equal(origin->step, step);
	assert_int_equal(origin->reason, reason);
	assert_true(origin->time_ns <= loop_boot_ns());
}

/* A process that connects (TCP: without a packet yet), says so, and sends when it is told to: how that went is its exit
 * code. */
static inline pid_t send_later(const struct run *run, const struct test_relay *relay,
			       const struct attempt *a, int *ret_end)
{
	struct sockaddr_storage to;
	socklen_t size = client_address(a->addr, a->port, &to);
	int pair[2], fd, on = 1;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* Not to be alive here. */
		for (int i = 1; i < relay->n_fds; i++)
			close(relay->fds[i].fd);
		enter(run->cgroup);
		fd = socket(AF_INET, a->type | SOCK_CLOEXEC, 0);
		attempt_limit(fd, a);
		if (a->type == SOCK_STREAM &&
		    setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on)))
			_exit(1);
		if (connect(fd, (struct sockaddr *)&to, size) || write(pair[1], "", 1) != 1 ||
		    read(pair[1], &on, 1) != 1)
			_exit(1);
		_exit(send(fd, "ping", 4, MSG_NOSIGNAL) == 4 && recv(fd, &on, 4, 0) == 4 ? 0
											 : errno);
	}
	close(pair[1]);
	*ret_end = pair[0];
	return pid;
}

static inline int send_now(pid_t pid, int end)
{
	int status;

	assert_int_equal(write(end, "", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(end);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Takes a hook away. */
static inline void detach_hook(const struct run *run, const char *name)
{
	char path[256];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/links/%s", run->pin_dir, name);
	fd = bpf_obj_get(path);
	assert_true(fd >= 0);
	assert_int_equal(bpf_link_detach(fd), 0);
	close(fd);
}

/* Everything that the other side has seen: what did not go through the relay. */
static inline unsigned went_direct(const struct world *world)
{
	return world->net->accepted + world->net->datagrams + world->net->questions;
}

#endif
