/* SPDX-License-Identifier: MIT */
/* E2B's routes: their order of checks, their sentences, what the SDK reads. */
#include "api_fixture.h"

#define X16   "xxxxxxxxxxxxxxxx"
#define X64   X16 X16 X16 X16
#define X1024 X64 X64 X64 X64 X64 X64 X64 X64 X64 X64 X64 X64 X64 X64 X64 X64
#define X4096 X1024 X1024 X1024 X1024

#define NET "/sandboxes/abc/network"
#define NOT_HERE                                                                                   \
	"{\"code\":404,\"message\":\"Sandbox \\\"abc\\\" doesn't exist or you don't have access to it\"}"
#define ERROR(code, text) "{\"code\":" #code ",\"message\":\"" text "\"}"
#define NEEDS_ALL                                                                                  \
	"When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to block all other traffic."
#define NO_PROXY "Egress proxy (egressProxy) is not enabled for this team."
#define NO_RULES "Network transform rules are not available for your team."
#define PARSING	 "Error when parsing request: "

static void add(struct world *w, const char *id, const char *owner, const char *document)
{
	fake_add(&w->fake, id, owner, API_E2B, document);
}

/* ---- PUT /sandboxes/{id}/network ---- */

static void a_change_is_204_and_replaces_the_whole_policy(void **state)
{
	struct world *w = *state;

	add(w, "abc", "ann", "{\"denyOut\":[\"1.1.1.1\"]}");
	ask(w, "PUT", NET,
	    "{ \"allowOut\" : [\"8.8.8.8\",\"*.example.com\"],\"denyOut\":[\"0.0.0.0/0\"]}");
	assert_reply(w, 204, "");
	assert_string_equal(header_of(w, "X-Postern-Generation"), "2");
	assert_int_equal(strlen(header_of(w, "X-Postern-Policy")), 64);
	assert_null(header_of(w, "X-Postern-Warnings"));
	assert_string_equal(
		w->fake.sandboxes[0].document,
		"{\"allowOut\":[\"8.8.8.8\",\"*.example.com\"],\"denyOut\":[\"0.0.0.0/0\"]}");
	ask(w, "PUT", NET, "{}");
	assert_reply(w, 204, "");
	assert_string_equal(w->fake.sandboxes[0].document, "{}");
}

static void features_given_as_null_are_not_given(void **state)
{
	struct world *w = *state;

	add(w, "abc", "ann", "{}");
	ask(w, "PUT", NET, "{\"egressProxy\":null,\"rules\":null,\"allowOut\":null}");
	assert_reply(w, 204, "");
}

static void refuses_bodies_with_the_vendors_sentences(void **state)
{
	static const struct exchange exchanges[] = {
		{"PUT", NET, "", 400,
		 ERROR(400, PARSING "1:1: expected a value, found the end of the document")},
		{"PUT", NET, "{", 400,
		 ERROR(400, PARSING
		       "1:2: expected a key in double quotes, found the end of the document")},
		{"PUT", NET, "[]", 400, ERROR(400, PARSING "expected an object, found a list")},
		{"PUT", NET, "{\"allowOut\":\"a\"}", 400,
		 ERROR(400, PARSING "allowOut: expected a list, found a string")},
		{"PUT", NET, "{\"denyOut\":[1]}", 400,
		 ERROR(400, PARSING "denyOut[0]: expected a string, found a whole number")},
		{"PUT", NET, "{\"allow_internet_access\":1}", 400,
		 ERROR(400, PARSING
		       "allow_internet_access: expected true or false, found a whole number")},
		{"PUT", NET, "{\"egressProxy\":\"a:1\"}", 400,
		 ERROR(400, PARSING "egressProxy: expected an object, found a string")},
		{"PUT", NET, "{\"rules\":[]}", 400,
		 ERROR(400, PARSING "rules: expected an object, found a list")},
		{"PUT", NET, "{\"allowout\":[]}", 400,
		 ERROR(400, PARSING "unknown key 'allowout', did you mean 'allowOut'?")},
		{"PUT", NET, "{\"audit\":true}", 400, ERROR(400, PARSING "unknown key 'audit'")},
		{"PUT", NET, "{\"allowPrivate\":[\"10.0.0.0/8\"]}", 400,
		 ERROR(400, PARSING "unknown key 'allowPrivate'")},
		{"PUT", NET, "{\"denyOut\":[],\"denyOut\":[]}", 400,
		 ERROR(400, PARSING "1:15: duplicate key 'denyOut'")},
		{"PUT", NET, "{\"denyOut\":[\"example.com\"]}", 400,
		 ERROR(400, "invalid denied CIDR example.com")},
		{"PUT", NET, "{\"denyOut\":[\"0.0.0.0\"]}", 400,
		 ERROR(400, "invalid denied CIDR 0.0.0.0")},
		{"PUT", NET, "{\"denyOut\":[\"::/0\"]}", 400,
		 ERROR(400, "invalid denied CIDR ::/0")},
		{"PUT", NET, "{\"denyOut\":[\"0.0.0.0/24\"]}", 400,
		 ERROR(400, "invalid denied CIDR 0.0.0.0/24")},
		{"PUT", NET, "{\"allowOut\":[\"0.0.0.0\"]}", 400,
		 ERROR(400, "invalid allowed address 0.0.0.0")},
		{"PUT", NET, "{\"allowOut\":[\"not a host\"],\"denyOut\":[\"0.0.0.0/0\"]}", 400,
		 ERROR(400, "invalid allowed domain not a host")},
		{"PUT", NET, "{\"allowOut\":[\"a.com\"]}", 400, ERROR(400, NEEDS_ALL)},
		{"PUT", NET, "{\"allowOut\":[\"a.com\"],\"allow_internet_access\":false}", 400,
		 ERROR(400, NEEDS_ALL)},
	};
	struct world *w = *state;

	add(w, "abc", "ann", "{\"denyOut\":[\"9.9.9.9\"]}");
	for (size_t i = 0; i < COUNT(exchanges); i++)
		assert_exchange(w, &exchanges[i]);
	assert_int_equal(w->fake.calls, 0);
	assert_string_equal(w->fake.sandboxes[0].document, "{\"denyOut\":[\"9.9.9.9\"]}");
}

#define RULES(members) "\"rules\":{\"a.com\":[{\"transform\":{\"headers\":{" members "}}}]}"
#define PROXY	       "\"egressProxy\":{\"address\":\"p.io:9\",\"username\":\"u\",\"password\":\"s3cret\"}"

/* Step 4 the lists, 5 the proxy, then the sandbox when there are rules, then the rules. */
static void checks_of_teams_with_the_features_come_in_the_vendors_order(void **state)
{
	static const char rules_wrong[] = "{\"rules\":{\"\":[]}}";
	static const char good[] = "{" PROXY "," RULES("\"x-key\":\"t0ken\"") "}";
	struct world *w = *state;

	w->fake.relays = true;
	ask(w, "PUT", NET, "{\"denyOut\":[\"x\"],\"egressProxy\":{\"address\":\"\"}}");
	assert_reply(w, 400, ERROR(400, "invalid denied CIDR x"));
	ask(w, "PUT", NET, "{\"egressProxy\":{\"address\":\"\"},\"rules\":{\"\":[]}}");
	assert_has(w, "Invalid egress proxy config: egress proxy address must not be empty");
	ask(w, "PUT", NET, rules_wrong);
	assert_reply(w, 404, NOT_HERE);
	add(w, "abc", "ann", "{}");
	w->fake.sandboxes[0].state = API_PAUSED;
	ask(w, "PUT", NET, rules_wrong);
	assert_reply(w, 400, ERROR(400, "Rule domain must not be empty."));
	assert_int_equal(w->fake.calls, 0);
	w->fake.sandboxes[0].state = API_RUNNING;
	ask(w, "PUT", NET, good);
	assert_reply(w, 204, "");
	assert_string_equal(w->fake.sandboxes[0].document, good);
	ask(w, "GET", "/sandboxes/abc", "");
	assert_has(w, "\"egressProxy\":{\"address\":\"p.io:9\",\"username\":\"u\"}");
	assert_has(w, "\"x-key\":\"***\"");
	assert_null(strstr(w->reply.body.data, "s3cret"));
	assert_null(strstr(w->reply.body.data, "t0ken"));
}

/* Each is wrong in every way from its own on: the earliest check is the one that answers. */
static void checks_come_in_the_vendors_order(void **state)
{
	static const char all_wrong[] =
		"{\"denyOut\":[\"x\"],\"allowOut\":[\"0.0.0.0\"],\"egressProxy\":{},\"rules\":{}}";
	static const char allow_wrong[] =
		"{\"allowOut\":[\"0.0.0.0\"],\"egressProxy\":{},\"rules\":{}}";
	static const char features[] = "{\"egressProxy\":{\"address\":\"\"},\"rules\":{}}";
	struct world *w = *state;

	be(w, API_ROLE_NONE, "");
	ask(w, "PUT", "/sandboxes/NO-such-id/network", "{");
	assert_reply(w, 401, ERROR(401, "Invalid API key"));
	be(w, API_ROLE_TENANT, "ann");
	ask(w, "PUT", "/sandboxes/NO-such-id/network", "{");
	assert_reply(w, 400, ERROR(400, "Invalid sandbox ID"));
	ask(w, "PUT", NET, "{");
	assert_has(w, PARSING);
	ask(w, "PUT", NET, all_wrong);
	assert_reply(w, 400, ERROR(400, "invalid denied CIDR x"));
	ask(w, "PUT", NET, allow_wrong);
	assert_reply(w, 400, ERROR(400, "invalid allowed address 0.0.0.0"));
	ask(w, "PUT", NET, features);
	assert_reply(w, 403, ERROR(403, NO_PROXY));
	ask(w, "PUT", NET, "{\"rules\":{}}");
	assert_reply(w, 404, NOT_HERE);
	ask(w, "PUT", NET, "{}");
	assert_reply(w, 404, NOT_HERE);
	add(w, "abc", "ann", "{}");
	ask(w, "PUT", NET, "{\"rules\":{}}");
	assert_reply(w, 400, ERROR(400, NO_RULES));
	w->fake.sandboxes[0].state = API_PAUSED;
	ask(w, "PUT", NET, "{\"rules\":{}}");
	assert_reply(w, 400, ERROR(400, NO_RULES));
	ask(w, "PUT", NET, "{}");
	assert_reply(w, 409, ERROR(409, "Sandbox \\\"abc\\\" is in paused state"));
}

static void a_change_that_fails_has_the_code_in_its_body(void **state)
{
	static const struct failure cases[] = {
		{API_INVALID, 400, ERROR(400, "it was told to fail")},
		{API_UNSUPPORTED, 400, ERROR(400, "it was told to fail")},
		{API_NOT_FOUND, 404, NOT_HERE},
		{API_CONFLICT, 409, ERROR(409, "it was told to fail")},
		{API_FULL, 507, ERROR(507, "it was told to fail")},
		{API_FAILED, 500, ERROR(500, "Error applying network config to sandbox")},
	};
	struct world *w = *state;

	add(w, "abc", "ann", "{}");
	assert_failures(w, "PUT", NET, "{}", cases, COUNT(cases));
}

static void warnings_fit_into_one_header_line(void **state)
{
	struct world *w = *state;

	add(w, "abc", "ann", "{}");
	w->fake.warns = true;
	ask(w, "PUT", NET, "{}");
	assert_reply(w, 204, "");
	assert_string_equal(header_of(w, "X-Postern-Warnings"),
			    "allowOut[0]: has no??Evil: effect; allowOut[1]: b??cher");
}

/* ---- ids and paths ---- */

static void the_older_form_of_an_id_is_the_same_sandbox(void **state)
{
	struct world *w = *state;

	add(w, "abc", "ann", "{}");
	ask(w, "PUT", "/sandboxes/abc-6532622b/network", "{}");
	assert_reply(w, 204, "");
	ask(w, "GET", "/sandboxes/abc-", NULL);
	assert_int_equal(w->reply.status, 200);
}

static void refuses_what_is_no_id(void **state)
{
	static const char *const ids[] = {"a-b-c", "ABC",    "a.c", "..",    "-",   "-a",
					  "a%2eb", "a%00b",  "a_b", "a b",   "a;b", "a\\b",
					  "%61bc", "a\x01b", "*",   "a\xc3", "--",  "{id}"};
	struct world *w = *state;
	char path[128];

	add(w, "abc", "ann", "{}");
	for (size_t i = 0; i < COUNT(ids); i++) {
		snprintf(path, sizeof(path), "/sandboxes/%s/network", ids[i]);
		ask(w, "PUT", path, "{}");
		assert_reply(w, 400, ERROR(400, "Invalid sandbox ID"));
	}
	assert_int_equal(w->fake.calls, 0);
}

static void an_id_of_any_length_is_answered(void **state)
{
	struct world *w = *state;

	ask(w, "PUT", "/sandboxes/" X4096 "/network", "{}");
	assert_reply(w, 404, ERROR(404, "there is no sandbox with an ID that long"));
	ask(w, "PUT", "/sandboxes/" X4096 "-" X4096 "-/network", "{}");
	assert_reply(w, 400, ERROR(400, "Invalid sandbox ID"));
	ask(w, "PUT", "/sandboxes/" X64 "/network", "{}");
	assert_int_equal(w->reply.status, 404);
	assert_int_equal(w->fake.calls, 1); /* 64 are an id */
}

static void other_paths_are_404(void **state)
{
	static const char *const paths[] = {
		"/",
		"",
		"//sandboxes",
		"/sandboxes/",
		"/sandboxes//network",
		"/sandboxes/abc/network/",
		"/sandboxes/abc//network",
		"/sandboxes/abc/../abc/network",
		"/sandboxes/../v1/sandboxes",
		"/sandboxes/abc/%6eetwork",
		"/Sandboxes/abc",
		"/v2/sandboxes/abc",
		"/v3/sandboxes",
		"/sandboxes/" X4096 "/" X4096,
	};
	struct world *w = *state;

	be(w, API_ROLE_OPERATOR, "");
	add(w, "abc", "ann", "{}");
	for (size_t i = 0; i < COUNT(paths); i++) {
		ask(w, "PUT", paths[i], "{}");
		assert_int_equal(w->reply.status, 404);
		assert_has(w, "{\"code\":404,\"message\":\"there is nothing at ");
	}
	assert_int_equal(w->fake.calls, 0);
}

static void another_method_of_a_path_is_405_with_those_it_has(void **state)
{
	struct world *w = *state;

	ask(w, "PATCH", "/sandboxes/abc", "{}");
	assert_reply(w, 405,
		     ERROR(405, "PATCH is not a method of this path, expected GET, DELETE"));
	assert_string_equal(header_of(w, "Allow"), "GET, DELETE");
	ask(w, "put", NET, "{}");
	assert_int_equal(w->reply.status, 405);
	assert_string_equal(header_of(w, "Allow"), "PUT");
}

/* ---- creation ---- */

static void creates_and_keeps_what_is_not_the_firewalls(void **state)
{
	struct world *w = *state;

	ask(w, "POST", "/v2/sandboxes",
	    "{\"templateID\":\"py\",\"timeout\":300,\"metadata\":{\"a\":\"b\"},\"envVars\":{\"K\":\"V\"},"
	    "\"allow_internet_access\":true,\"network\":{\"allowOut\":[\"a.com\"],"
	    "\"denyOut\":[\"0.0.0.0/0\"],\"allowPublicTraffic\":false,\"maskRequestHost\":\"localhost:${PORT}\","
	    "\"httpsPorts\":[8443]}}");
	assert_reply(
		w, 201,
		"{\"sandboxID\":\"000000000000000000abc000\",\"templateID\":\"py\",\"clientID\":\"postern\",\"envdVersion\":\"0.1.0\",\"domain\":null}");
	assert_string_equal(header_of(w, "X-Postern-Generation"), "1");
	assert_string_equal(header_of(w, "X-Postern-Assurance"), "weak: earlier-sockets");
	assert_string_equal(
		w->fake.sandboxes[0].document,
		"{\"allowOut\":[\"a.com\"],\"denyOut\":[\"0.0.0.0/0\"],\"allow_internet_access\":true}");
	assert_string_equal(
		w->fake.sandboxes[0].extra,
		"{\"templateID\":\"py\",\"metadata\":{\"a\":\"b\"},\"envVars\":{\"K\":\"V\"},\"network\":{\"allowPublicTraffic\":false,\"maskRequestHost\":\"localhost:${PORT}\",\"httpsPorts\":[8443]}}");
	assert_string_equal(w->fake.sandboxes[0].owner, "ann");
	assert_int_equal(w->fake.created.timeout_ms, 300000);
	assert_int_equal(w->fake.created.dialect, API_E2B);
	assert_null(w->fake.created.cgroup);
	assert_null(w->fake.created.id);
	assert_false(w->fake.created.allow_weak);
}

static void the_older_path_creates_as_well(void **state)
{
	struct world *w = *state;

	ask(w, "POST", "/sandboxes", "{\"templateID\":\"base\",\"secure\":true,\"network\":null}");
	assert_int_equal(w->reply.status, 201);
	assert_string_equal(w->fake.sandboxes[0].document, "{}");
	assert_int_equal(w->fake.created.timeout_ms, 0);
	ask(w, "POST", "/sandboxes", "{\"allow_internet_access\":false,\"timeout\":0}");
	assert_int_equal(w->reply.status, 201);
	assert_string_equal(w->fake.sandboxes[1].document, "{\"allow_internet_access\":false}");
	assert_int_equal(w->fake.created.timeout_ms, 1);
}

static void refuses_creations_with_the_vendors_sentences(void **state)
{
#define CREATE(body, status, text)                                                                 \
	{                                                                                          \
		"POST", "/v2/sandboxes", body, status, ERROR(status, text)                         \
	}
	static const struct exchange exchanges[] = {
		CREATE("", 400, PARSING "1:1: expected a value, found the end of the document"),
		CREATE("{\"timeout\":\"1\"}", 400,
		       PARSING "timeout: expected a whole number, found a string"),
		CREATE("{\"timeout\":-1}", 400,
		       PARSING "timeout: -1 is out of range, expected 0..2147483647"),
		CREATE("{\"network\":[]}", 400,
		       PARSING "network: expected an object, found a list"),
		CREATE("{\"network\":{\"alowOut\":[]}}", 400,
		       PARSING "unknown key 'alowOut', did you mean 'allowOut'?"),
		CREATE("{\"network\":{\"maskRequestHost\":1}}", 400,
		       PARSING "network.maskRequestHost: expected a string, found a whole number"),
		CREATE("{\"network\":{\"maskRequestHost\":\"b\xc3\xbc.de:80\"}}", 400,
		       "mask request host 'b\xc3\xbc.de' is not ASCII. Please use ASCII characters only."),
		CREATE("{\"network\":{\"maskRequestHost\":\"a b\"}}", 400,
		       "mask request host is not valid: a b"),
		/* before the lists, as E2B does it */
		CREATE("{\"network\":{\"denyOut\":[\"x\"],\"maskRequestHost\":\"a/b\"}}", 400,
		       "mask request host is not valid: a/b"),
		CREATE("{\"network\":{\"denyOut\":[\"x\"],\"egressProxy\":{}}}", 400,
		       "invalid denied CIDR x"),
		CREATE("{\"network\":{\"allowOut\":[\"a.com\"]},\"allow_internet_access\":false}",
		       400, NEEDS_ALL),
		CREATE("{\"network\":{\"egressProxy\":{\"address\":\"a:1\"},\"rules\":{}}}", 403,
		       NO_PROXY),
		CREATE("{\"network\":{\"rules\":{\"a.com\":[]}}}", 400, NO_RULES),
		/* what they say is not looked at */
		CREATE("{\"network\":{\"egressProxy\":{\"address\":\"\"}}}", 403, NO_PROXY),
		CREATE("{\"network\":{\"rules\":{\"\":1}}}", 400, NO_RULES),
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(exchanges); i++)
		assert_exchange(w, &exchanges[i]);
	assert_int_equal(w->fake.calls, 0);
}

static void a_creation_that_fails_says_so(void **state)
{
	struct world *w = *state;

	w->fake.fails = API_FULL;
	ask(w, "POST", "/sandboxes", "{}");
	assert_reply(w, 507, ERROR(507, "it was told to fail"));
	w->fake.fails = API_FAILED;
	ask(w, "POST", "/sandboxes", "{}");
	assert_reply(w, 500, ERROR(500, "Failed to create sandbox"));
}

/* ---- what is shown ---- */

static void shows_a_sandbox_with_its_network(void **state)
{
	struct world *w = *state;

	ask(w, "POST", "/sandboxes",
	    "{\"timeout\":60,\"metadata\":{\"a\":\"b\"},\"allow_internet_access\":false,"
	    "\"network\":{\"allowOut\":[\"8.8.8.8\"],\"allowPublicTraffic\":true}}");
	ask(w, "GET", "/sandboxes/000000000000000000abc000", NULL);
	assert_reply(
		w, 200,
		"{\"sandboxID\":\"000000000000000000abc000\",\"templateID\":\"base\",\"clientID\":\"postern\",\"envdVersion\":\"0.1.0\","
		"\"startedAt\":\"2023-11-14T22:13:20.000Z\",\"endAt\":\"2023-11-14T22:14:20.000Z\",\"state\":\"running\","
		"\"cpuCount\":1,\"memoryMB\":128,\"diskSizeMB\":0,\"metadata\":{\"a\":\"b\"},\"domain\":null,"
		"\"network\":{\"allowOut\":[\"8.8.8.8\"],\"allowPublicTraffic\":true},\"allowInternetAccess\":false}");
}

static void shows_no_password_and_no_header_value(void **state)
{
	struct world *w = *state;

	add(w, "abc", "ann",
	    "{\"denyOut\":[\"0.0.0.0/0\"],\"egressProxy\":{\"address\":\"p:1\",\"username\":\"u\",\"password\":\"pw-SECRET\"},"
	    "\"rules\":{\"a.com\":[{\"transform\":{\"headers\":{\"X-Key\":\"hv-SECRET\"}}}]}}");
	ask(w, "GET", "/sandboxes/abc", NULL);
	assert_int_equal(w->reply.status, 200);
	assert_has_not(w, "SECRET");
	assert_has_not(w, "password");
	assert_has(w, "\"egressProxy\":{\"address\":\"p:1\",\"username\":\"u\"}");
	assert_has(w, "\"rules\":{\"a.com\":[{\"transform\":{\"headers\":{\"X-Key\":\"***\"}}}]}");
	ask(w, "GET", "/v2/sandboxes", NULL);
	assert_has_not(w, "SECRET");
}

static void refusals_repeat_no_secret(void **state)
{
	static const char *const bodies[] = {
		"{\"egressProxy\":{\"address\":\"p:1\",\"password\":\"pw-SECRET\"}}",
		"{\"rules\":{\"a.com\":[{\"transform\":{\"headers\":{\"X\":\"hv-SECRET\"}}}]}}",
		"{\"egressProxy\":{\"address\":\"p:1\",\"password\":\"pw-SECRET\"},\"denyOut\":[\"x\"]}",
		"{\"egressProxy\":\"pw-SECRET\"}",
		"{\"rules\":\"hv-SECRET\"}",
		"{\"egressProxy\":{\"password\":\"pw-SECRET\" x}}",
	};
	struct world *w = *state;

	add(w, "abc", "ann", "{}");
	for (size_t i = 0; i < COUNT(bodies); i++) {
		ask(w, "PUT", NET, bodies[i]);
		assert_true(w->reply.status >= 400);
		assert_has_not(w, "SECRET");
	}
}

static void a_policy_of_brimbles_is_shown_in_these_words(void **state)
{
	struct world *w = *state;

	fake_add(&w->fake, "abc", "ann", API_BRIMBLE,
		 "{\"mode\":\"restricted\",\"allow\":[\"1.1.1.1\"]}");
	ask(w, "GET", "/sandboxes/abc", NULL);
	assert_has(w, "\"network\":{\"allowOut\":[\"1.1.1.1\"],\"denyOut\":[\"0.0.0.0/0\"]}");
	fake_add(&w->fake, "b", "ann", API_BRIMBLE, "{\"mode\":\"open\"}");
	ask(w, "GET", "/sandboxes/b", NULL);
	assert_has(w, "\"network\":{}");
}

static void what_is_gone_is_not_found_but_can_be_deleted(void **state)
{
	struct world *w = *state;

	add(w, "abc", "ann", "{}");
	w->fake.sandboxes[0].state = API_GONE;
	ask(w, "GET", "/sandboxes/abc", NULL);
	assert_reply(w, 404, NOT_HERE);
	ask(w, "GET", "/v2/sandboxes", NULL);
	assert_reply(w, 200, "[]");
	ask(w, "DELETE", "/sandboxes/abc", NULL);
	assert_reply(w, 204, "");
	assert_int_equal(w->fake.count, 0);
}

/* ---- lists ---- */

/* "a", "bc": the ids of a list, in its order. */
static void assert_listed(const struct world *w, const char *const *ids, size_t count)
{
	const char *at = body_of(w);

	assert_int_equal(w->reply.status, 200);
	for (size_t i = 0; i < count; i++) {
		char part[64];

		snprintf(part, sizeof(part), "\"sandboxID\":\"%s\"", ids[i]);
		at = strstr(at, "\"sandboxID\":");
		assert_non_null(at);
		if (strncmp(at, part, strlen(part)) != 0)
			fail_msg("expected %s, found %s", part, at);
		at++;
	}
	assert_null(strstr(at, "\"sandboxID\":"));
}

static void lists_come_in_pages(void **state)
{
	static const char *const first[] = {"d", "c"}, *const second[] = {"b", "a"},
				 *const third[] = {"e"};
	struct world *w = *state;
	char path[128];

	/* Made in the same millisecond: the id decides, and none is left out between pages. */
	for (const char *const *id = (const char *const[]){"d", "c", "b", "a", "e", NULL}; *id;
	     id++)
		add(w, *id, "ann", "{}");
	w->fake.sandboxes[3].created_ms = w->fake.sandboxes[2].created_ms + 1;
	ask(w, "GET", "/v2/sandboxes?order=asc&limit=2", NULL);
	assert_listed(w, first, 2);
	snprintf(path, sizeof(path), "/v2/sandboxes?order=asc&limit=2&nextToken=%s",
		 header_of(w, "x-next-token"));
	ask(w, "GET", path, NULL);
	assert_listed(w, second, 2);
	snprintf(path, sizeof(path), "/v2/sandboxes?order=asc&limit=2&nextToken=%s",
		 header_of(w, "x-next-token"));
	ask(w, "GET", path, NULL);
	assert_listed(w, third, 1);
	assert_null(header_of(w, "x-next-token"));
}

static void pages_lose_nobody_of_the_same_millisecond(void **state)
{
	static const char *const first[] = {"a", "b"}, *const second[] = {"c"};
	struct world *w = *state;
	char path[128];

	for (const char *const *id = (const char *const[]){"c", "b", "a", NULL}; *id; id++) {
		add(w, *id, "ann", "{}");
		w->fake.sandboxes[w->fake.count - 1].created_ms = 5000;
	}
	ask(w, "GET", "/v2/sandboxes?order=asc&limit=2", NULL);
	assert_listed(w, first, 2);
	assert_string_equal(header_of(w, "x-next-token"), "5000_b");
	snprintf(path, sizeof(path), "/v2/sandboxes?order=asc&limit=2&nextToken=%s",
		 header_of(w, "x-next-token"));
	ask(w, "GET", path, NULL);
	assert_listed(w, second, 1);
}

static void a_page_has_100_at_most_and_the_older_list_has_all(void **state)
{
	struct world *w = *state;
	size_t n = 0;
	char id[16];

	for (unsigned i = 0; i < 130; i++) {
		snprintf(id, sizeof(id), "s%u", i);
		add(w, id, "ann", "{}");
	}
	ask(w, "GET", "/v2/sandboxes", NULL);
	assert_non_null(header_of(w, "x-next-token"));
	for (const char *at = body_of(w); (at = strstr(at, "sandboxID")); at++)
		n++;
	assert_int_equal(n, 100);
	ask(w, "GET", "/sandboxes", NULL);
	assert_null(header_of(w, "x-next-token"));
	n = 0;
	for (const char *at = body_of(w); (at = strstr(at, "sandboxID")); at++)
		n++;
	assert_int_equal(n, 130);
}

static void lists_are_filtered_by_state_and_metadata(void **state)
{
	static const char *const a[] = {"a"}, *const b[] = {"b"}, *const both[] = {"b", "a"};
	struct world *w = *state;

	add(w, "a", "ann", "{}");
	add(w, "b", "ann", "{}");
	add(w, "c", "bob", "{}");
	w->fake.sandboxes[1].state = API_PAUSED;
	free(w->fake.sandboxes[0].extra);
	w->fake.sandboxes[0].extra = strdup("{\"metadata\":{\"team\":\"x y\",\"k\":\"1&2\"}}");
	ask(w, "GET", "/v2/sandboxes", NULL);
	assert_listed(w, both, 2);
	ask(w, "GET", "/sandboxes", NULL);
	assert_listed(w, a, 1);
	ask(w, "GET", "/v2/sandboxes?state=paused", NULL);
	assert_listed(w, b, 1);
	ask(w, "GET", "/v2/sandboxes?state=running,paused", NULL);
	assert_listed(w, both, 2);
	/* The SDKs encode three times; the test's query stands for what was decoded once. */
	ask(w, "GET", "/v2/sandboxes?metadata=team%3Dx%2520y%26k=1%25262", NULL);
	assert_listed(w, a, 1);
	ask(w, "GET", "/v2/sandboxes?metadata=team=x%20y", NULL);
	assert_listed(w, a, 1);
	ask(w, "GET", "/v2/sandboxes?metadata=team=x+y&limit=1", NULL);
	assert_listed(w, a, 1);
	ask(w, "GET", "/v2/sandboxes?metadata=team=x%20y%26k=2", NULL);
	assert_reply(w, 200, "[]");
	ask(w, "GET", "/v2/sandboxes?metadata=team=z", NULL);
	assert_reply(w, 200, "[]");
	ask(w, "GET", "/sandboxes?metadata=nokey=", NULL);
	assert_reply(w, 200, "[]");
}

static void lists_are_filtered_by_template_and_start(void **state)
{
	static const char *const a[] = {"a"}, *const b[] = {"b"}, *const both[] = {"b", "a"};
	struct world *w = *state;

	add(w, "a", "ann", "{}");
	add(w, "b", "ann", "{}");
	free(w->fake.sandboxes[0].extra);
	w->fake.sandboxes[0].extra = strdup("{\"templateID\":\"py\"}");
	w->fake.sandboxes[0].created_ms = 1767268800499;
	w->fake.sandboxes[1].created_ms = 1767268800500;
	ask(w, "GET", "/v2/sandboxes?template=py", NULL);
	assert_listed(w, a, 1);
	ask(w, "GET", "/v2/sandboxes?template=base", NULL);
	assert_listed(w, b, 1);
	ask(w, "GET", "/v2/sandboxes?template=p", NULL);
	assert_reply(w, 200, "[]");
	ask(w, "GET", "/v2/sandboxes?startedAfter=2026-01-01T12:00:00.5Z", NULL);
	assert_listed(w, b, 1);
	ask(w, "GET", "/v2/sandboxes?startedAfter=2026-01-01T12:00:00.499Z", NULL);
	assert_listed(w, both, 2);
	ask(w, "GET", "/v2/sandboxes?startedAfter=2026-01-01T12:00:01Z", NULL);
	assert_reply(w, 200, "[]");
}

static void the_newest_come_first_unless_asked_otherwise(void **state)
{
	static const char *const newest[] = {"c", "b"}, *const rest[] = {"a"},
				 *const oldest[] = {"a", "b", "c"};
	struct world *w = *state;
	char path[128];

	for (const char *const *id = (const char *const[]){"a", "b", "c", NULL}; *id; id++) {
		add(w, *id, "ann", "{}");
		w->fake.sandboxes[w->fake.count - 1].created_ms = 1000 * w->fake.count;
	}
	ask(w, "GET", "/v2/sandboxes?order=asc", NULL);
	assert_listed(w, oldest, 3);
	ask(w, "GET", "/v2/sandboxes?order=desc&limit=2", NULL);
	assert_listed(w, newest, 2);
	ask(w, "GET", "/v2/sandboxes?limit=2", NULL);
	assert_listed(w, newest, 2);
	snprintf(path, sizeof(path), "/v2/sandboxes?limit=2&nextToken=%s",
		 header_of(w, "x-next-token"));
	ask(w, "GET", path, NULL);
	assert_listed(w, rest, 1);
	assert_null(header_of(w, "x-next-token"));
}

static void refuses_lists_that_nobody_meant(void **state)
{
	static const struct exchange exchanges[] = {
		{"GET", "/v2/sandboxes?limit=0", NULL, 400,
		 ERROR(400, PARSING "limit: expected 1..100, found '0'")},
		{"GET", "/v2/sandboxes?limit=101", NULL, 400,
		 ERROR(400, PARSING "limit: expected 1..100, found '101'")},
		{"GET", "/v2/sandboxes?limit=-1", NULL, 400,
		 ERROR(400, PARSING "limit: expected 1..100, found '-1'")},
		{"GET", "/v2/sandboxes?state=dead", NULL, 400,
		 ERROR(400, PARSING "state: expected running or paused, found 'dead'")},
		{"GET", "/v2/sandboxes?order=up", NULL, 400,
		 ERROR(400, PARSING "order: expected asc or desc, found 'up'")},
		{"GET", "/v2/sandboxes?startedAfter=yesterday", NULL, 400,
		 ERROR(400, PARSING
		       "startedAfter: expected a time such as 2026-01-31T12:00:00Z, found 'yesterday'")},
		{"GET", "/v2/sandboxes?startedAfter=2026-01-01T12:00:00", NULL, 400,
		 ERROR(400, PARSING
		       "startedAfter: expected a time such as 2026-01-31T12:00:00Z, found '2026-01-01T12:00:00'")},
		{"GET", "/v2/sandboxes?nextToken=x", NULL, 400, ERROR(400, "Invalid next token")},
		{"GET", "/v2/sandboxes?nextToken=1_" X64 "x", NULL, 400,
		 ERROR(400, "Invalid next token")},
		{"GET", "/v2/sandboxes?nextToken=99999999999999999999_a", NULL, 400,
		 ERROR(400, "Invalid next token")},
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(exchanges); i++)
		assert_exchange(w, &exchanges[i]);
}

/* ---- life ---- */

static void pauses_and_wakes(void **state)
{
	struct world *w = *state;

	add(w, "abc", "ann", "{}");
	ask(w, "POST", "/sandboxes/abc/pause", "{}");
	assert_reply(w, 204, "");
	ask(w, "POST", "/sandboxes/abc/pause", "{}");
	assert_reply(w, 409, ERROR(409, "Sandbox \\\"abc\\\" is in paused state"));
	ask(w, "POST", "/v2/sandboxes/abc/connect", "{\"timeout\":10}");
	assert_reply(
		w, 201,
		"{\"sandboxID\":\"abc\",\"templateID\":\"base\",\"clientID\":\"postern\",\"envdVersion\":\"0.1.0\",\"domain\":null}");
	assert_int_equal(w->fake.sandboxes[0].state, API_RUNNING);
	assert_int_equal(w->fake.sandboxes[0].ends_ms, w->fake.sandboxes[0].created_ms + 10000);
	ask(w, "POST", "/sandboxes/abc/connect", NULL);
	assert_int_equal(w->reply.status, 200);
	ask(w, "POST", "/sandboxes/abc/resume", "{}");
	assert_reply(w, 409, ERROR(409, "Sandbox abc is already running"));
	w->fake.sandboxes[0].state = API_PAUSED;
	ask(w, "POST", "/sandboxes/abc/resume", "{\"timeout\":20}");
	assert_int_equal(w->reply.status, 201);
}

static void sets_the_time_that_is_left(void **state)
{
	struct world *w = *state;

	add(w, "abc", "ann", "{}");
	ask(w, "POST", "/sandboxes/abc/timeout", "{\"timeout\":60}");
	assert_reply(w, 204, "");
	assert_int_equal(w->fake.sandboxes[0].ends_ms, w->fake.sandboxes[0].created_ms + 60000);
	ask(w, "POST", "/sandboxes/abc/timeout", "{\"timeout\":0}");
	assert_reply(w, 204, "");
	assert_int_equal(w->fake.sandboxes[0].ends_ms, w->fake.sandboxes[0].created_ms + 1);
	ask(w, "POST", "/sandboxes/abc/timeout", "{}");
	assert_reply(w, 400, ERROR(400, PARSING "no key 'timeout'"));
	ask(w, "POST", "/sandboxes/abc/timeout", "{\"timeout\":1.5}");
	assert_int_equal(w->reply.status, 400);
}

/* ---- who ---- */

static void another_owners_sandbox_is_not_there(void **state)
{
	static const struct exchange exchanges[] = {
		{"GET", "/sandboxes/abc", NULL, 404, NOT_HERE},
		{"PUT", NET, "{}", 404, NOT_HERE},
		{"PUT", NET, "{\"rules\":{}}", 404, NOT_HERE},
		{"POST", "/sandboxes/abc/pause", "{}", 404, NOT_HERE},
		{"POST", "/sandboxes/abc/resume", "{}", 404, NOT_HERE},
		{"POST", "/sandboxes/abc/connect", "{}", 404, NOT_HERE},
		{"POST", "/v2/sandboxes/abc/connect", "{}", 404, NOT_HERE},
		{"POST", "/sandboxes/abc/timeout", "{\"timeout\":1}", 404, NOT_HERE},
		{"DELETE", "/sandboxes/abc", NULL, 404, NOT_HERE},
		{"GET", "/sandboxes", NULL, 200, "[]"},
		{"GET", "/v2/sandboxes", NULL, 200, "[]"},
	};
	struct world *w = *state;

	add(w, "abc", "bob", "{\"denyOut\":[\"9.9.9.9\"]}");
	for (size_t i = 0; i < COUNT(exchanges); i++)
		assert_exchange(w, &exchanges[i]);
	assert_int_equal(w->fake.count, 1);
	assert_int_equal(w->fake.sandboxes[0].state, API_RUNNING);
	assert_string_equal(w->fake.sandboxes[0].document, "{\"denyOut\":[\"9.9.9.9\"]}");
	be(w, API_ROLE_TENANT, "bob"); /* negative control */
	ask(w, "PUT", NET, "{}");
	assert_reply(w, 204, "");
}

static void an_operator_serves_every_owner(void **state)
{
	struct world *w = *state;

	add(w, "abc", "bob", "{}");
	be(w, API_ROLE_OPERATOR, "");
	ask(w, "PUT", NET, "{}");
	assert_reply(w, 204, "");
	be(w, API_ROLE_OPERATOR, "ann");
	ask(w, "PUT", NET, "{}");
	assert_reply(w, 404, NOT_HERE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(a_change_is_204_and_replaces_the_whole_policy),
		world_test(features_given_as_null_are_not_given),
		world_test(refuses_bodies_with_the_vendors_sentences),
		world_test(checks_come_in_the_vendors_order),
		world_test(checks_of_teams_with_the_features_come_in_the_vendors_order),
		world_test(a_change_that_fails_has_the_code_in_its_body),
		world_test(warnings_fit_into_one_header_line),
		world_test(the_older_form_of_an_id_is_the_same_sandbox),
		world_test(refuses_what_is_no_id),
		world_test(an_id_of_any_length_is_answered),
		world_test(other_paths_are_404),
		world_test(another_method_of_a_path_is_405_with_those_it_has),
		world_test(creates_and_keeps_what_is_not_the_firewalls),
		world_test(the_older_path_creates_as_well),
		world_test(refuses_creations_with_the_vendors_sentences),
		world_test(a_creation_that_fails_says_so),
		world_test(shows_a_sandbox_with_its_network),
		world_test(shows_no_password_and_no_header_value),
		world_test(refusals_repeat_no_secret),
		world_test(a_policy_of_brimbles_is_shown_in_these_words),
		world_test(what_is_gone_is_not_found_but_can_be_deleted),
		world_test(lists_come_in_pages),
		world_test(pages_lose_nobody_of_the_same_millisecond),
		world_test(a_page_has_100_at_most_and_the_older_list_has_all),
		world_test(lists_are_filtered_by_state_and_metadata),
		world_test(lists_are_filtered_by_template_and_start),
		world_test(the_newest_come_first_unless_asked_otherwise),
		world_test(refuses_lists_that_nobody_meant),
		world_test(pauses_and_wakes),
		world_test(sets_the_time_that_is_left),
		world_test(another_owners_sandbox_is_not_there),
		world_test(an_operator_serves_every_owner),
	};

	return cmocka_run_group_tests_name("api_e2b", tests, NULL, NULL);
}
