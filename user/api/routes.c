/* SPDX-License-Identifier: MIT */
/* The table of routes: who may call what. Paths are compared as they came, never decoded: nothing can hide in them. */
#include <stdio.h>
#include <string.h>

#include "api/call.h"

enum access {
	ACCESS_OPERATOR = 0,
	ACCESS_KEY, /* any valid key */
	ACCESS_ALL,
};

struct route {
	const char *method;
	const char *path; /* {id} stands for one segment */
	route_fn serve;
	unsigned char dialect; /* enum api_dialect */
	unsigned char access;  /* enum access */
};

#define E2B(method, path, fn)                                                                      \
	{                                                                                          \
		method, path, fn, API_E2B, ACCESS_KEY                                              \
	}
#define BRIMBLE(method, path, fn)                                                                  \
	{                                                                                          \
		method, path, fn, API_BRIMBLE, ACCESS_KEY                                          \
	}
#define NATIVE(method, path, fn)                                                                   \
	{                                                                                          \
		method, path, fn, API_NATIVE, ACCESS_OPERATOR                                      \
	}

static const struct route routes[] = {
	E2B("POST", "/sandboxes", e2b_create),
	E2B("POST", "/v2/sandboxes", e2b_create),
	E2B("GET", "/sandboxes", e2b_list),
	E2B("GET", "/v2/sandboxes", e2b_list_v2),
	E2B("GET", "/sandboxes/{id}", e2b_get),
	E2B("DELETE", "/sandboxes/{id}", e2b_remove),
	E2B("PUT", "/sandboxes/{id}/network", e2b_network),
	E2B("POST", "/sandboxes/{id}/pause", e2b_pause),
	E2B("POST", "/sandboxes/{id}/resume", e2b_resume),
	E2B("POST", "/sandboxes/{id}/connect", e2b_connect),
	E2B("POST", "/v2/sandboxes/{id}/connect", e2b_connect),
	E2B("POST", "/sandboxes/{id}/timeout", e2b_timeout),
	BRIMBLE("POST", "/sandboxes", brimble_create),
	BRIMBLE("GET", "/sandboxes", brimble_list),
	BRIMBLE("GET", "/sandboxes/{id}", brimble_get),
	BRIMBLE("GET", "/sandboxes/{id}/wait", brimble_get), /* creation is synchronous */
	BRIMBLE("DELETE", "/sandboxes/{id}", brimble_remove),
	BRIMBLE("PUT", "/sandboxes/{id}/egress", brimble_egress),
	BRIMBLE("POST", "/sandboxes/{id}/pause", brimble_pause),
	BRIMBLE("POST", "/sandboxes/{id}/resume", brimble_resume),
	NATIVE("POST", "/v1/sandboxes", native_create),
	NATIVE("GET", "/v1/sandboxes", native_list),
	NATIVE("GET", "/v1/sandboxes/{id}", native_get),
	NATIVE("DELETE", "/v1/sandboxes/{id}", native_remove),
	NATIVE("PUT", "/v1/sandboxes/{id}/policy", native_policy),
	NATIVE("PUT", "/v1/policies", native_policies),
	NATIVE("GET", "/v1/sandboxes/{id}/leases", native_leases),
	NATIVE("GET", "/v1/sandboxes/{id}/rules", native_rules),
	NATIVE("GET", "/v1/sandboxes/{id}/flows", native_flows),
	NATIVE("GET", "/v1/explain", native_explain),
	NATIVE("GET", "/v1/events", native_events),
	NATIVE("GET", "/v1/ca.pem", native_ca),
	NATIVE("GET", "/metrics", native_metrics),
	{"GET", "/healthz", native_health, API_NATIVE, ACCESS_ALL},
	{"GET", "/readyz", native_ready, API_NATIVE, ACCESS_ALL},
};

/* {id} takes one whole segment, which is not empty. */
static bool match_path(const char *pattern, const char *path, const char **ret_id, size_t *ret_size)
{
	while (*pattern) {
		if (*pattern == '{') {
			*ret_id = path;
			*ret_size = strcspn(path, "/");
			if (!*ret_size)
				return false;
			path += *ret_size;
			pattern += strcspn(pattern, "/");
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return !*path;
}

struct match {
	const struct route *route;
	const char *id; /* NULL: none in this path */
	size_t id_size;
	char allow[32]; /* methods of this path, when the one asked for is none of them */
};

static void note_method(struct match *match, const char *method)
{
	size_t used = strlen(match->allow);

	if (strstr(match->allow, method))
		return;
	snprintf(match->allow + used, sizeof(match->allow) - used, "%s%s", used ? ", " : "",
		 method);
}

/* The first route of `dialect` for this request. */
static bool find_route(const struct api_request *request, enum api_dialect dialect,
		       struct match *match)
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		const struct route *route = &routes[i];
		const char *id = NULL;
		size_t size = 0;

		if (route->dialect != dialect ||
		    !match_path(route->path, request->path, &id, &size))
			continue;
		if (strcmp(route->method, request->method) != 0) {
			note_method(match, route->method);
			continue;
		}
		match->route = route;
		match->id = id;
		match->id_size = size;
		return true;
	}
	return false;
}

static bool has_prefix(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Both vendors have /sandboxes; Brimble's clients are known by the header of their key, or by a path E2B has not. */
static enum api_dialect dialect_of(const struct api_request *request)
{
	if (!has_prefix(request->path, "/sandboxes") && !has_prefix(request->path, "/v2/sandboxes"))
		return API_NATIVE;
	return request->header(request->context, "x-brimble-key") ? API_BRIMBLE : API_E2B;
}

static bool match_route(struct call *call, struct match *match)
{
	enum api_dialect other = call->dialect == API_E2B ? API_BRIMBLE : API_E2B;

	if (find_route(call->request, call->dialect, match))
		return true;
	return call->dialect != API_NATIVE && find_route(call->request, other, match);
}

static void refuse_path(struct call *call, const struct match *match)
{
	if (match->allow[0]) {
		reply_error(call, 405, "%.16s is not a method of this path, expected %s",
			    call->request->method, match->allow);
		reply_header(call, "Allow", match->allow);
		return;
	}
	reply_error(call, 404, "there is nothing at %.200s", call->request->path);
}

/* Who may not call is told so before anything else is looked at. */
static bool is_admitted(struct call *call, const struct route *route)
{
	enum api_role role = call->request->caller.role;

	if (route && route->access == ACCESS_ALL)
		return true;
	if (role == API_ROLE_NONE) {
		reply_error(call, 401, "Invalid API key");
		return false;
	}
	/* Unknown paths of ours are an operator's as well: others need not know which exist. */
	if (role == API_ROLE_TENANT && call->dialect == API_NATIVE) {
		reply_error(call, 403, "this needs the unix socket or an operator's key");
		return false;
	}
	return true;
}

static bool take_id(struct call *call, const struct match *match)
{
	static bool (*const take[])(struct call * call, const char *text, size_t size) = {
		[API_NATIVE] = native_take_id,
		[API_E2B] = e2b_take_id,
		[API_BRIMBLE] = brimble_take_id,
	};

	return !match->id || take[call->dialect](call, match->id, match->id_size);
}

static void serve(struct call *call)
{
	struct match match = {0};
	bool found = match_route(call, &match);

	if (found)
		call->dialect = (enum api_dialect)match.route->dialect;
	if (!is_admitted(call, match.route))
		return;
	if (!found)
		refuse_path(call, &match);
	else if (take_id(call, &match))
		match.route->serve(call);
}

void api_route(const struct api_backend *backend, const struct api_request *request,
	       struct api_reply *reply)
{
	struct call call = {.backend = backend, .request = request, .reply = reply};

	memset(reply, 0, sizeof(*reply));
	call.dialect = dialect_of(request);
	serve(&call);
	/* No memory for a body: the status says it. */
	if (buf_status(&reply->body) < 0)
		reply_status(&call, 500);
}
