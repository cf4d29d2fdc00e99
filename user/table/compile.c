/* SPDX-License-Identifier: MIT */
/* struct policy -> struct table: joins the rows of both families, the names and the port sets. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "table/names.h"
#include "table/ports.h"
#include "table/rows.h"
#include "table/table.h"
#include "table/trie.h"

void table_free(struct table *table)
{
	if (!table)
		return;
	free(table->rows4);
	free(table->rows6);
	table_trie_done(&table->trie);
	free(table->ports);
	table_names_free(table->names, table->n_names);
	free(table);
}

static int compile4(struct table *table, const struct table_prefixes *prefixes)
{
	table->rows4 = calloc(prefixes->count, sizeof(*table->rows4));
	if (!table->rows4)
		return -ENOMEM;
	for (size_t i = 0; i < prefixes->count; i++) {
		const struct table_prefix *prefix = &prefixes->rows[i];
		struct table_row4 *row = &table->rows4[i];

		row->key.prefixlen = prefix->len;
		memcpy(row->key.addr, prefix->addr.bytes + 12, sizeof(row->key.addr));
		row->value = prefix->value;
	}
	table->n_rows4 = prefixes->count;
	return 0;
}

static int compile6(struct table *table, const struct table_prefixes *prefixes)
{
	table->rows6 = calloc(prefixes->count, sizeof(*table->rows6));
	if (!table->rows6)
		return -ENOMEM;
	for (size_t i = 0; i < prefixes->count; i++) {
		const struct table_prefix *prefix = &prefixes->rows[i];
		struct table_row6 *row = &table->rows6[i];

		row->key.prefixlen = prefix->len;
		memcpy(row->key.addr, prefix->addr.bytes, sizeof(row->key.addr));
		row->value = prefix->value;
	}
	table->n_rows6 = prefixes->count;
	return 0;
}

static int compile_family(struct table *table, const struct policy *policy,
			  const struct table_env *env, enum cidr_family family,
			  struct table_ports *ports, struct error *err)
{
	struct table_prefixes prefixes;
	int r = table_rows(policy, env, family, ports, &prefixes, err);

	if (r)
		return r;
	r = family == CIDR_IPV4 ? compile4(table, &prefixes) : compile6(table, &prefixes);
	free(prefixes.rows);
	return r;
}

static uint8_t dns_of(const struct policy *policy)
{
	if (!policy->default_deny || !policy->dns_gate)
		return PST_DNS_OPEN;
	return policy->has_names ? PST_DNS_GATED : PST_DNS_RULES;
}

/* A report is to have names where names are not what decides: in audit, and where the gate lets every question out. */
static uint8_t learn_of(const struct policy *policy)
{
	if (policy->audit || (policy->has_names && !policy->dns_gate))
		return PST_LEARN_ALL;
	return policy->has_names ? PST_LEARN_COVERED : PST_LEARN_NONE;
}

static uint8_t unix_of(const struct policy *policy)
{
	static const uint8_t of[] = {[POLICY_UNIX_ALLOW] = PST_UNIX_ALLOW,
				     [POLICY_UNIX_PATHNAME] = PST_UNIX_PATHNAME,
				     [POLICY_UNIX_DENY] = PST_UNIX_DENY};

	return of[policy->unix_sockets];
}

/* Names bind to SNI and Host only where they decide at all. */
static uint32_t flags_of(const struct policy *policy)
{
	uint32_t flags = policy->audit ? PST_SANDBOX_AUDIT : 0;

	if (policy->proxy)
		flags |= PST_SANDBOX_PROXIED;
	if (policy->n_transforms)
		flags |= PST_SANDBOX_RULES;
	if (policy->host_check == POLICY_HOST_CHECK_STRICT && policy->default_deny &&
	    policy->has_names)
		flags |= PST_SANDBOX_STRICT;
	return flags;
}

static int compile_all(struct table *table, struct table_ports *ports, const struct policy *policy,
		       const struct table_env *env, struct error *err)
{
	int r = compile_family(table, policy, env, CIDR_IPV4, ports, err);

	if (!r)
		r = compile_family(table, policy, env, CIDR_IPV6, ports, err);
	if (!r)
		r = table_names(policy, ports, &table->names, &table->n_names, err);
	if (r)
		return r;
	/* A lease keeps the index of its name's set in PST_DERIVED_BITS bits. */
	if (ports->count - 1 > TABLE_MAX_PORT_SETS)
		return error_set(err, -EINVAL, "more than %u different sets of ports",
				 TABLE_MAX_PORT_SETS);
	table->n_rules = (uint32_t)policy->n_rules;
	table->flags = flags_of(policy);
	table->default_verdict = policy->default_deny ? PST_VERDICT_DENY : PST_VERDICT_ALLOW;
	table->loopback = policy->loopback;
	table->inbound = policy->inbound;
	table->dns = dns_of(policy);
	table->learn = learn_of(policy);
	table->unix_sockets = unix_of(policy);
	table->daemon_port = env ? env->daemon_port : 0;
	table->keep = policy->existing == POLICY_EXISTING_KEEP;
	table->lease_min_s = policy->dns_min_ttl_s;
	table->lease_max_s = policy->dns_max_ttl_s;
	return 0;
}

int table_compile(const struct policy *policy, const struct table_env *env,
		  struct table **ret_table, struct error *err)
{
	cleanup_table struct table *table = calloc(1, sizeof(*table));
	cleanup(table_ports_done) struct table_ports ports = {0};
	int r;

	if (!table || table_ports_init(&ports) < 0)
		return -ENOMEM;
	r = compile_all(table, &ports, policy, env, err);
	if (r)
		return r;
	table->n_ports = ports.count;
	table->ports = TAKE_PTR(ports.sets);
	r = table_trie(table, env ? env->trie_from : 0);
	if (r)
		return r;
	*ret_table = TAKE_PTR(table);
	return 0;
}

void table_fill_record(const struct table *table, struct pst_sandbox *record)
{
	record->flags = table->flags;
	record->rules = table->n_rules + 1; /* and number 0, the default */
	record->default_verdict = table->default_verdict;
	record->loopback = table->loopback;
	record->inbound = table->inbound;
	record->dns = table->dns;
	record->learn = table->learn;
	record->unix_sockets = table->unix_sockets;
	record->daemon_port = table->daemon_port;
	record->lease_min_s = table->lease_min_s;
	record->lease_max_s = table->lease_max_s;
}
