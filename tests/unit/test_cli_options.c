/* SPDX-License-Identifier: MIT */
/* Command-line words: the option reader, the options of `run`, the suggestion for a mistyped command. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "cli/run_options.h"
#include "cli/run_policy.h"
#include "kern/unix.h"
#include "cli/suggest.h"

#define WORDS_MAX 16

enum { OPTION_FILE = 1, OPTION_QUIET };

static const struct option_spec specs[] = {
	{OPTION_FILE, 'f', "file", true},
	{OPTION_QUIET, 'q', "quiet", false},
	{0, 0, NULL, false},
};

/* argv as main() gets it: writable, NULL at the end. */
struct words {
	char text[WORDS_MAX][64];
	char *argv[WORDS_MAX + 1];
	int argc;
};

static void set_words(struct words *w, const char *const *list)
{
	memset(w, 0, sizeof(*w));
	for (; list[w->argc]; w->argc++) {
		assert_true(w->argc < WORDS_MAX && strlen(list[w->argc]) < sizeof(w->text[0]));
		memcpy(w->text[w->argc], list[w->argc], strlen(list[w->argc]) + 1);
		w->argv[w->argc] = w->text[w->argc];
	}
}

#define WORDS(w, ...) set_words(w, (const char *const[]){"cmd", __VA_ARGS__, NULL})

static struct options begin(struct words *w)
{
	return (struct options){.specs = specs, .argc = w->argc, .argv = w->argv, .next = 1};
}

static void reads_every_way_to_write_a_value(void **state)
{
	const char *value = NULL;
	struct error err = {0};
	struct options o;
	struct words w;

	(void)state;
	WORDS(&w, "--file", "a", "--file=b", "-f", "c", "-fd", "--file=");
	o = begin(&w);
	for (const char *want = "abcd"; *want; want++) {
		assert_int_equal(options_next(&o, &value, &err), OPTION_FILE);
		assert_memory_equal(value, want, 1);
		assert_int_equal(strlen(value), 1);
	}
	assert_int_equal(options_next(&o, &value, &err), OPTION_FILE);
	assert_string_equal(value, "");
	assert_int_equal(options_next(&o, &value, &err), OPTIONS_END);
}

static void takes_what_follows_two_dashes_as_operands(void **state)
{
	const char *value = NULL;
	struct error err = {0};
	struct options o;
	struct words w;

	(void)state;
	WORDS(&w, "-q", "-", "--", "-q", "--");
	o = begin(&w);
	assert_int_equal(options_next(&o, &value, &err), OPTION_QUIET);
	assert_null(value);
	assert_int_equal(options_next(&o, &value, &err), OPTIONS_OPERAND);
	assert_string_equal(value, "-");
	assert_int_equal(options_next(&o, &value, &err), OPTIONS_OPERAND);
	assert_string_equal(value, "-q");
	assert_int_equal(options_next(&o, &value, &err), OPTIONS_OPERAND);
	assert_string_equal(value, "--");
	assert_int_equal(options_next(&o, &value, &err), OPTIONS_END);
}

static void says_what_is_wrong_with_an_option(void **state)
{
	static const struct {
		const char *word, *text;
	} cases[] = {
		{"--files", "unknown option '--files'"},
		{"--fil", "unknown option '--fil'"},
		{"--fil=x", "unknown option '--fil'"},
		{"-x", "unknown option '-x'"},
		{"-qq", "unknown option '-qq'"},
		{"--quiet=yes", "option '--quiet' takes no value"},
		{"--file", "option '--file' needs a value"},
		{"-f", "option '-f' needs a value"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *value = NULL;
		struct error err = {0};
		struct options o;
		struct words w;

		WORDS(&w, cases[i].word);
		o = begin(&w);
		assert_int_equal(options_next(&o, &value, &err), -EINVAL);
		assert_string_equal(err.text, cases[i].text);
	}
}

static void accepts_json_and_text_as_output(void **state)
{
	struct error err = {0};
	bool json = false;

	(void)state;
	assert_int_equal(cli_parse_output("json", &json, &err), 0);
	assert_true(json);
	assert_int_equal(cli_parse_output("xml", &json, &err), -EINVAL);
	assert_true(json);
	assert_string_equal(err.text, "unknown output 'xml', expected json or text");
	assert_int_equal(cli_parse_output("text", &json, &err), 0);
	assert_false(json);
}

static void leaves_the_commands_own_options_to_it(void **state)
{
	struct run_options run;
	struct error err = {0};
	struct words w;

	(void)state;
	WORDS(&w, "--allow", "1.1.1.1", "-a", "10.0.0.0/8", "--deny=9.9.9.9", "--audit",
	      "--dns-tcp", "curl", "--allow", "x", "--");
	assert_int_equal(run_options_parse(w.argc, w.argv, &run, &err), 0);
	assert_int_equal(run.allow.count, 2);
	assert_string_equal(run.allow.items[0], "1.1.1.1");
	assert_string_equal(run.allow.items[1], "10.0.0.0/8");
	assert_int_equal(run.deny.count, 1);
	assert_string_equal(run.deny.items[0], "9.9.9.9");
	assert_true(run.audit && run.dns_tcp);
	assert_false(run.keep_privs || run.netns || run.json);
	assert_ptr_equal(run.command, w.argv + 8);
	assert_string_equal(run.command[3], "--");
	assert_null(run.command[4]);
	run_options_done(&run);
}

static void runs_a_command_that_begins_with_a_dash(void **state)
{
	struct run_options run;
	struct error err = {0};
	struct words w;

	(void)state;
	WORDS(&w, "--keep-privs", "-o", "json", "--", "--odd");
	assert_int_equal(run_options_parse(w.argc, w.argv, &run, &err), 0);
	assert_true(run.keep_privs && run.json);
	assert_string_equal(run.command[0], "--odd");
	run_options_done(&run);
}

static void needs_a_command_but_for_help(void **state)
{
	struct run_options run;
	struct error err = {0};
	struct words w;

	(void)state;
	WORDS(&w, "--audit");
	assert_int_equal(run_options_parse(w.argc, w.argv, &run, &err), -EINVAL);
	assert_string_equal(err.text, "no command is named");
	run_options_done(&run);
	WORDS(&w, "--allow", "1.1.1.1", "--");
	assert_int_equal(run_options_parse(w.argc, w.argv, &run, &err), -EINVAL);
	run_options_done(&run);
	WORDS(&w, "-h");
	assert_int_equal(run_options_parse(w.argc, w.argv, &run, &err), 0);
	assert_true(run.help);
	run_options_done(&run);
}

static void takes_one_policy_and_one_report(void **state)
{
	struct run_options run;
	struct error err = {0};
	struct words w;

	(void)state;
	WORDS(&w, "--policy", "a", "-p", "b", "true");
	assert_int_equal(run_options_parse(w.argc, w.argv, &run, &err), -EINVAL);
	assert_string_equal(err.text, "--policy is given twice");
	run_options_done(&run);
	WORDS(&w, "--report", "a", "--report", "b", "true");
	assert_int_equal(run_options_parse(w.argc, w.argv, &run, &err), -EINVAL);
	assert_string_equal(err.text, "--report is given twice");
	run_options_done(&run);
}

static void turns_a_url_into_an_entry(void **state)
{
	static const struct {
		const char *text, *entry;
	} cases[] = {
		{"http://1.1.1.1/x", "1.1.1.1:80/tcp"},
		{"https://[2001:db8::1]:8443/", "[2001:db8::1]:8443/tcp"},
		{"https://Example.com", "example.com:443/tcp"},
		{"10.0.0.0/8:5432", "10.0.0.0/8:5432"},
		{"no address at all", "no address at all"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf entry = {0};
		struct error err = {0};

		assert_int_equal(run_policy_entry(cases[i].text, &entry, &err), 0);
		assert_string_equal(entry.data, cases[i].entry);
		buf_done(&entry);
	}
}

static void refuses_a_url_without_a_host(void **state)
{
	struct buf entry = {0};
	struct error err = {0};

	(void)state;
	assert_int_equal(run_policy_entry("https:///x", &entry, &err), -EINVAL);
	assert_true(err.text[0] != '\0');
	buf_done(&entry);
}

static void denies_by_default_as_soon_as_something_is_allowed(void **state)
{
	static const struct {
		const char *option;
		bool default_deny;
	} cases[] = {{"--allow", true}, {"--deny", false}, {"--allow-private", false}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct policy *policy = NULL;
		struct run_options run;
		struct error err = {0};
		struct words w;

		WORDS(&w, cases[i].option, "10.9.0.0/24", "true");
		assert_int_equal(run_options_parse(w.argc, w.argv, &run, &err), 0);
		assert_int_equal(run_policy_load(&run, &policy, &err), 0);
		assert_int_equal(policy->default_deny, cases[i].default_deny);
		policy_free(policy);
		run_options_done(&run);
	}
}

static void names_the_option_that_is_wrong(void **state)
{
	struct policy *policy = NULL;
	struct run_options run;
	struct error err = {0};
	struct words w;

	(void)state;
	WORDS(&w, "--allow", "10.9.0.0/33", "true");
	assert_int_equal(run_options_parse(w.argc, w.argv, &run, &err), 0);
	assert_int_equal(run_policy_load(&run, &policy, &err), -EINVAL);
	assert_memory_equal(err.text, "--allow '10.9.0.0/33': ", 23);
	assert_null(policy);
	run_options_done(&run);
}

static void names_are_no_reason_to_refuse(void **state)
{
	static const char *const names[] = {"example.com", "*.example.com", "example.com:22", "*"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct policy *policy = NULL;
		struct run_options run;
		struct error err = {0};
		struct words w;

		WORDS(&w, "--allow", names[i], "true");
		assert_int_equal(run_options_parse(w.argc, w.argv, &run, &err), 0);
		assert_int_equal(run_policy_load(&run, &policy, &err), 0);
		assert_true(policy->has_names && policy->default_deny);
		assert_int_equal(run_policy_unsupported(policy, &run), 0);
		policy->host_check = POLICY_HOST_CHECK_STRICT;
		assert_int_equal(run_policy_unsupported(policy, &run), 1);
		/* Where the kernel has the hook, and we may ask it. */
		policy->unix_sockets = POLICY_UNIX_DENY;
		assert_int_equal(run_policy_unsupported(policy, &run), kern_unix_try() < 0 ? 2 : 1);
		policy_free(policy);
		run_options_done(&run);
	}
}

/* resolv.conf writes link-local resolvers so; the zone is the socket's, the rule is the address's. */
static void takes_a_resolver_with_its_zone(void **state)
{
	static const struct {
		const char *text, *address; /* NULL: refused */
	} cases[] = {
		{"fe80::1%eth0", "fe80::1"}, {"fe80::1", "fe80::1"}, {"127.0.0.53", "127.0.0.53"},
		{"fe80::1%", NULL},	     {"1.1.1.1%eth0", NULL}, {"%eth0", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct policy *policy = NULL;
		struct run_options run;
		struct error err = {0};
		char text[CIDR_TEXT_MAX];
		struct words w;

		WORDS(&w, "--resolver", cases[i].text, "true");
		assert_int_equal(run_options_parse(w.argc, w.argv, &run, &err), 0);
		assert_int_equal(run_policy_load(&run, &policy, &err),
				 cases[i].address ? 0 : -EINVAL);
		if (cases[i].address)
			assert_string_equal(addr_print(&policy->resolvers.items[0], text),
					    cases[i].address);
		policy_free(policy);
		run_options_done(&run);
	}
}

static void counts_slips_of_the_finger(void **state)
{
	(void)state;
	assert_int_equal(suggest_distance("run", "run"), 0);
	assert_int_equal(suggest_distance("rnu", "run"), 1);
	assert_int_equal(suggest_distance("chek", "check"), 1);
	assert_int_equal(suggest_distance("explian", "explain"), 1);
	assert_int_equal(suggest_distance("dokter", "doctor"), 2);
	assert_int_equal(suggest_distance("", "run"), 3);
	assert_true(suggest_distance("frobnicate", "run") > 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_every_way_to_write_a_value),
		cmocka_unit_test(takes_what_follows_two_dashes_as_operands),
		cmocka_unit_test(says_what_is_wrong_with_an_option),
		cmocka_unit_test(accepts_json_and_text_as_output),
		cmocka_unit_test(leaves_the_commands_own_options_to_it),
		cmocka_unit_test(runs_a_command_that_begins_with_a_dash),
		cmocka_unit_test(needs_a_command_but_for_help),
		cmocka_unit_test(takes_one_policy_and_one_report),
		cmocka_unit_test(turns_a_url_into_an_entry),
		cmocka_unit_test(refuses_a_url_without_a_host),
		cmocka_unit_test(denies_by_default_as_soon_as_something_is_allowed),
		cmocka_unit_test(names_the_option_that_is_wrong),
		cmocka_unit_test(names_are_no_reason_to_refuse),
		cmocka_unit_test(takes_a_resolver_with_its_zone),
		cmocka_unit_test(counts_slips_of_the_finger),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
