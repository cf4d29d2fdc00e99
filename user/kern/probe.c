/* SPDX-License-Identifier: MIT */
/* Collects the lines of the probe's parts, in the order in which a reader would fix things. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kern/probe_lines.h"

void probe_add(struct probe *probe, enum probe_level level, const char *what, const char *fix,
	       const char *format, ...)
{
	struct probe_line *lines = realloc(probe->lines, (probe->count + 1) * sizeof(*lines));
	struct probe_line *line;
	va_list args;

	if (!lines) {
		probe->status = -ENOMEM;
		return;
	}
	probe->lines = lines;
	line = &lines[probe->count++];
	memset(line, 0, sizeof(*line));
	line->level = (unsigned char)level;
	(void)snprintf(line->what, sizeof(line->what), "%s", what);
	if (level != PROBE_OK)
		(void)snprintf(line->fix, sizeof(line->fix), "%s", fix);
	va_start(args, format);
	(void)vsnprintf(line->found, sizeof(line->found), format, args);
	va_end(args);
}

int probe_all(struct probe_line **ret_lines, size_t *ret_count)
{
	struct probe probe = {};

	probe_host(&probe);
	probe_hooks(&probe);
	probe_devices(&probe);
	probe_features(&probe);
	probe_path(&probe);
	if (probe.status < 0) {
		free(probe.lines);
		return probe.status;
	}
	*ret_lines = probe.lines;
	*ret_count = probe.count;
	return 0;
}
