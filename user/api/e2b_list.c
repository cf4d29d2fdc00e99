/* SPDX-License-Identifier: MIT */
/* E2B's lists: the newest first unless asked otherwise, in pages that are told apart by creation time and id. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/e2b.h"

#define PAGE_MAX 100

/* Where a page begins: behind this one. */
struct place {
	uint64_t created_ms;
	char id[API_ID_MAX + 1];
};

struct entry {
	struct place place;
	char *text; /* of the reply; owned */
};

struct page {
	struct e2b_filter filter;
	bool oldest_first;
	struct place after;    /* id "": from the start */
	size_t limit;	       /* SIZE_MAX: all */
	struct entry *entries; /* in order, at most limit + 1 */
	size_t count, room;
	bool more, failed;
};

static int compare(const struct place *a, const struct place *b)
{
	if (a->created_ms != b->created_ms)
		return a->created_ms < b->created_ms ? -1 : 1;
	return strcmp(a->id, b->id);
}

/* In the order of the list: is `a` behind `b`? */
static bool is_behind(const struct page *page, const struct place *a, const struct place *b)
{
	int difference = compare(a, b);

	return page->oldest_first ? difference > 0 : difference < 0;
}

/* Room for one more at `at`; the one behind the limit goes. */
static struct entry *insert(struct page *page, size_t at)
{
	if (page->limit != SIZE_MAX && page->count == page->limit) {
		free(page->entries[--page->count].text);
		page->more = true;
	}
	if (page->count == page->room) {
		size_t room = page->room ? 2 * page->room : 16;
		struct entry *more = reallocarray(page->entries, room, sizeof(*more));

		if (!more)
			return NULL;
		page->entries = more;
		page->room = room;
	}
	memmove(page->entries + at + 1, page->entries + at,
		(page->count - at) * sizeof(*page->entries));
	page->count++;
	page->entries[at] = (struct entry){0};
	return &page->entries[at];
}

static void take(struct page *page, const struct place *place, const struct api_sandbox *sandbox,
		 const struct json *extra)
{
	struct buf out = {0};
	struct entry *entry;
	size_t at = page->count;

	while (at > 0 && is_behind(page, &page->entries[at - 1].place, place))
		at--;
	if (at == page->limit) {
		page->more = true;
		return;
	}
	entry = insert(page, at);
	buf_puts(&out, "{");
	e2b_put_listed(&out, sandbox, extra);
	buf_puts(&out, "}");
	if (!entry || out.failed) {
		page->failed = true;
		buf_done(&out);
		return;
	}
	entry->place = *place;
	entry->text = buf_take(&out);
}

static int visit(void *context, const struct api_sandbox *sandbox)
{
	struct page *page = context;
	struct place place = {.created_ms = sandbox->created_ms};
	cleanup(json_done) struct json extra = {0};
	int r;

	snprintf(place.id, sizeof(place.id), "%s", sandbox->id);
	if (page->after.id[0] && !is_behind(page, &place, &page->after))
		return 0;
	r = e2b_parse_extra(sandbox, &extra);
	if (r == 0)
		r = e2b_filter_has(&page->filter, sandbox, &extra);
	if (r < 0)
		page->failed = true;
	else if (r > 0)
		take(page, &place, sandbox, &extra);
	return 0;
}

static void reply_page(struct call *call, struct page *page)
{
	struct buf *out = &call->reply->body;
	char token[API_ID_MAX + 24];

	buf_puts(out, "[");
	for (size_t i = 0; i < page->count; i++) {
		put_comma(out);
		buf_puts(out, page->entries[i].text);
	}
	buf_puts(out, "]");
	reply_json(call, 200);
	if (!page->more)
		return;
	snprintf(token, sizeof(token), "%llu_%s",
		 (unsigned long long)page->entries[page->count - 1].place.created_ms,
		 page->entries[page->count - 1].place.id);
	reply_header(call, "x-next-token", token);
}

static void walk(struct call *call, struct page *page)
{
	enum api_status status = call_list(call, visit, page);

	if (page->failed)
		reply_no_memory(call);
	else if (status != API_OK)
		reply_error(call, 500, "Failed to list sandboxes");
	else
		reply_page(call, page);
	for (size_t i = 0; i < page->count; i++)
		free(page->entries[i].text);
	free(page->entries);
}

static const char *query(const struct call *call, const char *name)
{
	return call->request->query(call->request->context, name);
}

static bool take_order(struct call *call, struct page *page)
{
	const char *text = query(call, "order");

	page->oldest_first = text && strcmp(text, "asc") == 0;
	if (page->oldest_first || !text || !*text || strcmp(text, "desc") == 0)
		return true;
	refuse_body(call, "order: expected asc or desc, found '%.64s'", text);
	return false;
}

static bool take_limit(struct call *call, struct page *page)
{
	const char *text = query(call, "limit");
	size_t digits;
	unsigned long limit;

	if (!text || !*text)
		return true;
	digits = strspn(text, "0123456789");
	limit = digits <= 3 && !text[digits] ? strtoul(text, NULL, 10) : 0;
	if (limit < 1 || limit > PAGE_MAX) {
		refuse_body(call, "limit: expected 1..%d, found '%.64s'", PAGE_MAX, text);
		return false;
	}
	page->limit = limit;
	return true;
}

static bool take_token(struct call *call, struct page *page)
{
	const char *text = query(call, "nextToken");
	size_t digits;

	if (!text || !*text)
		return true;
	digits = strspn(text, "0123456789");
	if (digits < 1 || digits > 19 || text[digits] != '_' || !text[digits + 1] ||
	    strlen(text + digits + 1) > API_ID_MAX) {
		reply_error(call, 400, "Invalid next token");
		return false;
	}
	page->after.created_ms = strtoull(text, NULL, 10);
	snprintf(page->after.id, sizeof(page->after.id), "%s", text + digits + 1);
	return true;
}

/* The older list has what runs, and no pages. */
void e2b_list(struct call *call)
{
	struct page page = {.limit = SIZE_MAX};

	if (e2b_filter_take_running(call, &page.filter))
		walk(call, &page);
	e2b_filter_done(&page.filter);
}

void e2b_list_v2(struct call *call)
{
	struct page page = {.limit = PAGE_MAX};

	if (e2b_filter_take(call, &page.filter) && take_order(call, &page) &&
	    take_limit(call, &page) && take_token(call, &page))
		walk(call, &page);
	e2b_filter_done(&page.filter);
}
