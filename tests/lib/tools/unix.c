/* SPDX-License-Identifier: MIT */
/*
 * Ways to say something to a unix socket: connect() of each type, sendto() without one, and a pair that needs neither.
 *   unix stream|seqpacket|datagram|sendto NAME TEXT      NAME: a path, or @NAME (abstract)
 *   unix pair TEXT
 */
#include "tool.h"

#include <stddef.h>
#include <sys/un.h>

static socklen_t address_of(const char *name, struct sockaddr_un *to)
{
	size_t size = strlen(name);

	if (!size || size >= sizeof(to->sun_path))
		misuse(name);
	*to = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(to->sun_path, name, size);
	if (*name == '@')
		to->sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + (*name != '@'));
}

static int say(int fd, const char *text)
{
	double since = now_ms();

	return report("send", send(fd, text, strlen(text), MSG_NOSIGNAL), since);
}

static int by_connect(int type, char **args)
{
	int fd = socket(AF_UNIX, type, 0);
	struct sockaddr_un to;
	socklen_t size = address_of(args[0], &to);
	double since = now_ms();

	if (report("connect", connect(fd, (struct sockaddr *)&to, size), since))
		return 1;
	return say(fd, args[1]);
}

static int mode_stream(char **args)
{
	return by_connect(SOCK_STREAM, args);
}

static int mode_seqpacket(char **args)
{
	return by_connect(SOCK_SEQPACKET, args);
}

static int mode_datagram(char **args)
{
	return by_connect(SOCK_DGRAM, args);
}

static int mode_sendto(char **args)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	struct sockaddr_un to;
	socklen_t size = address_of(args[0], &to);
	double since = now_ms();

	return report("sendto",
		      sendto(fd, args[1], strlen(args[1]), 0, (struct sockaddr *)&to, size), since);
}

static int mode_pair(char **args)
{
	double since = now_ms();
	int pair[2];

	if (report("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair), since))
		return 1;
	return say(pair[0], args[0]);
}

static const struct mode modes[] = {
	{"stream", 2, mode_stream},	{"seqpacket", 2, mode_seqpacket},
	{"datagram", 2, mode_datagram}, {"sendto", 2, mode_sendto},
	{"pair", 1, mode_pair},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(argv[1], modes[i].name) && argc == 2 + modes[i].args)
			return modes[i].run(argv + 2);
	misuse("unix MODE ARGUMENTS");
}
