/* SPDX-License-Identifier: MIT */
/*
 * Lines for the operator on stderr: "postern: subject: text", or one JSON object each. The only global state of the
 * program is how they look: level, format, name.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level {
	LOG_LEVEL_ERROR = 0,
	LOG_LEVEL_WARNING = 1,
	LOG_LEVEL_INFO = 2,
	LOG_LEVEL_DEBUG = 3
};

enum log_format {
	LOG_FORMAT_TEXT = 0,
	LOG_FORMAT_JSON = 1, /* {"ts": RFC 3339 in UTC, "level", "msg", attributes...} */
};

void log_set_level(enum log_level level);
void log_set_format(enum log_format format);
/* What a line of text begins with, instead of "postern"; static. */
void log_set_program(const char *program);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/*
 * log_event(level, msg, "sandbox.id", id, ...): with attributes, pairs of texts, the names OpenTelemetry's. A pair whose
 * value is NULL is left out. As text: "postern: msg: sandbox.id=a policy.hash=0123".
 */
void log_pairs(enum log_level level, const char *msg, ...) __attribute__((sentinel));
#define log_event(level, ...) log_pairs(level, __VA_ARGS__, (const char *)0)

#define log_error(...)	 log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
