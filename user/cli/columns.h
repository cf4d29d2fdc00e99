/* SPDX-License-Identifier: MIT */
/* Cells -> a table that fits the terminal: the last column gives way first, then whole columns do. Pure. */
#ifndef CLI_COLUMNS_H
#define CLI_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define COLUMNS_MAX 12

struct column {
	const char *title;
	bool right; /* numbers */
	unsigned
		drop; /* 0: always shown; else left out where all cells are "-"; in want of room, the highest first */
};

struct columns {
	const struct column *spec; /* not owned */
	size_t n;		   /* of spec, at most COLUMNS_MAX */
	char **cells;		   /* row after row */
	size_t n_cells, room;
	bool failed; /* out of memory */
};

/* The next cell, copied. */
void columns_add(struct columns *columns, const char *text);
/* Titles and rows; width 0: as wide as need be. 0, -ENOMEM, or -EINVAL without a column. */
int columns_print(const struct columns *columns, unsigned width, struct buf *out);
void columns_done(struct columns *columns);
#define cleanup_columns cleanup(columns_done)

#endif
