/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a policy document, on each of the three ways in. What is accepted prints as native JSON that is accepted
 * again, prints the same and means the same; json-c, which is lenient, accepts it as well.
 */
#include "fuzz.h"

#include <errno.h>
#include <json-c/json.h>

#include "policy/policy.h"

static void check_rule(const struct policy_rule *rule)
{
	const struct policy_dest *d = &rule->dest;

	MUST(rule->verdict == PST_VERDICT_ALLOW || rule->verdict == PST_VERDICT_DENY);
	MUST(d->kind == POLICY_DEST_CIDR || rule->verdict == PST_VERDICT_ALLOW);
	MUST(d->protocols && !(d->protocols & ~PST_ANY_PROTO));
	MUST(d->first <= d->last);
	MUST(!(d->any_port && d->web_ports));
	MUST((d->protocols & PST_ICMP) == 0 || d->any_port); /* ports never cover ICMP */
	MUST(d->kind == POLICY_DEST_CIDR || !(d->protocols & PST_ICMP));
}

static void check_policy(const struct policy *p)
{
	bool deny_seen = false, names = false;

	for (size_t i = 0; i < p->n_rules; i++) {
		check_rule(&p->rules[i]);
		deny_seen |= p->rules[i].verdict == PST_VERDICT_DENY;
		MUST(!deny_seen || p->rules[i].verdict == PST_VERDICT_DENY);
		names |= p->rules[i].dest.kind == POLICY_DEST_NAME;
	}
	MUST(names == p->has_names);
	MUST(!names || p->default_deny);
	MUST(p->dns_min_ttl_s <= p->dns_max_ttl_s);
	MUST((p->inbound == PST_INBOUND_LIST) == (p->inbound_from.count > 0) ||
	     p->inbound != PST_INBOUND_LIST);
}

static void check_same(const struct policy *a, const struct policy *b)
{
	MUST(a->default_deny == b->default_deny && a->audit == b->audit);
	MUST(a->n_rules == b->n_rules && a->has_names == b->has_names);
	MUST(a->loopback == b->loopback && a->inbound == b->inbound);
	MUST(a->existing == b->existing && a->host_check == b->host_check);
	MUST(a->unix_sockets == b->unix_sockets && a->dns_gate == b->dns_gate);
	MUST(a->resolvers.count == b->resolvers.count && a->n_tests == b->n_tests);
	MUST(a->allow_private.count == b->allow_private.count);
	MUST(a->n_transforms == b->n_transforms && !a->proxy == !b->proxy);
	for (size_t i = 0; i < a->n_rules; i++) {
		MUST(a->rules[i].verdict == b->rules[i].verdict);
		MUST(a->rules[i].dest.protocols == b->rules[i].dest.protocols);
	}
}

static void check_fixpoint(const struct policy *p)
{
	struct buf first = {0}, second = {0};
	struct policy *again = NULL;
	struct error err = {.text = ""};

	MUST(policy_print(p, &first) == 0);
	if (policy_parse("again", first.data, first.size, POLICY_FROM_FILE, &again, &err) < 0) {
		fprintf(stderr, "%s\n%s\n", first.data, err.text);
		abort();
	}
	check_policy(again);
	check_same(p, again);
	MUST(policy_print(again, &second) == 0);
	MUST(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
	policy_free(again);
	buf_done(&first);
	buf_done(&second);
}

static void check_oracle(const uint8_t *data, size_t size)
{
	struct json_tokener *tokener = json_tokener_new_ex(32);
	struct json_object *object;

	MUST(tokener);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, (const char *)data, (int)size);
	MUST(json_object_is_type(object, json_type_object));
	json_object_put(object);
	json_tokener_free(tokener);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int source = POLICY_FROM_FILE; source <= POLICY_FROM_BRIMBLE; source++) {
		struct policy *p = NULL;
		struct error err = {.text = ""};
		int r = policy_parse(source ? "" : "f.json", (const char *)data, size,
				     (enum policy_source)source, &p, &err);

		MUST(r == 0 || r == -EINVAL);
		MUST((r == 0) == (p != NULL));
		if (r < 0) {
			fuzz_check_error(err.text);
			continue;
		}
		check_policy(p);
		check_fixpoint(p);
		check_oracle(data, size);
		policy_free(p);
	}
	return 0;
}
