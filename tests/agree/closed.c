/* SPDX-License-Identifier: MIT */
/* What must deny whatever the query: no policy yet, and rows, port sets or maps that are missing. */
#include <stdio.h>
#include <string.h>

#include "events/words.h"
#include "tests/agree/agree.h"

#define NOW_NS	   1000000000ULL
#define GENERATION 5
#define NAME_ID	   77

/* What both legs answer to 1.2.3.4, tcp 80. `hidden`: the inner map that the kernel leg misses; AGREE_MAPS: none. */
struct expected {
	enum pst_reason reason;
	enum agree_map hidden;
	uint32_t live;	 /* of the query */
	bool translated; /* it is to 64:ff9b::1.2.3.4 */
	bool dns;	 /* port 53 */
};

static const struct pst_addr plain = {.addr = {[10] = 0xff, 0xff, 1, 2, 3, 4}};
static const struct pst_addr translated = {.addr = {0, 0x64, 0xff, 0x9b, [12] = 1, 2, 3, 4}};

static bool ask(struct agree_kernel *kernel, const struct agree_tables *tables,
		const struct expected *expected, struct pst_decision ret_last[2])
{
	static struct pst_query queries[AGREE_BATCH];
	static struct pst_decision answers[AGREE_BATCH];
	int r = 0;

	for (size_t i = 0; i < AGREE_BATCH; i++) {
		queries[i] = (struct pst_query){.port = expected->dns ? 53 : 80,
						.protocol = PST_TCP,
						.live = expected->live};
		memcpy(queries[i].addr, expected->translated ? translated.addr : plain.addr, 16);
	}
	agree_native(tables, queries, AGREE_BATCH, answers);
	ret_last[0] = ret_last[1] = answers[AGREE_BATCH - 1];
	if (!kernel)
		return true;
	if (expected->hidden != AGREE_MAPS)
		r = agree_kernel_hide(kernel, expected->hidden, true);
	if (!r)
		r = agree_kernel(kernel, tables, queries, answers);
	if (!r && expected->hidden != AGREE_MAPS)
		r = agree_kernel_hide(kernel, expected->hidden, false);
	ret_last[1] = answers[AGREE_BATCH - 1];
	return r == 0;
}

/* Reasons below 32 deny. */
static bool answers(struct agree_kernel *kernel, const struct agree_tables *tables,
		    struct expected expected, const char *what)
{
	uint8_t verdict =
		expected.reason < PST_REASON_ALLOW_RULE ? PST_VERDICT_DENY : PST_VERDICT_ALLOW;
	struct pst_decision last[2];
	bool same = true;

	if (!ask(kernel, tables, &expected, last)) {
		printf("agreement: %s: the kernel leg failed\n", what);
		return false;
	}
	for (int leg = 0; leg < 2; leg++) {
		const struct pst_decision *d = &last[leg];

		/* No rule has said any of these denials. */
		if (d->verdict == verdict && d->reason == (uint8_t)expected.reason &&
		    (verdict == PST_VERDICT_ALLOW || !d->rule))
			continue;
		printf("agreement: %s: %s %s by leg %d, expected %s %s%s\n", what,
		       words_verdict(d->verdict), words_reason(d->reason), leg,
		       words_verdict(verdict), words_reason(expected.reason),
		       d->verdict != verdict && verdict == PST_VERDICT_DENY ? ": " AGREE_OPENS
									    : "");
		same = false;
	}
	return same;
}

static bool denies(struct agree_kernel *kernel, const struct agree_tables *tables,
		   enum pst_reason reason, const char *what)
{
	return answers(kernel, tables, (struct expected){reason, AGREE_MAPS, 0, false, false},
		       what);
}

static bool addresses_fail_closed(struct agree_kernel *kernel)
{
	struct table_row4 root = {.value = {.decided = 1, .verdict = PST_VERDICT_ALLOW}};
	struct table_row4 lost = {.value = {.ports = 1u << 20}};
	struct table_always_row open = {.value = {.kind = PST_ALWAYS_OPEN}};
	struct table_always_row unknown = {.value = {.kind = PST_ALWAYS_UNKNOWN}};
	struct table table = {.rows4 = &root, .n_rows4 = 1, .n_ports = 1};
	struct table no_rows = {.n_ports = 1}, no_ports = table;
	struct agree_tables t = {.table = &table, .always = &open, .n_always = 1};
	bool all = denies(kernel, &t, PST_REASON_NO_POLICY, "a record of zeros");

	t.record = (struct pst_sandbox){
		.id = 1, .policy_slot = AGREE_POLICY_SLOT, .default_verdict = PST_VERDICT_ALLOW};
	all &= denies(kernel, &t, PST_REASON_NO_POLICY, "a record without generation");
	t.record.generation = 1;
	t.record.id = 0;
	all &= denies(kernel, &t, PST_REASON_NO_POLICY, "a record without id");
	t.record.id = 1;
	t.table = &no_rows;
	all &= denies(kernel, &t, PST_REASON_INTERNAL, "an empty trie");
	all &= answers(kernel, &t,
		       (struct expected){PST_REASON_INTERNAL, AGREE_MAPS, 0, false, true},
		       "an empty trie, to a resolver");
	no_ports.rows4 = &lost;
	t.table = &no_ports;
	all &= denies(kernel, &t, PST_REASON_INTERNAL, "a port set that is missing");
	t.table = &table;
	t.always = &unknown;
	all &= denies(kernel, &t, PST_REASON_ALWAYS_DENIED,
		      "a row of the always-denied set of zeros");
	t.n_always = 0;
	all &= denies(kernel, &t, PST_REASON_INTERNAL, "an empty always-denied set");
	return all;
}

/* Ranges behind the count of a port set are none, whatever stands there. */
static bool ranges_are_counted(struct agree_kernel *kernel)
{
	const struct pst_port_range other = {.first = 81,
					     .last = 81,
					     .protocols = PST_TCP,
					     .verdict = PST_VERDICT_ALLOW},
				    behind = {.first = 0,
					      .last = 65535,
					      .protocols = PST_ANY_PROTO,
					      .verdict = PST_VERDICT_ALLOW};
	struct pst_ports ports[2] = {[1] = {.count = 1, .range = {other, behind}}};
	struct table_row4 root = {.value = {.ports = 1}};
	struct table_always_row open = {.value = {.kind = PST_ALWAYS_OPEN}};
	struct table table = {.rows4 = &root, .n_rows4 = 1, .ports = ports, .n_ports = 2};
	struct agree_tables t = {.table = &table,
				 .always = &open,
				 .n_always = 1,
				 .record = {.id = 1,
					    .generation = 1,
					    .policy_slot = AGREE_POLICY_SLOT,
					    .default_verdict = PST_VERDICT_DENY}};
	bool all = denies(kernel, &t, PST_REASON_DEFAULT_DENY, "a range behind the count");

	ports[1].count = 2;
	return answers(kernel, &t,
		       (struct expected){PST_REASON_ALLOW_RULE, AGREE_MAPS, 0, false, false},
		       "the same range, counted") &&
	       all;
}

/* The kernel leg alone: natively nothing is hidden. */
static bool ask_without(struct agree_kernel *kernel, const struct agree_tables *tables,
			enum agree_map map)
{
	const struct expected hidden = {PST_REASON_INTERNAL, map, 0, false, false};
	struct pst_decision last[2];

	if (ask(kernel, tables, &hidden, last) && last[1].verdict == PST_VERDICT_DENY &&
	    last[1].reason == PST_REASON_INTERNAL)
		return true;
	printf("agreement: an array of the trie that is missing does not deny\n");
	return false;
}

/* A trie for 1.2.3.4 alone: a root, two nodes, a leaf that allows it. Each way to break it is one element of it. */
struct tiny {
	struct pst_trie_root roots[2 << PST_TRIE_ROOT_BITS];
	struct pst_trie_node nodes[64];
	struct pst_trie_leaf leaf;
	struct pst_trie_row row;
};

#define TINY_ROOT 0x40 /* its first 14 bits; then come 32, 12 and 4 */
#define NOT_THERE (1U << 20)

static void make_tiny(struct tiny *tiny, struct table_trie *ret_trie)
{
	memset(tiny, 0, sizeof(*tiny));
	tiny->roots[TINY_ROOT].node = 1;
	tiny->nodes[1] = (struct pst_trie_node){.children = 1ULL << 32, .first_child = 2};
	tiny->nodes[2] = (struct pst_trie_node){.leaves = 1ULL << 12};
	tiny->leaf.row.says = PST_SAYS_ALLOW;
	tiny->row.says = PST_SAYS_ALLOW;
	*ret_trie = (struct table_trie){.roots = tiny->roots,
					.n_roots = 2 << PST_TRIE_ROOT_BITS,
					.nodes = tiny->nodes,
					.n_nodes = 64,
					.leaves = &tiny->leaf,
					.n_leaves = 1,
					.rows = &tiny->row,
					.n_rows = 1};
}

static void lose_node(struct tiny *tiny)
{
	tiny->roots[TINY_ROOT].node = NOT_THERE;
}

static void lose_child(struct tiny *tiny)
{
	tiny->nodes[1].first_child = NOT_THERE;
}

static void lose_leaf(struct tiny *tiny)
{
	tiny->nodes[2].first_leaf = NOT_THERE;
}

static void lose_row(struct tiny *tiny)
{
	tiny->nodes[2].leaves = 0;
	tiny->nodes[2].first_row = NOT_THERE;
}

static void never_end(struct tiny *tiny)
{
	for (size_t i = 0; i < 64; i++)
		tiny->nodes[i] = (struct pst_trie_node){.children = ~0ULL, .first_child = 1};
}

static void write_no_leaf(struct tiny *tiny)
{
	tiny->leaf.row.says = PST_SAYS_UNKNOWN;
}

static void write_nothing(struct tiny *tiny)
{
	memset(tiny, 0, sizeof(*tiny));
}

/* Whatever the kernel's own trie says, which allows everything here. */
static bool trie_fails_closed(struct agree_kernel *kernel)
{
	static const struct {
		void (*do_it)(struct tiny *tiny);
		const char *what;
	} broken[] = {
		{lose_node, "a node that is not there"}, {lose_child, "a child that is not there"},
		{lose_leaf, "a leaf that is not there"}, {lose_row, "a row that is not there"},
		{never_end, "nodes without an end"},	 {write_no_leaf, "a leaf of zeros"},
		{write_nothing, "a trie of zeros"},
	};
	static struct tiny tiny;
	struct table_row4 root = {.value = {.decided = 1, .verdict = PST_VERDICT_ALLOW}};
	struct table_always_row open = {.value = {.kind = PST_ALWAYS_OPEN}};
	struct table table = {.rows4 = &root, .n_rows4 = 1, .n_ports = 1};
	struct agree_tables t = {.table = &table, .always = &open, .n_always = 1};
	const struct expected allowed = {PST_REASON_ALLOW_RULE, AGREE_MAPS, 0, false, false};
	bool all;

	t.record = (struct pst_sandbox){.id = 1,
					.generation = 1,
					.policy_slot = AGREE_POLICY_SLOT,
					.default_verdict = PST_VERDICT_ALLOW,
					.flags = PST_SANDBOX_TRIE4};
	make_tiny(&tiny, &table.trie);
	all = answers(kernel, &t, allowed, "a whole trie");
	for (enum agree_map map = AGREE_TRIE_ROOTS; kernel && map <= AGREE_TRIE_ROWS; map++) {
		/* The last one is asked where there is no leaf. */
		if (map == AGREE_TRIE_ROWS)
			tiny.nodes[2].leaves = 0;
		all &= ask_without(kernel, &t, map);
	}
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		make_tiny(&tiny, &table.trie);
		broken[i].do_it(&tiny);
		all &= denies(kernel, &t, PST_REASON_INTERNAL, broken[i].what);
	}
	return all;
}

/* The trie of the address inside is missing: what the other one says of the address as sent is not enough. */
static bool translated_fails_closed(struct agree_kernel *kernel)
{
	struct table_row4 root4 = {.value = {.decided = 1, .verdict = PST_VERDICT_ALLOW}};
	struct table_row6 root6 = {.value = {.decided = 1, .verdict = PST_VERDICT_ALLOW}};
	struct table_always_row always[] = {{.value = {.kind = PST_ALWAYS_OPEN}},
					    {.key = {.prefixlen = 96, .addr = {[10] = 0xff, 0xff}},
					     .value = {.kind = PST_ALWAYS_RANGE}}};
	struct table table = {
		.rows4 = &root4, .n_rows4 = 1, .rows6 = &root6, .n_rows6 = 1, .n_ports = 1};
	struct agree_tables t = {.table = &table,
				 .always = always,
				 .n_always = 1,
				 .record = {.id = 1,
					    .generation = 1,
					    .policy_slot = AGREE_POLICY_SLOT,
					    .default_verdict = PST_VERDICT_ALLOW}};
	struct expected expected = {PST_REASON_ALLOW_RULE, AGREE_MAPS, 0, true, false};
	bool all = answers(kernel, &t, expected, "a translated address");

	table.n_rows4 = 0;
	expected.reason = PST_REASON_INTERNAL;
	all &= answers(kernel, &t, expected, "a translated address without IPv4's trie");
	expected.dns = true;
	all &= answers(kernel, &t, expected, "a translated resolver without IPv4's trie");
	expected.dns = false;
	t.n_always = 2;
	all &= answers(kernel, &t, expected, "a translated address, denied, without IPv4's trie");
	t.n_always = 1;
	table.n_rows4 = 1;
	root4.value.decided = 0;
	root4.value.ports = 1u << 20;
	return answers(kernel, &t, expected, "a port set of the address inside") && all;
}

/* A lease of 1.2.3.4 for a name that a rule allows on port 80, judged under an older policy. */
struct learned {
	struct table table;
	struct pst_ports ports[2];
	struct table_row4 root;
	struct table_always_row open;
	struct table_name_row name;
	char key[12];
	struct agree_rows rows;
	struct agree_tables tables;
};

static void learn(struct learned *l)
{
	*l = (struct learned){
		.open = {.value = {.kind = PST_ALWAYS_OPEN}},
		.ports[1] = {.count = 1,
			     .range[0] = {.rule = 1,
					  .first = 80,
					  .last = 80,
					  .protocols = PST_TCP,
					  .verdict = PST_VERDICT_ALLOW}},
		.key = "moc.elpmaxe",
		.name = {.key = l->key, .key_size = 12, .rule = 1, .ports = 1},
		.table = {.rows4 = &l->root,
			  .n_rows4 = 1,
			  .ports = l->ports,
			  .n_ports = 2,
			  .names = &l->name,
			  .n_names = 1},
		.tables = {.table = &l->table,
			   .always = &l->open,
			   .n_always = 1,
			   .rows = &l->rows,
			   .now_ns = NOW_NS,
			   .record = {.id = 1,
				      .generation = GENERATION,
				      .policy_slot = AGREE_POLICY_SLOT,
				      .state_slot = AGREE_STATE_SLOT,
				      .names_slot = AGREE_STATE_SLOT,
				      .default_verdict = PST_VERDICT_DENY,
				      .learn = PST_LEARN_COVERED}},
	};
	l->rows.leases[0].addr = (struct addr){.bytes = {[10] = 0xff, 0xff, 1, 2, 3, 4}};
	memcpy(l->rows.leases[0].value.addr, l->rows.leases[0].addr.bytes, 16);
	l->rows.leases[0].value.by[0] =
		(struct pst_lease_name){.derived = PST_DERIVED(GENERATION - 1ULL, 0ULL),
					.expires_ns = UINT64_MAX,
					.name = NAME_ID};
	l->rows.n_leases = 1;
	(void)domain_to_key("example.com", &l->rows.names[0]);
	l->rows.learned[0].id = NAME_ID;
	l->rows.learned[0].value.name = NAME_ID;
	l->rows.learned[0].value.key = l->rows.names[0];
	l->rows.n_learned = 1;
}

/* Each is allowed when nothing is missing. */
static bool names_fail_closed(struct agree_kernel *kernel)
{
	const struct expected found = {PST_REASON_LEASE, AGREE_MAPS, 0, false, false};
	const struct expected live = {PST_REASON_LEASE, AGREE_MAPS, 1, false, false};
	struct expected lost = {PST_REASON_DEFAULT_DENY, AGREE_NAME_TRIE, 0, false, false};
	struct learned l;
	bool all;

	learn(&l);
	all = answers(kernel, &l.tables, found, "a lease");
	all &= answers(kernel, &l.tables, live, "the name of a live flow");
	l.table.n_names = 0;
	all &= answers(kernel, &l.tables, lost, "no name trie");
	l.rows.n_leases = 0;
	lost.live = 1;
	all &= answers(kernel, &l.tables, lost, "no name trie for a live flow");
	learn(&l);
	l.rows.n_learned = 0;
	lost = (struct expected){PST_REASON_DEFAULT_DENY, AGREE_LEARNED_TABLE, 0, false, false};
	all &= answers(kernel, &l.tables, lost, "no table of learned names");
	learn(&l);
	l.rows.n_leases = 0;
	lost.hidden = AGREE_LEASE_TABLE;
	all &= answers(kernel, &l.tables, lost, "no table of leases");
	learn(&l);
	l.table.n_ports = 1;
	lost.hidden = AGREE_PORTS;
	all &= answers(kernel, &l.tables, lost, "no port sets");
	learn(&l);
	l.rows.n_leases = 0;
	lost.hidden = AGREE_MAPS;
	l.tables.record.names_slot = AGREE_SLOTS - 1;
	all &= answers(kernel, &l.tables, lost, "a names slot without maps");
	l.tables.record.names_slot = AGREE_SLOTS;
	all &= answers(kernel, &l.tables, lost, "a names slot that is not there");
	learn(&l);
	l.tables.record.learn = PST_LEARN_NONE;
	all &= answers(kernel, &l.tables, lost, "a policy that has no names");
	learn(&l);
	l.tables.record.default_verdict = PST_VERDICT_ALLOW;
	lost.reason = PST_REASON_ALLOW_DEFAULT;
	all &= answers(kernel, &l.tables, lost, "a lease where the default allows");
	return all;
}

bool agree_fails_closed(struct agree_kernel *kernel)
{
	bool all = addresses_fail_closed(kernel);

	all &= ranges_are_counted(kernel);
	all &= trie_fails_closed(kernel);
	all &= translated_fails_closed(kernel);
	return names_fail_closed(kernel) && all;
}
