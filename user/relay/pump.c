/* SPDX-License-Identifier: MIT */
/*
 * Bytes from one socket to another, both ways at once. Everything is read into one buffer of the relay and written at
 * once; only what the other side does not take is kept, and then nothing more is read from this one: an idle connection
 * holds no memory, a slow one at most what one read took. An end of one direction is passed on (FIN), a reset is, too.
 * Plain read and write: splice was slower, sockmap loses data (docs/DESIGN.md).
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "relay/core.h"

/* What one read takes: as little at first, as much where the other side takes it all. */
#define PUMP_READ_MIN 16384
#define PUMP_READ_MAX 262144
/* What all of them move in one turn of the loop, and one of them: nobody waits long for his turn. */
#define ROUND_BYTES (8u * 1024 * 1024)
#define TURN_BYTES  (1024u * 1024)
#define TURN_MIN    65536
/* And in so many reads: more of them would only fill the other side, and what it does not take costs a copy. */
#define READS_AT_ONCE 4

struct way {
	struct pump *pump;
	int from, to;
	struct event *reading, *writing; /* of from, of to */
	uint8_t *kept;			 /* read, not yet written */
	size_t kept_size, kept_at;
	size_t read_size; /* grows while the other side takes everything */
	uint64_t *moved;
	bool ended; /* FIN was seen, and passed on */
};

struct pump {
	struct session *session;
	int fd;
	struct way out, in; /* from, to the sandbox */
	struct event *idle;
	uint64_t moved; /* when `idle` was last looked at */
	int status;	/* < 0: it is over, and that is the loop's to see to */
	bool has_options;
};

/* One for all: what is in it is written or kept before the next read. */
struct shared {
	uint8_t bytes[PUMP_READ_MAX];
};

static void update_kept(struct way *way, size_t before, size_t now)
{
	uint64_t *kept = &way->pump->session->sandbox->relay->kept;

	*kept = *kept - before + now;
}

static void forget_kept(struct way *way)
{
	update_kept(way, way->kept_size, 0);
	free(way->kept);
	way->kept = NULL;
	way->kept_size = way->kept_at = 0;
}

/* 0 with *ret_sent (perhaps 0: it takes nothing now), or -errno. */
static int send_some(int fd, const uint8_t *bytes, size_t size, size_t *ret_sent)
{
	ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);

	*ret_sent = sent > 0 ? (size_t)sent : 0;
	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	return 0;
}

static int keep(struct way *way, const uint8_t *bytes, size_t size)
{
	way->kept = malloc(size);
	if (!way->kept)
		return -ENOMEM;
	memcpy(way->kept, bytes, size);
	way->kept_size = size;
	update_kept(way, 0, size);
	(void)event_del(way->reading);
	(void)event_add(way->writing, NULL);
	return 0;
}

/* What this one may move now: the more there are that may have their turn, the less. */
static size_t take_turn(const struct relay *relay)
{
	size_t bytes = ROUND_BYTES / (relay->sessions ? relay->sessions : 1);

	if (bytes < TURN_MIN)
		return TURN_MIN;
	return bytes < TURN_BYTES ? bytes : TURN_BYTES;
}

/* What one read may take: the more the other side has taken at once, the more. */
static size_t read_size(const struct way *way, size_t turn)
{
	const struct relay *relay = way->pump->session->sandbox->relay;
	size_t size = relay->kept > RELAY_KEPT_MAX ? PUMP_READ_MIN : way->read_size;

	return size < turn ? size : turn;
}

static void adapt(struct way *way, size_t got, size_t sent)
{
	if (sent < got)
		way->read_size =
			way->read_size / 2 < PUMP_READ_MIN ? PUMP_READ_MIN : way->read_size / 2;
	else if (got >= way->read_size && way->read_size < PUMP_READ_MAX)
		way->read_size *= 2;
}

/* The end of this way. Where the other one has ended before, both are closed, which says as much, and that waits until
 * what is ready now has moved, of whatever session. */
static int pass_end(struct way *way)
{
	const struct pump *pump = way->pump;

	way->ended = true;
	if (pump->out.ended && pump->in.ended) {
		event_active(way->writing, EV_WRITE, 1);
		return 0;
	}
	(void)event_del(way->reading);
	return shutdown(way->to, SHUT_WR) < 0 ? -errno : 0;
}

/* Takes what it moves off *turn. 1: there may be more to read; 0: there is not, or nowhere to write it to; -errno: the
 * connection is over. */
static int move(struct way *way, struct shared *shared, size_t *turn)
{
	size_t wanted = read_size(way, *turn), sent;
	ssize_t got = recv(way->from, shared->bytes, wanted, MSG_DONTWAIT);
	int r;

	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (got == 0)
		return pass_end(way);
	*way->moved += (size_t)got;
	*turn -= (size_t)got;
	r = send_some(way->to, shared->bytes, (size_t)got, &sent);
	if (r < 0)
		return r;
	adapt(way, (size_t)got, sent);
	if (sent < (size_t)got)
		return keep(way, shared->bytes + sent, (size_t)got - sent);
	return (size_t)got == wanted;
}

/* Behind the second bytes of all: the first ones need none of it, and those that were held back go out by it. */
static void set_options(struct pump *pump)
{
	if (!pump->has_options)
		relay_dialled_options(pump->fd);
	pump->has_options = true;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	struct way *way = context;
	struct relay *relay = way->pump->session->sandbox->relay;
	size_t turn = take_turn(relay);
	int more = way->pump->status < 0 ? way->pump->status : 1;

	(void)fd, (void)what;
	for (unsigned i = 0; i < READS_AT_ONCE && turn && more > 0; i++)
		more = move(way, relay->shared, &turn);
	/* After a failure of either side, the other one learns of it by a RST. */
	if (more < 0)
		session_end(way->pump->session, true);
	else
		set_options(way->pump);
}

static void write_kept(struct way *way)
{
	size_t sent;
	int r = send_some(way->to, way->kept + way->kept_at, way->kept_size - way->kept_at, &sent);

	way->kept_at += sent;
	if (r < 0) {
		session_end(way->pump->session, true);
	} else if (way->kept_at < way->kept_size) {
		(void)event_add(way->writing, NULL);
	} else {
		forget_kept(way);
		(void)event_add(way->reading, NULL);
	}
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
	struct way *way = context;

	(void)fd, (void)what;
	if (way->ended)
		session_end(way->pump->session, false);
	else
		write_kept(way);
}

static void on_idle(evutil_socket_t fd, short what, void *context)
{
	struct pump *pump = context;
	uint64_t moved = pump->session->bytes_out + pump->session->bytes_in;

	(void)fd, (void)what;
	if (moved == pump->moved)
		session_end(pump->session, true);
	else
		pump->moved = moved;
}

/* ---- life ---- */

static void end_way(struct way *way)
{
	if (way->reading)
		event_free(way->reading);
	if (way->writing)
		event_free(way->writing);
	if (way->kept)
		forget_kept(way);
}

void pump_end(struct pump *pump)
{
	if (!pump)
		return;
	end_way(&pump->out);
	end_way(&pump->in);
	if (pump->idle)
		event_free(pump->idle);
	if (pump->session->reset)
		reset_socket(pump->fd);
	else
		close(pump->fd);
	free(pump);
}

bool pump_reaches_closed(const struct pump *pump, const struct relay_policy *policy)
{
	return relay_reaches_closed(pump->fd, policy);
}

static int start_way(struct way *way, struct pump *pump, int from, int to)
{
	struct event_base *base = pump->session->sandbox->relay->base;

	way->pump = pump;
	way->from = from;
	way->to = to;
	way->read_size = PUMP_READ_MIN;
	way->reading = event_new(base, from, EV_READ | EV_PERSIST, on_readable, way);
	way->writing = event_new(base, to, EV_WRITE, on_writable, way);
	return way->reading && way->writing ? 0 : -ENOMEM;
}

/* The first bytes, which were read to know the name. */
static int send_head(struct pump *pump)
{
	struct session *session = pump->session;
	size_t size = session->head_size, sent;
	uint8_t *head cleanup_free = TAKE_PTR(session->head);
	int r;

	session->head_size = 0;
	if (!size)
		return 0;
	r = send_some(pump->fd, head, size, &sent);
	session->bytes_out += size;
	return r == 0 && sent < size ? keep(&pump->out, head + sent, size - sent) : r;
}

static int start_idle(struct pump *pump)
{
	struct relay *relay = pump->session->sandbox->relay;
	struct timeval idle = {.tv_sec = relay->limits.idle_ms / 1000,
			       .tv_usec = relay->limits.idle_ms % 1000 * 1000};

	pump->idle = event_new(relay->base, -1, EV_PERSIST, on_idle, pump);
	return pump->idle && event_add(pump->idle, &idle) == 0 ? 0 : -ENOMEM;
}

static int prepare(struct pump *pump)
{
	struct session *session = pump->session;
	struct relay *relay = session->sandbox->relay;

	if (!relay->shared)
		relay->shared = malloc(sizeof(struct shared));
	if (!relay->shared || start_way(&pump->out, pump, session->fd, pump->fd) < 0 ||
	    start_way(&pump->in, pump, pump->fd, session->fd) < 0)
		return -ENOMEM;
	pump->out.moved = &session->bytes_out;
	pump->in.moved = &session->bytes_in;
	return 0;
}

/* What the sandbox has said by now: the other side's time to think begins before anything else is done. */
static int send_first(struct pump *pump)
{
	struct relay *relay = pump->session->sandbox->relay;
	size_t turn = take_turn(relay);

	if (pump->session->head_size)
		return send_head(pump);
	pump->status = move(&pump->out, relay->shared, &turn);
	if (pump->status < 0)
		event_active(pump->out.reading, EV_READ, 1);
	return 0;
}

/* It is the other side's turn: now there is time for what could wait. */
static int start(struct pump *pump)
{
	if (event_add(pump->in.reading, NULL) < 0)
		return -ENOMEM;
	if (!pump->out.kept && !pump->out.ended && event_add(pump->out.reading, NULL) < 0)
		return -ENOMEM;
	session_stop_reading(pump->session);
	return start_idle(pump);
}

int pump_start(struct session *session, int fd)
{
	struct pump *pump = calloc(1, sizeof(*pump));
	int r;

	if (!pump) {
		close(fd);
		return -ENOMEM;
	}
	session->pump = pump;
	pump->session = session;
	pump->fd = fd;
	r = prepare(pump);
	if (r == 0)
		r = send_first(pump);
	if (r >= 0)
		r = start(pump);
	return r < 0 ? r : 0;
}
