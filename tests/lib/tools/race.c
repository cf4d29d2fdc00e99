/* SPDX-License-Identifier: MIT */
/*
 * Resolves a fresh name to a fresh address and connects to it as soon as the answer is there, COUNT times, every second
 * time by UDP:
 *   race RESOLVER PORT COUNT
 * Prints "resolved N refused R late L silent S other O ms T". Refused: connect() or send() said EPERM. Late: the
 * connection needed more than one SYN. Silent: no answer.
 */
#include "tool.h"

#include <netinet/tcp.h>

#define ANSWER_S 3
#define HEADER	 12

enum outcome { MADE, REFUSED, LATE, SILENT, OTHER, OUTCOMES };

static size_t put_label(uint8_t *at, const char *text)
{
	size_t n = strlen(text);

	at[0] = (uint8_t)n;
	memcpy(at + 1, text, n);
	return n + 1;
}

/* One question for A of a name that nobody asked for before. */
static size_t question(uint8_t *message, uint16_t id)
{
	static const uint8_t tail[] = {0, 0, 1, 0, 1};
	const uint8_t header[HEADER] = {(uint8_t)(id >> 8), (uint8_t)id, 1, 0, 0, 1};
	size_t n = HEADER;
	char label[64];

	memcpy(message, header, HEADER);
	snprintf(label, sizeof(label), "r%d-%u", (int)getpid(), id);
	n += put_label(message + n, label);
	n += put_label(message + n, "race");
	n += put_label(message + n, "example");
	memcpy(message + n, tail, sizeof(tail));
	return n + sizeof(tail);
}

/* The answer's only record is A, at the end of the message. */
static int resolve(int dns, uint16_t id, struct in_addr *address)
{
	uint8_t message[512];
	size_t size = question(message, id);
	ssize_t n;

	if (send(dns, message, size, 0) != (ssize_t)size)
		return errno == EPERM ? REFUSED : OTHER;
	do {
		n = recv(dns, message, sizeof(message), 0);
		if (n < HEADER + 4)
			return SILENT;
	} while ((message[0] << 8 | message[1]) != id);
	memcpy(address, message + n - 4, 4);
	return MADE;
}

static int was_late(int fd)
{
	struct tcp_info info;
	socklen_t size = sizeof(info);

	return getsockopt(fd, SOL_TCP, TCP_INFO, &info, &size) || info.tcpi_total_retrans;
}

/* The socket is made before the answer comes: nothing but connect() stands between the two. */
static int once(int dns, uint16_t id, uint16_t port)
{
	const struct linger at_once = {.l_onoff = 1};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	int udp = id & 1, fd = open_socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
	int result;

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	result = resolve(dns, id, &to.sin_addr);
	if (result == MADE &&
	    (connect(fd, (struct sockaddr *)&to, sizeof(to)) || (udp && send(fd, "x", 1, 0) != 1)))
		result = errno == EPERM ? REFUSED : OTHER;
	if (result == MADE && !udp && was_late(fd))
		result = LATE;
	close(fd);
	return result;
}

int main(int argc, char **argv)
{
	const struct timeval patience = {.tv_sec = ANSWER_S};
	unsigned found[OUTCOMES] = {}, count;
	struct peer resolver;
	double since;
	int dns;

	if (argc != 4)
		misuse("race RESOLVER PORT COUNT");
	resolver = peer_of(argv[1], "53");
	count = (unsigned)atoi(argv[3]);
	dns = open_socket(resolver.addr.any.sa_family, SOCK_DGRAM, 0);
	setsockopt(dns, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(dns, &resolver.addr.any, resolver.len))
		return report("connect", -1, now_ms());
	since = now_ms();
	for (unsigned i = 0; i < count; i++)
		found[once(dns, (uint16_t)i, (uint16_t)atoi(argv[2]))]++;
	printf("resolved %u refused %u late %u silent %u other %u ms %.0f\n", count, found[REFUSED],
	       found[LATE], found[SILENT], found[OTHER], now_ms() - since);
	return 0;
}
