/* SPDX-License-Identifier: MIT */
/* The routes of /v1 and of the host, and who may call which route at all. */
#include "api_fixture.h"

#define X16 "xxxxxxxxxxxxxxxx"
#define X64 X16 X16 X16 X16

#define ERROR(code, text) "{\"code\":" #code ",\"message\":\"" text "\"}"
#define NOT_HERE	  ERROR(404, "there is no sandbox 'box'")
#define SECRETS                                                                                    \
	"{\"denyOut\":[\"0.0.0.0/0\"],\"egressProxy\":{\"address\":\"p:1\",\"username\":\"u\",\"password\":\"pw-SECRET\"},\"rules\":{\"a.com\":[{\"transform\":{\"headers\":{\"X-Key\":\"hv-SECRET\"}}}]}}"

static int setup(void **state)
{
	int r = world_setup(state);

	if (r == 0)
		be(*state, API_ROLE_OPERATOR, "");
	return r;
}

static struct fake_sandbox *add(struct world *w, const char *id, const char *owner)
{
	return fake_add(&w->fake, id, owner, API_NATIVE, "{}");
}

/* ---- sandboxes ---- */

static void attaches_what_exists_and_shows_it(void **state)
{
	struct world *w = *state;

	ask(w, "POST", "/v1/sandboxes",
	    "{\"id\":\"box\",\"cgroup\":\"/a/b\",\"policy\":{ \"allowOut\" : [\"1.1.1.1:53/udp\"]},\"allowWeak\":true}");
	assert_reply(
		w, 201,
		"{\"id\":\"box\",\"owner\":\"\",\"state\":\"running\",\"kind\":\"cgroup\",\"cgroup\":\"/sys/fs/cgroup/postern/x\",\"netdev\":\"\","
		"\"generation\":1,\"policyHash\":\"00ff\",\"createdAt\":\"2023-11-14T22:13:20.000Z\",\"changedAt\":\"2023-11-14T22:13:20.000Z\","
		"\"endsAt\":null,\"advice\":\"\",\"policy\":{\"allowOut\":[\"1.1.1.1:53/udp\"]},"
		"\"assurance\":{\"level\":\"weak\",\"holes\":[{\"name\":\"earlier-sockets\",\"text\":\"sockets from before\"}]},"
		"\"resolvers\":[\"10.0.0.53\"],\"maps\":{\"pst_cidr4\":7},\"warnings\":[]}");
	assert_string_equal(header_of(w, "X-Postern-Generation"), "1");
	assert_string_equal(w->fake.sandboxes[0].document,
			    "{ \"allowOut\" : [\"1.1.1.1:53/udp\"]}");
	assert_true(w->fake.created.allow_weak);
	ask(w, "POST", "/v1/sandboxes", "{\"pid\":12}");
	assert_int_equal(w->reply.status, 201);
	assert_int_equal(w->fake.created.pid, 12);
	assert_null(w->fake.created.document);
	assert_false(w->fake.created.allow_weak);
	w->fake.warns = true;
	ask(w, "POST", "/v1/sandboxes", "{\"netdev\":\"veth0\"}");
	assert_int_equal(w->reply.status, 201);
	assert_has(w, ",\"warnings\":[\"allowOut[0]: has no\\r\\nEvil: effect\",\"allowOut[1]: b");
}

static void attaches_a_device_and_shows_what_is_behind_it(void **state)
{
	struct world *w = *state;

	ask(w, "POST", "/v1/sandboxes",
	    "{\"id\":\"wired\",\"netdev\":\"veth0\",\"addresses\":[\"10.0.0.2\",\"fd00::/64\"],"
	    "\"macs\":[\"02:00:00:00:00:01\"],\"dhcp\":true,\"denySilently\":true,\"flows\":64}");
	assert_int_equal(w->reply.status, 201);
	assert_int_equal(w->fake.created.n_addresses, 2);
	assert_int_equal(w->fake.created.n_macs, 1);
	assert_true(w->fake.created.dhcp && w->fake.created.deny_silently);
	assert_int_equal(w->fake.created.flows, 64);
	assert_has(
		w,
		",\"device\":{\"ifindex\":7,\"attached\":\"tcx\",\"addresses\":[\"10.0.0.2\",\"fd00::/64\"],"
		"\"macs\":[\"02:00:00:00:00:01\"],\"dhcp\":false,\"denySilently\":true,"
		"\"flows\":{\"used\":3,\"max\":1024},\"programs\":{\"pst_from_device\":21}}");
}

static void refuses_attachments_that_nobody_meant(void **state)
{
#define ATTACH(body, text)                                                                         \
	{                                                                                          \
		"POST", "/v1/sandboxes", body, 400, ERROR(400, text)                               \
	}
#define ONE_OF "expected exactly one of the keys 'cgroup', 'netdev', 'pid'"
	static const struct exchange exchanges[] = {
		ATTACH("", "1:1: expected a value, found the end of the document"),
		ATTACH("{}", ONE_OF),
		ATTACH("{\"cgroup\":\"/a\",\"pid\":1}", ONE_OF),
		ATTACH("{\"cgroup\":\"\"}", "cgroup: must not be empty"),
		ATTACH("{\"cgroup\":1}", "cgroup: expected a string, found a whole number"),
		ATTACH("{\"pid\":0}", "pid: 0 is out of range, expected 1..2147483647"),
		ATTACH("{\"pid\":2147483648}",
		       "pid: 2147483648 is out of range, expected 1..2147483647"),
		ATTACH("{\"pid\":1,\"id\":\"A\"}", "id: expected [a-z0-9_-]{1,64}, found 'A'"),
		ATTACH("{\"pid\":1,\"id\":\"../x\"}",
		       "id: expected [a-z0-9_-]{1,64}, found '../x'"),
		ATTACH("{\"pid\":1,\"id\":\"" X64 "x\"}",
		       "id: expected [a-z0-9_-]{1,64}, found '" X64 "x'"),
		ATTACH("{\"pid\":1,\"allowWeak\":1}",
		       "allowWeak: expected true or false, found a whole number"),
		ATTACH("{\"pid\":1,\"policy\":null}", "policy: expected an object, found null"),
		ATTACH("{\"pid\":1,\"polcy\":{}}", "unknown key 'polcy'"),
		ATTACH("{\"pid\":1,\"pid\":2}", "1:10: duplicate key 'pid'"),
		ATTACH("{\"netdev\":\"a\",\"cgroup\":\"/a\"}", ONE_OF),
		ATTACH("{\"pid\":1,\"addresses\":[\"10.0.0.1\"]}", "addresses: only with 'netdev'"),
		ATTACH("{\"pid\":1,\"dhcp\":false}", "dhcp: only with 'netdev'"),
		ATTACH("{\"netdev\":\"a\",\"addresses\":\"10.0.0.1\"}",
		       "addresses: expected a list, found a string"),
		ATTACH("{\"netdev\":\"a\",\"addresses\":[\"10.0.0.1\",null]}",
		       "addresses[1]: expected a string, found null"),
		ATTACH("{\"netdev\":\"a\",\"addresses\":[\"\"]}",
		       "addresses[0]: must not be empty"),
		ATTACH("{\"netdev\":\"a\",\"macs\":[\"1\",\"2\",\"3\",\"4\",\"5\"]}",
		       "macs: 5 entries, expected at most 4"),
		ATTACH("{\"netdev\":\"a\",\"denySilently\":1}",
		       "denySilently: expected true or false, found a whole number"),
		ATTACH("{\"netdev\":\"a\",\"flows\":16385}",
		       "flows: 16385 is out of range, expected 1..16384"),
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(exchanges); i++)
		assert_exchange(w, &exchanges[i]);
	assert_int_equal(w->fake.calls, 0);
	ask(w, "POST", "/v1/sandboxes", "{\"pid\":1,\"policy\":{\"denyOut\":[\"10.0.0.0/33\"]}}");
	assert_reply(w, 400, ERROR(400, "denyOut[0]: bad CIDR prefix '/33', expected 0..32"));
}

static void a_weak_one_is_refused_with_its_holes(void **state)
{
	struct world *w = *state;

	w->fake.fails = API_WEAK;
	ask(w, "POST", "/v1/sandboxes", "{\"id\":\"box\",\"pid\":1}");
	assert_reply(
		w, 409,
		"{\"code\":409,\"message\":\"it was told to fail\",\"holes\":[\"earlier-sockets\"],\"hint\":\"\\\"allowWeak\\\": true attaches it as it is\"}");
}

static void what_cannot_be_done_has_a_status(void **state)
{
	static const struct failure cases[] = {
		{API_INVALID, 400, ERROR(400, "it was told to fail")},
		{API_UNSUPPORTED, 501, ERROR(501, "it was told to fail")},
		{API_NOT_FOUND, 404, NOT_HERE},
		{API_CONFLICT, 409, ERROR(409, "it was told to fail")},
		{API_FULL, 507, ERROR(507, "it was told to fail")},
		{API_FAILED, 500, ERROR(500, "it was told to fail")},
	};
	struct world *w = *state;

	add(w, "box", "");
	assert_failures(w, "PUT", "/v1/sandboxes/box/policy", "{}", cases, COUNT(cases));
}

static void lists_without_policies_and_deletes(void **state)
{
	struct world *w = *state;

	add(w, "box", "ann");
	add(w, "cat", "");
	w->fake.sandboxes[1].state = API_GONE;
	ask(w, "GET", "/v1/sandboxes", NULL);
	assert_int_equal(w->reply.status, 200);
	assert_has(w, "{\"sandboxes\":[{\"id\":\"box\",\"owner\":\"ann\",\"state\":\"running\"");
	assert_has(w, "},{\"id\":\"cat\",\"owner\":\"\",\"state\":\"gone\"");
	assert_has_not(w, "\"policy\"");
	assert_has_not(w, "assurance"); /* not asked for: neither weak nor strong */
	ask(w, "DELETE", "/v1/sandboxes/box", NULL);
	assert_reply(w, 204, "");
	ask(w, "DELETE", "/v1/sandboxes/box", NULL);
	assert_reply(w, 404, NOT_HERE);
}

static void lists_with_levels_when_asked_to(void **state)
{
	struct world *w = *state;
	char id[16];

	add(w, "box", "ann");
	add(w, "cat", "bob");
	ask(w, "GET", "/v1/sandboxes?assurance=1", NULL);
	assert_int_equal(w->reply.status, 200);
	assert_has(w, "{\"sandboxes\":[{\"id\":\"box\",");
	assert_has(w, "\"advice\":\"\",\"assurance\":{\"level\":\"weak\",\"holes\":[{");
	assert_has(w, "}]}},{\"id\":\"cat\",");
	assert_has_not(w, "\"policy\"");
	be(w, API_ROLE_OPERATOR, "bob");
	ask(w, "GET", "/v1/sandboxes?assurance=1", NULL);
	assert_has(w, "{\"sandboxes\":[{\"id\":\"cat\",");
	be(w, API_ROLE_OPERATOR, "");
	ask(w, "GET", "/v1/sandboxes?assurance=0", NULL);
	assert_has_not(w, "assurance");
	ask(w, "GET", "/v1/sandboxes?assurance=yes", NULL);
	assert_reply(w, 400, ERROR(400, "assurance: expected 1 or 0, found 'yes'"));
	for (unsigned i = 2; i < 257; i++) {
		snprintf(id, sizeof(id), "s%u", i);
		add(w, id, "ann");
	}
	ask(w, "GET", "/v1/sandboxes?assurance=1", NULL);
	assert_reply(w, 400,
		     ERROR(400, "assurance: told of at most 256 sandboxes at once, here are 257"));
}

static void shows_no_secret(void **state)
{
	struct world *w = *state;

	fake_add(&w->fake, "box", "", API_NATIVE, SECRETS);
	ask(w, "GET", "/v1/sandboxes/box", NULL);
	assert_has(w, "\"password\":\"***\"");
	assert_has(w, "{\"X-Key\":\"***\"}");
	assert_has_not(w, "SECRET");
	ask(w, "GET", "/v1/sandboxes", NULL);
	assert_has_not(w, "SECRET");
	ask(w, "PUT", "/v1/sandboxes/box/policy", SECRETS);
	assert_int_equal(w->reply.status, 200);
	assert_has_not(w, "SECRET");
	ask(w, "PUT", "/v1/policies", "{\"ids\":[\"box\"],\"policy\":" SECRETS "}");
	assert_int_equal(w->reply.status, 200);
	assert_has_not(w, "SECRET");
}

/* ---- policies ---- */

static void a_change_tells_what_it_did(void **state)
{
	struct world *w = *state;

	add(w, "box", "");
	ask(w, "PUT", "/v1/sandboxes/box/policy", "{\"audit\":true}");
	assert_int_equal(w->reply.status, 200);
	assert_has(
		w,
		"{\"dryRun\":false,\"changed\":true,\"sandboxes\":1,\"generation\":2,\"policyHash\":\"");
	assert_string_equal(header_of(w, "X-Postern-Generation"), "2");
	assert_string_equal(w->fake.sandboxes[0].document, "{\"audit\":true}");
	ask(w, "PUT", "/v1/sandboxes/box/policy", "{\"audit\":1}");
	assert_reply(w, 400, ERROR(400, "audit: expected true or false, found a whole number"));
}

static void a_dry_run_changes_nothing_and_unknown_words_do_neither(void **state)
{
	struct world *w = *state;

	add(w, "box", "");
	ask(w, "PUT", "/v1/sandboxes/box/policy?dry_run=1", "{\"audit\":true}");
	assert_reply(
		w, 200,
		"{\"dryRun\":true,\"changed\":false,\"sandboxes\":1,\"generation\":0,\"policyHash\":\"\",\"warnings\":[],\"rules\":[\"allowOut[2] 10.0.0.0/8: removed\"],\"flows\":[],\"names\":[]}");
	assert_true(w->fake.dry_run);
	assert_string_equal(w->fake.sandboxes[0].document, "{}");
	w->fake.calls = 0;
	ask(w, "PUT", "/v1/sandboxes/box/policy?dry_run=yes", "{\"audit\":true}");
	assert_reply(w, 400, ERROR(400, "dry_run: expected 1 or 0, found 'yes'"));
	ask(w, "PUT", "/v1/policies?dry_run=", "{\"ids\":[\"box\"],\"policy\":{}}");
	assert_reply(w, 400, ERROR(400, "dry_run: expected 1 or 0, found ''"));
	ask(w, "PUT", "/v1/policies?dry_run=1", "{\"ids\":[\"box\"],\"policy\":{\"audit\":true}}");
	assert_reply(w, 501,
		     ERROR(501, "dry_run: of one sandbox at a time, PUT /v1/sandboxes/ID/policy"));
	assert_int_equal(w->fake.calls, 0);
	ask(w, "PUT", "/v1/sandboxes/box/policy?dry_run=0", "{\"audit\":true}");
	assert_string_equal(w->fake.sandboxes[0].document, "{\"audit\":true}");
}

static void one_policy_for_many(void **state)
{
#define MANY(body, text)                                                                           \
	{                                                                                          \
		"PUT", "/v1/policies", body, 400, ERROR(400, text)                                 \
	}
	static const struct exchange exchanges[] = {
		MANY("{\"policy\":{}}", "no key 'ids'"),
		MANY("{\"ids\":[\"a\"]}", "no key 'policy'"),
		MANY("{\"ids\":[],\"policy\":{}}", "ids: expected 1..10000 entries, found 0"),
		MANY("{\"ids\":\"a\",\"policy\":{}}", "ids: expected a list, found a string"),
		MANY("{\"ids\":[\"a\",1],\"policy\":{}}", "ids[1]: expected a sandbox id"),
		MANY("{\"ids\":[\"a/b\"],\"policy\":{}}", "ids[0]: expected a sandbox id"),
		MANY("{\"ids\":[\"a\",\"b\",\"a\"],\"policy\":{}}", "ids: 'a' stands twice"),
		MANY("{\"ids\":[\"a\"],\"policy\":[]}", "policy: expected an object, found a list"),
		MANY("{\"ids\":[\"a\"],\"policy\":{},\"dryRun\":true}", "unknown key 'dryRun'"),
		MANY("{\"ids\":[\"a\"],\"policy\":{\"x\":1}}", "sandbox 'a': unknown key 'x'"),
		{"PUT", "/v1/policies", "{\"ids\":[\"a\",\"z\"],\"policy\":{}}", 404,
		 ERROR(404, "there is no sandbox 'z'")},
	};
	struct world *w = *state;

	add(w, "a", "");
	add(w, "b", "");
	for (size_t i = 0; i < COUNT(exchanges); i++)
		assert_exchange(w, &exchanges[i]);
	ask(w, "PUT", "/v1/policies", "{\"ids\":[\"b\",\"a\"],\"policy\":{\"audit\":true}}");
	assert_int_equal(w->reply.status, 200);
	assert_has(w, "\"sandboxes\":2,");
	assert_string_equal(w->fake.sandboxes[0].document, "{\"audit\":true}");
	assert_string_equal(w->fake.sandboxes[1].document, "{\"audit\":true}");
}

/* ---- what a sandbox does ---- */

static void shows_leases_rules_flows_and_explanations(void **state)
{
#define LEASE                                                                                      \
	"{\"name\":\"a.com\",\"address\":\"1.2.3.4\",\"rule\":\"allowOut[0] a.com\",\"ageSeconds\":5,\"leftSeconds\":295}"
	static const struct exchange exchanges[] = {
		{"GET", "/v1/sandboxes/box/leases", NULL, 200,
		 "{\"leases\":[" LEASE "," LEASE "]}"},
		{"GET", "/v1/sandboxes/box/rules", NULL, 200,
		 "{\"rules\":[{\"number\":0,\"rule\":\"default\",\"connections\":1,\"packets\":2,\"bytes\":3,\"lastHit\":null}]}"},
		{"GET", "/v1/sandboxes/box/flows", NULL, 200,
		 "{\"flows\":[{\"protocol\":\"tcp\",\"direction\":\"out\",\"local\":\"10.0.0.2\",\"localPort\":40000,\"remote\":\"1.2.3.4\",\"remotePort\":443,\"name\":\"a.com\",\"rule\":\"allowOut[0] a.com\",\"state\":\"open\",\"relayed\":false,\"idleSeconds\":0}]}"},
		{"GET", "/v1/explain?sandbox=box&to=a.com:443", NULL, 200,
		 "{\"verdict\":\"deny\",\"to\":\"a.com:443\"}"},
		{"GET", "/v1/explain?sandbox=box&to=nonsense", NULL, 400,
		 ERROR(400, "to: 'nonsense' is no destination")},
		{"GET", "/v1/explain?sandbox=box", NULL, 400,
		 ERROR(400, "expected ?sandbox=ID&to=DESTINATION")},
		{"GET", "/v1/explain?sandbox=B&to=a", NULL, 400,
		 ERROR(400, "bad sandbox id, expected [a-z0-9_-]{1,64}")},
	};
	struct world *w = *state;

	add(w, "box", "ann");
	for (size_t i = 0; i < COUNT(exchanges); i++)
		assert_exchange(w, &exchanges[i]);
	assert_string_equal(w->fake.asked, "box");
	w->fake.fails = API_FAILED;
	ask(w, "GET", "/v1/sandboxes/box/flows", NULL);
	assert_reply(w, 500, ERROR(500, "it did not work"));
}

/* These questions have no caller: the routes must not ask them for others' sandboxes. */
static void an_operator_with_an_owner_sees_its_own_alone(void **state)
{
	static const char *const paths[] = {"/v1/sandboxes/box",
					    "/v1/sandboxes/box/leases",
					    "/v1/sandboxes/box/rules",
					    "/v1/sandboxes/box/flows",
					    "/v1/explain?sandbox=box&to=a.com",
					    "/v1/events?sandbox=box"};
	struct world *w = *state;

	add(w, "box", "bob");
	be(w, API_ROLE_OPERATOR, "ann");
	for (size_t i = 0; i < COUNT(paths); i++) {
		ask(w, "GET", paths[i], NULL);
		assert_reply(w, 404, NOT_HERE);
	}
	assert_string_equal(w->fake.asked, "");
	ask(w, "PUT", "/v1/policies", "{\"ids\":[\"box\"],\"policy\":{}}");
	assert_reply(w, 404, NOT_HERE);
	assert_int_equal(w->fake.calls, 0);
	ask(w, "GET", "/v1/events", NULL);
	assert_reply(w, 400, ERROR(400, "sandbox: this key sees one sandbox's events at a time"));
	be(w, API_ROLE_OPERATOR, "bob"); /* negative control */
	for (size_t i = 0; i < COUNT(paths); i++) {
		ask(w, "GET", paths[i], NULL);
		assert_int_equal(w->reply.status, 200);
	}
}

static void the_stream_says_what_it_wants(void **state)
{
	struct world *w = *state;

	add(w, "box", "");
	ask(w, "GET", "/v1/events", NULL);
	assert_int_equal(w->reply.status, 200);
	assert_true(w->reply.is_stream);
	assert_false(w->reply.filter.sse);
	assert_string_equal(w->reply.type, "application/x-ndjson");
	assert_string_equal(w->reply.filter.sandbox, "");
	w->accept = "text/html, text/event-stream;q=0.9";
	ask(w, "GET", "/v1/events?sandbox=box&verdict=would-deny&name=*.Example.com", NULL);
	assert_true(w->reply.filter.sse);
	assert_string_equal(w->reply.type, "text/event-stream");
	assert_string_equal(w->reply.filter.sandbox, "box");
	assert_string_equal(w->reply.filter.verdict, "would-deny");
	assert_string_equal(w->reply.filter.name, "*.example.com");
	ask(w, "GET", "/v1/events?verdict=denied", NULL);
	assert_reply(
		w, 400,
		ERROR(400, "verdict: expected allow, deny, would-deny or relay, found 'denied'"));
	assert_false(w->reply.is_stream);
	ask(w, "GET", "/v1/events?sandbox=nobody", NULL);
	assert_reply(w, 404, ERROR(404, "there is no sandbox 'nobody'"));
	ask(w, "GET", "/v1/events?name=" X64 X64 X64 X64, NULL);
	assert_reply(w, 400, ERROR(400, "name: expected at most 255 characters"));
}

/* ---- the host ---- */

static void the_host_answers_for_itself(void **state)
{
	struct world *w = *state;

	ask(w, "GET", "/metrics", NULL);
	assert_reply(w, 200, "postern_sandboxes 1\n");
	assert_string_equal(w->reply.type, "text/plain; version=0.0.4; charset=utf-8");
	ask(w, "GET", "/healthz", NULL);
	assert_reply(w, 200, "ok\n");
	ask(w, "GET", "/readyz", NULL);
	assert_reply(w, 200, "ready\n");
	w->fake.fails = API_FAILED;
	ask(w, "GET", "/readyz", NULL);
	assert_reply(w, 503, "not ready: bpffs at /sys/fs/bpf is not mounted\n");
	be(w, API_ROLE_NONE, "");
	ask(w, "GET", "/readyz", NULL);
	assert_reply(w, 503, "not ready\n");
	ask(w, "GET", "/healthz", NULL);
	assert_reply(w, 200, "ok\n");
}

static void the_ca_is_told_as_it_is(void **state)
{
	static const char pem[] = "-----BEGIN CERTIFICATE-----\n...\n";
	struct world *w = *state;

	ask(w, "GET", "/v1/ca.pem", NULL);
	assert_reply(
		w, 404,
		ERROR(404,
		      "there is no CA yet: the relay's signer, which makes it, has not started"));
	w->fake.ca = pem;
	ask(w, "GET", "/v1/ca.pem", NULL);
	assert_reply(w, 200, pem);
	assert_string_equal(w->reply.type, "application/x-pem-file");
	w->fake.ca = NULL;
}

/* ---- who may call what ---- */

/* Every route but liveness and readiness. */
static const struct exchange calls[] = {
	{"POST", "/sandboxes", "{}", 0, "e"},
	{"POST", "/v2/sandboxes", "{}", 0, "e"},
	{"GET", "/sandboxes", NULL, 0, "e"},
	{"GET", "/v2/sandboxes", NULL, 0, "e"},
	{"GET", "/sandboxes/abc", NULL, 0, "e"},
	{"DELETE", "/sandboxes/abc", NULL, 0, "e"},
	{"PUT", "/sandboxes/abc/network", "{}", 0, "e"},
	{"POST", "/sandboxes/abc/pause", "{}", 0, "e"},
	{"POST", "/sandboxes/abc/resume", "{}", 0, "e"},
	{"POST", "/sandboxes/abc/connect", "{}", 0, "e"},
	{"POST", "/v2/sandboxes/abc/connect", "{}", 0, "e"},
	{"POST", "/sandboxes/abc/timeout", "{\"timeout\":1}", 0, "e"},
	{"POST", "/sandboxes", "{}", 0, "b"},
	{"GET", "/sandboxes", NULL, 0, "b"},
	{"GET", "/sandboxes/507f1f77bcf86cd799439011", NULL, 0, "b"},
	{"GET", "/sandboxes/507f1f77bcf86cd799439011/wait", NULL, 0, "b"},
	{"DELETE", "/sandboxes/507f1f77bcf86cd799439011", NULL, 0, "b"},
	{"PUT", "/sandboxes/507f1f77bcf86cd799439011/egress", "{\"mode\":\"open\"}", 0, "b"},
	{"POST", "/sandboxes/507f1f77bcf86cd799439011/pause", NULL, 0, "b"},
	{"POST", "/sandboxes/507f1f77bcf86cd799439011/resume", NULL, 0, "b"},
	{"POST", "/v1/sandboxes", "{\"pid\":1}", 0, "n"},
	{"GET", "/v1/sandboxes", NULL, 0, "n"},
	{"GET", "/v1/sandboxes/abc", NULL, 0, "n"},
	{"DELETE", "/v1/sandboxes/abc", NULL, 0, "n"},
	{"PUT", "/v1/sandboxes/abc/policy", "{}", 0, "n"},
	{"PUT", "/v1/policies", "{\"ids\":[\"abc\"],\"policy\":{}}", 0, "n"},
	{"GET", "/v1/sandboxes/abc/leases", NULL, 0, "n"},
	{"GET", "/v1/sandboxes/abc/rules", NULL, 0, "n"},
	{"GET", "/v1/sandboxes/abc/flows", NULL, 0, "n"},
	{"GET", "/v1/explain?sandbox=abc&to=a.com", NULL, 0, "n"},
	{"GET", "/v1/events", NULL, 0, "n"},
	{"GET", "/v1/ca.pem", NULL, 0, "n"},
	{"GET", "/metrics", NULL, 0, "n"},
};

static void without_a_key_nothing_is_answered(void **state)
{
	struct world *w = *state;

	add(w, "abc", "");
	be(w, API_ROLE_NONE, "");
	for (size_t i = 0; i < COUNT(calls); i++) {
		bool brimble = calls[i].reply[0] == 'b';

		w->brimble_key = brimble;
		ask(w, calls[i].method, calls[i].path, calls[i].body);
		assert_reply(w, 401,
			     brimble ? "{\"message\":\"Invalid API key\"}"
				     : ERROR(401, "Invalid API key"));
	}
	w->brimble_key = false;
	ask(w, "GET", "/no/such/path", NULL); /* not even what there is */
	assert_reply(w, 401, ERROR(401, "Invalid API key"));
	ask(w, "PATCH", "/v1/sandboxes", NULL);
	assert_reply(w, 401, ERROR(401, "Invalid API key"));
	assert_null(header_of(w, "Allow"));
	assert_int_equal(w->fake.calls, 0);
	assert_int_equal(w->fake.checks, 0);
}

static void a_tenant_has_the_vendors_routes_alone(void **state)
{
	struct world *w = *state;
	unsigned refused = 0;

	be(w, API_ROLE_TENANT, "ann");
	for (size_t i = 0; i < COUNT(calls); i++) {
		w->brimble_key = calls[i].reply[0] == 'b';
		add(w, "abc", "bob");
		ask(w, calls[i].method, calls[i].path, calls[i].body);
		assert_int_not_equal(w->reply.status, 401);
		if (calls[i].reply[0] == 'n') {
			assert_reply(w, 403,
				     ERROR(403, "this needs the unix socket or an operator's key"));
			refused++;
		} else {
			assert_int_not_equal(w->reply.status, 403);
		}
		assert_has_not(w, "\"abc\",\"owner\"");
		fake_done(&w->fake);
	}
	assert_int_equal(refused, 13);
	w->brimble_key = true; /* the header of a vendor opens nothing */
	w->fake.calls = 0;
	ask(w, "GET", "/v1/sandboxes", NULL);
	assert_int_equal(w->reply.status, 403);
	ask(w, "GET", "/v1/no/such/path", NULL);
	assert_int_equal(w->reply.status, 403);
	ask(w, "PATCH", "/v1/sandboxes", NULL);
	assert_int_equal(w->reply.status, 403);
	assert_int_equal(w->fake.calls, 0);
}

static void an_operator_has_them_all(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(calls); i++) {
		w->brimble_key = calls[i].reply[0] == 'b';
		add(w, "abc", "bob");
		fake_add(&w->fake, "507f1f77bcf86cd799439011", "bob", API_BRIMBLE,
			 "{\"mode\":\"open\"}");
		ask(w, calls[i].method, calls[i].path, calls[i].body);
		if (strcmp(calls[i].path, "/v1/ca.pem") == 0)
			assert_int_equal(w->reply.status, 404);
		else if (strstr(calls[i].path, "/resume")) /* it runs */
			assert_true(w->reply.status == 409 || w->reply.status == 400);
		else
			assert_true(w->reply.status >= 200 && w->reply.status < 300);
		fake_done(&w->fake);
	}
}

/* ---- paths ---- */

static void paths_are_compared_as_they_came(void **state)
{
	static const char *const paths[] = {
		"/v1",
		"/v1/",
		"/v1/sandboxes/",
		"/v1//sandboxes",
		"//v1/sandboxes",
		"/v1/%73andboxes",
		"/v1/sandboxes/box/../box",
		"/V1/sandboxes",
		"/v1/sandboxes/box/leases/",
		"/metrics/",
		"metrics",
	};
	static const char *const ids[] = {"..", ".", "%2e%2e", "a%00b", "A", "a.b", "a b", X64 "x"};
	struct world *w = *state;
	char path[128];

	add(w, "box", "");
	for (size_t i = 0; i < COUNT(paths); i++) {
		ask(w, "GET", paths[i], NULL);
		assert_int_equal(w->reply.status, 404);
	}
	for (size_t i = 0; i < COUNT(ids); i++) {
		snprintf(path, sizeof(path), "/v1/sandboxes/%s", ids[i]);
		ask(w, "GET", path, NULL);
		assert_reply(w, 400, ERROR(400, "bad sandbox id, expected [a-z0-9_-]{1,64}"));
	}
	ask(w, "GET", "/v1/sandboxes/" X64, NULL);
	assert_reply(w, 404, ERROR(404, "there is no sandbox '" X64 "'"));
}

static void a_reply_quotes_a_path_without_its_control_characters(void **state)
{
	struct world *w = *state;

	ask(w, "GET", "/x\r\nSet-Cookie: a=b\"\x1b[2J", NULL);
	assert_reply(w, 404, ERROR(404, "there is nothing at /x??Set-Cookie: a=b\\\"?[2J"));
}

static void bodies_with_a_nul_inside_are_refused(void **state)
{
	struct world *w = *state;

	add(w, "box", "");
	ask_sized(w, "PUT", "/v1/sandboxes/box/policy", "{}\0{\"audit\":true}", 18);
	assert_reply(w, 400, ERROR(400, "1:3: expected the end of the document, found byte 0x00"));
	ask_sized(w, "POST", "/v1/sandboxes", "{\"pid\":1}\0", 10);
	assert_reply(w, 400, ERROR(400, "1:10: expected the end of the document, found byte 0x00"));
}

#define native_test(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		native_test(attaches_what_exists_and_shows_it),
		native_test(attaches_a_device_and_shows_what_is_behind_it),
		native_test(refuses_attachments_that_nobody_meant),
		native_test(a_weak_one_is_refused_with_its_holes),
		native_test(what_cannot_be_done_has_a_status),
		native_test(lists_without_policies_and_deletes),
		native_test(lists_with_levels_when_asked_to),
		native_test(shows_no_secret),
		native_test(a_change_tells_what_it_did),
		native_test(a_dry_run_changes_nothing_and_unknown_words_do_neither),
		native_test(one_policy_for_many),
		native_test(shows_leases_rules_flows_and_explanations),
		native_test(an_operator_with_an_owner_sees_its_own_alone),
		native_test(the_stream_says_what_it_wants),
		native_test(the_host_answers_for_itself),
		native_test(the_ca_is_told_as_it_is),
		native_test(without_a_key_nothing_is_answered),
		native_test(a_tenant_has_the_vendors_routes_alone),
		native_test(an_operator_has_them_all),
		native_test(paths_are_compared_as_they_came),
		native_test(a_reply_quotes_a_path_without_its_control_characters),
		native_test(bodies_with_a_nul_inside_are_refused),
	};

	return cmocka_run_group_tests_name("api_native", tests, NULL, NULL);
}
