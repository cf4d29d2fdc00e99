/* SPDX-License-Identifier: MIT */
/*
 * Asks a name server for the first IPv4 address of a name, once and by UDP:
 *   ask SERVER NAME    "answer NOERROR 192.0.2.1", "answer NXDOMAIN EDE 15", ...
 */
#include "tool.h"

#include <poll.h>

#define REPLY_MS 5000
#define HEADER	 12
#define MESSAGE	 1232

enum { TYPE_A = 1, TYPE_OPT = 41, OPTION_EDE = 15 };

struct message {
	uint8_t data[MESSAGE];
	size_t size, at;
};

static void put(struct message *m, const void *data, size_t size)
{
	if (m->size + size > sizeof(m->data))
		misuse("NAME");
	memcpy(m->data + m->size, data, size);
	m->size += size;
}

static void put_name(struct message *m, const char *name)
{
	while (*name) {
		size_t size = strcspn(name, ".");
		uint8_t label = (uint8_t)size;

		if (size == 0 || size > 63)
			misuse("NAME");
		put(m, &label, 1);
		put(m, name, size);
		name += size + (name[size] == '.');
	}
	put(m, "", 1);
}

static unsigned get(struct message *m, size_t size)
{
	unsigned value = 0;

	for (; size; size--)
		value = value << 8 | (m->at < m->size ? m->data[m->at] : 0), m->at++;
	return value;
}

static void skip_name(struct message *m)
{
	for (;;) {
		unsigned size = get(m, 1);

		if (size >= 0xc0)
			m->at++;
		if (size == 0 || size >= 0xc0 || m->at >= m->size)
			return;
		m->at += size;
	}
}

/* The extended error among the options that end there. */
static void tell_error(struct message *m, size_t end)
{
	while (m->at + 4 <= end) {
		unsigned option = get(m, 2), size = get(m, 2);
		size_t next = m->at + size;

		if (option == OPTION_EDE)
			printf(" EDE %u", get(m, 2));
		m->at = next;
	}
}

static void tell_records(struct message *m, unsigned count)
{
	char text[INET_ADDRSTRLEN];

	while (count-- && m->at < m->size) {
		unsigned type, size;
		size_t end;

		skip_name(m);
		type = get(m, 2);
		get(m, 2);
		get(m, 4);
		size = get(m, 2);
		end = m->at + size;
		if (end > m->size)
			return;
		if (type == TYPE_A && size == 4)
			printf(" %s", inet_ntop(AF_INET, m->data + m->at, text, sizeof(text)));
		if (type == TYPE_OPT)
			tell_error(m, end);
		m->at = end;
	}
}

static void tell(struct message *m)
{
	static const char *const codes[16] = {"NOERROR",  "FORMERR", "SERVFAIL",
					      "NXDOMAIN", "NOTIMP",  "REFUSED"};
	unsigned code, questions, records = 0;

	m->at = 3;
	code = get(m, 1) & 15;
	questions = get(m, 2);
	for (int section = 0; section < 3; section++)
		records += get(m, 2);
	printf("answer %s", codes[code] ? codes[code] : "OTHER");
	while (questions-- && m->at < m->size) {
		skip_name(m);
		get(m, 4);
	}
	tell_records(m, records);
	printf("\n");
}

int main(int argc, char **argv)
{
	static const uint8_t header[HEADER] = {0x42, 0x17, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1};
	static const uint8_t type_class[] = {0, TYPE_A, 0, 1};
	/* EDNS, with room for what is sent here. */
	static const uint8_t edns[] = {0, 0, TYPE_OPT, MESSAGE >> 8, MESSAGE & 255, 0, 0, 0,
				       0, 0, 0};
	struct message m = {};
	struct pollfd p = {.events = POLLIN};
	struct peer server;
	double since = now_ms();
	ssize_t n;

	if (argc != 3)
		misuse("SERVER NAME");
	server = peer_of(argv[1], "53");
	put(&m, header, sizeof(header));
	put_name(&m, argv[2]);
	put(&m, type_class, sizeof(type_class));
	put(&m, edns, sizeof(edns));
	p.fd = open_socket(server.addr.any.sa_family, SOCK_DGRAM, 0);
	if (connect(p.fd, &server.addr.any, server.len) || send(p.fd, m.data, m.size, 0) < 0)
		return report("ask", -1, since);
	if (poll(&p, 1, REPLY_MS) != 1)
		return report_error("ask", ETIMEDOUT, since);
	n = recv(p.fd, m.data, sizeof(m.data), 0);
	if (n < HEADER)
		return n < 0 ? report("ask", -1, since) : report_error("ask", EBADMSG, since);
	m.size = (size_t)n;
	tell(&m);
	return 0;
}
