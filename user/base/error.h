/* SPDX-License-Identifier: MIT */
/*
 * One error, one text. A function that can reject input fills a struct error and returns -errno; callers
 * prepend their path segment: `agent.json:7:15: allowOut[3]: bad CIDR prefix '/33', expected 0..32`.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#define ERROR_TEXT_MAX 512

struct error {
	char text[ERROR_TEXT_MAX]; /* "" : no error */
};

/* Writes the text (truncated, always terminated) and returns code, a negative errno. err may be NULL. */
int error_set(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts `prefix` before the text that is there; for path segments such as "allowOut[3]: ". Returns code. */
int error_prepend(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
