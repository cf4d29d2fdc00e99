/* SPDX-License-Identifier: MIT */
/*
 * Sends frames by the ring that a packet socket shares with its user (PACKET_TX_RING), and goes on writing to them: the
 * kernel hands the ring's pages on as they are, so that what is read first and what arrives need not be the same.
 *	ring DEVICE COUNT SENT OTHER	two frames as hex, of one size: SENT is sent, and turns into OTHER
 *					and back
 */
#include "tool.h"

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define SLOT_SIZE 2048
#define SLOTS	  64

struct ring {
	char *slots;
	uint8_t sent[SLOT_SIZE], other[SLOT_SIZE];
	size_t size, from, to; /* of the bytes that differ */
	atomic_uint now;       /* the slot that was sent last */
	atomic_int over;
};

static size_t from_hex(const char *text, uint8_t *bytes)
{
	size_t n = 0;
	unsigned int byte;

	for (; text[0] && text[1] && n < SLOT_SIZE / 2; text += 2, n++) {
		if (sscanf(text, "%2x", &byte) != 1)
			misuse(text);
		bytes[n] = (uint8_t)byte;
	}
	return n;
}

static void prepare(struct ring *r, const char *sent, const char *other)
{
	r->size = from_hex(sent, r->sent);
	if (from_hex(other, r->other) != r->size)
		misuse("the frames differ in size");
	for (r->from = 0; r->from < r->size && r->sent[r->from] == r->other[r->from];)
		r->from++;
	for (r->to = r->size; r->to > r->from && r->sent[r->to - 1] == r->other[r->to - 1];)
		r->to--;
}

/* Behind the header, which is aligned to TPACKET_ALIGNMENT. */
static uint8_t *frame_of(struct ring *r, unsigned int slot)
{
	return (uint8_t *)r->slots + slot * SLOT_SIZE +
	       (sizeof(struct tpacket2_hdr) + 15) / 16 * 16;
}

static void turn(struct ring *r, unsigned int slot, const uint8_t *into)
{
	volatile uint8_t *frame = frame_of(r, slot);

	for (size_t n = r->from; n < r->to; n++)
		frame[n] = into[n];
}

/* On a CPU of its own, where there are two. */
static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *turn_all(void *arg)
{
	struct ring *r = arg;

	stay_on(1);
	while (!atomic_load(&r->over)) {
		unsigned int slot = atomic_load(&r->now);

		turn(r, slot, r->other);
		turn(r, slot, r->sent);
	}
	return NULL;
}

static int open_ring(struct ring *r, const char *device)
{
	struct tpacket_req req = {.tp_block_size = SLOT_SIZE * SLOTS,
				  .tp_block_nr = 1,
				  .tp_frame_size = SLOT_SIZE,
				  .tp_frame_nr = SLOTS};
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_ifindex = (int)if_nametoindex(device)};
	int fd = open_socket(AF_PACKET, SOCK_RAW, 0), version = TPACKET_V2;
	double since = now_ms();

	if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_TX_RING, &req, sizeof(req)) ||
	    bind(fd, (struct sockaddr *)&to, sizeof(to)))
		exit(report("ring", -1, since));
	r->slots = mmap(NULL, SLOT_SIZE * SLOTS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (r->slots == MAP_FAILED)
		exit(report("mmap", -1, since));
	return fd;
}

static ssize_t send_one(struct ring *r, int fd, unsigned int slot)
{
	struct tpacket2_hdr *head = (void *)(r->slots + slot * SLOT_SIZE);
	volatile uint32_t *status = &head->tp_status;
	ssize_t done;

	while (*status != TP_STATUS_AVAILABLE)
		if (*status & TP_STATUS_WRONG_FORMAT)
			return -1;
	memcpy(frame_of(r, slot), r->sent, r->size);
	head->tp_len = (uint32_t)r->size;
	atomic_thread_fence(memory_order_release);
	*status = TP_STATUS_SEND_REQUEST;
	atomic_store(&r->now, slot);
	done = send(fd, NULL, 0, 0);
	turn(r, slot, r->other);
	return done;
}

int main(int argc, char **argv)
{
	struct ring r = {.slots = NULL};
	unsigned int count;
	pthread_t thread;
	ssize_t done = 0;
	double since;
	int fd;

	if (argc != 5)
		misuse("ring DEVICE COUNT SENT OTHER");
	count = (unsigned int)atoi(argv[2]);
	prepare(&r, argv[3], argv[4]);
	fd = open_ring(&r, argv[1]);
	if (pthread_create(&thread, NULL, turn_all, &r))
		misuse("no thread");
	stay_on(0);
	since = now_ms();
	for (unsigned int n = 0; n < count && done >= 0; n++)
		done = send_one(&r, fd, n % SLOTS);
	report("send", done, since);
	atomic_store(&r.over, 1);
	pthread_join(thread, NULL);
	close(fd);
	return done < 0;
}
