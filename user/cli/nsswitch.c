/* SPDX-License-Identifier: MIT */
/* nsswitch.conf(5) text -> the same with `hosts: files dns`. */
#include <stdbool.h>
#include <string.h>

#include "cli/nsswitch.h"

#define HOSTS_LINE "hosts: files dns\n"

static bool is_hosts_line(const char *line)
{
	line += strspn(line, " \t");
	if (strncmp(line, "hosts", 5) != 0)
		return false;
	line += 5;
	line += strspn(line, " \t");
	return *line == ':';
}

void nsswitch_rewrite(const char *text, struct buf *out)
{
	bool written = false;

	while (*text) {
		size_t size = strcspn(text, "\n");

		if (!is_hosts_line(text)) {
			buf_add(out, text, size);
			buf_puts(out, "\n");
		} else if (!written) {
			buf_puts(out, HOSTS_LINE);
			written = true;
		}
		text += size;
		text += *text == '\n';
	}
	if (!written)
		buf_puts(out, HOSTS_LINE);
}
