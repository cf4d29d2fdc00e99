/* SPDX-License-Identifier: MIT */
/* Who asks: a key's hash, a peer's process, a Host header -> a caller or a refusal. Never keeps or shows a key. */
#ifndef API_CALLER_H
#define API_CALLER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "api/server.h"

/* Compares with all keys, whichever fits, in the same time. `key` NULL or of no one: role NONE. */
void caller_by_key(const struct api_key *keys, size_t n_keys, const char *key,
		   struct api_caller *ret_caller);
/* Of a connected unix socket; 0 when the kernel does not tell (another PID namespace's child, too). */
pid_t caller_peer_pid(int fd);
/* Is the process inside a sandbox that connected this unix socket? When in doubt (it has ended, and another may
 * have its number): yes. */
bool caller_is_inside(const struct api_backend *backend, int fd, pid_t pid);
/* localhost, 127.0.0.1 or [::1], with any port or none. */
bool caller_host_is_loopback(const char *host);

#endif
