/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a request's and a reply's head: the scan finds the same end in pieces; what is accepted lies within the
 * bytes, and written anew (as the relay does it) it is understood in the same way.
 */
#include "fuzz.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "relay/head.h"

static enum head_status scan_in_pieces(const uint8_t *data, size_t size, size_t step,
				       size_t *ret_size)
{
	enum head_status status = HEAD_MORE;
	size_t at = 0;

	for (size_t have = step; status == HEAD_MORE; have += step) {
		status = head_scan(data, have < size ? have : size, &at);
		if (have >= size)
			break;
	}
	*ret_size = at;
	return status;
}

static void check_text(const struct head_text *text, const uint8_t *data, size_t size)
{
	const char *begin = (const char *)data;

	MUST(text->at >= begin && text->size <= size &&
	     (size_t)(text->at - begin) <= size - text->size);
	for (size_t i = 0; i < text->size; i++)
		MUST(head_is_value(text->at[i]));
}

static void check_fields(const struct head *head, const uint8_t *data, size_t size)
{
	MUST(head->n_fields <= HEAD_MAX_FIELDS);
	for (size_t i = 0; i < head->n_fields; i++) {
		const struct head_field *field = &head->fields[i];

		check_text(&field->name, data, size);
		check_text(&field->value, data, size);
		MUST(field->name.size > 0);
		MUST(field->is_hop || !head_name_has_meaning(&field->name));
		for (size_t j = 0; j < field->name.size; j++)
			MUST(head_is_token(field->name.at[j]));
	}
}

static void add_fields(const struct head *head, struct buf *out)
{
	for (size_t i = 0; i < head->n_fields; i++) {
		const struct head_field *field = &head->fields[i];

		if (field->is_hop)
			continue;
		buf_add(out, field->name.at, field->name.size);
		buf_puts(out, ": ");
		buf_add(out, field->value.at, field->value.size);
		buf_puts(out, "\r\n");
	}
	if (head->framing == HEAD_FRAMING_LENGTH)
		buf_printf(out, "Content-Length: %llu\r\n", (unsigned long long)head->length);
	if (head->framing == HEAD_FRAMING_CHUNKED)
		buf_puts(out, "Transfer-Encoding: chunked\r\n");
	buf_puts(out, "\r\n");
}

static void check_request(const uint8_t *data, size_t size)
{
	cleanup_buf struct buf out = {.data = NULL};
	struct head head, again;
	size_t at = 0;

	if (head_request(data, size, 80, &head) != HEAD_DONE)
		return;
	check_fields(&head, data, size);
	check_text(&head.method, data, size);
	check_text(&head.target, data, size);
	MUST(head.minor == 1 || head.framing != HEAD_FRAMING_CHUNKED);
	if (!head.host[0] || head_text_is(&head.method, "CONNECT"))
		return;
	buf_add(&out, head.method.at, head.method.size);
	buf_puts(&out, " ");
	buf_add(&out, head.target.at, head.target.size);
	buf_printf(&out, " HTTP/1.1\r\nHost: %s\r\n", head.host);
	add_fields(&head, &out);
	MUST(buf_status(&out) == 0);
	MUST(head_scan((const uint8_t *)out.data, out.size, &at) == HEAD_DONE && at == out.size);
	switch (head_request((const uint8_t *)out.data, out.size, 80, &again)) {
	case HEAD_DONE:
		break;
	case HEAD_TOO_LONG: /* Host came to it */
		return;
	default:
		MUST(false);
	}
	MUST(strcmp(head.host, again.host) == 0 && head.framing == again.framing);
	MUST(head.length == again.length && head.target.size == again.target.size);
}

static void check_response(const uint8_t *data, size_t size)
{
	struct head head;

	if (head_response(data, size, &head) != HEAD_DONE)
		return;
	check_fields(&head, data, size);
	check_text(&head.reason, data, size);
	MUST(head.status >= 100 && head.status <= 599);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t whole = 0, pieces;
	enum head_status status = head_scan(data, size, &whole);

	MUST(scan_in_pieces(data, size, 1, &pieces) == status);
	MUST(status != HEAD_DONE || pieces == whole);
	MUST(scan_in_pieces(data, size, 7, &pieces) == status || status == HEAD_BAD);
	/* The parsers are asked about what the scan would have refused, too. */
	check_request(data, size);
	check_response(data, size);
	if (status == HEAD_DONE && whole < size) {
		check_request(data, whole);
		check_response(data, whole);
	}
	return 0;
}
