/* SPDX-License-Identifier: MIT */
/* Resolves a name with musl's resolver, connects to each address in turn and sends: resolve NAME PORT DATA. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list, *ai;
	int fd = -1, r;

	if (argc != 4)
		return 2;
	r = getaddrinfo(argv[1], argv[2], &hints, &list);
	if (r) {
		fprintf(stderr, "%s: %s\n", argv[1], gai_strerror(r));
		return 1;
	}
	for (ai = list; ai; ai = ai->ai_next) {
		fd = socket(ai->ai_family, SOCK_STREAM, 0);
		if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
			break;
		fprintf(stderr, "connect: %s\n", strerror(errno));
		close(fd);
	}
	freeaddrinfo(list);
	return ai && write(fd, argv[3], strlen(argv[3])) == (ssize_t)strlen(argv[3]) ? 0 : 1;
}
