/* SPDX-License-Identifier: MIT */
/* Who asks; see caller.h. */
#include "api/caller.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

void caller_by_key(const struct api_key *keys, size_t n_keys, const char *key,
		   struct api_caller *ret_caller)
{
	unsigned char hash[SHA256_DIGEST_LENGTH];
	const struct api_key *found = NULL;

	*ret_caller = (struct api_caller){.role = API_ROLE_NONE};
	if (!key || !SHA256((const unsigned char *)key, strlen(key), hash))
		return;
	for (size_t i = 0; i < n_keys; i++)
		if (CRYPTO_memcmp(keys[i].hash, hash, sizeof(hash)) == 0)
			found = &keys[i];
	OPENSSL_cleanse(hash, sizeof(hash));
	if (!found)
		return;
	ret_caller->role = found->role;
	memcpy(ret_caller->owner, found->owner, sizeof(ret_caller->owner));
	ret_caller->owner[API_OWNER_MAX] = '\0';
}

pid_t caller_peer_pid(int fd)
{
	struct ucred peer = {0};
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return 0;
	return peer.pid;
}

/* Linux 6.5; before, a number that is in use again cannot be told. */
static bool peer_has_ended(int fd)
{
	int pidfd = -1;
	socklen_t size = sizeof(pidfd);
	struct pollfd ended = {.events = POLLIN};
	bool has_ended;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0)
		return errno != ENOPROTOOPT;
	ended.fd = pidfd;
	has_ended = poll(&ended, 1, 0) != 0;
	(void)close(pidfd);
	return has_ended;
}

bool caller_is_inside(const struct api_backend *backend, int fd, pid_t pid)
{
	/* In this order: while it lives, nobody else has its number. */
	return !pid || backend->is_inside(backend->context, pid) || peer_has_ended(fd);
}

bool caller_host_is_loopback(const char *host)
{
	static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t size = strlen(names[i]);

		if (strncasecmp(host, names[i], size) != 0)
			continue;
		if (!host[size])
			return true;
		return host[size] == ':' && !host[size + 1 + strspn(host + size + 1, "0123456789")];
	}
	return false;
}
