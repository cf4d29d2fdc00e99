/* SPDX-License-Identifier: MIT */
/* The fields of a head that decide where the message ends, whom it is for and what does not go on; see head.h. */
#include <string.h>

#include "relay/head_parts.h"

enum meaning {
	MEANS_NOTHING = 0,
	MEANS_HOP, /* of this connection */
	MEANS_HOST,
	MEANS_LENGTH,
	MEANS_ENCODING,
	MEANS_CONNECTION,
	MEANS_UPGRADE,
	MEANS_EXPECT,
};

#define TEXT(text)                                                                                 \
	{                                                                                          \
		text, sizeof(text) - 1                                                             \
	}

static const struct {
	struct head_text name;
	enum meaning meaning;
} meanings[] = {
	{TEXT("host"), MEANS_HOST},
	{TEXT("content-length"), MEANS_LENGTH},
	{TEXT("transfer-encoding"), MEANS_ENCODING},
	{TEXT("connection"), MEANS_CONNECTION},
	{TEXT("upgrade"), MEANS_UPGRADE},
	{TEXT("http2-settings"), MEANS_UPGRADE},
	{TEXT("expect"), MEANS_EXPECT},
	{TEXT("keep-alive"), MEANS_HOP},
	{TEXT("proxy-connection"), MEANS_HOP},
	{TEXT("proxy-authenticate"), MEANS_HOP},
	{TEXT("proxy-authorization"), MEANS_HOP},
	{TEXT("proxy-authentication-info"), MEANS_HOP},
	{TEXT("te"), MEANS_HOP},
	{TEXT("trailer"), MEANS_HOP},
};

/* Of all Connection fields: each is looked for among all fields. */
#define MAX_OPTIONS 64

struct reading {
	struct head *head;
	unsigned n_hosts, n_lengths, n_encodings, n_expects, n_options;
	bool closes, keeps; /* as Connection says */
	struct head_text host;
};

/* False: it looks like one that counts to a reader who takes '_' for '-', and to others like any. */
static bool find_meaning(const struct head_text *name, enum meaning *ret_meaning)
{
	*ret_meaning = MEANS_NOTHING;
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
		if (name->size != meanings[i].name.size ||
		    !head_texts_are_like(name, &meanings[i].name))
			continue;
		*ret_meaning = meanings[i].meaning;
		return head_text_is(name, meanings[i].name.at);
	}
	return true;
}

bool head_name_has_meaning(const struct head_text *name)
{
	enum meaning meaning;

	return !find_meaning(name, &meaning) || meaning != MEANS_NOTHING;
}

static bool read_length(struct reading *r, const struct head_text *value)
{
	uint64_t length = 0;

	if (value->size == 0 || value->size > 18)
		return false;
	for (size_t i = 0; i < value->size; i++) {
		if (value->at[i] < '0' || value->at[i] > '9')
			return false;
		length = length * 10 + (uint64_t)(value->at[i] - '0');
	}
	r->head->length = length;
	r->head->framing = HEAD_FRAMING_LENGTH;
	return r->n_lengths++ == 0;
}

static bool read_encoding(struct reading *r, const struct head_text *value)
{
	r->head->framing = HEAD_FRAMING_CHUNKED;
	return r->n_encodings++ == 0 && head_text_is(value, "chunked") && r->head->minor == 1;
}

/* One option: fields of this name are of this connection, too. What decides about the message may not be nominated. */
static bool nominate(struct reading *r, const struct head_text *option)
{
	enum meaning meaning;

	if (head_text_is(option, "close"))
		r->closes = true;
	else if (head_text_is(option, "keep-alive"))
		r->keeps = true;
	if (!find_meaning(option, &meaning))
		return false;
	if (meaning != MEANS_NOTHING && meaning != MEANS_HOP && meaning != MEANS_UPGRADE)
		return false;
	for (size_t i = 0; i < r->head->n_fields; i++) {
		struct head_field *field = &r->head->fields[i];

		if (head_texts_are_like(&field->name, option))
			field->is_hop = true;
	}
	return true;
}

static bool read_connection(struct reading *r, const struct head_text *value)
{
	struct head_text rest = *value, option;

	while (rest.size) {
		const char *comma = memchr(rest.at, ',', rest.size);
		size_t size = comma ? (size_t)(comma - rest.at) : rest.size;

		option = (struct head_text){rest.at, size};
		rest.at += comma ? size + 1 : size;
		rest.size -= comma ? size + 1 : size;
		while (option.size && (*option.at == ' ' || *option.at == '\t')) {
			option.at++;
			option.size--;
		}
		while (option.size &&
		       (option.at[option.size - 1] == ' ' || option.at[option.size - 1] == '\t'))
			option.size--;
		for (size_t i = 0; i < option.size; i++) {
			if (!head_is_token(option.at[i]))
				return false;
		}
		if (++r->n_options > MAX_OPTIONS)
			return false;
		if (option.size && !nominate(r, &option))
			return false;
	}
	return true;
}

static bool read_expect(struct reading *r, const struct head_text *value)
{
	r->head->expects_continue = r->head->minor == 1;
	return r->n_expects++ == 0 && head_text_is(value, "100-continue");
}

static bool read_field(struct reading *r, struct head_field *field)
{
	enum meaning meaning;

	if (!find_meaning(&field->name, &meaning))
		return false;
	if (meaning != MEANS_NOTHING)
		field->is_hop = true;
	switch (meaning) {
	case MEANS_NOTHING:
	case MEANS_HOP:
		break;
	case MEANS_HOST:
		r->host = field->value;
		return r->n_hosts++ == 0;
	case MEANS_LENGTH:
		return read_length(r, &field->value);
	case MEANS_ENCODING:
		return read_encoding(r, &field->value);
	case MEANS_CONNECTION:
		return read_connection(r, &field->value);
	case MEANS_UPGRADE:
		r->head->has_upgrade = true;
		break;
	case MEANS_EXPECT:
		return read_expect(r, &field->value);
	}
	return true;
}

static bool read_fields(struct reading *r)
{
	for (size_t i = 0; i < r->head->n_fields; i++) {
		if (!read_field(r, &r->head->fields[i]))
			return false;
	}
	if (r->n_lengths && r->n_encodings)
		return false;
	r->head->keeps_alive = !r->closes && (r->head->minor == 1 || r->keeps);
	return true;
}

bool head_read_request_fields(struct head *head, uint16_t port, struct authority *ret_host)
{
	struct reading r = {.head = head};

	if (!read_fields(&r))
		return false;
	if (!r.n_hosts)
		return head->minor == 0;
	return head_parse_authority(&r.host, port, ret_host);
}

/* Host and Expect mean nothing in a response, but a server that sends them twice is not worth a guess. */
bool head_read_response_fields(struct head *head)
{
	struct reading r = {.head = head};

	return read_fields(&r);
}
