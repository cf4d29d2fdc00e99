/* SPDX-License-Identifier: MIT */
/* Any text as a name pattern: what is accepted is lower-case LDH, canonical after one print, and matches
 * what it says. */
#include "fuzz.h"

#include <errno.h>

#include "base/domain.h"

static void check_matches(const struct domain *d)
{
	char below[DOMAIN_MAX + 3];

	if (d->kind == DOMAIN_ANY) {
		MUST(domain_matches(d, "example.com"));
		return;
	}
	MUST(domain_matches(d, d->name) == (d->kind == DOMAIN_EXACT));
	snprintf(below, sizeof(below), "x.%s", d->name);
	if (strlen(below) <= DOMAIN_MAX)
		MUST(domain_matches(d, below) == (d->kind == DOMAIN_WILDCARD));
	snprintf(below, sizeof(below), "x%s", d->name);
	MUST(!domain_matches(d, below));
}

static void check_name(const char *name)
{
	MUST(strlen(name) <= DOMAIN_MAX);
	MUST(!name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.")]);
	MUST(!strstr(name, "..") && name[0] != '.');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), printed[DOMAIN_MAX + 3], name[DOMAIN_MAX + 1];
	struct error err = {.text = ""};
	struct domain d, again;
	int r = domain_parse(text, &d, &err);

	MUST(r == 0 || r == -EINVAL);
	if (r < 0) {
		fuzz_check_error(err.text);
	} else {
		check_name(d.name);
		MUST(domain_parse(domain_print(&d, printed), &again, NULL) == 0);
		MUST(again.kind == d.kind && strcmp(again.name, d.name) == 0);
		check_matches(&d);
		(void)domain_is_above_public_suffix(&d);
		if (d.kind == DOMAIN_EXACT)
			MUST(domain_parse_name(text, name, NULL) == 0 && !strcmp(name, d.name));
	}
	free(text);
	return 0;
}
