/* SPDX-License-Identifier: MIT */
/* Any text as an address and as a prefix: what is accepted is canonical after one print. */
#include "fuzz.h"

#include <errno.h>

#include "base/addr.h"

static void check_addr(const char *text)
{
	struct error err = {.text = ""};
	char printed[CIDR_TEXT_MAX];
	struct addr a, b;
	int r = addr_parse(text, &a, &err);

	MUST(r == 0 || r == -EINVAL);
	if (r < 0) {
		fuzz_check_error(err.text);
		return;
	}
	MUST(addr_parse(addr_print(&a, printed), &b, NULL) == 0);
	MUST(addr_equal(&a, &b));
	MUST(!!strchr(printed, ':') != addr_is_ipv4(&a));
}

static void check_cidr(const char *text)
{
	struct error err = {.text = ""};
	char printed[CIDR_TEXT_MAX], again[CIDR_TEXT_MAX];
	struct cidr c, d, all = {.family = CIDR_ALL};
	bool host_bits;
	int r = cidr_parse(text, &c, &host_bits, &err);

	MUST(r == 0 || r == -EINVAL);
	if (r < 0) {
		fuzz_check_error(err.text);
		return;
	}
	MUST(c.family == CIDR_IPV4 ? c.len <= 32 : c.family == CIDR_IPV6 && c.len <= 128);
	cidr_print(&c, printed);
	MUST(cidr_parse(printed, &d, &host_bits, NULL) == 0);
	MUST(!host_bits);
	MUST(cidr_equal(&c, &d));
	MUST(strcmp(printed, cidr_print(&d, again)) == 0);
	/* A prefix so wide that it only begins like a mapped one is IPv6 with a mapped address at its start. */
	if ((c.family == CIDR_IPV4) == addr_is_ipv4(&c.addr))
		MUST(cidr_contains(&c, &c.addr));
	MUST(cidr_covers(&c, &d) && cidr_covers(&all, &c) && !cidr_covers(&c, &all));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);

	check_addr(text);
	check_cidr(text);
	free(text);
	return 0;
}
