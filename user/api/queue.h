/* SPDX-License-Identifier: MIT */
/* Bytes between who publishes and who reads, up to a bound: what does not fit is not taken, and nobody waits. Pure. */
#ifndef API_QUEUE_H
#define API_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

struct queue {
	char *data;
	size_t start, size; /* what is in it: data + start, size bytes */
	size_t room, max;
};

/* All or nothing. */
bool queue_add(struct queue *q, const char *bytes, size_t size);
/* At most `max` bytes; how many. */
size_t queue_take(struct queue *q, char *bytes, size_t max);
void queue_done(struct queue *q);

#endif
