/* SPDX-License-Identifier: MIT */
/* Runs every file of the given directories through a fuzz target: what the fuzzer ever found stays found. */
#include "fuzz.h"

#include <dirent.h>

#include "base/io.h"

#define INPUT_MAX (16u * 1024 * 1024)

static void replay_file(const char *path)
{
	struct error err;
	char *text;
	size_t size;

	if (io_read_file(path, INPUT_MAX, &text, &size, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	LLVMFuzzerTestOneInput((const uint8_t *)text, size);
	free(text);
}

static unsigned replay_directory(const char *name)
{
	DIR *directory = opendir(name);
	struct dirent *entry;
	unsigned count = 0;
	char path[4096];

	if (!directory) {
		perror(name);
		exit(1);
	}
	while ((entry = readdir(directory))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", name, entry->d_name);
		replay_file(path);
		count++;
	}
	closedir(directory);
	return count;
}

int main(int argc, char **argv)
{
	unsigned count = 0;

	for (int i = 1; i < argc; i++)
		count += replay_directory(argv[i]);
	printf("%u inputs replayed\n", count);
	return count ? 0 : 1; /* an empty corpus tests nothing */
}
