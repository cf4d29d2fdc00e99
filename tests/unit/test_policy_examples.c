/* SPDX-License-Identifier: MIT */
/* The documents that users are shown: each parses, without a warning, and prints as itself again. */
#include "policy_fixture.h"

#include <dirent.h>

#include "base/io.h"

/* Tests run in the root of the tree. */
#define EXAMPLES "docs/examples"

static void check_example(const char *path)
{
	struct policy *policy = NULL;
	struct error err = {.text = ""};
	struct golden golden;
	char *text;
	size_t size;

	if (io_read_file(path, POLICY_MAX_BYTES, &text, &size, &err) < 0)
		fail_msg("%s", err.text);
	if (policy_parse(path, text, size, POLICY_FROM_FILE, &policy, &err) < 0)
		fail_msg("%s", err.text);
	if (policy->n_warnings)
		fail_msg("%s: %s", path, policy->warnings[0].text);
	golden.text = print(policy);
	golden.document = golden.text;
	assert_prints(POLICY_FROM_FILE, &golden);
	free((void *)(uintptr_t)golden.text);
	policy_free(policy);
	free(text);
}

static void every_example_is_right(void **state)
{
	DIR *directory = opendir(EXAMPLES);
	struct dirent *entry;
	unsigned count = 0;
	char path[512];

	(void)state;
	assert_non_null(directory);
	while ((entry = readdir(directory))) {
		/* Below it are those of posternd, which a test of its own runs. */
		if (entry->d_name[0] == '.' || entry->d_type == DT_DIR)
			continue;
		snprintf(path, sizeof(path), "%s/%s", EXAMPLES, entry->d_name);
		check_example(path);
		count++;
	}
	closedir(directory);
	assert_true(count >= 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_example_is_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
