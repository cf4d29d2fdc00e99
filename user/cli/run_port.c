/* SPDX-License-Identifier: MIT */
/* posternd's configuration -> the port of its `listen`. The rest of it is posternd's to understand. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/json.h"
#include "cli/run_port.h"

#define CONFIG_PATH	"/etc/postern/posternd.json"
#define CONFIG_VARIABLE "POSTERN_CONFIG"

/* "127.0.0.1:3000", "[::1]:3000" */
static int parse_listen(const char *text, uint16_t *ret_port)
{
	const char *port = strrchr(text, ':');
	unsigned value = 0;

	if (!port || strlen(port + 1) > 5 || !port[1] || port[1 + strspn(port + 1, "0123456789")])
		return -EINVAL;
	for (port++; *port; port++)
		value = value * 10 + (unsigned)(*port - '0');
	if (!value || value > UINT16_MAX)
		return -EINVAL;
	*ret_port = (uint16_t)value;
	return 0;
}

static int read_listen(const char *path, const char *text, size_t size, uint16_t *ret_port,
		       struct error *err)
{
	cleanup(json_done) struct json json = {0};
	struct json_place place = {0};
	const struct json_node *listen;
	int r = json_parse(text, size, &json, &place, err);

	if (r < 0)
		return error_prepend(err, r, "%s:%u:%u: ", path, place.line, place.column);
	listen = json.nodes->type == JSON_OBJECT ? json_member(&json, json.nodes, "listen") : NULL;
	if (!listen)
		return 0;
	if (listen->type != JSON_STRING || parse_listen(listen->string, ret_port) < 0)
		return error_set(err, -EINVAL, "%s: listen: expected an address and a port", path);
	return 0;
}

int run_port_of_daemon(uint16_t *ret_port, struct error *err)
{
	const char *told = getenv(CONFIG_VARIABLE), *path = told ? told : CONFIG_PATH;
	cleanup_free char *text = NULL;
	size_t size;
	int r = io_read_file(path, JSON_MAX_BYTES, &text, &size, err);

	*ret_port = 0;
	if (r < 0)
		text = NULL;
	/* None is installed here. */
	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	return r < 0 ? r : read_listen(path, text, size, ret_port, err);
}
