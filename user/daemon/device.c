/* SPDX-License-Identifier: MIT */
/* Sandboxes of the netdev kind: which device, what it may send from, how that is stored and shown. */
#define _GNU_SOURCE
#include "daemon/device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "kern/device.h"

#define ROUTES_MAX (1024u * 1024)

/* ---- what it may send from: texts and bytes ---- */

static int mask_bits(const uint8_t mask[16])
{
	int bits = 0;

	for (int i = 0; i < 16; i++)
		bits += __builtin_popcount(mask[i]);
	return bits;
}

static void put_own(struct buf *out, const struct pst_own *own)
{
	char text[CIDR_TEXT_MAX];
	struct cidr cidr = {.family = CIDR_IPV6, .len = (uint8_t)mask_bits(own->mask)};

	memcpy(cidr.addr.bytes, own->addr, sizeof(cidr.addr.bytes));
	if (addr_is_ipv4(&cidr.addr) && cidr.len >= 96) {
		cidr.family = CIDR_IPV4;
		cidr.len = (uint8_t)(cidr.len - 96);
	}
	buf_printf(out, "%s%s", out->size ? " " : "", cidr_print(&cidr, text));
}

static void put_mac(struct buf *out, const struct pst_mac *mac)
{
	const uint8_t *m = mac->mac;

	buf_printf(out, "%s%02x:%02x:%02x:%02x:%02x:%02x", out->size ? " " : "", m[0], m[1], m[2],
		   m[3], m[4], m[5]);
}

int device_store_own(const struct kern_own *own, struct stored *stored)
{
	cleanup_buf struct buf addresses = {0}, macs = {0};
	char *first, *second;

	buf_puts(&addresses, "");
	buf_puts(&macs, "");
	for (uint32_t i = 0; i < own->n_own; i++)
		put_own(&addresses, &own->own[i]);
	for (uint32_t i = 0; i < own->n_macs; i++)
		put_mac(&macs, &own->mac[i]);
	if (buf_status(&addresses) < 0 || buf_status(&macs) < 0)
		return -ENOMEM;
	first = strdup(addresses.size ? addresses.data : "");
	second = strdup(macs.size ? macs.data : "");
	if (!first || !second) {
		free(first);
		free(second);
		return -ENOMEM;
	}
	free(stored->addresses);
	free(stored->macs);
	stored->addresses = first;
	stored->macs = second;
	return 0;
}

/* Cuts `text` at its spaces. */
static size_t split(char *text, const char **items, size_t max)
{
	char *rest = text, *word;
	size_t n = 0;

	while (n < max && (word = strsep(&rest, " "))) {
		if (*word)
			items[n++] = word;
	}
	return n;
}

int device_own(const struct stored *stored, struct kern_own *ret_own, struct error *err)
{
	cleanup_free char *addresses = strdup(stored->addresses ? stored->addresses : "");
	cleanup_free char *macs = strdup(stored->macs ? stored->macs : "");
	const char *own[PST_DEVICE_ADDRS], *hardware[PST_DEVICE_MACS];
	size_t n_own, n_macs;

	if (!addresses || !macs)
		return error_set(err, -ENOMEM, "out of memory");
	n_own = split(addresses, own, PST_DEVICE_ADDRS);
	n_macs = split(macs, hardware, PST_DEVICE_MACS);
	return kern_own_parse(hardware, n_macs, own, n_own, ret_own, err);
}

/* ---- which device ---- */

/* A line of /proc/net/route: device, destination, ..., the mask is the eighth word. */
static bool is_default4(const char *line, const char *device)
{
	char name[32], destination[16], mask[16];

	return sscanf(line, "%31s %15s %*s %*s %*s %*s %*s %15s", name, destination, mask) == 3 &&
	       !strcmp(name, device) && !strcmp(destination, "00000000") &&
	       !strcmp(mask, "00000000");
}

/* A line of /proc/net/ipv6_route: destination, its prefix, ..., the device is the last word. */
static bool is_default6(const char *line, const char *device)
{
	char destination[40], bits[8], name[32];

	return sscanf(line, "%39s %7s %*s %*s %*s %*s %*s %*s %*s %31s", destination, bits, name) ==
		       3 &&
	       !strcmp(name, device) && !strcmp(bits, "00") &&
	       strspn(destination, "0") == strlen(destination);
}

static bool has_line(const char *path, const char *device,
		     bool (*is)(const char *line, const char *device))
{
	cleanup_free char *text = NULL;
	struct error err = {0};
	char *rest, *line;
	size_t size;

	if (io_read_file(path, ROUTES_MAX, &text, &size, &err) < 0) {
		text = NULL;
		return false;
	}
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		if (is(line, device))
			return true;
	}
	return false;
}

static bool is_way_out(const char *device)
{
	return has_line("/proc/net/route", device, is_default4) ||
	       has_line("/proc/net/ipv6_route", device, is_default6);
}

static const struct sandbox *find_behind(const struct daemon *daemon, uint32_t ifindex)
{
	for (const struct sandbox *s = daemon->registry.first; s; s = s->next) {
		if (s->stored.netdev && s->stored.ifindex == ifindex && !s->gone)
			return s;
	}
	return NULL;
}

static enum api_status find_device(const struct daemon *daemon, const struct api_create *create,
				   struct kern_device *device, struct error *err)
{
	const struct sandbox *other;

	if (kern_device_find(create->netdev, device, err) < 0) {
		(void)error_prepend(err, -EINVAL, "netdev: ");
		return API_INVALID;
	}
	other = find_behind(daemon, device->ifindex);
	if (other) {
		(void)error_set(err, -EEXIST, "'%s' is the device of sandbox '%s' already",
				device->name, other->stored.id);
		return API_CONFLICT;
	}
	if (!create->allow_weak && is_way_out(device->name)) {
		(void)error_set(
			err, -EINVAL,
			"netdev: '%s' has this host's default route: it is the way out, not the host "
			"side of a sandbox's device (\"allowWeak\": true attaches it all the same)",
			device->name);
		return API_INVALID;
	}
	return API_OK;
}

/* ---- what it may send from ---- */

/* One by one, so that the error says which. */
static int check_texts(const struct api_create *create, struct error *err)
{
	struct kern_own own;
	int r = 0;

	for (size_t i = 0; !r && i < create->n_addresses; i++) {
		r = kern_own_parse(NULL, 0, &create->addresses[i], 1, &own, err);
		if (r < 0)
			return error_prepend(err, r, "addresses[%zu]: ", i);
	}
	for (size_t i = 0; !r && i < create->n_macs; i++) {
		r = kern_own_parse(&create->macs[i], 1, NULL, 0, &own, err);
		if (r < 0)
			return error_prepend(err, r, "macs[%zu]: ", i);
	}
	return r;
}

/* With addresses given, of what the host knows only the hardware addresses are news. */
static void learn_macs(const struct kern_device *device, struct kern_own *own)
{
	struct kern_own known = {0};
	struct error err = {0};

	if (!device->has_macs || own->n_macs ||
	    (kern_own_learn(device, &known, &err) < 0 && !known.n_macs))
		return;
	memcpy(own->mac, known.mac, sizeof(own->mac));
	own->n_macs = known.n_macs;
}

static int learn(const struct kern_device *device, struct kern_own *own, struct error *err)
{
	int r = kern_own_learn(device, own, err);

	if (r == -ENODATA)
		return error_set(
			err, -EINVAL,
			"addresses: nothing on this host tells which are behind '%s': give them, as in "
			"\"addresses\": [\"10.0.0.2\"] (--addr 10.0.0.2)",
			device->name);
	return r;
}

static enum api_status find_own(const struct api_create *create, const struct kern_device *device,
				struct kern_own *own, struct api_result *result)
{
	struct error *err = &result->err;
	int r = check_texts(create, err);

	if (!r)
		r = kern_own_parse(create->macs, create->n_macs, create->addresses,
				   create->n_addresses, own, err);
	if (!r && create->n_addresses)
		learn_macs(device, own);
	else if (!r)
		r = learn(device, own, err);
	if (r == -ENOMEM || r == -EIO)
		return API_FAILED;
	if (r < 0)
		return API_INVALID;
	if (device->has_macs && !own->n_macs)
		(void)api_texts_add(
			&result->warnings,
			"macs: none is given or known, so its frames may come from any hardware address");
	return API_OK;
}

enum api_status device_place(const struct daemon *daemon, const struct api_create *create,
			     struct kern_attach_device *ret_attach, struct stored *stored,
			     struct api_result *result)
{
	struct kern_device device = {0};
	struct kern_own own = {0};
	enum api_status status = find_device(daemon, create, &device, &result->err);

	if (status == API_OK)
		status = find_own(create, &device, &own, result);
	if (status != API_OK)
		return status;
	*ret_attach = (struct kern_attach_device){
		.ifindex = device.ifindex,
		.flags = (create->dhcp ? PST_SANDBOX_DHCP : 0) |
			 (create->deny_silently ? PST_SANDBOX_SILENT : 0),
		.flows = create->flows,
		.tc = KERN_TC_AUTO,
		.own = own};
	stored->netdev = strdup(device.name);
	stored->ifindex = device.ifindex;
	stored->flows = create->flows ? create->flows : PST_TRACKED;
	stored->dhcp = create->dhcp;
	stored->deny_silently = create->deny_silently;
	if (!stored->netdev || device_store_own(&own, stored) < 0)
		return API_FAILED;
	return API_OK;
}

int device_attach_of(const struct stored *stored, struct kern_attach_device *ret_attach,
		     struct error *err)
{
	*ret_attach = (struct kern_attach_device){
		.ifindex = (uint32_t)stored->ifindex,
		.flags = (stored->dhcp ? PST_SANDBOX_DHCP : 0) |
			 (stored->deny_silently ? PST_SANDBOX_SILENT : 0),
		.flows = (uint32_t)stored->flows};
	return device_own(stored, &ret_attach->own, err);
}

int device_recall(struct sandbox *sandbox)
{
	const struct pst_sandbox *record = kern_attachment_record(sandbox->at);
	struct stored *stored = &sandbox->stored;
	struct kern_device_info info;
	char *name;
	int r = kern_attachment_device(sandbox->at, &info);

	if (r < 0)
		return r;
	name = strdup(info.name);
	if (!name)
		return -ENOMEM;
	free(stored->netdev);
	stored->netdev = name;
	stored->ifindex = info.ifindex;
	stored->dhcp = record->flags & PST_SANDBOX_DHCP;
	stored->deny_silently = record->flags & PST_SANDBOX_SILENT;
	stored->flows = info.flows;
	(void)snprintf(stored->tc, sizeof(stored->tc), "%s", kern_tc_name(info.tc));
	(void)snprintf(sandbox->netdev, sizeof(sandbox->netdev), "%s", info.name);
	return device_store_own(&info.own, stored);
}

/* ---- what a document says later ---- */

static bool is_same_own(const struct kern_own *a, const struct kern_own *b)
{
	return a->n_macs == b->n_macs && a->n_own == b->n_own &&
	       !memcmp(a->mac, b->mac, a->n_macs * sizeof(a->mac[0])) &&
	       !memcmp(a->own, b->own, a->n_own * sizeof(a->own[0]));
}

/* What is fixed for as long as it is attached. */
static bool is_fixed_other(const struct stored *stored, const struct api_create *create)
{
	uint64_t flows = create->flows ? create->flows : PST_TRACKED;

	return stored->dhcp != create->dhcp || stored->deny_silently != create->deny_silently ||
	       stored->flows != flows;
}

static int set_own(struct daemon *daemon, struct sandbox *sandbox, const struct kern_own *own,
		   struct error *err)
{
	int r = kern_attachment_set_own(sandbox->at, own, err);

	if (!r)
		r = device_store_own(own, &sandbox->stored);
	if (r == -ENOMEM)
		return error_set(err, r, "out of memory");
	return r ? r : store_replace(daemon->store, &sandbox->stored, err);
}

bool device_set(struct daemon *daemon, const char *path, struct sandbox *sandbox,
		const struct api_create *create)
{
	struct stored *stored = &sandbox->stored;
	struct kern_own own = {0}, before = {0};
	struct error err = {0};
	int r = check_texts(create, &err);

	if (is_fixed_other(stored, create))
		log_error(
			"%s: dhcp, denySilently and flows stay as they were: take the document away, and put it "
			"back, to attach its device anew",
			path);
	/* What was learned at the attach, by a document that tells nothing, stays. */
	if (!create->n_addresses && !create->n_macs)
		return false;
	if (!r)
		r = kern_own_parse(create->macs, create->n_macs, create->addresses,
				   create->n_addresses, &own, &err);
	if (!r)
		r = device_own(stored, &before, &err);
	if (!r && !create->n_macs) {
		memcpy(own.mac, before.mac, sizeof(own.mac));
		own.n_macs = before.n_macs;
	}
	if (!r && !create->n_addresses) {
		memcpy(own.own, before.own, sizeof(own.own));
		own.n_own = before.n_own;
	}
	if (!r && is_same_own(&own, &before))
		return false;
	if (!r)
		r = set_own(daemon, sandbox, &own, &err);
	if (r < 0)
		log_error("%s: %s; what it may send from stays as it was", path, err.text);
	else
		log_info("%s: %s may send from %s now", path, stored->id, stored->addresses);
	return !r;
}

/* ---- what clients are told ---- */

static void show_programs(const struct sandbox *sandbox, struct api_device *device)
{
	struct kern_device_info info = {0};

	if (!sandbox->at || kern_attachment_device(sandbox->at, &info) < 0)
		return;
	if (info.from_program)
		device->programs[device->n_programs++] =
			(struct api_map){"pst_from_device", info.from_program};
	if (info.to_program)
		device->programs[device->n_programs++] =
			(struct api_map){"pst_to_device", info.to_program};
}

int device_show(const struct sandbox *sandbox, struct device_view *ret_view)
{
	const struct stored *stored = &sandbox->stored;
	struct device_view *view = ret_view;
	struct api_device *device = &view->device;
	size_t first = stored->addresses ? strlen(stored->addresses) : 0;

	*view = (struct device_view){0};
	if (asprintf(&view->texts, "%s%c%s", stored->addresses ? stored->addresses : "", '\0',
		     stored->macs ? stored->macs : "") < 0) {
		view->texts = NULL;
		return -ENOMEM;
	}
	*device = (struct api_device){.ifindex = (uint32_t)stored->ifindex,
				      .attached = sandbox->at ? stored->tc : "",
				      .addresses = view->addresses,
				      .macs = view->macs,
				      .dhcp = stored->dhcp,
				      .deny_silently = stored->deny_silently,
				      .max_flows = (uint32_t)stored->flows};
	show_programs(sandbox, device);
	device->n_macs = split(view->texts + first + 1, view->macs, PST_DEVICE_MACS);
	device->n_addresses = split(view->texts, view->addresses, PST_DEVICE_ADDRS);
	return 0;
}

void device_view_done(struct device_view *view)
{
	free(view->texts);
}
