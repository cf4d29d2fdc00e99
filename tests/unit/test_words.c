/* SPDX-License-Identifier: MIT */
/* The words of the ABI's codes: all of them, and "?" for codes of a newer kernel side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "events/words.h"
#include "pst_abi.h"

static void every_verdict_has_its_word(void **state)
{
	static const char *const words[] = {"deny",  "allow", "relay",
					    "owner", "gate",  "would-deny"};

	(void)state;
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		assert_string_equal(words_verdict(i), words[i]);
	assert_string_equal(words_verdict(PST_VERDICT_WOULD_DENY), "would-deny");
	assert_string_equal(words_verdict(6), "?");
	assert_string_equal(words_verdict(255), "?");
}

static void reasons_are_those_of_the_list(void **state)
{
	(void)state;
	assert_string_equal(words_reason(PST_REASON_UNSET), "unset");
	assert_string_equal(words_reason(PST_REASON_DEFAULT_DENY), "default-deny");
	assert_string_equal(words_reason(PST_REASON_LEASE), "lease");
	assert_string_equal(words_reason_text(PST_REASON_DEFAULT_DENY),
			    "no rule allows the destination");
	assert_string_equal(words_reason_text(PST_REASON_PROTOCOL),
			    "only TCP, UDP and ICMP echo leave a sandbox");
}

static void codes_without_a_reason_are_question_marks(void **state)
{
	(void)state;
	assert_string_equal(words_reason(47),
			    "?"); /* between allowances and the denials of the relay */
	assert_string_equal(words_reason(PST_REASON_MAX), "?");
	assert_string_equal(words_reason_text(47), "?");
	assert_string_equal(words_reason_text(1000), "?");
}

/* Words go into metrics, file names and tests: one spelling, no two alike. */
static void reason_words_are_lower_case_and_unique(void **state)
{
	(void)state;
	for (unsigned i = 0; i < PST_REASON_MAX; i++) {
		const char *word = words_reason(i);

		if (strcmp(word, "?") == 0)
			continue;
		assert_int_equal(strspn(word, "abcdefghijklmnopqrstuvwxyz-"), strlen(word));
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(word, words_reason(j));
	}
}

static void protocols_and_hooks_have_words(void **state)
{
	(void)state;
	assert_string_equal(words_protocol(0), "");
	assert_string_equal(words_protocol(PST_TCP), "tcp");
	assert_string_equal(words_protocol(PST_UDP), "udp");
	assert_string_equal(words_protocol(PST_ICMP), "icmp");
	assert_string_equal(words_protocol(PST_TCP | PST_UDP), "?");
	assert_string_equal(words_hook(PST_HOOK_CONNECT), "connect");
	assert_string_equal(words_hook(PST_HOOK_SENDMSG), "sendmsg");
	assert_string_equal(words_hook(PST_HOOK_SOCKET), "socket");
	assert_string_equal(words_hook(PST_HOOK_SOCKOPT), "sockopt");
	assert_string_equal(words_hook(PST_HOOK_EGRESS), "egress");
	assert_string_equal(words_hook(PST_HOOK_INGRESS), "ingress");
	assert_string_equal(words_hook(PST_HOOK_UNIX), "unix");
	assert_string_equal(words_hook(PST_HOOK_RELAY), "relay");
	assert_string_equal(words_hook(PST_HOOK_RELAY + 1), "?");
}

static void every_kind_of_reply_has_its_word(void **state)
{
	(void)state;
	for (unsigned i = 0; i < PST_REPLY_KINDS; i++) {
		assert_string_not_equal(words_reply(i), "?");
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(words_reply(i), words_reply(j));
	}
	assert_string_equal(words_reply(PST_REPLY_UNASKED), "unasked");
	assert_string_equal(words_reply(PST_REPLY_UNTRUSTED), "untrusted");
	assert_string_equal(words_reply(PST_REPLY_KINDS), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_verdict_has_its_word),
		cmocka_unit_test(reasons_are_those_of_the_list),
		cmocka_unit_test(codes_without_a_reason_are_question_marks),
		cmocka_unit_test(reason_words_are_lower_case_and_unique),
		cmocka_unit_test(protocols_and_hooks_have_words),
		cmocka_unit_test(every_kind_of_reply_has_its_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
