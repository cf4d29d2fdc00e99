/* SPDX-License-Identifier: MIT */
/* What the tests of the policy room share: documents in, texts out. */
#ifndef TESTS_POLICY_FIXTURE_H
#define TESTS_POLICY_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"

struct golden {
	const char *document, *text;
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static inline struct policy *parse_as(enum policy_source source, const char *document)
{
	struct policy *policy = NULL;
	struct error err = {.text = ""};

	if (policy_parse("", document, strlen(document), source, &policy, &err) < 0)
		fail_msg("%s: %s", document, err.text);
	return policy;
}

static inline struct policy *parse(const char *document)
{
	return parse_as(POLICY_FROM_FILE, document);
}

/* The document is refused, with exactly this text, and nothing comes out. */
static inline void assert_refused(const char *name, enum policy_source source,
				  const struct golden *golden)
{
	struct policy *policy = NULL;
	struct error err = {.text = ""};
	int r = policy_parse(name, golden->document, strlen(golden->document), source, &policy,
			     &err);

	if (r == 0)
		fail_msg("accepted: %s", golden->document);
	assert_int_equal(r, -EINVAL);
	assert_null(policy);
	assert_string_equal(err.text, golden->text);
}

/* The caller frees it. */
static inline char *print(const struct policy *policy)
{
	struct buf out = {0};

	assert_int_equal(policy_print(policy, &out), 0);
	return buf_take(&out);
}

static inline void assert_prints(enum policy_source source, const struct golden *golden)
{
	struct policy *policy = parse_as(source, golden->document), *again;
	char *text = print(policy), *second;

	assert_string_equal(text, golden->text);
	again = parse(text);
	second = print(again);
	assert_string_equal(second, text);
	policy_free(policy);
	policy_free(again);
	free(text);
	free(second);
}

#endif
