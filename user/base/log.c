/* SPDX-License-Identifier: MIT */
/* One line, one write: lines of several threads or processes never mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/loop.h"
#include "base/text.h"

/* Of a line of text, and of one text in a line of JSON. */
#define TEXT_MAX 1024

static enum log_level threshold = LOG_LEVEL_INFO;
static enum log_format look = LOG_FORMAT_TEXT;
static const char *program_name = "postern";

void log_set_level(enum log_level level)
{
	threshold = level;
}

void log_set_format(enum log_format format)
{
	look = format;
}

void log_set_program(const char *program)
{
	program_name = program;
}

/* `line` has TEXT_MAX bytes; what does not fit is cut. */
static void write_text(char *line)
{
	size_t used = strlen(line);

	if (used > TEXT_MAX - 2)
		used = TEXT_MAX - 2;
	line[used] = '\0';
	text_blank_controls(line);
	line[used++] = '\n';
	/* A log that cannot be written has nowhere to be reported. */
	(void)io_write_all(STDERR_FILENO, line, used);
}

/* The C1 controls of UTF-8, which drive terminals too: JSON has to escape the others only. */
static void blank_beyond_ascii(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++) {
		if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
			p[0] = p[1] = '?';
	}
}

static void put_pair(struct buf *json, const char *key, const char *value)
{
	char cut[TEXT_MAX];

	snprintf(cut, sizeof(cut), "%s", value);
	blank_beyond_ascii(cut);
	buf_puts(json, json->size ? "," : "{");
	buf_json_string(json, key);
	buf_puts(json, ":");
	buf_json_string(json, cut);
}

/* {"ts":"2026-11-22T05:07:08.000000009Z","level":"info","msg":"..." */
static void begin_json(struct buf *json, enum log_level level, const char *msg)
{
	static const char *const names[] = {
		[LOG_LEVEL_ERROR] = "error",
		[LOG_LEVEL_WARNING] = "warning",
		[LOG_LEVEL_INFO] = "info",
		[LOG_LEVEL_DEBUG] = "debug",
	};
	uint64_t now_ns = loop_wall_ns();
	time_t seconds = (time_t)(now_ns / 1000000000u);
	char date[32] = "", stamp[64];
	struct tm tm;

	if (gmtime_r(&seconds, &tm))
		strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(stamp, sizeof(stamp), "%s.%09uZ", date, (unsigned)(now_ns % 1000000000u));
	put_pair(json, "ts", stamp);
	put_pair(json, "level", names[level]);
	put_pair(json, "msg", msg);
}

static void write_json(struct buf *json)
{
	buf_puts(json, "}\n");
	if (buf_status(json) == 0)
		(void)io_write_all(STDERR_FILENO, json->data, json->size);
}

void log_line(enum log_level level, const char *format, ...)
{
	cleanup_buf struct buf json = {0};
	char line[TEXT_MAX];
	size_t skip;
	va_list args;
	int size;

	if (level > threshold)
		return;
	skip = (size_t)snprintf(line, sizeof(line), "%.32s: ", program_name);
	va_start(args, format);
	size = vsnprintf(line + skip, sizeof(line) - skip, format, args);
	va_end(args);
	if (size < 0)
		return;
	if (look == LOG_FORMAT_TEXT) {
		write_text(line);
		return;
	}
	begin_json(&json, level, line + skip);
	write_json(&json);
}

/* What separates an attribute from what stands before it, which is the message for the first. */
static size_t put_attribute(char *line, size_t used, const char *separator, const char *pair[2])
{
	snprintf(line + used, TEXT_MAX - used, "%s%s=%s", separator, pair[0], pair[1]);
	return strlen(line);
}

void log_pairs(enum log_level level, const char *msg, ...)
{
	cleanup_buf struct buf json = {0};
	const char *pair[2], *separator = ": ";
	char line[TEXT_MAX];
	size_t used;
	va_list args;

	if (level > threshold)
		return;
	snprintf(line, sizeof(line), "%.32s: %s", program_name, msg);
	used = strlen(line);
	if (look == LOG_FORMAT_JSON)
		begin_json(&json, level, msg);
	va_start(args, msg);
	while ((pair[0] = va_arg(args, const char *))) {
		pair[1] = va_arg(args, const char *);
		if (!pair[1])
			continue;
		if (look == LOG_FORMAT_JSON)
			put_pair(&json, pair[0], pair[1]);
		else
			used = put_attribute(line, used, separator, pair);
		separator = " ";
	}
	va_end(args);
	if (look == LOG_FORMAT_JSON)
		write_json(&json);
	else
		write_text(line);
}
