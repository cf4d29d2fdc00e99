/* SPDX-License-Identifier: MIT */
/*
 * Threads that use one UDP socket against each other: connect, dissolve, send, ask, cork, and send CANARY to an address
 * that is shut.
 *   hammer OPEN PORT SHUT RESOLVER CANARY MILLISECONDS PAUSE_US CORK
 */
#include <netinet/udp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "tool.h"

#define SENDS 40
#define LEAST 8

static struct sockaddr_in open_to, shut, resolver;
static const char *canary;
static int sock;
static useconds_t pause_us;
static atomic_int over;
static atomic_long rounds[5];

static struct sockaddr_in ipv4(const char *text, int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	if (inet_pton(AF_INET, text, &to.sin_addr) != 1)
		exit(2);
	return to;
}

static void to(const struct sockaddr_in *address, const void *data, size_t size)
{
	(void)sendto(sock, data, size, MSG_DONTWAIT, (const struct sockaddr *)address,
		     sizeof(*address));
}

static void *connects(void *unused)
{
	struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	while (!over) {
		(void)connect(sock, (struct sockaddr *)&open_to, sizeof(open_to));
		for (int i = 0; i < SENDS; i++)
			(void)send(sock, "x", 1, MSG_DONTWAIT);
		if (rounds[0]++ & 1)
			(void)connect(sock, &nobody, sizeof(nobody));
	}
	return unused;
}

static void *tries(void *unused)
{
	for (; !over; rounds[1]++) {
		usleep(pause_us);
		to(&shut, canary, strlen(canary));
		(void)connect(sock, (struct sockaddr *)&shut, sizeof(shut));
		if (pause_us)
			(void)send(sock, canary, strlen(canary), MSG_DONTWAIT);
	}
	return unused;
}

static void *sends(void *unused)
{
	for (; !over; rounds[2]++)
		to(&open_to, "x", 1);
	return unused;
}

static void *asks(void *unused)
{
	static const char question[] = "\x42\x42\1\0\0\1\0\0\0\0\0\0\4good\7example\3com\0\0\1\0\1";

	for (; !over; rounds[3]++) {
		to(&resolver, question, sizeof(question) - 1);
		usleep(200);
	}
	return unused;
}

static void *corks(void *unused)
{
	for (; !over; rounds[4]++) {
		(void)setsockopt(sock, IPPROTO_UDP, UDP_CORK, &(int){1}, sizeof(int));
		to(&open_to, "x", 1);
		to(&shut, canary, strlen(canary));
		(void)setsockopt(sock, IPPROTO_UDP, UDP_CORK, &(int){0}, sizeof(int));
		usleep(50);
	}
	return unused;
}

int main(int argc, char **argv)
{
	void *(*const hands[])(void *) = {connects, tries, sends, asks, corks};
	pthread_t threads[5];
	int n;

	if (argc != 9)
		return 2;
	open_to = ipv4(argv[1], atoi(argv[2]));
	shut = ipv4(argv[3], atoi(argv[2]));
	resolver = ipv4(argv[4], 53);
	canary = argv[5];
	pause_us = (useconds_t)atoi(argv[7]);
	n = atoi(argv[8]) ? 5 : 4;
	sock = socket(AF_INET, SOCK_DGRAM, 0);
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, hands[i], NULL))
			return 1;
	usleep((useconds_t)atoi(argv[6]) * 1000);
	over = 1;
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < n; i++) {
		printf("%ld rounds\n", rounds[i]);
		if (rounds[i] < LEAST)
			return 1;
	}
	return 0;
}
