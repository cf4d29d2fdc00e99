/* SPDX-License-Identifier: MIT */
/* One line, one write: lines of several threads or processes never mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"

static enum log_level threshold = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	threshold = level;
}

void log_line(enum log_level level, const char *format, ...)
{
	char line[1024] = "postern: ";
	size_t used = sizeof("postern: ") - 1, room = sizeof(line) - used - 1;
	va_list args;
	int size;

	if (level > threshold)
		return;
	va_start(args, format);
	size = vsnprintf(line + used, room, format, args);
	va_end(args);
	if (size < 0)
		return;
	used += (size_t)size < room ? (size_t)size : room - 1;
	text_blank_controls(line);
	line[used++] = '\n';
	/* A log that cannot be written has nowhere to be reported. */
	(void)io_write_all(STDERR_FILENO, line, used);
}
