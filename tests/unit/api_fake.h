/* SPDX-License-Identifier: MIT */
/* A daemon without a kernel, for tests of the routes: documents in memory, judged by the real policy room. */
#ifndef TESTS_API_FAKE_H
#define TESTS_API_FAKE_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes.h"
#include "policy/policy.h"

#define FAKE_MAX 260

struct fake_sandbox {
	char id[API_ID_MAX + 1], owner[API_OWNER_MAX + 1];
	enum api_dialect dialect;
	enum api_state state;
	char *document, *extra;
	uint64_t generation, created_ms, changed_ms, ends_ms;
};

struct fake {
	const char *ca; /* PEM; NULL: none */
	struct fake_sandbox sandboxes[FAKE_MAX];
	size_t count;
	uint64_t now_ms, generation;
	unsigned calls;	       /* that changed something */
	unsigned checks;       /* of documents */
	enum api_status fails; /* what every change ends with; API_OK: as it should */
	struct api_create created;
	bool dry_run;
	char asked[API_ID_MAX + 1]; /* of leases, rules, flows, explain */
	bool warns;
	bool relays; /* egressProxy and rules are for its teams */
};

static inline char *fake_copy(const char *text, size_t size)
{
	char *copy = strndup(text, size);

	if (!copy)
		abort();
	return copy;
}

static inline enum api_status fake_check(void *context, enum api_dialect dialect,
					 const char *document, size_t size, struct error *err)
{
	static const enum policy_source sources[] = {POLICY_FROM_FILE, POLICY_FROM_E2B,
						     POLICY_FROM_BRIMBLE};
	struct policy *policy = NULL;
	int r = policy_parse("", document, size, sources[dialect], &policy, err);

	((struct fake *)context)->checks++;
	policy_free(policy);
	return r == 0 ? API_OK : r == -EINVAL ? API_INVALID : API_FAILED;
}

static inline struct fake_sandbox *
fake_find_sandbox(struct fake *fake, const struct api_caller *caller, const char *id)
{
	for (size_t i = 0; i < fake->count; i++) {
		struct fake_sandbox *s = &fake->sandboxes[i];

		if (strcmp(s->id, id) == 0 &&
		    (!caller || !caller->owner[0] || strcmp(caller->owner, s->owner) == 0))
			return s;
	}
	return NULL;
}

/* The sandbox, or the result says why not. `any_state`: paused ones as well. */
static inline struct fake_sandbox *fake_take(struct fake *fake, const struct api_caller *caller,
					     const char *id, bool any_state,
					     struct api_result *result)
{
	struct fake_sandbox *s = fake_find_sandbox(fake, caller, id);

	if (caller->role == API_ROLE_NONE)
		abort(); /* the routes let nobody through */
	fake->calls++;
	if (fake->fails != API_OK) {
		result->status = fake->fails;
		result->state = s ? s->state : API_RUNNING;
		error_set(&result->err, 0, "it was told to fail");
		return NULL;
	}
	if (!s) {
		result->status = API_NOT_FOUND;
		return NULL;
	}
	if (!any_state && s->state != API_RUNNING) {
		result->status = API_CONFLICT;
		result->state = s->state;
		return NULL;
	}
	return s;
}

static inline struct fake_sandbox *fake_add(struct fake *fake, const char *id, const char *owner,
					    enum api_dialect dialect, const char *document)
{
	struct fake_sandbox *s;

	if (fake->count == FAKE_MAX)
		abort();
	s = &fake->sandboxes[fake->count++];
	memset(s, 0, sizeof(*s));
	snprintf(s->id, sizeof(s->id), "%s", id);
	snprintf(s->owner, sizeof(s->owner), "%s", owner);
	s->dialect = dialect;
	s->document = fake_copy(document, strlen(document));
	s->extra = fake_copy("{}", 2);
	s->generation = ++fake->generation;
	s->created_ms = s->changed_ms = fake->now_ms =
		fake->now_ms ? fake->now_ms + 1000 : 1700000000000;
	return s;
}

static inline void fake_say(struct fake *fake, const struct fake_sandbox *s,
			    struct api_result *result)
{
	result->generation = s->generation;
	snprintf(result->policy_hash, sizeof(result->policy_hash), "%064llx",
		 (unsigned long long)s->generation);
	if (fake->warns) {
		api_texts_add(&result->warnings, "allowOut[0]: has no\r\nEvil: effect");
		api_texts_add(&result->warnings, "allowOut[1]: b\xc3\xbc"
						 "cher");
	}
}

static inline void fake_create(void *context, const struct api_caller *caller,
			       const struct api_create *create, char *ret_id,
			       struct api_result *result)
{
	struct fake *fake = context;
	const char *document = create->document ? create->document : "{}";
	size_t size = create->document ? create->document_size : 2;
	struct fake_sandbox *s;
	char id[API_ID_MAX + 1];

	fake->calls++;
	fake->created = *create;
	result->status = fake->fails != API_OK || fake->count == FAKE_MAX
				 ? API_FULL
				 : fake_check(fake, create->dialect, document, size, &result->err);
	if (fake->fails != API_OK) {
		result->status = fake->fails;
		error_set(&result->err, 0, "it was told to fail");
		if (fake->fails == API_WEAK)
			api_texts_add(&result->warnings, "earlier-sockets");
	}
	if (result->status != API_OK)
		return;
	snprintf(id, sizeof(id), "%024zx", fake->count + 0xabc000);
	s = fake_add(fake, create->id ? create->id : id, caller->owner, create->dialect, "");
	free(s->document);
	s->document = fake_copy(document, size);
	if (create->extra) {
		free(s->extra);
		s->extra = fake_copy(create->extra, strlen(create->extra));
	}
	s->ends_ms = create->timeout_ms ? s->created_ms + create->timeout_ms : 0;
	snprintf(ret_id, API_ID_MAX + 1, "%s", s->id);
	fake_say(fake, s, result);
	result->changed = true;
}

static inline void fake_change(void *context, const struct api_caller *caller, const char *id,
			       const struct api_change *change, struct api_result *result)
{
	struct fake *fake = context;
	struct fake_sandbox *s = fake_take(fake, caller, id, false, result);

	fake->dry_run = change->dry_run;
	if (!s)
		return;
	result->status = fake_check(fake, change->dialect, change->document, change->document_size,
				    &result->err);
	if (result->status != API_OK)
		return;
	if (change->dry_run) {
		api_texts_add(&result->rules, "allowOut[2] 10.0.0.0/8: removed");
		return;
	}
	result->changed = strlen(s->document) != change->document_size ||
			  memcmp(s->document, change->document, change->document_size) != 0;
	free(s->document);
	s->document = fake_copy(change->document, change->document_size);
	s->generation = ++fake->generation;
	s->changed_ms = s->created_ms + 1;
	fake_say(fake, s, result);
}

static inline void fake_change_many(void *context, const struct api_caller *caller,
				    const char *const *ids, size_t count,
				    const struct api_change *change, struct api_result *result)
{
	const struct api_caller everybody = {.role = API_ROLE_OPERATOR};
	struct fake *fake = context;

	(void)caller; /* like the daemon: the routes must have looked */
	for (size_t i = 0; i < count; i++) {
		if (fake_find_sandbox(fake, NULL, ids[i]))
			continue;
		snprintf(result->failed, sizeof(result->failed), "%s", ids[i]);
		result->status = API_NOT_FOUND;
		return;
	}
	for (size_t i = 0; i < count && result->status == API_OK; i++) {
		api_result_done(result);
		fake_change(context, &everybody, ids[i], change, result);
		if (result->status != API_OK)
			snprintf(result->failed, sizeof(result->failed), "%s", ids[i]);
	}
}

static inline void fake_pause(void *context, const struct api_caller *caller, const char *id,
			      struct api_result *result)
{
	struct fake_sandbox *s = fake_take(context, caller, id, false, result);

	if (s)
		s->state = API_PAUSED;
}

static inline void fake_resume(void *context, const struct api_caller *caller, const char *id,
			       struct api_result *result)
{
	struct fake_sandbox *s = fake_take(context, caller, id, true, result);

	if (s && s->state != API_PAUSED) {
		result->status = API_CONFLICT;
		result->state = s->state;
	} else if (s) {
		s->state = API_RUNNING;
	}
}

static inline void fake_set_timeout(void *context, const struct api_caller *caller, const char *id,
				    uint64_t timeout_ms, struct api_result *result)
{
	struct fake_sandbox *s = fake_take(context, caller, id, true, result);

	if (s)
		s->ends_ms = s->created_ms + timeout_ms;
}

static inline void fake_free_sandbox(struct fake_sandbox *s)
{
	free(s->document);
	free(s->extra);
}

static inline void fake_remove(void *context, const struct api_caller *caller, const char *id,
			       struct api_result *result)
{
	struct fake *fake = context;
	struct fake_sandbox *s = fake_take(fake, caller, id, true, result);

	if (!s)
		return;
	fake_free_sandbox(s);
	memmove(s, s + 1, (size_t)(fake->sandboxes + fake->count - s - 1) * sizeof(*s));
	fake->count--;
}

static inline void fake_show(const struct fake_sandbox *s, bool whole, api_sandbox_fn fn,
			     void *fn_context)
{
	static const char *const resolvers[] = {"10.0.0.53"};
	struct api_sandbox shown = {.id = s->id,
				    .owner = s->owner,
				    .dialect = s->dialect,
				    .state = s->state,
				    .kind = "cgroup",
				    .cgroup = "/sys/fs/cgroup/postern/x",
				    .netdev = "",
				    .generation = s->generation,
				    .policy_hash = "00ff",
				    .document = s->document,
				    .extra = s->extra,
				    .created_ms = s->created_ms,
				    .changed_ms = s->changed_ms,
				    .ends_ms = s->ends_ms,
				    .advice = ""};
	static const char *const addresses[] = {"10.0.0.2", "fd00::/64"};
	static const char *const macs[] = {"02:00:00:00:00:01"};
	static const struct api_device device = {.ifindex = 7,
						 .attached = "tcx",
						 .addresses = addresses,
						 .n_addresses = 2,
						 .macs = macs,
						 .n_macs = 1,
						 .deny_silently = true,
						 .flows = 3,
						 .max_flows = 1024,
						 .programs = {{"pst_from_device", 21}},
						 .n_programs = 1};
	struct policy *policy = NULL;
	struct buf text = {0};

	if (strcmp(s->id, "wired") == 0)
		shown.device = &device;
	if (whole) {
		shown.resolvers = resolvers;
		shown.n_resolvers = 1;
		shown.n_holes = 1;
		shown.holes[0].name = "earlier-sockets";
		snprintf(shown.holes[0].text, sizeof(shown.holes[0].text), "sockets from before");
		shown.n_maps = 1;
		shown.maps[0] = (struct api_map){"pst_cidr4", 7};
		if (policy_parse("", s->document, strlen(s->document),
				 s->dialect == API_BRIMBLE ? POLICY_FROM_BRIMBLE : POLICY_FROM_FILE,
				 &policy, NULL) == 0 &&
		    policy_print(policy, &text) == 0)
			shown.policy = text.data;
	}
	fn(fn_context, &shown);
	policy_free(policy);
	buf_done(&text);
}

static inline enum api_status fake_find(void *context, const struct api_caller *caller,
					const char *id, api_sandbox_fn fn, void *fn_context)
{
	const struct fake_sandbox *s = fake_find_sandbox(context, caller, id);

	if (!s)
		return API_NOT_FOUND;
	fake_show(s, true, fn, fn_context);
	return API_OK;
}

static inline enum api_status fake_list(void *context, const struct api_caller *caller,
					api_sandbox_fn fn, void *fn_context)
{
	struct fake *fake = context;

	for (size_t i = 0; i < fake->count; i++) {
		if (fake_find_sandbox(fake, caller, fake->sandboxes[i].id))
			fake_show(&fake->sandboxes[i], false, fn, fn_context);
	}
	return API_OK;
}

static inline enum api_status fake_ask(void *context, const char *id)
{
	struct fake *fake = context;

	snprintf(fake->asked, sizeof(fake->asked), "%s", id);
	return fake->fails;
}

static inline enum api_status fake_leases(void *context, const char *id, api_lease_fn fn,
					  void *fn_context, struct error *err)
{
	const struct api_lease lease = {"a.com", "1.2.3.4", "allowOut[0] a.com", 5, 295};

	(void)err;
	fn(fn_context, &lease);
	fn(fn_context, &lease);
	return fake_ask(context, id);
}

static inline enum api_status fake_rules(void *context, const char *id, api_rule_fn fn,
					 void *fn_context, struct error *err)
{
	const struct api_rule rule = {"default", 0, 1, 2, 3, 0};

	(void)err;
	fn(fn_context, &rule);
	return fake_ask(context, id);
}

static inline enum api_status fake_flows(void *context, const char *id, api_flow_fn fn,
					 void *fn_context, struct error *err)
{
	const struct api_flow flow = {.protocol = "tcp",
				      .local = "10.0.0.2",
				      .remote = "1.2.3.4",
				      .local_port = 40000,
				      .remote_port = 443,
				      .direction = "out",
				      .name = "a.com",
				      .rule = "allowOut[0] a.com",
				      .state = "open"};

	(void)err;
	fn(fn_context, &flow);
	return fake_ask(context, id);
}

static inline enum api_status fake_explain(void *context, const char *id, const char *to,
					   struct buf *json, struct error *err)
{
	if (strcmp(to, "nonsense") == 0) {
		error_set(err, 0, "to: 'nonsense' is no destination");
		return API_INVALID;
	}
	buf_puts(json, "{\"verdict\":\"deny\",\"to\":");
	buf_json_string(json, to);
	buf_puts(json, "}");
	return fake_ask(context, id);
}

static inline int fake_metrics(void *context, struct buf *text)
{
	(void)context;
	buf_puts(text, "postern_sandboxes 1\n");
	return 0;
}

static inline int fake_ready(void *context, struct error *err)
{
	if (((struct fake *)context)->fails == API_OK)
		return 0;
	return error_set(err, -EAGAIN, "bpffs at /sys/fs/bpf is not mounted");
}

static inline const char *fake_ca(void *context)
{
	return ((struct fake *)context)->ca;
}

static inline bool fake_is_inside(void *context, int32_t pid)
{
	(void)context;
	(void)pid;
	return false;
}

static inline bool fake_has_relays(void *context)
{
	return ((struct fake *)context)->relays;
}

static inline void fake_done(struct fake *fake)
{
	for (size_t i = 0; i < fake->count; i++)
		fake_free_sandbox(&fake->sandboxes[i]);
	fake->count = 0;
}

static inline struct api_backend fake_backend(struct fake *fake)
{
	return (struct api_backend){
		fake,	      fake_check,  fake_create,	     fake_change,    fake_change_many,
		fake_pause,   fake_resume, fake_set_timeout, fake_remove,    fake_find,
		fake_list,    fake_leases, fake_rules,	     fake_flows,     fake_explain,
		fake_metrics, fake_ready,  fake_ca,	     fake_is_inside, fake_has_relays};
}

#endif
