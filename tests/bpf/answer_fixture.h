/* SPDX-License-Identifier: MIT */
/*
 * The answers' test programs, loaded and put on both directions of a device by clsact, which every kernel has; and a
 * tap in a network namespace of the test's own: the test is the microVM behind it. Needs root.
 */
#ifndef TESTS_BPF_ANSWER_FIXTURE_H
#define TESTS_BPF_ANSWER_FIXTURE_H

#include "net_fixture.h"

#include <bpf/libbpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "answer.skel.h"
#include "tests/bpf/answer.h"
#include "tests/bpf/answer_model.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5 /* Linux 6.2 */
#endif

struct answers {
	struct answer_bpf *skel;
	volatile struct answer_switches *is;
};

static inline struct answers answers_load(void)
{
	const struct pst_sandbox record = {.id = 1, .generation = 1};
	struct answers a = {.skel = answer_bpf__open_and_load()};
	uint32_t zero = 0;
	void *memory;

	assert_non_null(a.skel);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(a.skel->maps.answer_record), &zero,
					     &record, BPF_ANY),
			 0);
	memory = mmap(NULL, sizeof(*a.is), PROT_READ | PROT_WRITE, MAP_SHARED,
		      bpf_map__fd(a.skel->maps.answer_switches), 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	a.is = memory;
	return a;
}

static inline void answers_put_on(const struct answers *a, const char *device)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex(device),
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, out, .prog_fd = bpf_program__fd(a->skel->progs.answer_out));
	LIBBPF_OPTS(bpf_tc_opts, in, .prog_fd = bpf_program__fd(a->skel->progs.answer_in));

	assert_int_equal(bpf_tc_hook_create(&hook), 0);
	hook.attach_point = BPF_TC_INGRESS;
	assert_int_equal(bpf_tc_attach(&hook, &out), 0);
	hook.attach_point = BPF_TC_EGRESS;
	assert_int_equal(bpf_tc_attach(&hook, &in), 0);
}

static inline void answers_quota(const struct answers *a, struct pst_quota *ret_quota)
{
	uint32_t zero = 0;

	assert_int_equal(
		bpf_map_lookup_elem(bpf_map__fd(a->skel->maps.pst_quotas), &zero, ret_quota), 0);
}

/* The bucket is full again, nothing is counted. */
static inline void answers_refill(const struct answers *a)
{
	const struct pst_quota full = {.next_ns = 0};
	uint32_t zero = 0;

	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(a->skel->maps.pst_quotas), &zero, &full, BPF_ANY),
		0);
}

static inline void answers_done(struct answers *a)
{
	(void)munmap((void *)(uintptr_t)a->is, sizeof(*a->is));
	answer_bpf__destroy(a->skel);
}

/* ---- the tap ---- */

struct tap {
	int ifindex;
	int fd; /* the microVM's side */
	int socket; /* of the host: what came in at the tap and was let through; and what is to go out */
};

static inline struct tap tap_open(const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	struct tap tap = {.fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)};
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
	int on = 1;

	assert_true(tap.fd >= 0);
	(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	assert_int_equal(ioctl(tap.fd, TUNSETIFF, &request), 0);
	shell("ip link set %s address 02:00:00:00:00:01 mtu 65500 up", name);
	tap.ifindex = at.sll_ifindex = (int)if_nametoindex(name);
	tap.socket = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(tap.socket >= 0);
	assert_int_equal(setsockopt(tap.socket, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(tap.socket, (struct sockaddr *)&at, sizeof(at)), 0);
	return tap;
}

/* Whether the microVM finishes checksums that nobody has. */
static inline void tap_offload(const struct tap *tap, bool on)
{
	assert_int_equal(ioctl(tap->fd, TUNSETOFFLOAD, on ? TUN_F_CSUM : 0), 0);
}

/* One kind of IP at a time: this is not to see the frames before the program does, as a socket for all kinds
 * would. */
static inline void tap_watch(const struct tap *tap, bool is6)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(is6 ? ETH_P_IPV6 : ETH_P_IP),
				 .sll_ifindex = tap->ifindex};

	assert_int_equal(bind(tap->socket, (struct sockaddr *)&at, sizeof(at)), 0);
}

static inline void tap_close(struct tap *tap)
{
	close(tap->fd);
	close(tap->socket);
}

/* ---- frames through it ---- */

/* A frame as it goes through a device: with what virtio says about it. */
struct wire {
	struct virtio_net_hdr header;
	struct frame frame;
};

/* Leaves the checksum to whoever needs it. */
static inline void leave_checksum(struct wire *w)
{
	struct frame *f = &w->frame;
	uint8_t protocol = frame_protocol(f);
	size_t l4 = frame_l4(f);

	w->header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	w->header.csum_start = (uint16_t)l4;
	w->header.csum_offset = (uint16_t)checksum_of(protocol);
	put16(f->bytes + l4 + checksum_of(protocol),
	      protocol == ICMP4 ? 0 : frame_pseudo(f, frame_payload(f)));
}

static inline void finish_checksum(struct wire *w)
{
	size_t start = w->header.csum_start, at = start + w->header.csum_offset;
	uint16_t sum;

	if (!(w->header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return;
	assert_true(at + 2 <= w->frame.size);
	sum = (uint16_t)~add_up(w->frame.bytes + start, w->frame.size - start, 0);
	put16(w->frame.bytes + at, sum ? sum : 0xffff);
}

static inline ssize_t try_put(int fd, struct wire *w)
{
	const struct iovec parts[] = {{&w->header, sizeof(w->header)},
				      {w->frame.bytes, w->frame.size}};

	return writev(fd, parts, 2);
}

static inline void put(int fd, struct wire *w)
{
	assert_int_equal(try_put(fd, w), sizeof(w->header) + w->frame.size);
}

/* false: nothing is there. Programs run, and answers arrive, before a write returns. */
static inline bool take(int fd, struct wire *ret_wire)
{
	const struct iovec parts[] = {{&ret_wire->header, sizeof(ret_wire->header)},
				      {ret_wire->frame.bytes, sizeof(ret_wire->frame.bytes)}};
	ssize_t n = readv(fd, parts, 2);

	if (n < 0 && errno == EAGAIN)
		return false;
	assert_true(n > (ssize_t)sizeof(ret_wire->header));
	ret_wire->frame.size = (size_t)n - sizeof(ret_wire->header);
	assert_int_equal(ret_wire->header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	finish_checksum(ret_wire);
	return true;
}

#endif
