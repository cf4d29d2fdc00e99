/* SPDX-License-Identifier: MIT */
/* One destination: address, range or name, with ports and protocol, as text and back. Knows nothing of lists. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/policy.h"

#define PORT_MAX 65535u

/* The pieces of an entry; they point into a copy of its text. */
struct pieces {
	char *host;
	char *port; /* NULL: none was written */
	bool bracketed;
};

/* Digits only, at most `max`; *text moves behind them. */
static bool read_port(const char **text, unsigned *ret_port)
{
	unsigned value = 0;
	const char *p = *text;

	if (*p < '1' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		value = value * 10 + (unsigned)(*p - '0');
		if (value > PORT_MAX)
			return false;
	}
	*text = p;
	*ret_port = value;
	return true;
}

static bool read_ports(const char **text, struct policy_dest *d)
{
	unsigned first, last;

	if (**text == '*') {
		(*text)++;
		d->first = 0;
		d->last = PORT_MAX;
		return true;
	}
	if (!read_port(text, &first))
		return false;
	last = first;
	if (**text == '-') {
		(*text)++;
		if (!read_port(text, &last))
			return false;
	}
	d->first = (uint16_t)first;
	d->last = (uint16_t)last;
	return true;
}

static bool read_protocol(const char *text, struct policy_dest *d)
{
	if (!*text)
		d->protocols = PST_TCP | PST_UDP;
	else if (strcmp(text, "/tcp") == 0)
		d->protocols = PST_TCP;
	else if (strcmp(text, "/udp") == 0)
		d->protocols = PST_UDP;
	else
		return false;
	return true;
}

static int parse_ports(const char *text, struct policy_dest *d, struct error *err)
{
	const char *p = text;

	if (!read_ports(&p, d) || (*p && *p != '/'))
		return error_set(err, -EINVAL, "bad port ':%.100s', expected 1..65535 or '*'",
				 text);
	if (!read_protocol(p, d))
		return error_set(err, -EINVAL, "bad protocol '%.100s', expected /tcp or /udp", p);
	if (d->first > d->last)
		return error_set(err, -EINVAL, "bad port range '%u-%u', the first is the larger",
				 d->first, d->last);
	return 0;
}

static int split_bracketed(char *text, struct pieces *p, struct error *err)
{
	char *end = strchr(text, ']');

	if (!end)
		return error_set(err, -EINVAL, "'[' without ']'");
	if (end[1] && end[1] != ':')
		return error_set(err, -EINVAL, "expected ':' after ']', found '%.100s'", end + 1);
	*end = '\0';
	p->host = text + 1;
	p->port = end[1] ? end + 2 : NULL;
	p->bracketed = true;
	return 0;
}

/* One colon parts host and port; more than one is an IPv6 address, which takes a port only in brackets. */
static int split(char *text, struct pieces *p, struct error *err)
{
	char *colon = strchr(text, ':');

	*p = (struct pieces){.host = text};
	if (text[0] == '[')
		return split_bracketed(text, p, err);
	if (colon && !strchr(colon + 1, ':')) {
		*colon = '\0';
		p->port = colon + 1;
	}
	return 0;
}

static bool is_address_like(const struct pieces *p)
{
	return p->bracketed || strpbrk(p->host, ":/") || !p->host[strspn(p->host, "0123456789.")];
}

static int parse_host(const struct pieces *p, struct policy_dest *d, struct error *err)
{
	int r;

	if (!*p->host)
		return error_set(err, -EINVAL, "no address or name");
	if (!is_address_like(p)) {
		d->kind = POLICY_DEST_NAME;
		d->protocols = PST_TCP;
		return domain_parse(p->host, &d->domain, err);
	}
	if (p->bracketed && !strchr(p->host, ':'))
		return error_set(err, -EINVAL, "brackets are for IPv6, found '%.100s'", p->host);
	d->kind = POLICY_DEST_CIDR;
	d->protocols = PST_ANY_PROTO;
	r = cidr_parse(p->host, &d->cidr, &d->host_bits, err);
	if (r < 0)
		return r;
	/* All of IPv4, in IPv4's own notation, stands for all traffic: E2B's ALL_TRAFFIC. */
	if (d->cidr.family == CIDR_IPV4 && d->cidr.len == 0 && !d->host_bits &&
	    !strchr(p->host, ':'))
		d->cidr = (struct cidr){.family = CIDR_ALL};
	return 0;
}

static int parse_entry(const char *text, struct policy_dest *ret_dest, struct error *err)
{
	cleanup_free char *copy = strdup(text);
	struct policy_dest d;
	struct pieces p;
	int r;

	if (!copy)
		return -ENOMEM;
	memset(&d, 0, sizeof(d));
	r = split(copy, &p, err);
	if (r == 0)
		r = parse_host(&p, &d, err);
	if (r < 0)
		return r;
	d.any_port = !p.port && d.kind == POLICY_DEST_CIDR;
	d.web_ports = !p.port && d.kind == POLICY_DEST_NAME;
	if (p.port)
		r = parse_ports(p.port, &d, err);
	if (r == 0)
		*ret_dest = d;
	return r;
}

static unsigned scheme_port(const char *scheme, size_t size)
{
	static const struct {
		const char *scheme;
		unsigned port;
	} known[] = {{"http", 80}, {"https", 443}, {"ws", 80}, {"wss", 443}};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strlen(known[i].scheme) == size &&
		    strncasecmp(known[i].scheme, scheme, size) == 0)
			return known[i].port;
	}
	return 0;
}

/* A URL leads to one host and one TCP port. */
static int check_url_dest(struct policy_dest *d, const char *text, unsigned port, struct error *err)
{
	bool one_port = d->any_port || d->web_ports || (d->first == d->last && d->last);
	bool one_host = d->kind == POLICY_DEST_NAME
				? d->domain.kind == DOMAIN_EXACT
				: d->cidr.len == (d->cidr.family == CIDR_IPV4 ? 32 : 128);

	if (!one_host || !one_port)
		return error_set(err, -EINVAL, "bad URL '%.300s', expected one host and one port",
				 text);
	if (d->any_port || d->web_ports) {
		if (!port)
			return error_set(err, -EINVAL,
					 "the port of '%.300s' is not known, write it", text);
		d->first = d->last = (uint16_t)port;
	}
	d->any_port = false;
	d->web_ports = false;
	d->protocols = PST_TCP;
	return 0;
}

/* Programs differ on what a backslash ends; and an IPv6 host needs its brackets. */
static bool is_clear_host(const char *authority, const char *host)
{
	const char *colon = strchr(host, ':');

	return !strchr(authority, '\\') && (host[0] == '[' || !colon || !strchr(colon + 1, ':'));
}

static int parse_url(const char *text, const char *scheme_end, struct policy_dest *ret_dest,
		     struct error *err)
{
	const char *start = scheme_end + 3, *user;
	size_t size = strcspn(start, "/?#");
	cleanup_free char *authority = strndup(start, size);
	struct policy_dest d;
	const char *host;
	int r;

	if (!authority)
		return -ENOMEM;
	user = strrchr(authority, '@');
	host = user ? user + 1 : authority;
	if (!is_clear_host(authority, host))
		return error_set(err, -EINVAL, "bad URL '%.300s', expected one host and one port",
				 text);
	size = strlen(authority);
	if (size > 0 && authority[size - 1] == ':') /* RFC 3986 3.2.3: the port may be empty */
		authority[size - 1] = '\0';
	r = parse_entry(host, &d, err);
	if (r == 0)
		r = check_url_dest(&d, text, scheme_port(text, (size_t)(scheme_end - text)), err);
	if (r == 0)
		*ret_dest = d;
	return r;
}

int policy_dest_parse(const char *text, bool url, struct policy_dest *ret_dest, struct error *err)
{
	const char *scheme_end = strstr(text, "://");

	if (!scheme_end)
		return parse_entry(text, ret_dest, err);
	if (!url)
		return error_set(err, -EINVAL, "'%.300s' is a URL, write its host", text);
	return parse_url(text, scheme_end, ret_dest, err);
}

static void print_ports(const struct policy_dest *d, char *text, size_t size)
{
	const char *protocol = "";

	if (d->protocols == PST_TCP)
		protocol = "/tcp";
	else if (d->protocols == PST_UDP)
		protocol = "/udp";
	if (d->any_port || (d->first == 0 && d->last == PORT_MAX))
		snprintf(text, size, ":*%s", protocol);
	else if (d->first == d->last)
		snprintf(text, size, ":%u%s", d->first, protocol);
	else
		snprintf(text, size, ":%u-%u%s", d->first, d->last, protocol);
}

const char *policy_dest_print(const struct policy_dest *d, char text[POLICY_DEST_TEXT_MAX])
{
	char host[DOMAIN_MAX + 3] = "", ports[32] = "";
	bool all = d->kind == POLICY_DEST_CIDR && d->any_port && d->protocols == PST_ANY_PROTO;
	bool brackets = false;

	if (!all && !d->web_ports)
		print_ports(d, ports, sizeof(ports));
	if (d->kind == POLICY_DEST_NAME) {
		domain_print(&d->domain, host);
	} else {
		cidr_print(&d->cidr, host);
		brackets = ports[0] && strchr(host, ':');
	}
	snprintf(text, POLICY_DEST_TEXT_MAX, brackets ? "[%s]%s" : "%s%s", host, ports);
	return text;
}
