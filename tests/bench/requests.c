/* SPDX-License-Identifier: MIT */
/*
 * Requests to posternd one after the other on one connection that is kept: requests SOCKET <LIST. A line of the list
 * is "NAME METHOD PATH BODY": BODY is a file, or "-". Prints "NAME MILLISECONDS", from the first byte sent to the last
 * one read. Any status but 2xx ends it. A sandbox's reply says that its policy is enforced, so this is what a
 * caller waits.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/bench/lib/bench.h"

#define REPLY_MAX (64u * 1024 * 1024)

struct request {
	char name[64], method[8], path[256], body[512];
};

static int connect_to(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(at.sun_path))
		bench_fail(path, ENAMETOOLONG);
	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&at, sizeof(at)))
		bench_fail(path, errno);
	return fd;
}

static void add_file(struct buf *out, const char *path)
{
	FILE *file = fopen(path, "re");
	char part[65536];
	size_t n;

	if (!file)
		bench_fail(path, errno);
	while ((n = fread(part, 1, sizeof(part), file)) > 0)
		buf_add(out, part, n);
	(void)fclose(file);
}

static void make_text(const struct request *request, struct buf *out)
{
	cleanup_buf struct buf body = {0};

	if (strcmp(request->body, "-") != 0)
		add_file(&body, request->body);
	buf_printf(out, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
		   request->method, request->path, body.size);
	if (body.size)
		buf_add(out, body.data, body.size);
	if (buf_status(out) < 0 || buf_status(&body) < 0)
		bench_fail(request->path, ENOMEM);
}

static void send_all(int fd, const struct buf *text)
{
	size_t sent = 0;

	while (sent < text->size) {
		ssize_t n = send(fd, text->data + sent, text->size - sent, MSG_NOSIGNAL);

		if (n < 0)
			bench_fail("send", errno);
		sent += (size_t)n;
	}
}

/* How long the whole reply is, once its headers are there; 0: not yet. posternd tells the length of all but streams. */
static size_t reply_size(const char *reply, size_t size)
{
	const char *end = memmem(reply, size, "\r\n\r\n", 4);
	const char *length;

	if (!end)
		return 0;
	length = strcasestr(reply, "\r\ncontent-length:");
	return (size_t)(end + 4 - reply) +
	       (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
}

static void receive(int fd, const struct request *request, char *reply)
{
	size_t size = 0, wanted = 0;

	while (!wanted || size < wanted) {
		ssize_t n = recv(fd, reply + size, REPLY_MAX - 1 - size, 0);

		if (n <= 0)
			bench_fail(request->path, n < 0 ? errno : ECONNRESET);
		size += (size_t)n;
		reply[size] = '\0';
		if (!wanted)
			wanted = reply_size(reply, size);
	}
	if (strncmp(reply, "HTTP/1.1 2", 10) != 0) {
		fprintf(stderr, "%s %s: %.600s\n", request->method, request->path, reply);
		bench_fail(request->path, EPROTO);
	}
}

static void ask(int fd, const struct request *request, char *reply)
{
	cleanup_buf struct buf text = {0};
	uint64_t start;

	make_text(request, &text);
	start = bench_now_ns();
	send_all(fd, &text);
	receive(fd, request, reply);
	printf("%s %.4f\n", request->name, (double)(bench_now_ns() - start) / 1e6);
}

int main(int argc, char **argv)
{
	cleanup_free char *reply = malloc(REPLY_MAX);
	struct request request;
	int fd;

	if (argc != 2 || !reply)
		bench_fail("usage: requests SOCKET <LIST", EINVAL);
	fd = connect_to(argv[1]);
	while (scanf("%63s %7s %255s %511s", request.name, request.method, request.path,
		     request.body) == 4)
		ask(fd, &request, reply);
	close(fd);
	return 0;
}
