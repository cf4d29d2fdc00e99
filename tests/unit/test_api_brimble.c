/* SPDX-License-Identifier: MIT */
/* Brimble's routes: envelopes, whole records, their sentences. */
#include "api_fixture.h"

#define ID	    "507f1f77bcf86cd799439011"
#define EGRESS	    "/sandboxes/" ID "/egress"
#define ERROR(text) "{\"message\":\"" text "\"}"

#define RECORD_HEAD(id, name, status)                                                              \
	"\"id\":\"" id "\",\"name\":\"" name "\",\"template\":\"\",\"status\":\"" status "\","     \
	"\"region\":{\"id\":\"000000000000000000000000\",\"name\":\"local\",\"country\":\"\","     \
	"\"continent\":\"\",\"enabled\":true,\"type\":\"sandbox\"},\"specs\":{},"                  \
	"\"auto_destroy\":false,\"one_shot\":false,"
#define RECORD_TAIL(changed)                                                                       \
	"\"persistent\":false,\"created_at\":\"2023-11-14T22:13:20.000Z\","                        \
	"\"last_activity_at\":\"2023-11-14T22:13:20." changed "Z\","                               \
	"\"expires_at\":\"9999-12-31T23:59:59.000Z\""

static struct fake_sandbox *add(struct world *w, const char *owner, const char *document)
{
	return fake_add(&w->fake, ID, owner, API_BRIMBLE, document);
}

static int setup(void **state)
{
	int r = world_setup(state);

	if (r == 0)
		((struct world *)*state)->brimble_key = true;
	return r;
}

static void a_change_answers_with_the_whole_record(void **state)
{
	struct world *w = *state;

	add(w, "ann", "{\"mode\":\"open\"}");
	ask(w, "PUT", EGRESS,
	    "{\"mode\":\"restricted\",\"allow\":[\"1.1.1.1\",\"api.openai.com\"]}");
	assert_reply(
		w, 200,
		"{\"message\":\"Sandbox egress updated\",\"data\":{" RECORD_HEAD(
			ID, ID,
			"ready") "\"block_outbound\":false,"
				 "\"egress\":{\"mode\":\"restricted\",\"allow\":[\"1.1.1.1\",\"api.openai.com\"]}," RECORD_TAIL(
					 "001") ",\"network_updated\":true}}");
	assert_string_equal(header_of(w, "X-Postern-Generation"), "2");
	assert_string_equal(w->fake.sandboxes[0].document,
			    "{\"mode\":\"restricted\",\"allow\":[\"1.1.1.1\",\"api.openai.com\"]}");
}

static void network_updated_is_there_only_when_it_was(void **state)
{
	struct world *w = *state;

	add(w, "ann", "{\"mode\":\"open\"}");
	ask(w, "PUT", EGRESS, "{\"mode\":\"open\"}");
	assert_int_equal(w->reply.status, 200);
	assert_has_not(w, "network_updated");
	ask(w, "PUT", EGRESS, "{\"mode\":\"deny_all\"}");
	assert_has(w, "\"network_updated\":true");
	assert_has(w, "\"block_outbound\":true,\"egress\":{\"mode\":\"deny_all\"}");
	ask(w, "GET", "/sandboxes/" ID, NULL);
	assert_has_not(w, "network_updated");
}

static void refuses_bodies(void **state)
{
#define PUT(body, text)                                                                            \
	{                                                                                          \
		"PUT", EGRESS, body, 400, ERROR(text)                                              \
	}
	static const struct exchange exchanges[] = {
		PUT("", "1:1: expected a value, found the end of the document"),
		PUT("[]", "expected an object, found a list"),
		PUT("{}", "no key 'mode'"),
		PUT("{\"mode\":\"closed\"}",
		    "mode: unknown word 'closed', expected one of 'open', 'restricted', 'deny_all'"),
		PUT("{\"mode\":\"restricted\"}", "mode 'restricted' needs the key 'allow'"),
		PUT("{\"mode\":\"restricted\",\"allow\":[]}",
		    "allow: expected 1..50 entries, found 0"),
		PUT("{\"mode\":\"open\",\"allow\":[\"1.1.1.1\"]}",
		    "allow: only mode 'restricted' takes this key"),
		PUT("{\"mode\":\"restricted\",\"allow\":[\"\"]}",
		    "allow[0]: expected 1..253 characters, found 0"),
		PUT("{\"mode\":\"open\",\"audit\":true}", "unknown key 'audit'"),
		PUT("{\"denyOut\":[]}", "unknown key 'denyOut'"),
	};
	struct world *w = *state;

	add(w, "ann", "{\"mode\":\"deny_all\"}");
	for (size_t i = 0; i < COUNT(exchanges); i++)
		assert_exchange(w, &exchanges[i]);
	assert_int_equal(w->fake.calls, 0);
}

static void a_list_has_50_entries_at_most(void **state)
{
	struct world *w = *state;
	char body[1024] = "{\"mode\":\"restricted\",\"allow\":[\"1.1.1.1\"";

	add(w, "ann", "{\"mode\":\"open\"}");
	for (int i = 1; i < 50; i++)
		strcat(body, ",\"1.1.1.1\"");
	strcat(body, "]}");
	ask(w, "PUT", EGRESS, body);
	assert_int_equal(w->reply.status, 200);
	strcpy(strrchr(body, ']'), ",\"1.1.1.1\"]}");
	ask(w, "PUT", EGRESS, body);
	assert_reply(w, 400, ERROR("allow: expected 1..50 entries, found 51"));
}

/* Each is wrong in every way from its own on. */
static void checks_come_in_order(void **state)
{
	struct world *w = *state;

	be(w, API_ROLE_NONE, "");
	ask(w, "PUT", "/sandboxes/NOID/egress", "{");
	assert_reply(w, 401, ERROR("Invalid API key"));
	be(w, API_ROLE_TENANT, "ann");
	ask(w, "PUT", "/sandboxes/NOID/egress", "{");
	assert_reply(w, 400, ERROR("Invalid sandbox id"));
	ask(w, "PUT", EGRESS, "{}");
	assert_reply(w, 400, ERROR("no key 'mode'"));
	ask(w, "PUT", EGRESS, "{\"mode\":\"open\"}");
	assert_reply(w, 404, ERROR("Sandbox not found"));
	add(w, "ann", "{\"mode\":\"open\"}")->state = API_PAUSED;
	ask(w, "PUT", EGRESS, "{\"mode\":\"open\"}");
	assert_reply(w, 400, ERROR("Sandbox is paused; only ready sandboxes can be updated"));
}

static void refuses_what_is_no_id(void **state)
{
	static const char *const ids[] = {"507f1f77bcf86cd79943901",
					  "507f1f77bcf86cd7994390111",
					  "507F1F77BCF86CD799439011",
					  "507f1f77bcf86cd79943901g",
					  "..",
					  "%350f1f77bcf86cd79943901",
					  "507f1f77bcf86cd799439011-x"};
	struct world *w = *state;
	char path[96];

	add(w, "ann", "{\"mode\":\"open\"}");
	for (size_t i = 0; i < COUNT(ids); i++) {
		snprintf(path, sizeof(path), "/sandboxes/%s", ids[i]);
		ask(w, "DELETE", path, NULL);
		assert_reply(w, 400, ERROR("Invalid sandbox id"));
	}
	assert_int_equal(w->fake.count, 1);
}

static void the_path_tells_the_dialect_without_the_header(void **state)
{
	struct world *w = *state;

	w->brimble_key = false;
	add(w, "ann", "{\"mode\":\"open\"}");
	ask(w, "PUT", EGRESS, "{}");
	assert_reply(w, 400, ERROR("no key 'mode'"));
	ask(w, "GET", "/sandboxes/" ID, NULL); /* the same path is E2B's, then */
	assert_has(w, "{\"sandboxID\":");
	w->brimble_key = true;
	ask(w, "PUT", "/sandboxes/" ID "/network", "{\"x\":1}");
	assert_has(w, "{\"code\":400,");
	ask(w, "GET", "/sandboxes/" ID, NULL);
	assert_has(w, "{\"message\":");
}

/* ---- creation ---- */

static void creates_with_egress_or_the_older_switch(void **state)
{
	static const struct {
		const char *body, *document, *shown;
	} cases[] = {
		{"", "{\"mode\":\"open\"}",
		 "\"block_outbound\":false,\"egress\":{\"mode\":\"open\"}"},
		{"{}", "{\"mode\":\"open\"}",
		 "\"block_outbound\":false,\"egress\":{\"mode\":\"open\"}"},
		{"{\"blockOutbound\":false}", "{\"mode\":\"open\"}",
		 "\"egress\":{\"mode\":\"open\"}"},
		{"{\"blockOutbound\":true}", "{\"mode\":\"deny_all\"}",
		 "\"block_outbound\":true,\"egress\":{\"mode\":\"deny_all\"}"},
		{"{\"egress\":{\"mode\":\"deny_all\"}}", "{\"mode\":\"deny_all\"}",
		 "\"block_outbound\":true,\"egress\":{\"mode\":\"deny_all\"}"},
		{"{\"egress\":{\"mode\":\"restricted\",\"allow\":[\"a.com\"]}}",
		 "{\"mode\":\"restricted\",\"allow\":[\"a.com\"]}",
		 "\"block_outbound\":false,\"egress\":{\"mode\":\"restricted\",\"allow\":[\"a.com\"]}"},
		{"{\"egress\":{\"mode\":\"restricted\",\"allow\":[]}}", "{\"mode\":\"deny_all\"}",
		 "\"block_outbound\":false,\"egress\":{\"mode\":\"restricted\",\"allow\":[]}"},
		{"{\"egress\":{\"mode\":\"restricted\"}}", "{\"mode\":\"deny_all\"}",
		 "\"block_outbound\":false,\"egress\":{\"mode\":\"restricted\",\"allow\":[]}"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(cases); i++) {
		ask(w, "POST", "/sandboxes", cases[i].body);
		assert_int_equal(w->reply.status, 201);
		assert_has(w, "{\"message\":\"Sandbox created\",\"data\":{\"id\":\"");
		assert_has(w, cases[i].shown);
		assert_string_equal(header_of(w, "X-Postern-Assurance"), "weak: earlier-sockets");
		assert_string_equal(w->fake.sandboxes[i].document, cases[i].document);
		assert_int_equal(w->fake.created.dialect, API_BRIMBLE);
	}
}

static void restricted_to_nothing_ends_with_the_first_change(void **state)
{
	struct world *w = *state;

	ask(w, "POST", "/sandboxes", "{\"egress\":{\"mode\":\"restricted\"}}");
	ask(w, "PUT", "/sandboxes/000000000000000000abc000/egress", "{\"mode\":\"deny_all\"}");
	assert_has(w, "\"block_outbound\":true,\"egress\":{\"mode\":\"deny_all\"}");
}

static void keeps_what_the_record_shows(void **state)
{
	struct world *w = *state;

	ask(w, "POST", "/sandboxes",
	    "{\"name\":\"n\",\"template\":\"node\",\"region\":\"eu-west\",\"specs\":{\"cpu\":5},\"autoDestroy\":true,\"oneShot\":1}");
	assert_int_equal(w->reply.status, 201);
	assert_has(w, "\"name\":\"n\",\"template\":\"node\",\"status\":\"ready\"");
	assert_has(w, "\"name\":\"eu-west\"");
	assert_has(w, "\"specs\":{\"cpu\":5},\"auto_destroy\":true,\"one_shot\":false");
	assert_string_equal(
		w->fake.sandboxes[0].extra,
		"{\"name\":\"n\",\"template\":\"node\",\"region\":\"eu-west\",\"specs\":{\"cpu\":5},\"autoDestroy\":true,\"oneShot\":1}");
}

static void refuses_creations(void **state)
{
#define CREATE(body, text)                                                                         \
	{                                                                                          \
		"POST", "/sandboxes", body, 400, ERROR(text)                                       \
	}
	static const struct exchange exchanges[] = {
		CREATE("{", "1:2: expected a key in double quotes, found the end of the document"),
		CREATE("{\"egress\":\"open\"}", "egress: expected an object, found a string"),
		CREATE("{\"blockOutbound\":1}",
		       "blockOutbound: expected true or false, found a whole number"),
		CREATE("{\"blockOutbound\":true,\"egress\":{\"mode\":\"open\"}}",
		       "egress and blockOutbound cannot be used together"),
		CREATE("{\"egress\":{}}", "no key 'mode'"),
		CREATE("{\"egress\":{\"mode\":\"restricted\",\"alow\":[]}}",
		       "unknown key 'alow', did you mean 'allow'?"),
		CREATE("{\"egress\":{\"mode\":\"restricted\",\"allow\":[],\"x\":1}}",
		       "unknown key 'x'"),
		CREATE("{\"egress\":{\"mode\":\"restricted\",\"allow\":null}}",
		       "allow: expected a list, found null"),
		CREATE("{\"egress\":{\"mode\":\"open\",\"allow\":[]}}",
		       "allow: only mode 'restricted' takes this key"),
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(exchanges); i++)
		assert_exchange(w, &exchanges[i]);
	assert_int_equal(w->fake.calls, 0);
}

/* ---- life ---- */

static void pauses_resumes_waits_and_deletes(void **state)
{
	struct world *w = *state;

	add(w, "ann", "{\"mode\":\"open\"}");
	ask(w, "GET", "/sandboxes/" ID "/wait", NULL);
	assert_int_equal(w->reply.status, 200);
	assert_has(w, "\"status\":\"ready\"");
	ask(w, "POST", "/sandboxes/" ID "/resume", NULL);
	assert_reply(w, 400, ERROR("Sandbox is ready; only paused sandboxes can be resumed"));
	ask(w, "POST", "/sandboxes/" ID "/pause", NULL);
	assert_int_equal(w->reply.status, 200);
	assert_has(w, "{\"message\":\"Sandbox paused\",\"data\":{\"id\":\"" ID "\"");
	assert_has(w, "\"status\":\"paused\"");
	ask(w, "POST", "/sandboxes/" ID "/pause", NULL);
	assert_reply(w, 400, ERROR("Sandbox is paused; only ready sandboxes can be paused"));
	ask(w, "POST", "/sandboxes/" ID "/resume", NULL);
	assert_has(w, "\"status\":\"ready\"");
	ask(w, "GET", "/sandboxes", NULL);
	assert_has(w, "{\"message\":\"Sandboxes fetched\",\"data\":[{\"id\":\"" ID "\"");
	ask(w, "DELETE", "/sandboxes/" ID, NULL);
	assert_reply(w, 204, "");
	ask(w, "GET", "/sandboxes", NULL);
	assert_reply(w, 200, "{\"message\":\"Sandboxes fetched\",\"data\":[]}");
}

static void what_cannot_be_done_has_a_status(void **state)
{
	static const struct failure cases[] = {
		{API_INVALID, 400, ERROR("it was told to fail")},
		{API_UNSUPPORTED, 400, ERROR("it was told to fail")},
		{API_NOT_FOUND, 404, ERROR("Sandbox not found")},
		{API_CONFLICT, 400, ERROR("it was told to fail")},
		{API_FULL, 507, ERROR("it was told to fail")},
		{API_FAILED, 500, ERROR("Something went wrong; the sandbox is as it was")},
	};
	struct world *w = *state;

	add(w, "ann", "{\"mode\":\"open\"}");
	assert_failures(w, "PUT", EGRESS, "{\"mode\":\"open\"}", cases, COUNT(cases));
}

static void another_owners_sandbox_is_not_there(void **state)
{
	static const struct exchange exchanges[] = {
		{"GET", "/sandboxes/" ID, NULL, 404, ERROR("Sandbox not found")},
		{"GET", "/sandboxes/" ID "/wait", NULL, 404, ERROR("Sandbox not found")},
		{"PUT", EGRESS, "{\"mode\":\"open\"}", 404, ERROR("Sandbox not found")},
		{"POST", "/sandboxes/" ID "/pause", NULL, 404, ERROR("Sandbox not found")},
		{"POST", "/sandboxes/" ID "/resume", NULL, 404, ERROR("Sandbox not found")},
		{"DELETE", "/sandboxes/" ID, NULL, 404, ERROR("Sandbox not found")},
		{"GET", "/sandboxes", NULL, 200, "{\"message\":\"Sandboxes fetched\",\"data\":[]}"},
	};
	struct world *w = *state;

	add(w, "bob", "{\"mode\":\"deny_all\"}");
	for (size_t i = 0; i < COUNT(exchanges); i++)
		assert_exchange(w, &exchanges[i]);
	assert_int_equal(w->fake.count, 1);
	assert_string_equal(w->fake.sandboxes[0].document, "{\"mode\":\"deny_all\"}");
	be(w, API_ROLE_TENANT, "bob"); /* negative control */
	ask(w, "PUT", EGRESS, "{\"mode\":\"open\"}");
	assert_int_equal(w->reply.status, 200);
}

static void a_policy_of_another_dialect_is_shown_in_these_words(void **state)
{
	static const struct {
		const char *document, *shown;
	} cases[] = {
		{"{}", "\"egress\":{\"mode\":\"open\"}"},
		{"{\"denyOut\":[\"9.9.9.9\"]}", "\"egress\":{\"mode\":\"open\"}"},
		{"{\"denyOut\":[\"0.0.0.0/0\"]}", "\"egress\":{\"mode\":\"deny_all\"}"},
		{"{\"allow_internet_access\":false}", "\"egress\":{\"mode\":\"deny_all\"}"},
		{"{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"1.1.1.1\"]}",
		 "\"egress\":{\"mode\":\"restricted\",\"allow\":[\"1.1.1.1\"]}"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(cases); i++) {
		fake_done(&w->fake);
		add(w, "ann", cases[i].document)->dialect = API_E2B;
		ask(w, "GET", "/sandboxes/" ID, NULL);
		assert_has(w, cases[i].shown);
	}
}

static void shows_no_secret_of_another_dialect(void **state)
{
	struct world *w = *state;

	add(w, "ann",
	    "{\"egressProxy\":{\"address\":\"p:1\",\"username\":\"u\",\"password\":\"pw-SECRET\"}}")
		->dialect = API_E2B;
	ask(w, "GET", "/sandboxes/" ID, NULL);
	assert_int_equal(w->reply.status, 200);
	assert_has_not(w, "SECRET");
	assert_has_not(w, "b-key");
}

#define brimble_test(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		brimble_test(a_change_answers_with_the_whole_record),
		brimble_test(network_updated_is_there_only_when_it_was),
		brimble_test(refuses_bodies),
		brimble_test(a_list_has_50_entries_at_most),
		brimble_test(checks_come_in_order),
		brimble_test(refuses_what_is_no_id),
		brimble_test(the_path_tells_the_dialect_without_the_header),
		brimble_test(creates_with_egress_or_the_older_switch),
		brimble_test(restricted_to_nothing_ends_with_the_first_change),
		brimble_test(keeps_what_the_record_shows),
		brimble_test(refuses_creations),
		brimble_test(pauses_resumes_waits_and_deletes),
		brimble_test(what_cannot_be_done_has_a_status),
		brimble_test(another_owners_sandbox_is_not_there),
		brimble_test(a_policy_of_another_dialect_is_shown_in_these_words),
		brimble_test(shows_no_secret_of_another_dialect),
	};

	return cmocka_run_group_tests_name("api_brimble", tests, NULL, NULL);
}
