/* SPDX-License-Identifier: MIT */
/* Ends live connections that a change of policy denies. */
#ifndef KERN_SOCKETS_H
#define KERN_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"
#include "pst_abi.h"

struct kern_object;

struct kern_walk {
	const struct pst_sandbox *const
		*records; /* in force, or about to be; all at one level of the cgroup tree */
	size_t n_records;
	int netns_fd; /* -1: the caller's */
	bool all;     /* for kern_sockets_list(): not only those that the records deny */
};

/* See kern_sandbox_end_denied(). */
int kern_sockets_end_denied(const struct kern_object *object, const struct kern_walk *of,
			    size_t *ret_ended, struct error *err);
/* The connections, as they stand: appends struct pst_socket to *out. Ends none. */
int kern_sockets_list(const struct kern_object *object, const struct kern_walk *of, struct buf *out,
		      struct error *err);
/* Does this kernel end sockets? Tries it on a listener of its own, on loopback. 0 or -errno. */
int kern_sockets_try(void);

#endif
