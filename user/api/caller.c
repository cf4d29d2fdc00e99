/* SPDX-License-Identifier: MIT */
/* Who asks; see caller.h. */
#include "api/caller.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

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
