/* SPDX-License-Identifier: MIT */
/* What must deny whatever the query: no policy yet, and rows or port sets that are missing. */
#include <stdio.h>
#include <string.h>

#include "events/words.h"
#include "tests/agree/agree.h"

/* Both legs answer 1.2.3.4, tcp 80, with a denial for this reason. */
static bool denies(struct agree_kernel *kernel, const struct agree_tables *tables,
		   enum pst_reason reason, const char *what)
{
	static struct pst_query queries[AGREE_BATCH];
	static struct pst_decision answers[2][AGREE_BATCH];
	bool same = true;

	for (size_t i = 0; i < AGREE_BATCH; i++)
		queries[i] = (struct pst_query){
			.addr = {[10] = 0xff, 0xff, 1, 2, 3, 4}, .port = 80, .protocol = PST_TCP};
	agree_native(tables, queries, AGREE_BATCH, answers[0]);
	memcpy(answers[1], answers[0], sizeof(answers[1]));
	if (kernel && agree_kernel(kernel, tables, queries, answers[1]) < 0)
		return false;
	for (int leg = 0; leg < 2; leg++) {
		const struct pst_decision *d = &answers[leg][AGREE_BATCH - 1];

		if (d->verdict == PST_VERDICT_DENY && d->reason == (uint8_t)reason)
			continue;
		printf("agreement: %s: %s %s by leg %d, expected a denial for %s\n", what,
		       words_verdict(d->verdict), words_reason(d->reason), leg,
		       words_reason(reason));
		same = false;
	}
	return same;
}

bool agree_fails_closed(struct agree_kernel *kernel)
{
	struct table_row4 root = {.value = {.decided = 1, .verdict = PST_VERDICT_ALLOW}};
	struct table_row4 lost = {.value = {.ports = 1u << 20}};
	struct table_always_row open = {.value = {.kind = PST_ALWAYS_OPEN}};
	struct table_always_row unknown = {.value = {.kind = PST_ALWAYS_UNKNOWN}};
	struct table table = {.rows4 = &root, .n_rows4 = 1, .n_ports = 1};
	struct table no_rows = {.n_ports = 1}, no_ports = table;
	struct agree_tables t = {.table = &table, .always = &open, .n_always = 1};
	bool all = denies(kernel, &t, PST_REASON_NO_POLICY, "a record of zeros");

	t.record = (struct pst_sandbox){.id = 1, .default_verdict = PST_VERDICT_ALLOW};
	all &= denies(kernel, &t, PST_REASON_NO_POLICY, "a record without generation");
	t.record.generation = 1;
	t.table = &no_rows;
	all &= denies(kernel, &t, PST_REASON_INTERNAL, "an empty trie");
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
