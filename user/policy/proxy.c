/* SPDX-License-Identifier: MIT */
/* egressProxy: a SOCKS5 endpoint and its credentials, with E2B's checks and messages. Nothing is resolved here. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/reader.h"

#define CREDENTIAL_MAX 255 /* RFC 1929: one byte of length */

struct endpoint {
	char *host; /* points into the text that was split */
	const char *port;
};

static char *trim(char *text)
{
	size_t size;

	text += strspn(text, " \t\r\n");
	size = strlen(text);
	while (size > 0 && strchr(" \t\r\n", text[size - 1]))
		text[--size] = '\0';
	return text;
}

static int bad_form(const char *address, const char *why, struct error *err)
{
	return error_set(err, -EINVAL,
			 "egress proxy address must be in host:port form: address %.200s: %s",
			 address, why);
}

static int split_endpoint(char *address, struct endpoint *ret_endpoint, struct error *err)
{
	char *colon = strrchr(address, ':');
	size_t size;

	if (!colon)
		return bad_form(address, "missing port in address", err);
	size = (size_t)(colon - address);
	if (address[0] == '[') {
		if (size < 2 || address[size - 1] != ']')
			return bad_form(address, "missing port in address", err);
		address[size - 1] = '\0';
		address++;
	} else if (memchr(address, ':', size)) {
		return bad_form(address, "too many colons in address", err);
	}
	*colon = '\0';
	ret_endpoint->host = address;
	ret_endpoint->port = colon + 1;
	return 0;
}

static int parse_port(const char *text, uint16_t *ret_port, struct error *err)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long port = digits && digits <= 5 && !text[digits] ? strtoul(text, NULL, 10) : 0;

	if (port < 1 || port > 65535)
		return error_set(err, -EINVAL,
				 "egress proxy port \"%.64s\" is not a valid 1-65535 value", text);
	*ret_port = (uint16_t)port;
	return 0;
}

/* Canonical: an address as it is printed, a name as lower-case A-labels. */
static int parse_host(const char *text, char **ret_host, struct error *err)
{
	char name[DOMAIN_MAX + 1];
	struct addr addr;
	int r = 0;

	if (!*text)
		return error_set(err, -EINVAL, "egress proxy host must not be empty");
	if (addr_parse(text, &addr, NULL) == 0)
		addr_print(&addr, name);
	else
		r = domain_parse_name(text, name, NULL);
	if (r == -EINVAL)
		return error_set(err, r, "egress proxy host \"%.300s\" is not an address or a name",
				 text);
	if (r < 0)
		return r;
	*ret_host = strdup(name);
	return *ret_host ? 0 : -ENOMEM;
}

static int parse_address(const char *text, struct policy_proxy *proxy, struct error *err)
{
	cleanup_free char *copy = strdup(text);
	struct endpoint endpoint = {0};
	char *address;
	int r;

	if (!copy)
		return -ENOMEM;
	address = trim(copy);
	if (!*address)
		return error_set(err, -EINVAL, "egress proxy address must not be empty");
	r = split_endpoint(address, &endpoint, err);
	if (r == 0 && !*endpoint.host)
		r = error_set(err, -EINVAL, "egress proxy host must not be empty");
	if (r == 0)
		r = parse_port(endpoint.port, &proxy->port, err);
	return r < 0 ? r : parse_host(endpoint.host, &proxy->host, err);
}

/* E2B answers "Invalid egress proxy config: TEXT"; files get the place and the text. */
static int refuse(struct reader *rd, const struct json_node *node, int code)
{
	if (code == -ENOMEM)
		return code;
	if (rd->source == POLICY_FROM_E2B)
		return error_prepend(rd->in.err, code, "Invalid egress proxy config: ");
	return reader_fail(rd, node, code);
}

static int read_address(struct reader *rd, const struct json_node *node)
{
	const char *text = NULL;
	int r = reader_string(rd, node, &text);

	if (r < 0)
		return r;
	r = parse_address(text, rd->policy->proxy, rd->in.err);
	return r < 0 ? refuse(rd, node, r) : 0;
}

static int read_credential(struct reader *rd, const struct json_node *node, const char *what,
			   char **ret_text)
{
	const char *text = NULL;
	int r = reader_string(rd, node, &text);

	if (r < 0 || !*text) /* empty is the same as none */
		return r;
	if (strlen(text) > CREDENTIAL_MAX) {
		error_set(rd->in.err, -EINVAL, "egress proxy %s must not exceed %d bytes", what,
			  CREDENTIAL_MAX);
		return refuse(rd, node, -EINVAL);
	}
	*ret_text = strdup(text);
	return *ret_text ? 0 : -ENOMEM;
}

static int read_username(struct reader *rd, const struct json_node *node)
{
	return read_credential(rd, node, "username", &rd->policy->proxy->username);
}

static int read_password(struct reader *rd, const struct json_node *node)
{
	int r = read_credential(rd, node, "password", &rd->policy->proxy->password);

	if (r < 0 || rd->policy->proxy->username || !rd->policy->proxy->password)
		return r;
	error_set(rd->in.err, -EINVAL,
		  "egress proxy password must be empty when username is empty");
	return refuse(rd, node, -EINVAL);
}

int read_proxy(struct reader *rd, const struct json_node *node)
{
	static const struct reader_key keys[] = {{"address", KEY_SHARED, read_address},
						 {"username", KEY_SHARED, read_username},
						 {"password", KEY_SHARED, read_password},
						 {NULL, 0, NULL}};
	int r = reader_keys(rd, node, keys, KEY_SHARED);

	if (r < 0)
		return r;
	rd->policy->proxy = calloc(1, sizeof(*rd->policy->proxy));
	if (!rd->policy->proxy)
		return -ENOMEM;
	r = reader_members(rd, node, keys);
	if (r < 0 || rd->policy->proxy->host)
		return r;
	error_set(rd->in.err, -EINVAL, "egress proxy address must not be empty");
	return refuse(rd, node, -EINVAL);
}
