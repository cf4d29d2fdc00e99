/* SPDX-License-Identifier: MIT */
/* Cells -> a table that fits the terminal. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/columns.h"

#define GAP	 2
#define LAST_MIN 16 /* the last column is cut down to this before another one is left out */

static bool continues(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* Characters of UTF-8 text. */
static size_t count_characters(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += !continues(*text);
	return n;
}

void columns_add(struct columns *columns, const char *text)
{
	char *copy = strdup(text);

	if (copy && columns->n_cells == columns->room) {
		size_t room = columns->room ? columns->room * 2 : 64;
		char **cells = reallocarray(columns->cells, room, sizeof(*cells));

		if (cells) {
			columns->cells = cells;
			columns->room = room;
		}
	}
	if (!copy || columns->n_cells == columns->room) {
		free(copy);
		columns->failed = true;
		return;
	}
	columns->cells[columns->n_cells++] = copy;
}

void columns_done(struct columns *columns)
{
	for (size_t i = 0; i < columns->n_cells; i++)
		free(columns->cells[i]);
	free(columns->cells);
	*columns = (struct columns){0};
}

/* A width of 0: the column is left out. Every column has a title, so none is that narrow by itself. */
struct layout {
	size_t widths[COLUMNS_MAX];
};

static size_t total(const struct layout *layout, size_t n)
{
	size_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += layout->widths[i] ? layout->widths[i] + GAP : 0;
	return sum ? sum - GAP : 0;
}

/* Leaves out the column that can be missed most; false: none is left to go. */
static bool drop_one(const struct columns *c, struct layout *layout)
{
	size_t victim = c->n;

	for (size_t i = 0; i < c->n; i++) {
		if (!layout->widths[i] || !c->spec[i].drop)
			continue;
		if (victim == c->n || c->spec[i].drop > c->spec[victim].drop)
			victim = i;
	}
	if (victim == c->n)
		return false;
	layout->widths[victim] = 0;
	return true;
}

static void fit(const struct columns *c, unsigned width, struct layout *layout)
{
	size_t *last = &layout->widths[c->n - 1], full = *last;
	size_t least = full < LAST_MIN ? full : LAST_MIN, sum;

	while ((sum = total(layout, c->n)) > width) {
		size_t excess = sum - width;

		if (*last - least >= excess) {
			*last -= excess;
			return;
		}
		if (!drop_one(c, layout)) {
			*last = least;
			return;
		}
	}
}

/* Nobody has anything there. */
static bool is_empty(const struct columns *c, size_t column)
{
	for (size_t i = column; i < c->n_cells; i += c->n) {
		if (strcmp(c->cells[i], "-") != 0)
			return false;
	}
	return true;
}

static void measure(const struct columns *c, struct layout *layout)
{
	for (size_t i = 0; i < c->n; i++)
		layout->widths[i] = count_characters(c->spec[i].title);
	for (size_t i = 0; i < c->n_cells; i++) {
		size_t *width = &layout->widths[i % c->n], count = count_characters(c->cells[i]);

		*width = count > *width ? count : *width;
	}
	for (size_t i = 0; i < c->n; i++) {
		if (c->spec[i].drop && c->n_cells && is_empty(c, i))
			layout->widths[i] = 0;
	}
}

static void add_spaces(struct buf *out, size_t count)
{
	while (count--)
		buf_puts(out, " ");
}

/* Its end tells more than its beginning: paths share that. */
static void add_tail(struct buf *out, const char *text, size_t width)
{
	size_t skip = count_characters(text);

	if (skip <= width) {
		buf_puts(out, text);
		return;
	}
	skip -= width - 3;
	while (skip && *text) {
		text++;
		skip -= !continues(*text);
	}
	buf_puts(out, "...");
	buf_puts(out, text);
}

static void add_row(const struct columns *c, const struct layout *layout, char *const *cells,
		    struct buf *out)
{
	for (size_t i = 0; i < c->n; i++) {
		const char *text = cells ? cells[i] : c->spec[i].title;
		size_t width = layout->widths[i], count = count_characters(text);
		size_t pad = count < width ? width - count : 0;

		if (i == c->n - 1) {
			add_tail(out, text, width);
		} else if (width) {
			add_spaces(out, c->spec[i].right ? pad : 0);
			buf_puts(out, text);
			add_spaces(out, (c->spec[i].right ? 0 : pad) + GAP);
		}
	}
	buf_puts(out, "\n");
}

int columns_print(const struct columns *columns, unsigned width, struct buf *out)
{
	struct layout layout = {0};

	if (!columns->n)
		return -EINVAL;
	if (columns->failed)
		return -ENOMEM;
	measure(columns, &layout);
	if (width)
		fit(columns, width, &layout);
	add_row(columns, &layout, NULL, out);
	for (size_t i = 0; i + columns->n <= columns->n_cells; i += columns->n)
		add_row(columns, &layout, columns->cells + i, out);
	return buf_status(out);
}
