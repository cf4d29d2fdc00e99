/* SPDX-License-Identifier: MIT */
/*
 * SOCKS5 (RFC 1928, 1929), the client's side: what a proxy sent -> what it is told next. Pure. Of its replies exactly
 * their bytes are taken, however they come in pieces: what follows the last one belongs to the connection.
 */
#include <string.h>

#include "relay/relay.h"

enum {
	VERSION = 5,
	AUTH_VERSION = 1,
	METHOD_NONE = 0,
	METHOD_PASSWORD = 2,
	COMMAND_CONNECT = 1,
	ATYP_IPV4 = 1,
	ATYP_NAME = 3,
	ATYP_IPV6 = 4,
	NOT_ACCEPTED = 0xff, /* no method, or not this password */
};

enum state {
	STATE_START = 0,
	STATE_METHOD, /* waits for the method that the proxy chooses */
	STATE_AUTH,
	STATE_REPLY,
	STATE_DONE,
	STATE_FAILED,
};

void socks_start(struct socks *socks, const struct relay_proxy *proxy,
		 const struct relay_target *target)
{
	memset(socks, 0, sizeof(*socks));
	socks->proxy = proxy;
	socks->target = target;
}

static void put(struct socks *socks, const void *bytes, size_t size)
{
	memcpy(socks->out + socks->out_size, bytes, size);
	socks->out_size += size;
}

static void put_byte(struct socks *socks, unsigned byte)
{
	socks->out[socks->out_size++] = (uint8_t)byte;
}

static void put_text(struct socks *socks, const char *text)
{
	size_t size = strlen(text);

	put_byte(socks, (unsigned)size);
	put(socks, text, size);
}

static enum socks_status say(struct socks *socks, enum state next)
{
	socks->state = (unsigned char)next;
	socks->in_size = 0;
	return SOCKS_WRITE;
}

static enum socks_status fail(struct socks *socks, unsigned reply)
{
	socks->state = STATE_FAILED;
	socks->reply = (uint8_t)reply;
	return SOCKS_FAILED;
}

static enum socks_status greet(struct socks *socks)
{
	bool has_password = socks->proxy->username[0];

	socks->out_size = 0;
	put_byte(socks, VERSION);
	put_byte(socks, has_password ? 2 : 1);
	put_byte(socks, METHOD_NONE);
	if (has_password)
		put_byte(socks, METHOD_PASSWORD);
	return say(socks, STATE_METHOD);
}

static enum socks_status authenticate(struct socks *socks)
{
	socks->out_size = 0;
	put_byte(socks, AUTH_VERSION);
	put_text(socks, socks->proxy->username);
	put_text(socks, socks->proxy->password);
	return say(socks, STATE_AUTH);
}

static enum socks_status request(struct socks *socks)
{
	const struct relay_target *target = socks->target;
	const uint8_t *addr = target->addr.bytes;

	socks->out_size = 0;
	put_byte(socks, VERSION);
	put_byte(socks, COMMAND_CONNECT);
	put_byte(socks, 0);
	if (target->name[0]) {
		put_byte(socks, ATYP_NAME);
		put_text(socks, target->name);
	} else if (addr_is_ipv4(&target->addr)) {
		put_byte(socks, ATYP_IPV4);
		put(socks, addr + 12, 4);
	} else {
		put_byte(socks, ATYP_IPV6);
		put(socks, addr, 16);
	}
	put_byte(socks, target->port >> 8);
	put_byte(socks, target->port & 0xff);
	return say(socks, STATE_REPLY);
}

/* Bytes of the reply that is being read, as far as those that are here tell. */
static size_t reply_size(const struct socks *socks)
{
	const uint8_t *in = socks->in;

	if (socks->state != STATE_REPLY)
		return 2;
	if (socks->in_size < 5)
		return 5; /* the last: a name's length, or an address's first byte */
	if (in[3] == ATYP_IPV4)
		return 4 + 4 + 2;
	return in[3] == ATYP_IPV6 ? 4 + 16 + 2 : 4u + 1 + in[4] + 2;
}

size_t socks_wanted(const struct socks *socks)
{
	return reply_size(socks) - socks->in_size;
}

/* What those bytes say that are here is settled before more is waited for. */
static enum socks_status check(struct socks *socks)
{
	const uint8_t *in = socks->in;

	if (socks->in_size > 0 && in[0] != (socks->state == STATE_AUTH ? AUTH_VERSION : VERSION))
		return fail(socks, 0);
	if (socks->state != STATE_REPLY)
		return SOCKS_MORE;
	if (socks->in_size > 1 && in[1] != 0)
		return fail(socks, in[1]);
	if ((socks->in_size > 2 && in[2] != 0) ||
	    (socks->in_size > 3 && in[3] != ATYP_IPV4 && in[3] != ATYP_NAME && in[3] != ATYP_IPV6))
		return fail(socks, 0);
	return SOCKS_MORE;
}

static enum socks_status understand(struct socks *socks)
{
	const uint8_t *in = socks->in;

	switch ((enum state)socks->state) {
	case STATE_METHOD:
		if (in[1] == METHOD_NONE)
			return request(socks);
		if (in[1] == METHOD_PASSWORD && socks->proxy->username[0])
			return authenticate(socks);
		return fail(socks, in[1] == NOT_ACCEPTED ? NOT_ACCEPTED : 0);
	case STATE_AUTH:
		return in[1] == 0 ? request(socks) : fail(socks, NOT_ACCEPTED);
	case STATE_REPLY:
		socks->state = STATE_DONE;
		return SOCKS_DONE;
	case STATE_START:
	case STATE_DONE:
	case STATE_FAILED:
		break;
	}
	return fail(socks, 0);
}

enum socks_status socks_step(struct socks *socks, const uint8_t *bytes, size_t size,
			     size_t *ret_used)
{
	enum socks_status status = SOCKS_MORE;
	size_t used = 0;

	*ret_used = 0;
	if (socks->state == STATE_START)
		return greet(socks);
	if (socks->state == STATE_DONE)
		return SOCKS_DONE;
	if (socks->state == STATE_FAILED)
		return SOCKS_FAILED;
	while (status == SOCKS_MORE && used < size) {
		socks->in[socks->in_size++] = bytes[used++];
		status = check(socks);
		if (status == SOCKS_MORE && socks->in_size == reply_size(socks))
			status = understand(socks);
	}
	*ret_used = used;
	return status;
}
