/* SPDX-License-Identifier: MIT */
/*
 * The resolvers of a command with a network of its own. A stub on this host's loopback is none; where there is one,
 * whoever runs it writes down what it asks itself.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/resolvconf.h"
#include "cli/run_net_dns.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define FILE_MAX    (64u * 1024)
#define KEYWORD	    "nameserver"

/* In this order, after /etc/resolv.conf. */
static const char *const behind_stubs[] = {
	"/run/systemd/resolve/resolv.conf",
	"/run/NetworkManager/no-stub-resolv.conf",
	"/run/resolvconf/resolv.conf",
	"/run/dnsmasq/resolv.conf",
};

/* Of this host alone, or of a link that CMD is not on. */
static bool is_usable(const struct addr *address)
{
	static const uint8_t loopback6[16] = {[15] = 1}, none6[16];
	const uint8_t *bytes = address->bytes;

	if (addr_is_ipv4(address))
		return bytes[12] != 127 && bytes[12] != 0;
	return memcmp(bytes, loopback6, 16) != 0 && memcmp(bytes, none6, 16) != 0 &&
	       !(bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80);
}

int run_net_dns_usable(const char *resolv_conf, struct addr_list *ret_list)
{
	struct addr_list list = {0};
	size_t kept = 0;
	int r = resolvconf_parse(resolv_conf, &list);

	if (r < 0)
		return r;
	for (size_t i = 0; i < list.count; i++) {
		if (is_usable(&list.items[i]))
			list.items[kept++] = list.items[i];
	}
	list.count = kept;
	*ret_list = list;
	return 0;
}

static void put_nameservers(const struct addr_list *list, struct buf *out)
{
	char text[CIDR_TEXT_MAX];

	for (size_t i = 0; i < list->count; i++) {
		if (is_usable(&list->items[i]))
			buf_printf(out, KEYWORD " %s\n", addr_print(&list->items[i], text));
	}
}

void run_net_dns_rewrite(const char *resolv_conf, const struct addr_list *first,
			 const struct addr_list *then, struct buf *out)
{
	put_nameservers(first, out);
	put_nameservers(then, out);
	while (*resolv_conf) {
		size_t size = strcspn(resolv_conf, "\n");

		/* Comments speak of the file that this one is not. */
		if (size && !strchr("#;", resolv_conf[0]) &&
		    strncmp(resolv_conf, KEYWORD, sizeof(KEYWORD) - 1) != 0) {
			buf_add(out, resolv_conf, size);
			buf_puts(out, "\n");
		}
		resolv_conf += size;
		resolv_conf += *resolv_conf == '\n';
	}
}

/* 0 with an empty list where there is no such file. */
static int read_upstream(const char *path, struct addr_list *ret_list)
{
	cleanup_free char *text = NULL;
	size_t size;

	if (io_read_file(path, FILE_MAX, &text, &size, NULL) < 0)
		return 0;
	return run_net_dns_usable(text, ret_list);
}

static int find_upstream(struct addr_list *list)
{
	int r = 0;

	for (size_t i = 0;
	     r == 0 && !list->count && i < sizeof(behind_stubs) / sizeof(behind_stubs[0]); i++) {
		free(list->items);
		*list = (struct addr_list){0};
		r = read_upstream(behind_stubs[i], list);
	}
	return r;
}

static bool names_any(const char *resolv_conf)
{
	struct addr_list list = {0};
	bool any = resolvconf_parse(resolv_conf, &list) == 0 && list.count;

	free(list.items);
	return any;
}

int run_net_dns_load(const struct addr_list *chosen, struct addr_list *ret_upstream,
		     struct buf *out, struct error *err)
{
	cleanup_free char *text = NULL;
	struct addr_list list = {0};
	const char *own = "";
	size_t size;
	int r = 0;

	if (io_read_file(RESOLV_CONF, FILE_MAX, &text, &size, NULL) == 0) {
		own = text;
		r = run_net_dns_usable(text, &list);
		if (r == 0 && !list.count && names_any(text))
			r = find_upstream(&list);
	}
	if (r == 0 && !list.count && !chosen->count && names_any(own))
		r = error_set(
			err, -ENODATA,
			"--netns: " RESOLV_CONF
			" names only addresses of this host's own, which CMD's network does not have: add --resolver IP");
	else if (r < 0)
		(void)error_set(err, r, "--netns: cannot read resolvers: %s", strerror(-r));
	if (r < 0) {
		free(list.items);
		return r;
	}
	run_net_dns_rewrite(own, chosen, &list, out);
	*ret_upstream = list;
	return buf_status(out) < 0 ? error_set(err, -ENOMEM, "out of memory") : 0;
}
