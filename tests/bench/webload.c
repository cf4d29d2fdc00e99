/* SPDX-License-Identifier: MIT */
/*
 * Requests over connections that are kept, as many at a time as there are connections, the next one when its answer has
 * come: webload ADDRESS PORT HOST CONNECTIONS MS [tls]. Prints how many were answered in a second. Answers have a
 * Content-Length; one that does not, or has another status than 200, ends it. Of TLS, which is 1.3, the handshakes come
 * before the time that is measured; certificates are not checked.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/lib/bench.h"

#define MOST	256
#define ANSWER	8192
#define REQUEST 512

struct load {
	struct sockaddr_in to;
	char request[REQUEST];
	size_t size, connections;
	struct pollfd fds[MOST];
	SSL_CTX *tls; /* NULL: in the clear */
	SSL *ssl[MOST];
	char answers[MOST][ANSWER];
	size_t have[MOST];
	unsigned long answered;
};

static int connected(const struct load *load)
{
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
	    connect(fd, (const struct sockaddr *)&load->to, sizeof(load->to)))
		bench_fail("connect", errno);
	return fd;
}

static void shake(struct load *load, size_t i, const char *host)
{
	char name[REQUEST];

	snprintf(name, sizeof(name), "%s", host);
	load->ssl[i] = SSL_new(load->tls);
	if (!load->ssl[i] || SSL_set_fd(load->ssl[i], load->fds[i].fd) != 1 ||
	    SSL_set_tlsext_host_name(load->ssl[i], name) != 1 || SSL_connect(load->ssl[i]) != 1)
		bench_fail("TLS", EPROTO);
}

static void ask(struct load *load, size_t i)
{
	ssize_t sent = load->tls ? SSL_write(load->ssl[i], load->request, (int)load->size)
				 : write(load->fds[i].fd, load->request, load->size);

	load->have[i] = 0;
	if (sent != (ssize_t)load->size)
		bench_fail("write", errno);
}

/* Whether the answer is whole. */
static int is_whole(struct load *load, size_t i)
{
	char *text = load->answers[i], *end, *length;

	text[load->have[i]] = '\0';
	end = strstr(text, "\r\n\r\n");
	if (!end)
		return 0;
	if (strncmp(text + 8, " 200", 4) != 0)
		bench_fail(text, EPROTO);
	length = strcasestr(text, "\r\nContent-Length:");
	if (!length || length > end)
		bench_fail("no Content-Length", EPROTO);
	return load->have[i] >= (size_t)(end + 4 - text) + strtoul(length + 17, NULL, 10);
}

static void listen_to(struct load *load, size_t i)
{
	char *to = load->answers[i] + load->have[i];
	size_t room = ANSWER - 1 - load->have[i];
	ssize_t n =
		load->tls ? SSL_read(load->ssl[i], to, (int)room) : read(load->fds[i].fd, to, room);

	if (n <= 0)
		bench_fail("read", n < 0 ? errno : ECONNRESET);
	load->have[i] += (size_t)n;
	if (!is_whole(load, i))
		return;
	load->answered++;
	ask(load, i);
}

/* The bytes of an answer come in one record, and nothing else does: what can be read is read without waiting. */
static void start_tls(struct load *load)
{
	load->tls = SSL_CTX_new(TLS_client_method());
	if (!load->tls || SSL_CTX_set_min_proto_version(load->tls, TLS1_3_VERSION) != 1)
		bench_fail("TLS", ENOMEM);
}

int main(int argc, char **argv)
{
	static struct load load;
	uint64_t start, end, wanted_ns;

	if (argc != 6 && (argc != 7 || strcmp(argv[6], "tls") != 0))
		bench_fail("usage: webload ADDRESS PORT HOST CONNECTIONS MS [tls]", EINVAL);
	if (argc == 7)
		start_tls(&load);
	load.to.sin_family = AF_INET;
	load.to.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
	load.connections = strtoul(argv[4], NULL, 10);
	wanted_ns = strtoull(argv[5], NULL, 10) * 1000000;
	if (inet_pton(AF_INET, argv[1], &load.to.sin_addr) != 1 || !load.connections ||
	    load.connections > MOST)
		bench_fail(argv[1], EINVAL);
	load.size = (size_t)snprintf(load.request, REQUEST, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n",
				     argv[3]);
	for (size_t i = 0; i < load.connections; i++) {
		load.fds[i] = (struct pollfd){.fd = connected(&load), .events = POLLIN};
		if (load.tls)
			shake(&load, i, argv[3]);
	}
	for (size_t i = 0; i < load.connections; i++)
		ask(&load, i);
	start = bench_now_ns();
	do {
		if (poll(load.fds, load.connections, 1000) < 0)
			bench_fail("poll", errno);
		for (size_t i = 0; i < load.connections; i++)
			if (load.fds[i].revents)
				listen_to(&load, i);
		end = bench_now_ns();
	} while (end - start < wanted_ns);
	printf("%.0f\n", (double)load.answered * 1e9 / (double)(end - start));
	return 0;
}
