/* SPDX-License-Identifier: MIT */
/* Verdicts -> the bytes that a terminal is sent. The cursor is always at the start of the line below the last one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/watch_screen.h"

#define WIDE 132 /* columns; below it, columns in line would leave no room for the reason */

static void forget(struct watch_screen *s, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(s->lines[i].key);
	s->n -= count;
	memmove(s->lines, s->lines + count, s->n * sizeof(s->lines[0]));
}

void watch_screen_done(struct watch_screen *screen)
{
	forget(screen, screen->n);
}

void watch_screen_resize(struct watch_screen *screen, unsigned rows, unsigned columns)
{
	if (rows == screen->rows && columns == screen->columns)
		return;
	forget(screen, screen->n);
	screen->rows = rows;
	screen->columns = columns;
}

/* Lines above the cursor that the terminal still shows. */
static size_t visible(const struct watch_screen *s)
{
	size_t rows = s->rows ? s->rows - 1 : 0;

	return rows < WATCH_SCREEN_ROWS ? rows : WATCH_SCREEN_ROWS;
}

/* Cut to `columns` - 1 characters: a full line would wrap, and lines be where nobody looks for them. */
static void cut(struct buf *line, unsigned columns)
{
	size_t room = columns ? columns - 1 : 0;

	for (size_t i = 0; i < line->size; i++) {
		if (((unsigned char)line->data[i] & 0xc0) == 0x80)
			continue;
		if (room-- == 0) {
			line->size = i;
			line->data[i] = '\0';
			return;
		}
	}
}

static int add_line(const struct watch_screen *s, const struct verdict *v, uint64_t count,
		    struct buf *out)
{
	cleanup_buf struct buf line = {0};

	verdict_line(v, count, s->rows && s->columns < WIDE, &line);
	if (buf_status(&line) < 0)
		return -ENOMEM;
	if (s->rows)
		cut(&line, s->columns);
	buf_add(out, line.data, line.size);
	return buf_status(out);
}

static size_t find(const struct watch_screen *s, const char *key)
{
	size_t i = s->n;

	while (i > 0 && strcmp(s->lines[i - 1].key, key) != 0)
		i--;
	return i ? i - 1 : s->n;
}

static int rewrite(struct watch_screen *s, size_t i, const struct verdict *v, struct buf *out)
{
	size_t up = s->n - i;
	int r;

	buf_printf(out, "\033[%zuA", up);
	r = add_line(s, v, s->lines[i].count, out);
	buf_printf(out, "\033[K\r\033[%zuB", up);
	return r < 0 ? r : buf_status(out);
}

static uint64_t times(const struct verdict *v)
{
	if (v->lost)
		return v->lost;
	return v->count ? v->count : 1;
}

int watch_screen_add(struct watch_screen *screen, const struct verdict *verdict, struct buf *out)
{
	cleanup_buf struct buf key = {0};
	size_t i, room = visible(screen);
	int r;

	verdict_key(verdict, &key);
	if (buf_status(&key) < 0)
		return -ENOMEM;
	i = find(screen, key.data);
	if (i < screen->n) {
		screen->lines[i].count += times(verdict);
		return rewrite(screen, i, verdict, out);
	}
	r = add_line(screen, verdict, times(verdict), out);
	buf_puts(out, "\n");
	if (r < 0 || room == 0)
		return r < 0 ? r : buf_status(out);
	if (screen->n == room)
		forget(screen, 1);
	screen->lines[screen->n++] = (struct watch_line){buf_take(&key), times(verdict)};
	return buf_status(out);
}
