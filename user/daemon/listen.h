/* SPDX-License-Identifier: MIT */
/* The sockets that posternd listens on. */
#ifndef DAEMON_LISTEN_H
#define DAEMON_LISTEN_H

#include <stdint.h>

#include "base/error.h"

/* Takes the place of a dead daemon's socket. 0660 for the group `postern`; without that group 0600, with a warning in
 * the log. Its directory is made, 0755. */
int listen_unix(const char *path, int *ret_fd, struct error *err);
/* host: an address. */
int listen_tcp(const char *host, uint16_t port, int *ret_fd, struct error *err);

#endif
