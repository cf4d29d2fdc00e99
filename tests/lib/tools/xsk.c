/* SPDX-License-Identifier: MIT */
/*
 * Sends frames by AF_XDP in copy mode: no queueing discipline and no hook of the sender's host sees them.
 *	xsk DEVICE HEX...
 */
#include "tool.h"

#include <linux/if_xdp.h>
#include <net/if.h>
#include <sys/mman.h>

#define FRAME_SIZE 2048
#define FRAMES	   64

struct rings {
	int fd;
	uint8_t *memory;
	struct xdp_mmap_offsets at;
	uint8_t *tx, *completion;
};

static void set(int fd, int option, const void *value, socklen_t size)
{
	if (setsockopt(fd, SOL_XDP, option, value, size))
		exit(report("setsockopt", -1, now_ms()));
}

static uint8_t *map(int fd, size_t size, off_t what)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, what);

	if (at == MAP_FAILED)
		exit(report("mmap", -1, now_ms()));
	return at;
}

/* The queue of a socket that was closed is given back a moment later, by a worker of the kernel. */
static int bind_when_free(int fd, const struct sockaddr_xdp *to)
{
	double since = now_ms();
	int r;

	while ((r = bind(fd, (const struct sockaddr *)to, sizeof(*to))) && errno == EBUSY &&
	       now_ms() - since < 30000)
		(void)usleep(1000);
	return r;
}

static void open_rings(struct rings *r, const char *device)
{
	struct sockaddr_xdp to = {.sxdp_family = AF_XDP,
				  .sxdp_flags = XDP_COPY,
				  .sxdp_ifindex = if_nametoindex(device)};
	int count = FRAMES;
	socklen_t size = sizeof(r->at);

	r->fd = open_socket(AF_XDP, SOCK_RAW, 0);
	r->memory = mmap(NULL, FRAME_SIZE * FRAMES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r->memory == MAP_FAILED)
		exit(report("memory", -1, now_ms()));
	struct xdp_umem_reg umem = {
		.addr = (uintptr_t)r->memory, .len = FRAME_SIZE * FRAMES, .chunk_size = FRAME_SIZE};
	set(r->fd, XDP_UMEM_REG, &umem, sizeof(umem));
	set(r->fd, XDP_UMEM_FILL_RING, &count, sizeof(count));
	set(r->fd, XDP_UMEM_COMPLETION_RING, &count, sizeof(count));
	set(r->fd, XDP_TX_RING, &count, sizeof(count));
	if (getsockopt(r->fd, SOL_XDP, XDP_MMAP_OFFSETS, &r->at, &size))
		exit(report("getsockopt", -1, now_ms()));
	r->tx = map(r->fd, r->at.tx.desc + FRAMES * sizeof(struct xdp_desc), XDP_PGOFF_TX_RING);
	r->completion = map(r->fd, r->at.cr.desc + FRAMES * sizeof(uint64_t),
			    (off_t)XDP_UMEM_PGOFF_COMPLETION_RING);
	if (bind_when_free(r->fd, &to))
		exit(report("bind", -1, now_ms()));
}

static uint32_t from_hex(const char *text, uint8_t *bytes)
{
	uint32_t n = 0;
	unsigned int byte;

	for (; text[0] && text[1] && n < FRAME_SIZE; text += 2, n++) {
		if (sscanf(text, "%2x", &byte) != 1)
			misuse(text);
		bytes[n] = (uint8_t)byte;
	}
	return n;
}

/* Returns 0 when the kernel took it and gave it back. */
static int send_one(struct rings *r, const char *hex, uint32_t number)
{
	volatile uint32_t *producer = (void *)(r->tx + r->at.tx.producer);
	volatile uint32_t *done = (void *)(r->completion + r->at.cr.producer);
	volatile uint32_t *taken = (void *)(r->completion + r->at.cr.consumer);
	struct xdp_desc *desc = (void *)(r->tx + r->at.tx.desc);
	uint8_t *frame = r->memory + number % FRAMES * FRAME_SIZE;
	double since = now_ms();

	desc[number % FRAMES] = (struct xdp_desc){.addr = (uint64_t)(frame - r->memory),
						  .len = from_hex(hex, frame)};
	__sync_synchronize();
	*producer = number + 1;
	while (*done != number + 1) {
		if (sendto(r->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN &&
		    errno != EBUSY)
			return report("sendto", -1, since);
		if (now_ms() - since > 5000)
			return report_error("sendto", ETIMEDOUT, since);
	}
	*taken = number + 1;
	return 0;
}

int main(int argc, char **argv)
{
	struct rings r = {.fd = -1};
	double since = now_ms();
	int failed = 0;

	if (argc < 3)
		misuse("xsk DEVICE HEX...");
	open_rings(&r, argv[1]);
	for (int n = 2; n < argc && !failed; n++)
		failed = send_one(&r, argv[n], (uint32_t)(n - 2));
	if (!failed)
		report("sendto", 0, since);
	close(r.fd);
	return failed;
}
