/* SPDX-License-Identifier: MIT */
/* Any text as a destination, with and without URLs: what is accepted prints as an entry with the same meaning. */
#include "fuzz.h"

#include <errno.h>

#include "policy/policy.h"

static void check_same(const struct policy_dest *a, const struct policy_dest *b)
{
	MUST(a->kind == b->kind && a->protocols == b->protocols);
	MUST(a->any_port == b->any_port && a->web_ports == b->web_ports);
	MUST(a->first == b->first && a->last == b->last);
	if (a->kind == POLICY_DEST_CIDR)
		MUST(cidr_equal(&a->cidr, &b->cidr));
	else
		MUST(a->domain.kind == b->domain.kind &&
		     strcmp(a->domain.name, b->domain.name) == 0);
}

/* IPv4's whole range in IPv6's notation prints as the text that stands for all traffic. No list takes it. */
static bool is_refused_in_lists(const struct policy_dest *d)
{
	return d->kind == POLICY_DEST_CIDR && d->cidr.family == CIDR_IPV4 && d->cidr.len == 0;
}

static void check(const char *text, bool url)
{
	struct error err = {.text = ""};
	char printed[POLICY_DEST_TEXT_MAX], again[POLICY_DEST_TEXT_MAX];
	struct policy_dest a, b;
	int r = policy_dest_parse(text, url, &a, &err);

	MUST(r == 0 || r == -EINVAL);
	if (r < 0) {
		fuzz_check_error(err.text);
		return;
	}
	MUST(a.first <= a.last);
	policy_dest_print(&a, printed);
	if (is_refused_in_lists(&a))
		return;
	MUST(policy_dest_parse(printed, false, &b, NULL) == 0);
	check_same(&a, &b);
	MUST(!b.host_bits);
	MUST(strcmp(printed, policy_dest_print(&b, again)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);

	check(text, false);
	check(text, true);
	free(text);
	return 0;
}
