/* SPDX-License-Identifier: MIT */
/*
 * The network of one `postern run --netns`. CMD's device has one address of each family and no network around it: its
 * gateways are addresses that nobody has (as Calico does it), known to both sides without ARP or neighbour discovery.
 * So the host gets no address by this, and what follows the host's addresses is left in peace.
 *
 * The device's name is made of CMD's address: that nobody else can make it means that nobody else has the address.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/loop.h"
#include "cli/run_net.h"
#include "net/forwarding.h"
#include "net/link.h"
#include "net/lock.h"
#include "net/message.h"
#include "net/space.h"
#include "net/through.h"

#define INSIDE	   "eth0"
#define MAKE_TRIES 64
/* What a connection still has to send when CMD has ended. */
#define SEND_WAIT_MS 1000
#define SOCKSTAT_MAX 4096

static const uint8_t host_mac[LINK_MAC_SIZE] = {0x02, 'p', 's', 't', 0, 1};
static const uint8_t inside_mac[LINK_MAC_SIZE] = {0x02, 'p', 's', 't', 0, 2};
const char run_net_mac[] = "02:70:73:74:00:02";

/* Nobody's: only frames go there. */
static const struct addr gateway4 = {.bytes = {[10] = 0xff, 0xff, 169, 254, 1, 1}};
static const struct addr gateway6 = {.bytes = {0xfe, 0x80, [15] = 1}};

/* In this order. 198.18.0.0/15 is nobody's in the Internet (RFC 2544), but some VPNs and virtual machines use it. */
static const char *const pools4[] = {"198.18.0.0/15", "10.198.0.0/16", "172.29.0.0/16",
				     "192.168.240.0/20", NULL};
/* RFC 4193: 40 random bits, and then some. */
static const char *const pools6[] = {"fd00::/8", NULL};

int run_net_add_pool(struct cidr pools[RUN_NET_FAMILIES], size_t *n_pools, const char *text,
		     struct error *err)
{
	struct cidr pool;
	int r = space_parse_pool(text, &pool, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < *n_pools; i++) {
		if (pools[i].family == pool.family)
			return error_set(err, -EINVAL, "one of that family is given already");
	}
	pools[(*n_pools)++] = pool;
	return 0;
}

/* The files of conf/DEVICE, in the calling thread's namespace. A kernel without one has nothing to be told. */
static int write_conf(const char *family, const char *device, const char *leaf, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, device, leaf);
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	return io_write_all(fd, value, strlen(value));
}

/* No address of its own, no router's advice: what CMD has is what was chosen for it. */
static int quiet_ipv6(const char *device, bool off)
{
	int r = write_conf("ipv6", device, "accept_ra", "0\n");

	if (r == 0)
		r = write_conf("ipv6", device, "addr_gen_mode", "1\n");
	if (r == 0 && off)
		r = write_conf("ipv6", device, "disable_ipv6", "1\n");
	return r;
}

/* Sweeping */

/* The lock is held. */
static void clear(const char *device)
{
	struct error err = {0};
	bool has_nat = false;

	if (through_close(device, &has_nat, &err) < 0)
		log_warning("run: --netns: %s", err.text);
}

/* The lock is held, and no device of a run is left: the host is to be as it was. */
static int restore(struct error *err)
{
	bool has_nat = false;
	int r = 0;

	if (forwarding_is_noted()) {
		r = through_close(NULL, &has_nat, err);
		if (r == 0)
			r = forwarding_restore(has_nat, err);
	}
	if (r == 0)
		lock_remove();
	return r;
}

static void restore_if_last(int route_fd)
{
	struct space space = {0};
	struct error err = {0};
	int r = space_load(route_fd, &space, &err);

	if (r == 0 && space.n_runs == 0)
		r = restore(&err);
	space_done(&space);
	if (r < 0)
		log_warning("run: --netns: %s", err.text);
}

void run_net_sweep(void)
{
	cleanup_close int lock = -1, fd = -1;
	struct error err = {0};

	if (!forwarding_is_noted())
		return;
	if (message_open(NETLINK_ROUTE, &fd) < 0 || lock_take(&lock, &err) < 0)
		return;
	clear(NULL);
	restore_if_last(fd);
}

/* Choosing */

static int draw(uint64_t *ret_random, struct error *err)
{
	if (getrandom(ret_random, sizeof(*ret_random), 0) != (ssize_t)sizeof(*ret_random))
		return error_set(err, -EIO, "cannot get random bytes");
	return 0;
}

static const struct cidr *pool_of(const struct run_net_options *options, uint8_t family)
{
	for (size_t i = 0; i < options->n_pools; i++) {
		if (options->pools[i].family == family)
			return &options->pools[i];
	}
	return NULL;
}

static int choose_default(const struct space *space, const char *const *pools, uint64_t random,
			  struct addr *ret_address, struct error *err)
{
	struct cidr pool;
	bool has_host_bits;
	int r = -EADDRNOTAVAIL;

	for (; *pools && r == -EADDRNOTAVAIL; pools++) {
		r = cidr_parse(*pools, &pool, &has_host_bits, err);
		if (r == 0)
			r = space_choose(space, &pool, random, ret_address, err);
	}
	return r;
}

static int choose(struct run_net *net, const struct run_net_options *options,
		  const struct space *space, uint8_t family, struct error *err)
{
	const struct cidr *pool = pool_of(options, family);
	struct addr *address = &net->addresses[net->n_addresses];
	uint64_t random;
	int r = draw(&random, err);

	if (r == 0 && pool)
		r = space_choose(space, pool, random, address, err);
	else if (r == 0)
		r = choose_default(space, family == CIDR_IPV4 ? pools4 : pools6, random, address,
				   err);
	if (r == -EADDRNOTAVAIL)
		return error_prepend(err, r, "--netns: name another range with --netns-pool: ");
	if (r == 0)
		net->n_addresses++;
	return r;
}

static int choose_all(struct run_net *net, const struct run_net_options *options,
		      const struct space *space, struct error *err)
{
	int r = 0;

	net->n_addresses = 0;
	net->ipv4 = space->has4;
	net->ipv6 = space->has6 && access("/proc/sys/net/ipv6", F_OK) == 0;
	if (!net->ipv4 && !net->ipv6)
		net->ipv4 = true;
	if (net->ipv4)
		r = choose(net, options, space, CIDR_IPV4, err);
	if (r == 0 && net->ipv6)
		r = choose(net, options, space, CIDR_IPV6, err);
	return r;
}

/* Making */

static void name_device(struct run_net *net)
{
	const uint8_t *bytes = net->addresses[0].bytes;

	/* Of an IPv6 address, random bits in the middle: of its first 64 or, in a small pool, of its last. */
	if (!addr_is_ipv4(&net->addresses[0]))
		for (size_t i = 0; i < 4; i++)
			snprintf(net->device + sizeof(SPACE_PREFIX) - 1 + 2 * i, 3, "%02x",
				 bytes[4 + i] ^ bytes[8 + i] ^ bytes[12 + i]);
	else
		snprintf(net->device + sizeof(SPACE_PREFIX) - 1, SPACE_DIGITS + 1,
			 "%02x%02x%02x%02x", bytes[12], bytes[13], bytes[14], bytes[15]);
	memcpy(net->device, SPACE_PREFIX, sizeof(SPACE_PREFIX) - 1);
}

static int describe(const struct run_net *net, const char *run)
{
	char text[CIDR_TEXT_MAX];
	cleanup_buf struct buf alias = {0};

	buf_printf(&alias, "postern %s", run);
	for (size_t i = 0; i < net->n_addresses; i++)
		buf_printf(&alias, " %s", addr_print(&net->addresses[i], text));
	if (buf_status(&alias) < 0)
		return -ENOMEM;
	return link_set_alias(net->route_fd, net->ifindex, alias.data);
}

static int make_pair(struct run_net *net, const struct space *space)
{
	struct link_end host = {.name = net->device}, inside = {.name = INSIDE};
	/* IPv6 needs 1280. */
	uint32_t mtu = space->mtu >= 1280 ? space->mtu : 0;
	int r;

	name_device(net);
	memcpy(host.mac, host_mac, sizeof(host.mac));
	memcpy(inside.mac, inside_mac, sizeof(inside.mac));
	r = link_make_pair(net->route_fd, &host, &inside, net->namespace.net_fd, mtu);
	if (r < 0) {
		net->device[0] = '\0';
		return r;
	}
	net->ifindex = if_nametoindex(net->device);
	return net->ifindex ? 0 : -errno;
}

/* The lock is held. */
static int make_device(struct run_net *net, const struct run_net_options *options,
		       struct error *err)
{
	struct space space = {0};
	int r = space_load(net->route_fd, &space, err);

	for (int tries = 0; r == 0 && tries < MAKE_TRIES; tries++) {
		r = choose_all(net, options, &space, err);
		if (r < 0)
			break;
		r = make_pair(net, &space);
		if (r == 0)
			break;
		/* A device of that name, which is no run's, or another host namespace's race: another address. */
		if (r != -EEXIST)
			(void)error_set(err, r, "cannot make a veth pair: %s", strerror(-r));
		else if (tries + 1 < MAKE_TRIES)
			r = 0;
		else
			(void)error_set(err, r, "devices " SPACE_PREFIX "* are in the way");
	}
	space_done(&space);
	if (r < 0)
		return r;
	r = describe(net, options->run);
	if (r == 0)
		r = quiet_ipv6(net->device, !net->ipv6);
	return r < 0 ? error_set(err, r, "cannot set up %s: %s", net->device, strerror(-r)) : 0;
}

/* In CMD's namespace. */
static int add_inside(const struct run_net *net, int fd, uint32_t ifindex)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < net->n_addresses; i++)
		r = link_add_address(fd, ifindex, &net->addresses[i]);
	for (size_t i = 0; r == 0 && i < net->n_addresses; i++) {
		const struct addr *gateway =
			addr_is_ipv4(&net->addresses[i]) ? &gateway4 : &gateway6;

		r = link_add_neighbour(fd, ifindex, gateway, host_mac);
		if (r == 0)
			r = link_add_default_route(fd, ifindex, gateway);
	}
	return r;
}

/* Without ARP, the kernel sends no frame there but CMD's own: no reports of groups that the policy would deny. */
static int set_up_inside(void *context)
{
	const struct run_net *net = context;
	cleanup_close int fd = -1;
	uint32_t ifindex;
	int r;

	r = quiet_ipv6("default", false);
	if (r == 0)
		r = quiet_ipv6(INSIDE, !net->ipv6);
	if (r == 0)
		r = message_open(NETLINK_ROUTE, &fd);
	if (r == 0)
		r = link_set_up(fd, 1, 0);
	if (r < 0)
		return r;
	ifindex = if_nametoindex(INSIDE);
	if (!ifindex)
		return -errno;
	r = link_set_up(fd, ifindex, IFF_NOARP);
	return r == 0 ? add_inside(net, fd, ifindex) : r;
}

static int make(struct run_net *net, const struct run_net_options *options, struct error *err)
{
	cleanup_close int lock = -1;
	int r;

	r = message_open(NETLINK_ROUTE, &net->route_fd);
	if (r < 0)
		return error_set(err, r, "cannot open rtnetlink: %s", strerror(-r));
	r = namespace_make(options->is_root, &net->namespace, err);
	if (r == 0)
		r = lock_take(&lock, err);
	if (r < 0)
		return r;
	if (forwarding_is_noted())
		clear(NULL);
	r = make_device(net, options, err);
	if (r < 0)
		return r;
	r = namespace_visit(net->namespace.net_fd, set_up_inside, net);
	return r < 0 ? error_set(err, r, "cannot set up CMD's network: %s", strerror(-r)) : 0;
}

int run_net_open(struct run_net *ret_net, const struct run_net_options *options, struct error *err)
{
	struct run_net net = {.namespace = {.net_fd = -1, .user_fd = -1}, .route_fd = -1};
	int r = make(&net, options, err);

	if (r < 0) {
		run_net_close(&net);
		return r;
	}
	*ret_net = net;
	return 0;
}

/* Connecting */

static int add_routes(const struct run_net *net, struct error *err)
{
	int r = link_set_up(net->route_fd, net->ifindex, IFF_NOARP);

	for (size_t i = 0; r == 0 && i < net->n_addresses; i++) {
		r = link_add_neighbour(net->route_fd, net->ifindex, &net->addresses[i], inside_mac);
		if (r == 0)
			r = link_add_host_route(net->route_fd, net->ifindex, &net->addresses[i]);
	}
	return r < 0 ? error_set(err, r, "cannot set up %s: %s", net->device, strerror(-r)) : 0;
}

static void print_notes(char *notes)
{
	char *save = NULL;

	for (const char *line = strtok_r(notes, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		log_warning("run: --netns: %s", line);
}

int run_net_connect(struct run_net *net, struct error *err)
{
	const struct through through = {.device = net->device,
					.addresses = net->addresses,
					.n_addresses = net->n_addresses,
					.ipv4 = net->ipv4,
					.ipv6 = net->ipv6};
	struct forwarding forwarding = {.ipv4 = net->ipv4, .ipv6 = net->ipv6};
	cleanup_buf struct buf notes = {0};
	cleanup_close int lock = -1;
	int r;

	r = lock_take(&lock, err);
	if (r == 0)
		r = through_has_nat(&forwarding.has_nat, err);
	/* First: its note is what tells others that there is something to sweep. */
	if (r == 0)
		r = forwarding_enable(&forwarding, err);
	if (r == 0)
		r = add_routes(net, err);
	if (r == 0)
		r = through_open(&through, &notes, err);
	if (r == 0 && notes.size)
		print_notes(notes.data);
	return r;
}

/* Ending */

static int count_in(const char *path, const char *word)
{
	cleanup_free char *text = NULL;
	const char *at;
	size_t size;
	int count;

	if (io_read_file(path, SOCKSTAT_MAX, &text, &size, NULL) < 0)
		return 0;
	at = strstr(text, word);
	return at && sscanf(at + strlen(word), " inuse %d", &count) == 1 ? count : 0;
}

/* TCP sockets of CMD's namespace: the kernel keeps those that have data to send when their process has ended. */
static int await_sent(void *context)
{
	uint64_t deadline = loop_boot_ns() + SEND_WAIT_MS * 1000000ULL;

	(void)context;
	while (count_in("/proc/thread-self/net/sockstat", "TCP:") +
	       count_in("/proc/thread-self/net/sockstat6", "TCP6:")) {
		if (loop_boot_ns() > deadline)
			return -ETIMEDOUT;
		usleep(2000); /* nothing tells when a socket is gone */
	}
	return 0;
}

/* First the device, then what it needed: nothing leaves under an address that is not the host's. */
static void remove_device(const struct run_net *net)
{
	bool is_ours = if_nametoindex(net->device) == net->ifindex;
	int r = 0;

	/* CMD may have removed it from inside: its number, and its name, may be another run's by now. */
	if (is_ours)
		r = link_delete(net->route_fd, net->ifindex);
	if (r < 0)
		log_warning("run: --netns: cannot remove %s: %s", net->device, strerror(-r));
	if (forwarding_is_noted())
		clear(is_ours ? net->device : NULL);
}

static void remove_all(const struct run_net *net)
{
	cleanup_close int lock = -1;
	struct error err = {0};

	/* Without the lock, too: a later run sweeps what this leaves. */
	if (lock_take(&lock, &err) < 0)
		log_warning("run: --netns: %s", err.text);
	if (net->device[0])
		remove_device(net);
	if (lock >= 0)
		restore_if_last(net->route_fd);
}

void run_net_close(struct run_net *net)
{
	if (net->device[0])
		(void)namespace_visit(net->namespace.net_fd, await_sent, NULL);
	if (net->route_fd >= 0)
		remove_all(net);
	cleanup_close_(&net->route_fd);
	namespace_done(&net->namespace);
	*net = (struct run_net){.namespace = {.net_fd = -1, .user_fd = -1}, .route_fd = -1};
}
