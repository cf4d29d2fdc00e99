/* SPDX-License-Identifier: MIT */
/*
 * Every row of tests/lib/smuggling.txt through a session: what goes on is counted by a destination that replies
 * to it, and refusals are as the row says. tests/e2e has the same rows judged by a parser that is not ours.
 */
#include "relay_http_fixture.h"

#include "base/hex.h"
#include "base/io.h"

#define TABLE "tests/lib/smuggling.txt"

struct row {
	const char *name, *expected;
	struct buf raw;
};

/* What the destination has seen. */
struct seen {
	unsigned requests;
	size_t at; /* of what was read so far */
	struct body body;
	bool in_body;
};

static void unescape(const char *p, struct buf *raw)
{
	while (*p) {
		char c = *p++;
		unsigned long count = 1;
		char *end;

		if (c == '\\') {
			c = *p++;
			if (c == 'x') {
				c = (char)(hex_digit(p[0]) << 4 | hex_digit(p[1]));
				p += 2;
			} else if (c == '{') {
				count = strtoul(p, &end, 10);
				c = end[1];
				assert_true(end[0] == '*' && end[2] == '}');
				p = end + 3;
			} else {
				c = c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c;
			}
		}
		while (count--)
			buf_add(raw, &c, 1);
	}
}

/* A request of good.test has each injected header once, and none of another value. */
static void check_injected(const struct head *head)
{
	unsigned authorizations = 0, keys = 0;

	for (size_t i = 0; i < head->n_fields; i++) {
		const struct head_field *field = &head->fields[i];

		if (head_name_is_like(&field->name, "authorization")) {
			authorizations++;
			assert_true(head_text_is(&field->value, "Bearer s3cret"));
		}
		if (head_name_is_like(&field->name, "x-api-key")) {
			keys++;
			assert_true(head_text_is(&field->value, "k3y"));
		}
	}
	assert_int_equal(authorizations, strcmp(head->host, "good.test") == 0);
	assert_int_equal(keys, strcmp(head->host, "good.test") == 0);
}

static bool take_head(struct party *p, struct seen *seen)
{
	const uint8_t *bytes = (const uint8_t *)p->got.data + seen->at;
	struct head head;
	size_t size = 0;
	enum head_status status = head_scan(bytes, p->got.size - seen->at, &size);

	assert_true(status == HEAD_MORE || status == HEAD_DONE);
	if (status == HEAD_MORE)
		return false;
	assert_int_equal(head_request(bytes, size, 80, &head), HEAD_DONE);
	assert_true(strcmp(head.host, "good.test") == 0 || strcmp(head.host, "plain.test") == 0);
	check_injected(&head);
	body_start(&seen->body,
		   head.framing == HEAD_FRAMING_CHUNKED	 ? BODY_CHUNKED
		   : head.framing == HEAD_FRAMING_LENGTH ? BODY_LENGTH
							 : BODY_NONE,
		   head.length);
	seen->at += size;
	seen->in_body = true;
	return true;
}

/* True when it came further. */
static bool destination_step(struct party *p, struct seen *seen)
{
	const uint8_t *run;
	size_t used = 0, run_size;
	enum body_status status;

	if (!seen->in_body)
		return p->got.size > seen->at && take_head(p, seen);
	status = body_step(&seen->body, (const uint8_t *)p->got.data + seen->at,
			   p->got.size - seen->at, &used, &run, &run_size);
	assert_int_not_equal(status, BODY_BAD);
	seen->at += used;
	if (status != BODY_DONE)
		return status == BODY_DATA;
	seen->in_body = false;
	seen->requests++;
	(void)party_write(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 40);
	return true;
}

/* How many replies with 200 the client got, and the code of what came last and was none. */
static void read_replies(const struct party *client, unsigned *ret_good, unsigned *ret_code)
{
	const uint8_t *bytes = (const uint8_t *)client->got.data;
	size_t left = client->got.size;

	*ret_good = *ret_code = 0;
	while (left) {
		struct head head;
		size_t size = 0;

		assert_int_equal(head_scan(bytes, left, &size), HEAD_DONE);
		assert_int_equal(head_response(bytes, size, &head), HEAD_DONE);
		assert_int_equal(head.framing, HEAD_FRAMING_LENGTH);
		if (head.status == 200)
			++*ret_good;
		else
			*ret_code = head.status;
		size += head.length;
		assert_true(size <= left);
		bytes += size;
		left -= size;
	}
}

static void serve(struct fixture *f, const struct row *row, struct seen *seen)
{
	size_t sent = 0;
	bool is_shut = false;

	until(f, ({
		      if (sent < row->raw.size)
			      sent += party_write(&f->client, row->raw.data + sent,
						  row->raw.size - sent);
		      if (sent == row->raw.size && !is_shut)
			      is_shut = shutdown(f->client.fd, SHUT_WR) == 0;
		      for (unsigned i = 0; i < f->n_dials; i++)
			      while (destination_step(&f->upstreams[i], &seen[i]))
				      ;
		      f->ended;
	      }));
}

/* False: it became something else, which is printed. */
static bool check_row(const struct row *row)
{
	struct seen seen[MAX_DIALS] = {{0}};
	unsigned requests = 0, good, code;
	char became[64] = "", *at = became;
	bool is_right;
	struct fixture f;

	setup(&f, 80);
	assert_int_equal(http_start(&f.session, false), 0);
	serve(&f, row, seen);
	for (int i = 0; i < 3; i++)
		round_of(&f);
	for (unsigned i = 0; i < f.n_dials; i++)
		requests += seen[i].requests;
	read_replies(&f.client, &good, &code);
	if (requests)
		at += sprintf(at, "%u", requests);
	if (code)
		sprintf(at, requests ? " %u" : "%u", code);
	is_right = strcmp(row->expected, "cut") == 0 ? requests == 0
						     : strcmp(became, row->expected) == 0;
	if (!is_right || good != requests)
		print_message("%s: became '%s' with %u replies, not '%s'\n", row->name, became,
			      good, row->expected);
	teardown(&f);
	return is_right && good == requests;
}

static void no_row_becomes_anything_but_what_it_says(void **state)
{
	char *text, *line, *rest;
	unsigned rows = 0, hostile = 0, wrong = 0;
	size_t size;

	(void)state;
	assert_int_equal(io_read_file(TABLE, 1u << 20, &text, &size, NULL), 0);
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		struct row row = {.raw = {.data = NULL}};

		if (!*line || *line == '#')
			continue;
		row.name = strsep(&line, "\t");
		row.expected = strsep(&line, "\t");
		assert_non_null(line);
		unescape(line, &row.raw);
		wrong += !check_row(&row);
		buf_done(&row.raw);
		rows++;
		hostile += strncmp(row.name, "control:", 8) != 0;
	}
	assert_int_equal(wrong, 0);
	assert_true(hostile >= 200 && rows > hostile + 30);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_row_becomes_anything_but_what_it_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
