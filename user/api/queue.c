/* SPDX-License-Identifier: MIT */
/* A bounded queue of bytes; see queue.h. */
#include "api/queue.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_FIRST 4096u

static bool grow(struct queue *q, size_t need)
{
	size_t room = q->room ? q->room : QUEUE_FIRST;
	char *data;

	while (room < need)
		room *= 2;
	data = realloc(q->data, room);
	if (!data)
		return false;
	q->data = data;
	q->room = room;
	return true;
}

bool queue_add(struct queue *q, const char *bytes, size_t size)
{
	if (size > q->max - q->size)
		return false;
	if (q->start && q->start + q->size + size > q->room) {
		memmove(q->data, q->data + q->start, q->size);
		q->start = 0;
	}
	if (q->size + size > q->room && !grow(q, q->size + size))
		return false;
	memcpy(q->data + q->start + q->size, bytes, size);
	q->size += size;
	return true;
}

size_t queue_take(struct queue *q, char *bytes, size_t max)
{
	size_t size = q->size < max ? q->size : max;

	if (size == 0)
		return 0;
	memcpy(bytes, q->data + q->start, size);
	q->start += size;
	q->size -= size;
	if (q->size == 0) {
		q->start = 0;
		if (q->room > QUEUE_FIRST) /* a burst is over */
			queue_done(q);
	}
	return size;
}

void queue_done(struct queue *q)
{
	free(q->data);
	*q = (struct queue){.max = q->max};
}
