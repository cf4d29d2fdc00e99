/* SPDX-License-Identifier: MIT */
/*
 * What becomes of devices that sandboxes are behind: they go, are moved, are called otherwise, and other programs come
 * to them. The kernel's links decide what is there; announcements only say when to look.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/device.h"
#include "daemon/stream.h"
#include "kern/device_watch.h"

/* Of one device; more are told as these. */
#define FOREIGN_MAX 8
#define PORTS_MAX   64

/* ---- gone ---- */

static void give_back(struct daemon *daemon, struct sandbox *sandbox)
{
	struct pst_quota quota;

	(void)stream_take_quota(daemon, sandbox, &quota);
	kern_attachment_detach(sandbox->at);
	kern_attachment_free(sandbox->at);
	sandbox->at = NULL;
}

void device_gone(struct daemon *daemon, struct sandbox *sandbox)
{
	struct kern_device_info info = {0};

	if (sandbox->gone)
		return;
	sandbox->gone = true;
	/* Its programs go with it, and drop what it sends where it is now: until somebody says that it may be free. */
	if (sandbox->at && !kern_attachment_device(sandbox->at, &info) && info.has_left)
		sandbox_advise(
			sandbox,
			"its device was moved to another network namespace, where all that it sends is "
			"dropped: DELETE ends that; attach it where it is now, or again when it is back");
	else
		sandbox_advise(
			sandbox,
			"its device was removed: DELETE it; a new device of that name is not attached");
	if (sandbox->at && !info.has_left)
		give_back(daemon, sandbox);
	log_warning("%s: its device %s is gone", sandbox->stored.id, sandbox->netdev);
}

static void name_device(struct sandbox *sandbox, const char *name)
{
	if (!strcmp(sandbox->netdev, name))
		return;
	if (sandbox->netdev[0])
		log_info("%s: its device %s is called %s now", sandbox->stored.id, sandbox->netdev,
			 name);
	(void)snprintf(sandbox->netdev, sizeof(sandbox->netdev), "%s", name);
}

static void on_device(void *context, uint32_t ifindex, const char *name)
{
	struct daemon *daemon = context;

	for (struct sandbox *s = daemon->registry.first; s; s = s->next) {
		if (!s->at || s->gone || s->stored.ifindex != ifindex)
			continue;
		if (name)
			name_device(s, name);
		/* One with its index may have come at once: what hangs on it says whether it is the same. */
		if (!name || !kern_attachment_is_alive(s->at))
			device_gone(daemon, s);
	}
}

/* Announcements were lost. */
static void look_at_all(struct daemon *daemon)
{
	char name[IFNAMSIZ];

	for (struct sandbox *s = daemon->registry.first; s; s = s->next) {
		if (!s->at || s->gone || !s->stored.netdev)
			continue;
		if (!kern_attachment_is_alive(s->at))
			device_gone(daemon, s);
		else if (if_indextoname((unsigned)s->stored.ifindex, name))
			name_device(s, name);
	}
}

static int on_watch(void *context, int fd)
{
	struct daemon *daemon = context;
	int r = device_watch_read(daemon->devices, on_device, daemon);

	(void)fd;
	if (r < 0)
		log_warning("cannot follow this host's devices: %s", strerror(-r));
	if (r)
		look_at_all(daemon);
	return 0;
}

int daemon_devices_start(struct daemon *daemon, struct error *err)
{
	int r = device_watch_new(&daemon->devices, err);

	if (r < 0)
		return r;
	r = loop_watch(daemon->loop, device_watch_fd(daemon->devices), on_watch, daemon);
	return r < 0 ? error_set(err, r, "cannot follow this host's devices: %s", strerror(-r)) : 0;
}

/* ---- what could get around it ---- */

static uint32_t our_program(const struct sandbox *sandbox)
{
	struct kern_device_info info = {0};

	return sandbox->at && !kern_attachment_device(sandbox->at, &info) ? info.from_program : 0;
}

static void tell_foreign(const struct sandbox *sandbox, const struct kern_foreign *foreign,
			 struct api_hole *hole)
{
	const char *remedy = "detach it, or attach it behind pst_from_device";
	const char *shows = "bpftool net show dev";

	if (!strcmp(foreign->where, "xdp"))
		remedy = "take it off";
	if (!strcmp(foreign->where, "clsact"))
		shows = "tc filter show ingress dev";
	hole->name = "foreign-program";
	(void)snprintf(
		hole->text, sizeof(hole->text),
		"program %u '%s' (%s) sees frames before they are judged: what it redirects, changes or "
		"takes passes unseen; %s (%s %s)",
		foreign->prog_id, foreign->name, foreign->where, remedy, shows, sandbox->netdev);
}

static bool is_held(const struct daemon *daemon, uint32_t ifindex)
{
	for (const struct sandbox *s = daemon->registry.first; s; s = s->next) {
		if (s->at && !s->gone && s->stored.ifindex == ifindex)
			return true;
	}
	return false;
}

/* Who shares its bridge can put any source on a frame: a resolver's, with the answer that opens an address. */
static int find_neighbours(const struct daemon *daemon, const struct sandbox *sandbox,
			   struct api_hole *hole)
{
	struct device_port ports[PORTS_MAX];
	struct kern_device device = {0};
	char bridge[IFNAMSIZ] = "?";
	const char *first = NULL;
	struct error err = {0};
	int n, free = 0;

	if (kern_device_find(sandbox->netdev, &device, &err) < 0 || !device.master)
		return 0;
	n = device_ports(device.master, ports, PORTS_MAX);
	if (n < 0)
		return n;
	for (int i = 0; i < n && i < PORTS_MAX; i++) {
		if (ports[i].ifindex == sandbox->stored.ifindex ||
		    is_held(daemon, ports[i].ifindex))
			continue;
		first = first ? first : ports[i].name;
		free++;
	}
	if (!free)
		return 0;
	(void)if_indextoname(device.master, bridge);
	hole->name = "bridge-neighbours";
	(void)snprintf(
		hole->text, sizeof(hole->text),
		"it shares %s with %d devices that no sandbox is behind (%s): who is there can answer in a "
		"resolver's name, and so open addresses; attach them too, or give it a bridge of its own",
		bridge, free, first);
	return 1;
}

/*
 * Who has CAP_NET_ADMIN over the other end sends by an ifb device there: what such a device gives back passes the next
 * classifier unasked, and that is the one on this side. A tap's other end is no device of this kernel.
 */
static int find_network_admin(const struct sandbox *sandbox, struct api_hole *hole)
{
	struct kern_device device = {0};
	struct error err = {0};

	if (kern_device_find(sandbox->netdev, &device, &err) < 0 || device.is_tap)
		return 0;
	hole->name = "network-admin";
	(void)snprintf(
		hole->text, sizeof(hole->text),
		"whoever has CAP_NET_ADMIN over the other end of %s can send frames that no program on this end sees (by "
		"an ifb device); nobody inside is to have it, or use a tap",
		sandbox->netdev);
	return 1;
}

int device_holes(const struct daemon *daemon, const struct sandbox *sandbox, bool names,
		 struct api_hole holes[API_MAX_HOLES], size_t *ret_count, struct error *err)
{
	struct kern_foreign foreign[FOREIGN_MAX];
	size_t count = 0;
	int n = kern_device_foreign((uint32_t)sandbox->stored.ifindex, our_program(sandbox),
				    foreign, FOREIGN_MAX);

	if (n < 0)
		return error_set(err, n, "cannot read which programs judge '%s': %s",
				 sandbox->netdev, strerror(-n));
	for (int i = 0; i < n && i < FOREIGN_MAX; i++)
		tell_foreign(sandbox, &foreign[i], &holes[count++]);
	n = names ? find_neighbours(daemon, sandbox, &holes[count]) : 0;
	if (n < 0)
		return error_set(err, n, "cannot read who shares a bridge with '%s': %s",
				 sandbox->netdev, strerror(-n));
	count += (size_t)n;
	*ret_count = count + (size_t)find_network_admin(sandbox, &holes[count]);
	return 0;
}

static bool is_seen(const struct sandbox *sandbox, uint32_t id)
{
	for (size_t i = 0; i < SANDBOX_FOREIGN; i++) {
		if (sandbox->foreign[i] == id)
			return true;
	}
	return false;
}

/* One that goes and comes again is told again. */
void device_look(struct daemon *daemon, struct sandbox *sandbox)
{
	struct kern_foreign foreign[SANDBOX_FOREIGN];
	uint32_t ids[SANDBOX_FOREIGN] = {0};
	struct api_hole hole;
	int n = kern_device_foreign((uint32_t)sandbox->stored.ifindex, our_program(sandbox),
				    foreign, SANDBOX_FOREIGN);

	(void)daemon;
	for (int i = 0; i < n && i < SANDBOX_FOREIGN; i++) {
		ids[i] = foreign[i].prog_id;
		if (is_seen(sandbox, ids[i]))
			continue;
		tell_foreign(sandbox, &foreign[i], &hole);
		log_warning("%s: %s: %s", sandbox->stored.id, hole.name, hole.text);
	}
	if (n >= 0)
		memcpy(sandbox->foreign, ids, sizeof(ids));
}
