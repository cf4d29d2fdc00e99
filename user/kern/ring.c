/* SPDX-License-Identifier: MIT */
/* pst_events -> one callback for each event. Never blocks, never interprets. */
#include <errno.h>
#include <stdlib.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "kern/ring.h"

struct kern_ring {
	struct ring_buffer *buffer;
	kern_ring_fn fn;
	void *context;
};

/* A record of another size comes from another ABI: reading it would be guessing. */
static int ring_record(void *context, void *data, size_t size)
{
	const struct kern_ring *ring = context;

	if (size < sizeof(struct pst_event))
		return -EBADMSG;
	return ring->fn(ring->context, data);
}

int kern_ring_new(int map_fd, kern_ring_fn fn, void *context, struct kern_ring **ret_ring)
{
	cleanup_free struct kern_ring *ring = calloc(1, sizeof(*ring));
	libbpf_print_fn_t print;
	int r;

	if (!ring)
		return -ENOMEM;
	ring->fn = fn;
	ring->context = context;
	/* The caller says what failed, not libbpf. */
	print = libbpf_set_print(NULL);
	ring->buffer = ring_buffer__new(map_fd, ring_record, ring, NULL);
	r = ring->buffer ? 0 : -errno;
	(void)libbpf_set_print(print);
	if (r < 0)
		return r;
	*ret_ring = TAKE_PTR(ring);
	return 0;
}

void kern_ring_free(struct kern_ring *ring)
{
	if (!ring)
		return;
	ring_buffer__free(ring->buffer);
	free(ring);
}

int kern_ring_fd(const struct kern_ring *ring)
{
	return ring_buffer__epoll_fd(ring->buffer);
}

int kern_ring_consume(struct kern_ring *ring)
{
	return ring_buffer__consume(ring->buffer);
}
