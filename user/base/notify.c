/* SPDX-License-Identifier: MIT */
/* The service manager's socket. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/notify.h"

#define NOTIFY_WAIT_US 100000
#define TEXT_MAX       512

/* "/path", or "@name" in the abstract name space. */
static int address_of(const char *name, struct sockaddr_un *ret_address, socklen_t *ret_size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(name);

	if (length < 2 || (name[0] != '/' && name[0] != '@'))
		return -EINVAL;
	if (length >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, name, length);
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	*ret_address = address;
	/* An abstract name ends where the address does: a NUL more would be another name. */
	*ret_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	return 0;
}

static int send_text(const char *name, const char *text, size_t size)
{
	const struct timeval wait = {.tv_usec = NOTIFY_WAIT_US};
	struct sockaddr_un address;
	socklen_t address_size;
	cleanup_close int fd = -1;
	int r = address_of(name, &address, &address_size);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0)
		return -errno;
	if (sendto(fd, text, size, MSG_NOSIGNAL, (struct sockaddr *)&address, address_size) < 0)
		return -errno;
	return 0;
}

int notify_send(const char *format, ...)
{
	const char *name = getenv("NOTIFY_SOCKET");
	char text[TEXT_MAX];
	va_list arguments;
	int length;

	if (!name || !*name)
		return 0;
	va_start(arguments, format);
	length = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (length < 0 || (size_t)length >= sizeof(text))
		return -EMSGSIZE;
	return send_text(name, text, (size_t)length);
}

/* A decimal number and nothing else; 0 for everything else. */
static unsigned long long number_of(const char *text)
{
	unsigned long long value;
	char *end;

	if (!text || *text < '0' || *text > '9')
		return 0;
	errno = 0;
	value = strtoull(text, &end, 10);
	return errno || *end ? 0 : value;
}

uint64_t notify_watchdog_ms(void)
{
	const char *pid = getenv("WATCHDOG_PID");
	unsigned long long wait_us = number_of(getenv("WATCHDOG_USEC"));

	/* Inherited from a parent that is the one waited for. */
	if (pid && number_of(pid) != (unsigned long long)getpid())
		return 0;
	if (!wait_us)
		return 0;
	return wait_us < 2000 ? 1 : wait_us / 2000;
}
