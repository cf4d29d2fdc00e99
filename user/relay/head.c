/* SPDX-License-Identifier: MIT */
/*
 * Request and status lines, Host, fields one by one; see head.h. What the fields mean together (framing,
 * Connection) is in head_fields.c.
 */
#include "relay/head.h"

#include <string.h>

#include "base/domain.h"
#include "relay/head_parts.h"

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool head_text_is(const struct head_text *text, const char *other)
{
	if (strlen(other) != text->size)
		return false;
	for (size_t i = 0; i < text->size; i++) {
		if (lower(text->at[i]) != lower(other[i]))
			return false;
	}
	return true;
}

bool head_texts_are_like(const struct head_text *name, const struct head_text *other)
{
	if (other->size != name->size)
		return false;
	for (size_t i = 0; i < name->size; i++) {
		char a = lower(name->at[i]), b = lower(other->at[i]);

		if ((a == '_' ? '-' : a) != (b == '_' ? '-' : b))
			return false;
	}
	return true;
}

bool head_name_is_like(const struct head_text *name, const char *other)
{
	const struct head_text text = {other, strlen(other)};

	return head_texts_are_like(name, &text);
}

enum head_status head_scan(const uint8_t *bytes, size_t size, size_t *at)
{
	/* Lines may not be folded, nor the first one empty: both show in the byte behind a line's end. */
	for (size_t i = *at; i < size; i++) {
		char c = (char)bytes[i], before = i ? (char)bytes[i - 1] : '\0';

		if ((before == '\r') != (c == '\n') || (i == 0 && !head_is_token(c) && c != '\n'))
			return HEAD_BAD;
		if (c != '\r' && c != '\n' && !head_is_value(c))
			return HEAD_BAD;
		if (before == '\n' && (c == ' ' || c == '\t'))
			return HEAD_BAD;
		if (c == '\n' && i >= 3 && bytes[i - 2] == '\n') {
			*at = i + 1;
			return HEAD_DONE;
		}
	}
	*at = size;
	return HEAD_MORE;
}

/* Takes the line that `rest` begins with out of it, without its end. False: there is none. */
static bool take_line(struct head_text *rest, struct head_text *ret_line)
{
	const char *end = memchr(rest->at, '\n', rest->size);
	size_t size;

	if (!end || end == rest->at || end[-1] != '\r')
		return false;
	size = (size_t)(end - rest->at) + 1;
	*ret_line = (struct head_text){rest->at, size - 2};
	rest->at += size;
	rest->size -= size;
	return true;
}

static bool are_all(const struct head_text *text, bool (*is)(char c))
{
	for (size_t i = 0; i < text->size; i++) {
		if (!is(text->at[i]))
			return false;
	}
	return true;
}

/* "name: value"; nothing between the name and its colon (RFC 9112 5.1). */
static bool parse_field(const struct head_text *line, struct head_field *ret_field)
{
	const char *colon = memchr(line->at, ':', line->size);
	struct head_field field = {.is_hop = false};

	if (!colon || colon == line->at || colon - line->at > HEAD_MAX_NAME)
		return false;
	field.name = (struct head_text){line->at, (size_t)(colon - line->at)};
	field.value = (struct head_text){colon + 1, line->size - field.name.size - 1};
	while (field.value.size && (*field.value.at == ' ' || *field.value.at == '\t')) {
		field.value.at++;
		field.value.size--;
	}
	while (field.value.size && (field.value.at[field.value.size - 1] == ' ' ||
				    field.value.at[field.value.size - 1] == '\t'))
		field.value.size--;
	if (!are_all(&field.name, head_is_token) || !are_all(&field.value, head_is_value))
		return false;
	*ret_field = field;
	return true;
}

static enum head_status parse_fields(struct head_text *rest, struct head *head)
{
	struct head_text line;

	for (;;) {
		if (!take_line(rest, &line))
			return HEAD_BAD;
		if (line.size == 0)
			return rest->size == 0 ? HEAD_DONE : HEAD_BAD;
		if (head->n_fields == HEAD_MAX_FIELDS)
			return HEAD_TOO_LONG;
		if (!parse_field(&line, &head->fields[head->n_fields]))
			return HEAD_BAD;
		head->n_fields++;
	}
}

/* Takes the text before the first space out of `rest`, and the space. False: there is no space, or nothing before
 * it. */
static bool take_word(struct head_text *rest, struct head_text *ret_word)
{
	const char *space = memchr(rest->at, ' ', rest->size);

	if (!space || space == rest->at)
		return false;
	*ret_word = (struct head_text){rest->at, (size_t)(space - rest->at)};
	rest->at = space + 1;
	rest->size -= ret_word->size + 1;
	return true;
}

static bool parse_version(const struct head_text *text, unsigned *ret_minor)
{
	if (text->size != 8 || memcmp(text->at, "HTTP/1.", 7) != 0)
		return false;
	if (text->at[7] != '0' && text->at[7] != '1')
		return false;
	*ret_minor = (unsigned)(text->at[7] - '0');
	return true;
}

/* Never a fragment, which some readers cut off; nor spaces, controls or bytes beyond ASCII. */
static bool is_target(char c)
{
	return c > 0x20 && c < 0x7f && c != '#';
}

static bool parse_request_line(const struct head_text *line, struct head *head)
{
	struct head_text rest = *line;

	if (!take_word(&rest, &head->method) || head->method.size > HEAD_MAX_METHOD)
		return false;
	if (!take_word(&rest, &head->target) || !parse_version(&rest, &head->minor))
		return false;
	return are_all(&head->method, head_is_token) && are_all(&head->target, is_target);
}

/* RFC 9112 4 wants the space behind the code even without a reason; servers do without both. */
static bool parse_status_line(const struct head_text *line, struct head *head)
{
	struct head_text rest = *line, version;

	if (!take_word(&rest, &version) || !parse_version(&version, &head->minor) || rest.size < 3)
		return false;
	for (size_t i = 0; i < 3; i++) {
		if (rest.at[i] < '0' || rest.at[i] > '9')
			return false;
		head->status = head->status * 10 + (unsigned)(rest.at[i] - '0');
	}
	if (head->status < 100 || head->status > 599 || (rest.size > 3 && rest.at[3] != ' '))
		return false;
	head->reason = (struct head_text){rest.at + 3, rest.size - 3};
	if (head->reason.size) {
		head->reason.at++;
		head->reason.size--;
	}
	return are_all(&head->reason, head_is_value);
}

static bool is_port(const char *text, size_t size, uint16_t port)
{
	unsigned value = 0;

	if (size == 0 || size > 5 || *text == '0')
		return false;
	for (size_t i = 0; i < size; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (unsigned)(text[i] - '0');
	}
	return value == port;
}

static bool parse_host_text(const char *text, bool is_bracketed, struct authority *authority)
{
	authority->is_address = addr_parse(text, &authority->addr, NULL) == 0;
	if (is_bracketed)
		return authority->is_address && strchr(text, ':');
	/* U-labels have no place on the wire, and a root dot only one. */
	for (const char *p = text; *p; p++) {
		if ((unsigned char)*p >= 0x80)
			return false;
	}
	return authority->is_address || domain_parse_name(text, authority->name, NULL) == 0;
}

bool head_parse_authority(const struct head_text *text, uint16_t port,
			  struct authority *ret_authority)
{
	struct authority authority = {.name = ""};
	char host[PST_NAME_SIZE];
	const char *at = text->at, *end = text->at + text->size, *stop;
	bool is_bracketed = text->size && *at == '[';

	stop = memchr(at, is_bracketed ? ']' : ':', text->size);
	if (is_bracketed && !stop)
		return false;
	if (is_bracketed)
		at++;
	if (!stop)
		stop = end;
	if (stop == at || (size_t)(stop - at) >= sizeof(host))
		return false;
	memcpy(host, at, (size_t)(stop - at));
	host[stop - at] = '\0';
	if (!parse_host_text(host, is_bracketed, &authority))
		return false;
	if (is_bracketed)
		stop++;
	if (stop < end && (*stop != ':' || !is_port(stop + 1, (size_t)(end - stop) - 1, port)))
		return false;
	*ret_authority = authority;
	return true;
}

/* "http://host[:port]/path" -> "/path", and whom it names. */
static bool parse_absolute(struct head *head, uint16_t port, struct authority *ret_authority)
{
	const char *scheme = port == 443 ? "https://" : "http://";
	size_t size = strlen(scheme);
	struct head_text begin = {head->target.at, size}, authority;
	const char *slash;

	if (head->target.size <= size || !head_text_is(&begin, scheme))
		return false;
	authority = (struct head_text){head->target.at + size, head->target.size - size};
	slash = memchr(authority.at, '/', authority.size);
	/* Without a path ("http://host", "http://host?q") readers differ. */
	if (!slash)
		return false;
	head->target = (struct head_text){slash, authority.size - (size_t)(slash - authority.at)};
	authority.size = (size_t)(slash - authority.at);
	return head_parse_authority(&authority, port, ret_authority);
}

static bool parse_target(struct head *head, uint16_t port, const struct authority *host)
{
	struct authority named;

	if (head_text_is(&head->method, "CONNECT") || *head->target.at == '/')
		return true;
	if (head->target.size == 1 && *head->target.at == '*')
		return head->method.size == 7 && memcmp(head->method.at, "OPTIONS", 7) == 0;
	if (!parse_absolute(head, port, &named))
		return false;
	/* RFC 9112 3.2.2 lets the target win; somebody else may let Host win. */
	return named.is_address == host->is_address && strcmp(named.name, host->name) == 0 &&
	       (!named.is_address || addr_equal(&named.addr, &host->addr));
}

enum head_status head_request(const uint8_t *bytes, size_t size, uint16_t port,
			      struct head *ret_head)
{
	struct head_text rest = {(const char *)bytes, size}, line;
	struct authority host = {.name = ""};
	enum head_status status;

	memset(ret_head, 0, offsetof(struct head, fields));
	if (!take_line(&rest, &line) || !parse_request_line(&line, ret_head))
		return HEAD_BAD;
	status = parse_fields(&rest, ret_head);
	if (status != HEAD_DONE)
		return status;
	if (!head_read_request_fields(ret_head, port, &host) ||
	    !parse_target(ret_head, port, &host))
		return HEAD_BAD;
	memcpy(ret_head->host, host.name, sizeof(host.name));
	ret_head->host_is_address = host.is_address;
	ret_head->host_addr = host.addr;
	return HEAD_DONE;
}

enum head_status head_response(const uint8_t *bytes, size_t size, struct head *ret_head)
{
	struct head_text rest = {(const char *)bytes, size}, line;
	enum head_status status;

	memset(ret_head, 0, offsetof(struct head, fields));
	if (!take_line(&rest, &line) || !parse_status_line(&line, ret_head))
		return HEAD_BAD;
	status = parse_fields(&rest, ret_head);
	if (status != HEAD_DONE)
		return status;
	return head_read_response_fields(ret_head) ? HEAD_DONE : HEAD_BAD;
}
