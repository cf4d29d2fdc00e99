/* SPDX-License-Identifier: MIT */
/* postern check: policy files -> errors, warnings, the verdict of their tests. Changes nothing. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/host.h"
#include "cli/options.h"

static const char help[] =
	"Usage: postern check [-o json] FILE...\n"
	"Checks policy files ('-': standard input) and judges the tests in them.\n"
	"\n"
	"  -o, --output FORMAT   text (default) or json\n"
	"  -h, --help            print this\n"
	"\n"
	"Exit status: 0 all valid, 2 usage, 3 a policy is invalid, 10 a test failed.\n";

enum { OPTION_OUTPUT = 1, OPTION_HELP };

static const struct option_spec specs[] = {
	{OPTION_OUTPUT, 'o', "output", true},
	{OPTION_HELP, 'h', "help", false},
	{0, 0, NULL, false},
};

struct check {
	struct host host;
	bool json;
	int exit;
	size_t n_files;
	struct buf out;
};

static void raise_exit(struct check *check, int code)
{
	/* An invalid policy outweighs a failed test. */
	if (check->exit != CLI_INVALID_POLICY)
		check->exit = code;
}

static void begin_file(struct check *check, const char *path)
{
	if (!check->json)
		return;
	buf_puts(&check->out, check->n_files ? ",{\"file\":" : "{\"file\":");
	buf_json_string(&check->out, path);
}

static void report_invalid(struct check *check, const char *text)
{
	raise_exit(check, CLI_INVALID_POLICY);
	if (!check->json) {
		fprintf(stderr, "%s\n", text);
		return;
	}
	buf_puts(&check->out, ",\"valid\":false,\"error\":");
	buf_json_string(&check->out, text);
	buf_puts(&check->out, "}");
}

static void report_warnings(struct check *check, const char *path, const struct policy *policy)
{
	if (check->json)
		buf_puts(&check->out, ",\"valid\":true,\"warnings\":[");
	for (size_t i = 0; i < policy->n_warnings; i++) {
		if (!check->json) {
			fprintf(stderr, "%s: warning: %s\n", path, policy->warnings[i].text);
			continue;
		}
		buf_puts(&check->out, i ? "," : "");
		buf_json_string(&check->out, policy->warnings[i].text);
	}
}

static void report_test(struct check *check, const char *path, const char *text, bool first)
{
	raise_exit(check, CLI_DENIED);
	if (!check->json) {
		fprintf(stderr, "%s: %s\n", path, text);
		return;
	}
	buf_puts(&check->out, first ? "" : ",");
	buf_json_string(&check->out, text);
}

static const char *plural(size_t count)
{
	return count == 1 ? "" : "s";
}

static void report_valid(struct check *check, const char *path, const struct policy *policy,
			 size_t n_failed)
{
	if (check->json) {
		buf_printf(&check->out, "],\"rules\":%zu,\"tests\":%zu,\"default\":\"%s\"}",
			   policy->n_rules, policy->n_tests,
			   policy->default_deny ? "deny" : "allow");
	} else if (n_failed) {
		printf("%s: %zu of %zu test%s failed\n", path, n_failed, policy->n_tests,
		       plural(policy->n_tests));
	} else {
		printf("%s: ok (%zu rule%s, %zu test%s, default %s)\n", path, policy->n_rules,
		       plural(policy->n_rules), policy->n_tests, plural(policy->n_tests),
		       policy->default_deny ? "deny" : "allow");
	}
}

static int load(const struct check *check, const char *path, struct policy **ret_policy,
		struct error *err)
{
	cleanup_policy struct policy *policy = NULL;
	cleanup_table struct table *table = NULL;
	int r;

	r = host_read_policy(path, &policy, err);
	if (r < 0)
		return r;
	r = table_compile(policy, &check->host.env, &table, err);
	if (r < 0)
		return error_prepend(err, r, "%s: ", path);
	*ret_policy = TAKE_PTR(policy);
	return 0;
}

static void check_file(struct check *check, const char *path)
{
	cleanup_policy struct policy *policy = NULL;
	cleanup_free char *shown = strdup(path);
	struct error err = {0};
	size_t n_failed = 0;

	begin_file(check, path);
	check->n_files++;
	if (!shown) {
		report_invalid(check, "out of memory");
		return;
	}
	/* A stranger may have named the file. */
	text_blank_controls(shown);
	if (load(check, path, &policy, &err) < 0) {
		report_invalid(check, err.text);
		return;
	}
	report_warnings(check, shown, policy);
	if (check->json)
		buf_puts(&check->out, "],\"failedTests\":[");
	for (size_t i = 0; i < policy->n_tests; i++) {
		if (host_judge_test(&check->host, policy, i, &err) < 0)
			report_test(check, shown, err.text, n_failed++ == 0);
	}
	report_valid(check, shown, policy, n_failed);
}

static int check_files(struct check *check, const char *const *files, size_t count)
{
	struct error err = {0};

	if (host_load(&check->host, &err) < 0) {
		log_error("check: %s", err.text);
		return CLI_FAILURE;
	}
	if (check->json)
		buf_puts(&check->out, "[");
	for (size_t i = 0; i < count; i++)
		check_file(check, files[i]);
	if (!check->json)
		return check->exit;
	buf_puts(&check->out, "]\n");
	if (buf_status(&check->out) < 0 ||
	    io_write_all(STDOUT_FILENO, check->out.data, check->out.size) < 0) {
		log_error("check: cannot write the result");
		return CLI_FAILURE;
	}
	return check->exit;
}

int cmd_check(int argc, char **argv)
{
	struct options options = {.specs = specs, .argc = argc, .argv = argv, .next = 1};
	cleanup_free const char **files = calloc((size_t)argc, sizeof(*files));
	struct check check = {0};
	struct error err = {0};
	const char *value = NULL;
	size_t n_files = 0;
	int option, r;

	if (!files)
		return CLI_FAILURE;
	while ((option = options_next(&options, &value, &err)) > 0) {
		if (option == OPTION_HELP)
			return fputs(help, stdout) < 0 ? CLI_FAILURE : CLI_OK;
		if (option == OPTIONS_OPERAND)
			files[n_files++] = value;
		else if (cli_parse_output(value, &check.json, &err) < 0)
			return cli_usage_error("check", &err);
	}
	if (option == 0 && n_files == 0)
		option = error_set(&err, -EINVAL, "no policy file is named");
	if (option < 0)
		return cli_usage_error("check", &err);
	r = check_files(&check, files, n_files);
	host_done(&check.host);
	buf_done(&check.out);
	return r;
}
