/* SPDX-License-Identifier: MIT */
/* A network namespace of its own, and what is done inside it from outside. */
#ifndef NET_NAMESPACE_H
#define NET_NAMESPACE_H

#include <stdbool.h>

#include "base/error.h"

struct namespace
{
	int net_fd;
	/* Owns the network namespace; -1: the caller's does. Every id in it is the one outside. */
	int user_fd;
};

/* With `own_user`, capabilities over it are worth nothing over the network namespace outside. -errno with err. */
int namespace_make(bool own_user, struct namespace *ret_namespace, struct error *err);
void namespace_done(struct namespace *namespace);

/* Calls fn in that network namespace, by a thread that ends. What fn returned; -errno. */
int namespace_visit(int net_fd, int (*fn)(void *context), void *context);

#endif
