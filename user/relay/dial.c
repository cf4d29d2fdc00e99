/* SPDX-License-Identifier: MIT */
/*
 * A target -> a connected socket: the name resolved, each address checked, tried one after the other without waiting
 * for those that are slow (RFC 8305, light); with an egress proxy, the proxy is dialled so, and then told the target by
 * SOCKS5. There is no way around a proxy. Callbacks come from the loop, never from within relay_dial().
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "relay/core.h"

#define ADDRS_MAX  8
#define STAGGER_MS 250
/* Second and further addresses that are tried at once, of all dials: each takes a descriptor. */
#define SPARE_MAX 1024

struct attempt {
	struct dial *dial;
	int fd; /* -1: not begun, or failed */
	bool is_connected;
	struct event *event;
};

struct dial {
	struct relay_sandbox *sandbox;
	struct relay_policy *policy; /* its proxy */
	struct relay_target target;
	relay_dialled_fn fn;
	void *context;
	struct resolve *resolve;
	struct event *limit, *stagger;
	enum pst_reason late; /* what is said when the time is over */
	uint16_t port;	      /* of the addresses */
	struct addr addrs[ADDRS_MAX];
	struct attempt attempts[ADDRS_MAX];
	size_t n_addrs, tried, open;
	int fd; /* connected; -1 */
	struct event *reading;
	struct socks *socks;
};

/* So many of its attempts are open now. */
static void set_open(struct dial *dial, size_t open)
{
	uint32_t spare = open ? (uint32_t)open - 1 : 0;
	uint32_t before = dial->open ? (uint32_t)dial->open - 1 : 0;

	dial->sandbox->n_spare += spare - before;
	dial->sandbox->relay->n_spare += spare - before;
	dial->open = open;
}

static void free_attempt(struct attempt *attempt)
{
	if (attempt->event)
		event_free(attempt->event);
	if (attempt->fd >= 0) {
		close(attempt->fd);
		set_open(attempt->dial, attempt->dial->open - 1);
	}
	attempt->event = NULL;
	attempt->fd = -1;
}

static void free_socks(struct dial *dial)
{
	if (dial->socks)
		explicit_bzero(dial->socks, sizeof(*dial->socks));
	free(dial->socks);
	dial->socks = NULL;
}

void relay_dial_cancel(struct dial *dial)
{
	if (!dial)
		return;
	relay_resolve_cancel(dial->resolve);
	for (size_t i = 0; i < dial->tried; i++)
		free_attempt(&dial->attempts[i]);
	if (dial->limit)
		event_free(dial->limit);
	if (dial->stagger)
		event_free(dial->stagger);
	if (dial->reading)
		event_free(dial->reading);
	if (dial->fd >= 0)
		close(dial->fd);
	free_socks(dial);
	relay_policy_unref(dial->policy);
	free(dial);
}

/* The dial is gone when its callback runs. */
static void end(struct dial *dial, enum pst_reason reason)
{
	relay_dialled_fn fn = dial->fn;
	void *context = dial->context;
	int fd = reason == PST_REASON_UNSET ? TAKE_FD(dial->fd) : -1;

	relay_dial_cancel(dial);
	fn(context, fd, reason);
}

/* What cannot be done is told from the loop. */
static void end_soon(struct dial *dial, enum pst_reason reason)
{
	dial->late = reason;
	event_active(dial->limit, EV_TIMEOUT, 1);
}

static void on_limit(evutil_socket_t fd, short what, void *context)
{
	struct dial *dial = context;

	(void)fd, (void)what;
	end(dial, dial->late);
}

void relay_dialled_options(int fd)
{
	static const int one = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
}

static enum pst_reason unreached(const struct dial *dial)
{
	return dial->policy->proxy ? PST_REASON_PROXY : PST_REASON_UNREACHED;
}

/* ---- the proxy ---- */

static int send_to_proxy(struct dial *dial)
{
	struct socks *socks = dial->socks;
	size_t size = socks->out_size;
	ssize_t sent = send(dial->fd, socks->out, size, MSG_NOSIGNAL | MSG_DONTWAIT);

	explicit_bzero(socks->out, sizeof(socks->out));
	/* A few hundred bytes at the beginning of a connection: what takes no more is broken. */
	return sent == (ssize_t)size ? 0 : -EPIPE;
}

/* Takes no more than the handshake's: what follows belongs to the connection. */
static enum socks_status hear_proxy(struct dial *dial)
{
	enum socks_status status = SOCKS_MORE;
	uint8_t bytes[SOCKS_REPLY_MAX];

	while (status == SOCKS_MORE) {
		size_t wanted = socks_wanted(dial->socks), used;
		ssize_t got = recv(dial->fd, bytes, wanted, MSG_DONTWAIT);

		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return SOCKS_MORE;
		if (got <= 0)
			return SOCKS_FAILED;
		status = socks_step(dial->socks, bytes, (size_t)got, &used);
	}
	return status;
}

static void on_proxy(evutil_socket_t fd, short what, void *context)
{
	struct dial *dial = context;
	enum socks_status status = hear_proxy(dial);

	(void)fd, (void)what;
	if (status == SOCKS_WRITE && send_to_proxy(dial) < 0)
		status = SOCKS_FAILED;
	if (status == SOCKS_DONE)
		end(dial, PST_REASON_UNSET);
	else if (status == SOCKS_FAILED)
		end(dial, PST_REASON_PROXY);
}

/* The proxy has its time to think while the rest is made ready. */
static void start_proxy(struct dial *dial)
{
	size_t used;

	dial->socks = malloc(sizeof(*dial->socks));
	if (!dial->socks) {
		end(dial, PST_REASON_RELAY_FAILED);
		return;
	}
	socks_start(dial->socks, dial->policy->proxy, &dial->target);
	if (socks_step(dial->socks, NULL, 0, &used) != SOCKS_WRITE || send_to_proxy(dial) < 0) {
		end(dial, PST_REASON_PROXY);
		return;
	}
	dial->reading = event_new(dial->sandbox->relay->base, dial->fd, EV_READ | EV_PERSIST,
				  on_proxy, dial);
	if (!dial->reading || event_add(dial->reading, NULL) < 0)
		end(dial, PST_REASON_RELAY_FAILED);
}

/* ---- connecting ---- */

static void try_next(struct dial *dial);

/* One is connected: the others are given up. */
static void on_connected(struct dial *dial, struct attempt *attempt)
{
	dial->fd = TAKE_FD(attempt->fd);
	set_open(dial, dial->open - 1);
	for (size_t i = 0; i < dial->tried; i++)
		free_attempt(&dial->attempts[i]);
	(void)event_del(dial->stagger);
	if (dial->policy->proxy)
		start_proxy(dial);
	else
		end(dial, PST_REASON_UNSET);
}

static bool may_dial(const struct dial *dial, size_t i)
{
	return relay_policy_may_dial(dial->sandbox->policy, &dial->addrs[i]);
}

static void on_attempt(evutil_socket_t fd, short what, void *context)
{
	struct attempt *attempt = context;
	struct dial *dial = attempt->dial;
	int status = 0;
	socklen_t size = sizeof(status);

	(void)what;
	if (!attempt->is_connected && getsockopt(fd, SOL_SOCKET, SO_ERROR, &status, &size) < 0)
		status = errno;
	/* What was open to it when it began may be closed since. */
	if (!status && !may_dial(dial, (size_t)(attempt - dial->attempts)))
		status = EACCES;
	if (!status) {
		on_connected(dial, attempt);
		return;
	}
	free_attempt(attempt);
	try_next(dial);
}

/* What is near has answered by now: it is not waited for. */
static int await_attempt(struct attempt *attempt)
{
	struct pollfd now = {.fd = attempt->fd, .events = POLLOUT};

	if (poll(&now, 1, 0) <= 0)
		return event_add(attempt->event, NULL) < 0 ? -ENOMEM : 0;
	attempt->is_connected = now.revents == POLLOUT;
	event_active(attempt->event, EV_WRITE, 1);
	return 0;
}

static int begin(struct dial *dial, struct attempt *attempt, const struct addr *addr)
{
	struct endpoint endpoint = {.addr = *addr, .port = dial->port};
	struct sockaddr_storage to;
	socklen_t size = endpoint_write(&endpoint, &to);
	cleanup_close int fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&to, size) < 0 && errno != EINPROGRESS)
		return -errno;
	attempt->event = event_new(dial->sandbox->relay->base, fd, EV_WRITE, on_attempt, attempt);
	if (!attempt->event)
		return -ENOMEM;
	attempt->fd = TAKE_FD(fd);
	set_open(dial, dial->open + 1);
	return await_attempt(attempt);
}

/* The next address that can be tried at all; when there is none and none is open, it has failed. */
static void try_next(struct dial *dial)
{
	const struct timeval stagger = {.tv_usec = STAGGER_MS * 1000};

	while (dial->tried < dial->n_addrs) {
		size_t i = dial->tried++;
		struct attempt *attempt = &dial->attempts[i];

		*attempt = (struct attempt){.dial = dial, .fd = -1};
		if (may_dial(dial, i) && begin(dial, attempt, &dial->addrs[i]) == 0) {
			(void)evtimer_add(dial->stagger, &stagger);
			return;
		}
		free_attempt(attempt);
	}
	if (!dial->open)
		end_soon(dial, unreached(dial));
}

static void on_stagger(evutil_socket_t fd, short what, void *context)
{
	const struct timeval again = {.tv_usec = STAGGER_MS * 1000};
	struct dial *dial = context;
	const struct relay_sandbox *sandbox = dial->sandbox;

	(void)fd, (void)what;
	if (relay_has_share(sandbox->n_spare, sandbox->relay->n_spare, SPARE_MAX))
		try_next(dial);
	else
		(void)evtimer_add(dial->stagger, &again);
}

bool relay_reaches_closed(int fd, const struct relay_policy *policy)
{
	struct sockaddr_storage name = {.ss_family = AF_UNSPEC};
	socklen_t size = sizeof(name);
	struct endpoint peer;

	return fd >= 0 && getpeername(fd, (struct sockaddr *)&name, &size) == 0 &&
	       endpoint_read(&name, &peer) == 0 && !relay_policy_may_dial(policy, &peer.addr);
}

/* ---- where to ---- */

static void on_resolved(void *context, const struct addr *addrs, size_t count)
{
	struct dial *dial = context;

	dial->resolve = NULL;
	if (!count) {
		end(dial, dial->policy->proxy ? PST_REASON_PROXY : PST_REASON_UNRESOLVED);
		return;
	}
	dial->n_addrs = count < ADDRS_MAX ? count : ADDRS_MAX;
	memcpy(dial->addrs, addrs, dial->n_addrs * sizeof(*addrs));
	try_next(dial);
}

static void dial_addr(struct dial *dial, const struct addr *addr)
{
	if (!relay_policy_may_dial(dial->policy, addr)) {
		end_soon(dial, PST_REASON_ALWAYS_DENIED);
		return;
	}
	dial->addrs[0] = *addr;
	dial->n_addrs = 1;
	try_next(dial);
}

static void dial_name(struct dial *dial, const char *name)
{
	int r = relay_resolve(dial->sandbox, name, on_resolved, dial, &dial->resolve);

	if (r < 0)
		end_soon(dial, relay_reason(r));
}

static void start_proxied(struct dial *dial)
{
	const struct relay_proxy *proxy = dial->policy->proxy;
	struct addr addr;

	dial->port = proxy->port;
	/* The proxy could reach what is always denied as well. */
	if (!dial->target.name[0] && !relay_policy_may_dial(dial->policy, &dial->target.addr))
		end_soon(dial, PST_REASON_ALWAYS_DENIED);
	else if (addr_parse(proxy->host, &addr, NULL) == 0)
		dial_addr(dial, &addr);
	else
		dial_name(dial, proxy->host);
}

static void start(struct dial *dial)
{
	dial->late = unreached(dial);
	dial->port = dial->target.port;
	if (dial->policy->proxy)
		start_proxied(dial);
	else if (dial->target.name[0])
		dial_name(dial, dial->target.name);
	else
		dial_addr(dial, &dial->target.addr);
}

struct dial *relay_dial(struct relay_sandbox *sandbox, const struct relay_target *target,
			relay_dialled_fn fn, void *context)
{
	struct relay *relay = sandbox->relay;
	const struct timeval limit = {.tv_sec = relay->limits.dial_ms / 1000,
				      .tv_usec = relay->limits.dial_ms % 1000 * 1000};
	struct dial *dial = calloc(1, sizeof(*dial));

	if (!dial)
		return NULL;
	dial->sandbox = sandbox;
	dial->policy = relay_policy_ref(sandbox->policy);
	dial->target = *target;
	dial->fn = fn;
	dial->context = context;
	dial->fd = -1;
	dial->limit = evtimer_new(relay->base, on_limit, dial);
	dial->stagger = evtimer_new(relay->base, on_stagger, dial);
	if (!dial->limit || !dial->stagger || evtimer_add(dial->limit, &limit) < 0) {
		relay_dial_cancel(dial);
		return NULL;
	}
	start(dial);
	return dial;
}
