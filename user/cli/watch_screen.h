/* SPDX-License-Identifier: MIT */
/*
 * Verdicts -> the bytes that a terminal is sent. A repeat of what is still on the screen is counted in its line;
 * without a terminal every verdict is a line. Pure.
 */
#ifndef CLI_WATCH_SCREEN_H
#define CLI_WATCH_SCREEN_H

#include "cli/verdict_text.h"

#define WATCH_SCREEN_ROWS 256 /* as many lines are remembered, on however high a terminal */

struct watch_line {
	char *key; /* verdict_key() */
	uint64_t count;
};

/* All zero: no terminal. */
struct watch_screen {
	unsigned rows, columns;			    /* 0: no terminal */
	struct watch_line lines[WATCH_SCREEN_ROWS]; /* what is on the screen, from above */
	size_t n;
};

/* The terminal's size, 0 0 for none. Another one than before: where the lines are is not known any more. */
void watch_screen_resize(struct watch_screen *screen, unsigned rows, unsigned columns);
/* Appends to `out` what shows the verdict. 0 or -ENOMEM. */
int watch_screen_add(struct watch_screen *screen, const struct verdict *verdict, struct buf *out);
void watch_screen_done(struct watch_screen *screen);

#endif
