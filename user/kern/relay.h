/* SPDX-License-Identifier: MIT */
/*
 * What the kernel side of a sandbox needs for a relay: listeners in its network namespace, the maps that tell the relay
 * where a connection wanted to go, and the ways back: leases and hits of relayed traffic.
 */
#ifndef KERN_RELAY_H
#define KERN_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "kern/host.h"
#include "kern/sandbox.h"
#include "pst_abi.h"

/* -1: not there (a namespace without IPv6; UDP of a device, whose questions stay in the kernel). */
struct kern_relay_sockets {
	int tcp4, tcp6, udp4, udp6;
	uint16_t port; /* of all of them */
};
#define KERN_RELAY_NO_SOCKETS                                                                      \
	{                                                                                          \
		-1, -1, -1, -1, 0                                                                  \
	}

struct kern_relay_listen {
	int netns_fd;	  /* where; -1: ours */
	bool transparent; /* netdev kind: TCP on 127.0.0.1 and ::1 with IP_TRANSPARENT; no UDP */
	bool tcp_only;	  /* no UDP in any case */
};

/* TCP listeners and (bound to `lo`, 127.0.0.0/8 and ::1) UDP sockets on one free port. All or nothing but IPv6. */
int kern_relay_listen(const struct kern_relay_listen *listen,
		      struct kern_relay_sockets *ret_sockets, struct error *err);
void kern_relay_close(struct kern_relay_sockets *sockets);

/*
 * From the next flip on (kern_attachment_flip(), _refresh()) what needs the relay goes to these sockets, which are
 * marked as the relay's for this sandbox; NULL: to nobody, it is refused. `ret_origins`: its pst_origins map, for the
 * relay, which takes entries out; the caller closes it.
 */
int kern_attachment_set_relay(struct kern_attachment *attachment,
			      const struct kern_relay_sockets *sockets, int *ret_origins,
			      struct error *err);
int kern_sandbox_set_relay(struct kern_sandbox *sandbox, const struct kern_relay_sockets *sockets,
			   int *ret_origins, struct error *err);

/* Leases for a name's addresses, by the very code that learns from replies; what is always denied, or no rule covers,
 * becomes none. `ret_learned` of `count` are leases now. */
int kern_attachment_teach(struct kern_attachment *attachment, const char *name,
			  const struct pst_lesson_answer *answers, size_t count,
			  size_t *ret_learned);
int kern_sandbox_teach(struct kern_sandbox *sandbox, const char *name,
		       const struct pst_lesson_answer *answers, size_t count, size_t *ret_learned);

/* Adds to the hits of a rule. */
struct kern_tally {
	uint32_t rule;
	uint64_t connections, packets, bytes;
};
int kern_attachment_tally(struct kern_attachment *attachment, const struct kern_tally *tally);
int kern_sandbox_tally(struct kern_sandbox *sandbox, const struct kern_tally *tally);

#endif
