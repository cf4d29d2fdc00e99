/* SPDX-License-Identifier: MIT */
/* Framing of bodies; see body.h. RFC 9112 7.1, without the spaces that some readers allow around a chunk's size. */
#include "relay/body.h"

#include "base/hex.h"
#include "relay/head.h"

enum state {
	STATE_DATA = 0,
	STATE_SIZE, /* digits of a chunk's size */
	STATE_EXTENSION,
	STATE_SIZE_LF,
	STATE_DATA_CR, /* behind a chunk's data */
	STATE_DATA_LF,
	STATE_TRAILER, /* at the beginning of a line */
	STATE_TRAILER_NAME,
	STATE_TRAILER_VALUE,
	STATE_TRAILER_LF,
	STATE_END_LF,
	STATE_DONE,
	STATE_BAD,
};

/* 15 digits: a chunk of 2^60 bytes at the most, and no overflow. */
#define MAX_DIGITS 15

void body_start(struct body *body, enum body_kind kind, uint64_t length)
{
	*body = (struct body){.kind = kind};
	if (kind == BODY_CHUNKED)
		body->state = STATE_SIZE;
	else if (kind == BODY_NONE || (kind == BODY_LENGTH && length == 0))
		body->state = STATE_DONE;
	else
		body->left = kind == BODY_LENGTH ? length : UINT64_MAX;
}

bool body_may_end(const struct body *body)
{
	return body->state == STATE_DONE || body->kind == BODY_UNTIL_CLOSE;
}

static enum state in_size(struct body *body, char c)
{
	int digit = hex_digit(c);

	if (digit >= 0) {
		body->left = body->left << 4 | (uint64_t)digit;
		return ++body->digits <= MAX_DIGITS ? STATE_SIZE : STATE_BAD;
	}
	if (body->digits == 0)
		return STATE_BAD;
	if (c == ';')
		return STATE_EXTENSION;
	return c == '\r' ? STATE_SIZE_LF : STATE_BAD;
}

static enum state in_extension(struct body *body, char c)
{
	if (c == '\r')
		return STATE_SIZE_LF;
	return head_is_value(c) && ++body->extensions <= BODY_MAX_EXTENSIONS ? STATE_EXTENSION
									     : STATE_BAD;
}

static enum state behind_size(struct body *body, char c)
{
	if (c != '\n')
		return STATE_BAD;
	body->digits = 0;
	return body->left ? STATE_DATA : STATE_TRAILER;
}

static enum state in_trailer(struct body *body, char c)
{
	if (++body->trailers > BODY_MAX_TRAILERS)
		return STATE_BAD;
	switch ((enum state)body->state) {
	case STATE_TRAILER:
		if (c == '\r')
			return STATE_END_LF;
		return head_is_token(c) ? STATE_TRAILER_NAME : STATE_BAD;
	case STATE_TRAILER_NAME:
		if (c == ':')
			return STATE_TRAILER_VALUE;
		return head_is_token(c) ? STATE_TRAILER_NAME : STATE_BAD;
	default:
		if (c == '\r')
			return STATE_TRAILER_LF;
		return head_is_value(c) ? STATE_TRAILER_VALUE : STATE_BAD;
	}
}

/* The state behind one byte of framing. */
static enum state step_framing(struct body *body, char c)
{
	switch ((enum state)body->state) {
	case STATE_SIZE:
		return in_size(body, c);
	case STATE_EXTENSION:
		return in_extension(body, c);
	case STATE_SIZE_LF:
		return behind_size(body, c);
	case STATE_DATA_CR:
		return c == '\r' ? STATE_DATA_LF : STATE_BAD;
	case STATE_DATA_LF:
		return c == '\n' ? STATE_SIZE : STATE_BAD;
	case STATE_TRAILER:
	case STATE_TRAILER_NAME:
	case STATE_TRAILER_VALUE:
		return in_trailer(body, c);
	case STATE_TRAILER_LF:
		return c == '\n' ? STATE_TRAILER : STATE_BAD;
	case STATE_END_LF:
		return c == '\n' ? STATE_DONE : STATE_BAD;
	case STATE_DATA:
	case STATE_DONE:
	case STATE_BAD:
		break;
	}
	return STATE_BAD;
}

static size_t take_data(struct body *body, size_t size)
{
	if (body->kind == BODY_UNTIL_CLOSE)
		return size;
	if (size > body->left)
		size = (size_t)body->left;
	body->left -= size;
	if (body->left == 0)
		body->state = body->kind == BODY_LENGTH ? STATE_DONE : STATE_DATA_CR;
	return size;
}

enum body_status body_step(struct body *body, const uint8_t *bytes, size_t size, size_t *ret_used,
			   const uint8_t **ret_data, size_t *ret_data_size)
{
	size_t used = 0;

	for (; used < size && body->state != STATE_DATA && body->state != STATE_DONE; used++) {
		if (body->state == STATE_BAD)
			return BODY_BAD;
		body->state = (unsigned char)step_framing(body, (char)bytes[used]);
	}
	*ret_used = used;
	if (body->state == STATE_BAD)
		return BODY_BAD;
	if (body->state == STATE_DONE)
		return BODY_DONE;
	if (used == size)
		return BODY_MORE;
	*ret_data = bytes + used;
	*ret_data_size = take_data(body, size - used);
	*ret_used += *ret_data_size;
	return BODY_DATA;
}
