/* SPDX-License-Identifier: MIT */
/* What the tests of the routes share: one request in, one reply out, over the fake daemon. */
#ifndef TESTS_API_FIXTURE_H
#define TESTS_API_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <strings.h>

#include "api_fake.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct world {
	struct fake fake;
	struct api_backend backend;
	struct api_caller caller;
	bool brimble_key;   /* the header is there */
	const char *accept; /* NULL: none */
	char *line;	    /* path and query of the request under way */
	struct api_reply reply;
};

/* Method, path with its query, body; what is expected: status and the whole body. */
struct exchange {
	const char *method, *path, *body;
	unsigned status;
	const char *reply;
};

static inline const char *world_header(const void *context, const char *name)
{
	const struct world *w = context;

	if (strcasecmp(name, "x-brimble-key") == 0)
		return w->brimble_key ? "b-key-secret" : NULL;
	return strcasecmp(name, "accept") == 0 ? w->accept : NULL;
}

/* The path ends in a NUL where its '?' was, and each value where its '&' was. */
static inline const char *world_query(const void *context, const char *name)
{
	const struct world *w = context;
	const char *at = w->line + strlen(w->line) + 1;

	for (; *at; at += strlen(at) + 1) {
		size_t size = strcspn(at, "=");

		if (strlen(name) == size && strncmp(at, name, size) == 0)
			return at[size] ? at + size + 1 : "";
	}
	return NULL;
}

static inline char *split_line(const char *path)
{
	char *line = calloc(1, strlen(path) + 3);
	bool in_query = false;

	if (!line)
		abort();
	strcpy(line, path);
	for (char *p = line; *p; p++) {
		if ((*p == '?' && !in_query) || (*p == '&' && in_query)) {
			in_query = true;
			*p = '\0';
		}
	}
	return line;
}

static inline void ask_sized(struct world *w, const char *method, const char *path,
			     const char *body, size_t size)
{
	struct api_request request = {.method = method,
				      .body = body,
				      .body_size = size,
				      .caller = w->caller,
				      .header = world_header,
				      .query = world_query,
				      .context = w};

	free(w->line);
	w->line = split_line(path);
	request.path = w->line;
	api_reply_done(&w->reply);
	api_route(&w->backend, &request, &w->reply);
}

static inline void ask(struct world *w, const char *method, const char *path, const char *body)
{
	ask_sized(w, method, path, body ? body : "", body ? strlen(body) : 0);
}

static inline const char *body_of(const struct world *w)
{
	return w->reply.body.data ? w->reply.body.data : "";
}

/* NULL: it is not there. */
static inline const char *header_of(const struct world *w, const char *name)
{
	for (size_t i = 0; i < w->reply.n_headers; i++) {
		if (strcmp(w->reply.headers[i].name, name) == 0)
			return w->reply.headers[i].value;
	}
	return NULL;
}

static inline void assert_reply(const struct world *w, unsigned status, const char *body)
{
	if (w->reply.status != status)
		print_error("%s: %s\n", w->line, body_of(w));
	assert_int_equal(w->reply.status, status);
	assert_string_equal(body_of(w), body);
	if (body[0] == '{' || body[0] == '[')
		assert_string_equal(w->reply.type, "application/json");
	if (!body[0])
		assert_null(w->reply.type);
}

static inline void assert_exchange(struct world *w, const struct exchange *e)
{
	ask(w, e->method, e->path, e->body);
	assert_reply(w, e->status, e->reply);
}

/* What a request is answered when the backend says that. */
struct failure {
	enum api_status status;
	unsigned http;
	const char *body;
};

static inline void assert_failures(struct world *w, const char *method, const char *path,
				   const char *body, const struct failure *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		w->fake.fails = cases[i].status;
		ask(w, method, path, body);
		assert_reply(w, cases[i].http, cases[i].body);
	}
}

static inline void assert_has(const struct world *w, const char *part)
{
	if (!strstr(body_of(w), part))
		fail_msg("'%s' is not in %s", part, body_of(w));
}

static inline void assert_has_not(const struct world *w, const char *part)
{
	if (strstr(body_of(w), part))
		fail_msg("'%s' is in %s", part, body_of(w));
}

static inline void be(struct world *w, enum api_role role, const char *owner)
{
	memset(&w->caller, 0, sizeof(w->caller));
	w->caller.role = role;
	snprintf(w->caller.owner, sizeof(w->caller.owner), "%s", owner);
}

/* A tenant "ann" before an empty host. */
static inline int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	w->backend = fake_backend(&w->fake);
	be(w, API_ROLE_TENANT, "ann");
	*state = w;
	return 0;
}

static inline int world_teardown(void **state)
{
	struct world *w = *state;

	api_reply_done(&w->reply);
	fake_done(&w->fake);
	free(w->line);
	free(w);
	return 0;
}

#define world_test(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

#endif
