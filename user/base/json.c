/* SPDX-License-Identifier: MIT */
/* The grammar of RFC 8259 and nothing beside it; see json.h. Strings are scan.c's business. */
#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_scan.h"

void json_done(struct json *json)
{
	free(json->nodes);
	/* The document may hold secrets. */
	if (json->strings)
		explicit_bzero(json->strings, json->strings_used);
	free(json->strings);
	memset(json, 0, sizeof(*json));
}

static struct json_node *add_node(struct scan *s, uint32_t parent, unsigned char type)
{
	struct json *json = s->json;
	struct json_node *node;

	if (json->n_nodes == json->room) {
		size_t room = json->room ? json->room * 2 : 64;
		struct json_node *more = reallocarray(json->nodes, room, sizeof(*more));

		if (!more)
			return NULL;
		json->nodes = more;
		json->room = room;
	}
	node = &json->nodes[json->n_nodes++];
	memset(node, 0, sizeof(*node));
	node->type = type;
	node->offset = (uint32_t)s->at;
	node->parent = parent;
	return node;
}

static int scan_word(struct scan *s, struct json_node *node)
{
	static const struct {
		const char *word;
		unsigned char type;
		bool boolean;
	} words[] = {
		{"null", JSON_NULL, false}, {"true", JSON_BOOL, true}, {"false", JSON_BOOL, false}};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t size = strlen(words[i].word);

		if (s->size - s->at < size || memcmp(s->text + s->at, words[i].word, size) != 0)
			continue;
		node->type = words[i].type;
		node->boolean = words[i].boolean;
		s->at += size;
		return 0;
	}
	return scan_unexpected(s, "a value");
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static int skip_digits(struct scan *s)
{
	if (!is_digit(scan_peek(s)))
		return scan_unexpected(s, "a digit");
	while (is_digit(scan_peek(s)))
		s->at++;
	return 0;
}

/* Fraction and exponent, both optional. */
static int skip_fraction(struct scan *s, bool *ret_present)
{
	int c = scan_peek(s), r = 0;

	*ret_present = c == '.' || c == 'e' || c == 'E';
	if (c == '.') {
		s->at++;
		r = skip_digits(s);
		c = scan_peek(s);
	}
	if (r == 0 && (c == 'e' || c == 'E')) {
		s->at++;
		c = scan_peek(s);
		if (c == '+' || c == '-')
			s->at++;
		r = skip_digits(s);
	}
	return r;
}

static int convert_integer(struct scan *s, size_t start, int64_t *ret_integer)
{
	bool negative = s->text[start] == '-';
	int64_t value = 0;

	for (size_t i = start + (negative ? 1 : 0); i < s->at; i++) {
		int digit = s->text[i] - '0';

		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, negative ? -digit : digit, &value)) {
			s->at = start;
			return error_set(s->err, -EINVAL, "the number is out of range");
		}
	}
	*ret_integer = value;
	return 0;
}

static int scan_number(struct scan *s, struct json_node *node)
{
	size_t start = s->at, digits;
	bool fraction = false;
	int r;

	if (scan_peek(s) == '-')
		s->at++;
	digits = s->at;
	r = skip_digits(s);
	if (r == 0 && s->text[digits] == '0' && s->at > digits + 1) {
		s->at = start;
		return error_set(s->err, -EINVAL, "the number has a leading zero");
	}
	if (r == 0)
		r = skip_fraction(s, &fraction);
	if (r < 0)
		return r;
	node->type = fraction ? JSON_FRACTION : JSON_INTEGER;
	return fraction ? 0 : convert_integer(s, start, &node->integer);
}

static int scan_value(struct scan *s, uint32_t parent);

static int count_entry(struct scan *s)
{
	if (++s->json->n_entries > s->max_entries)
		return error_set(s->err, -EINVAL, "more than %zu entries", s->max_entries);
	return 0;
}

static int scan_element(struct scan *s, uint32_t list)
{
	int r = count_entry(s);

	return r < 0 ? r : scan_value(s, list);
}

static int scan_member(struct scan *s, uint32_t object)
{
	size_t key_offset = s->at;
	const char *key = NULL;
	uint32_t index;
	int r;

	if (scan_peek(s) != '"')
		return scan_unexpected(s, "a key in double quotes");
	r = scan_string(s, &key);
	if (r < 0)
		return r;
	scan_space(s);
	if (scan_peek(s) != ':')
		return scan_unexpected(s, "':'");
	s->at++;
	scan_space(s);
	index = (uint32_t)s->json->n_nodes;
	r = scan_value(s, object);
	if (r < 0)
		return r;
	s->json->nodes[index].key = key;
	s->json->nodes[index].key_offset = (uint32_t)key_offset;
	return 0;
}

static int by_key(const void *a, const void *b)
{
	const struct json_node *x = *(const struct json_node *const *)a;
	const struct json_node *y = *(const struct json_node *const *)b;
	int order = strcmp(x->key, y->key);

	if (order)
		return order;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* The place of the error is the first key that repeats an earlier one. */
static int check_sorted(struct scan *s, const struct json_node **members, size_t count)
{
	const struct json_node *first = NULL;

	qsort(members, count, sizeof(*members), by_key);
	for (size_t i = 1; i < count; i++) {
		if (strcmp(members[i - 1]->key, members[i]->key) == 0 &&
		    (!first || members[i]->key_offset < first->key_offset))
			first = members[i];
	}
	if (!first)
		return 0;
	s->at = first->key_offset;
	return error_set(s->err, -EINVAL, "duplicate key '%.300s'", first->key);
}

static int check_duplicates(struct scan *s, uint32_t object)
{
	const struct json_node *node = &s->json->nodes[object], **members;
	size_t n = 0;
	int r;

	if (node->count < 2)
		return 0;
	members = reallocarray(NULL, node->count, sizeof(*members));
	if (!members)
		return -ENOMEM;
	for (const struct json_node *m = json_first(s->json, node); m; m = json_next(s->json, m))
		members[n++] = m;
	r = check_sorted(s, members, n);
	free(members);
	return r;
}

/* Elements up to `close`; the opening bracket is behind us. */
static int scan_items(struct scan *s, uint32_t index, char close)
{
	bool object = close == '}';
	int r;

	scan_space(s);
	if (scan_peek(s) == close)
		goto done;
	for (;;) {
		s->json->nodes[index].count++;
		r = object ? scan_member(s, index) : scan_element(s, index);
		if (r < 0)
			return r;
		scan_space(s);
		if (scan_peek(s) == close)
			break;
		if (scan_peek(s) != ',')
			return scan_unexpected(s, object ? "',' or '}'" : "',' or ']'");
		s->at++;
		scan_space(s);
	}
done:
	s->at++;
	s->json->nodes[index].next = (uint32_t)s->json->n_nodes;
	return object ? check_duplicates(s, index) : 0;
}

static int scan_container(struct scan *s, uint32_t index, char close)
{
	int r;

	if (s->depth >= JSON_MAX_DEPTH)
		return error_set(s->err, -EINVAL, "nested deeper than %u levels", JSON_MAX_DEPTH);
	s->depth++;
	s->at++;
	r = scan_items(s, index, close);
	s->depth--;
	return r;
}

static int scan_kind(struct scan *s, uint32_t index)
{
	struct json_node *node = &s->json->nodes[index];
	int c = scan_peek(s);

	if (c == '{' || c == '[') {
		node->type = c == '{' ? JSON_OBJECT : JSON_LIST;
		return scan_container(s, index, c == '{' ? '}' : ']');
	}
	if (c == '"') {
		node->type = JSON_STRING;
		return scan_string(s, &node->string);
	}
	if (c == '-' || is_digit(c))
		return scan_number(s, node);
	return scan_word(s, node);
}

/* Leaves the node of the value at the index that n_nodes had before. */
static int scan_value(struct scan *s, uint32_t parent)
{
	uint32_t index = (uint32_t)s->json->n_nodes;
	struct json_node *node = add_node(s, parent, JSON_NULL);
	int r;

	if (!node)
		return -ENOMEM;
	node->next = index + 1;
	r = scan_kind(s, index);
	if (r == 0)
		s->json->nodes[index].end = (uint32_t)s->at;
	return r;
}

static int scan_document(struct scan *s)
{
	int r;

	if (s->size >= 3 && memcmp(s->text, "\xef\xbb\xbf", 3) == 0)
		return error_set(s->err, -EINVAL, "remove the byte order mark");
	s->json->strings = malloc(s->size + 1);
	if (!s->json->strings)
		return -ENOMEM;
	scan_space(s);
	r = scan_value(s, 0);
	if (r < 0)
		return r;
	scan_space(s);
	return s->at < s->size ? scan_unexpected(s, "the end of the document") : 0;
}

int json_parse_within(const char *text, size_t size, const struct json_bounds *bounds,
		      struct json *ret_json, struct json_place *ret_place, struct error *err)
{
	struct json json = {.text = text, .size = size};
	struct scan s = {.text = text,
			 .size = size,
			 .max_entries = bounds->entries,
			 .json = &json,
			 .err = err};
	int r;

	if (size > bounds->bytes || size >= UINT32_MAX)
		r = error_set(err, -EINVAL, "larger than %zu bytes", bounds->bytes);
	else
		r = scan_document(&s);
	if (r < 0) {
		*ret_place = json_place_of(&json, s.at);
		json_done(&json);
		return r;
	}
	*ret_json = json;
	return 0;
}

int json_parse(const char *text, size_t size, struct json *ret_json, struct json_place *ret_place,
	       struct error *err)
{
	const struct json_bounds bounds = {JSON_MAX_BYTES, JSON_MAX_ENTRIES};

	return json_parse_within(text, size, &bounds, ret_json, ret_place, err);
}
