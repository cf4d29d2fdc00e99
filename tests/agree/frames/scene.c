/* SPDX-License-Identifier: MIT */
/* A seed -> a device, the policy behind it, and the flows that its frames are of. */
#include <stdio.h>
#include <string.h>

#include "events/words.h"
#include "tests/agree/frames/frames.h"

/* splitmix64. */
uint64_t dice_roll(struct dice *d)
{
	uint64_t x = d->state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

unsigned dice_below(struct dice *d, unsigned limit)
{
	return (unsigned)(dice_roll(d) % limit);
}

bool dice_chance(struct dice *d, unsigned percent)
{
	return dice_below(d, 100) < percent;
}

static void add_own(struct pst_device *device, const struct addr *a, unsigned bits)
{
	struct pst_own *own = &device->own[device->n_own++];

	for (unsigned i = 0; i < bits; i++)
		own->mask[i / 8] |= (uint8_t)(0x80 >> i % 8);
	for (unsigned i = 0; i < 16; i++)
		own->addr[i] = a->bytes[i] & own->mask[i];
}

const struct addr scene_own[SCENE_OWN] = {
	{{[10] = 0xff, 0xff, 10, 20, 0, 2}},
	{{0x20, 0x01, 0x0d, 0xb8, 0, 5, [15] = 2}},
	{{0xfe, 0x80, [8] = 0x02, 0xaa, 0xbb, 0xff, 0xfe, 0xcc, 0xdd, 0x01}},
	{{[10] = 0xff, 0xff, 10, 21, 1, 77}}, /* in a range */
	{{0xfd, 0x20, [13] = 7, 1, 2}},	      /* likewise */
};
const uint8_t scene_macs[SCENE_MACS][6] = {{0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0x01},
					   {0x02, 0x00, 0x00, 0x00, 0x00, 0x05},
					   {0x52, 0x54, 0x00, 0x12, 0x34, 0x56}};
const uint8_t scene_host_mac[6] = {0x02, 0x11, 0x22, 0x33, 0x44, 0x55};

static void make_device(struct scene *s)
{
	static const unsigned bits[SCENE_OWN] = {128, 128, 128, 96 + 24, 64};
	struct pst_device *device = &s->world.device;
	struct pst_sandbox *record = &device->sandbox;
	struct dice *d = &s->dice;

	device->n_macs = dice_chance(d, 90) ? 1 + dice_below(d, SCENE_MACS) : 0;
	for (uint32_t i = 0; i < device->n_macs; i++)
		memcpy(device->mac[i].mac, scene_macs[i], 6);
	for (unsigned i = 0; i < SCENE_OWN; i++)
		if (i < 3 || dice_chance(d, 50))
			add_own(device, &scene_own[i], bits[i]);
	record->id = 1 + dice_below(d, 1000000);
	record->seed = dice_roll(d);
	record->flags = (dice_chance(d, 30) ? PST_SANDBOX_DHCP : 0) |
			(dice_chance(d, 12) ? PST_SANDBOX_SILENT : 0);
}

static const struct addr *resolver_of(const struct scene *s, unsigned i)
{
	const struct agree_case *c = &s->world.c;

	if (i < c->policy.resolvers.count)
		return &c->policy.resolvers.items[i];
	i -= (unsigned)c->policy.resolvers.count;
	return i < c->env.resolvers.count ? &c->env.resolvers.items[i] : NULL;
}

struct addr scene_answer_addr(const struct scene *s, unsigned name, bool v6)
{
	struct addr a = {.bytes = {[10] = 0xff, 0xff, 203, 0, 113}};
	struct addr a6 = {.bytes = {0x26, 0x20, [14] = 0xcb}};

	for (unsigned i = 0; i < name; i++)
		if (strcmp(s->world.c.names[i], s->world.c.names[name]) == 0)
			name = i;
	a.bytes[15] = a6.bytes[15] = (uint8_t)(name + 1);
	return v6 ? a6 : a;
}

/* Most of what the case asks about; a few resolvers, a few addresses that replies will name, a few of the host. */
static struct addr random_remote(struct scene *s, unsigned i, struct pair *pair)
{
	struct dice *d = &s->dice;
	const struct agree_case *c = &s->world.c;
	const struct pst_query *q = &c->queries[i];
	const struct addr *resolver = i < 4 ? resolver_of(s, i) : NULL;
	struct addr a;

	pair->protocol = q->protocol == PST_TCP ? TCP : q->protocol == PST_UDP ? UDP : ICMP4;
	pair->remote_port = q->port;
	memcpy(a.bytes, q->addr, sizeof(a.bytes));
	if (resolver) {
		pair->protocol = dice_chance(d, 75) ? UDP : TCP;
		pair->remote_port = dice_chance(d, 90) ? 53 : 853;
		return *resolver;
	}
	if (i < 8) {
		pair->protocol = dice_chance(d, 70) ? TCP : UDP;
		pair->remote_port = dice_chance(d, 50) ? 443 : dice_chance(d, 50) ? 80 : 53;
		return scene_answer_addr(s, dice_below(d, AGREE_NAMES), dice_chance(d, 40));
	}
	if (i < 10 && c->always.host.count)
		return c->always.host.items[dice_below(d, (unsigned)c->always.host.count)];
	return a;
}

static void make_pairs(struct scene *s)
{
	static const uint16_t ports[] = {1024, 2000, 33000, 53, 68, 80, 65535, 0};
	struct dice *d = &s->dice;

	for (unsigned i = 0; i < PAIRS; i++) {
		struct pair *pair = &s->pairs[i];

		pair->remote = random_remote(s, i, pair);
		if (addr_is_ipv4(&pair->remote))
			pair->local = scene_own[dice_chance(d, 80) ? 0 : 3];
		else
			pair->local = scene_own[dice_chance(d, 70)   ? 1
						: dice_chance(d, 50) ? 2
								     : 4];
		pair->local_port = dice_chance(d, 70) ? (uint16_t)(1024 + dice_below(d, 60000))
						      : ports[dice_below(d, 8)];
	}
}

void scene_new(struct scene *s, uint64_t seed)
{
	struct world *w = &s->world;

	memset(s, 0, sizeof(*s));
	s->seed = seed;
	s->dice.state = seed;
	agree_generate(&w->c, dice_roll(&s->dice));
	if (!dice_chance(&s->dice, 40))
		agree_leave_relay_out(&w->c);
	w->c.policy.dns_min_ttl_s = 300;
	w->c.policy.dns_max_ttl_s = 3600;
	/* The record's, and what the leases of before were judged under: never one to come. */
	w->c.generation = (dice_roll(&s->dice) >> 20) + (1 << 20);
	w->c.old_generation = w->c.generation - 1 - dice_below(&s->dice, 1000);
	w->max_flows = dice_chance(&s->dice, 25) ? FRAME_FEW : FRAME_FLOWS;
	w->has_record = true;
	agree_oracle_leases(&w->c, w->leases);
	w->n_leases = w->c.n_leases;
	make_device(s);
	w->device.sandbox.generation = w->c.generation;
	s->keeps = dice_chance(&s->dice, 30);
	if (s->keeps)
		w->device.sandbox.keep_since = w->c.generation;
	make_pairs(s);
}

/* The next generation; with another policy, or the same once more. */
void scene_change(struct scene *s, bool policy)
{
	struct pst_sandbox *record = &s->world.device.sandbox;

	if (policy) {
		agree_change_policy(&s->world.c, dice_roll(&s->dice));
		if (!dice_chance(&s->dice, 40))
			agree_leave_relay_out(&s->world.c);
		s->world.c.policy.dns_min_ttl_s = 300;
		s->world.c.policy.dns_max_ttl_s = 3600;
		s->keeps = dice_chance(&s->dice, 40);
	}
	record->generation += 1 + dice_below(&s->dice, 1000);
	if (!s->keeps)
		record->keep_since = 0;
	else if (!record->keep_since)
		record->keep_since = record->generation;
}

static void print_frame(const char *what, const struct frame *f)
{
	printf("  %s, %zu bytes, mark %#x, gso_size %u:", what, f->size, f->mark, f->gso_size);
	for (size_t i = 0; i < f->size; i++)
		printf("%s%02x", i % 32 ? (i % 2 ? "" : " ") : "\n    ", f->bytes[i]);
	printf("\n");
}

static void print_reading(const struct frame *f)
{
	char from[CIDR_TEXT_MAX], to[CIDR_TEXT_MAX];
	struct reading r;

	frame_read(f, &r);
	if (r.kind != READ_IP)
		return;
	printf("  %s -> %s protocol %u ports %u -> %u flags %#x type %u/%u id %u: %s\n",
	       addr_print(&r.from, from), addr_print(&r.to, to), r.protocol, r.from_port, r.to_port,
	       r.flags, r.type, r.code, r.echo, r.fault ? words_reason(r.fault) : "understood");
}

void scene_print(const struct scene *s, const struct frame *f)
{
	const struct pst_device *device = &s->world.device;
	const struct pst_sandbox *record = &device->sandbox;
	char text[CIDR_TEXT_MAX];
	struct addr a;

	agree_print_policy(&s->world.c);
	printf("  record %d, generation %llu, kept since %llu, flags %u, MACs %u, learn %u, flows %zu of %zu\n",
	       s->world.has_record, (unsigned long long)record->generation,
	       (unsigned long long)record->keep_since, record->flags, device->n_macs, record->learn,
	       s->world.n_flows, s->world.max_flows);
	for (uint32_t i = 0; i < device->n_own; i++) {
		memcpy(a.bytes, device->own[i].addr, sizeof(a.bytes));
		printf("  own %s\n", addr_print(&a, text));
	}
	printf("  buckets: answers %s, neighbours %s; questions %s; table %s\n",
	       s->world.answers_empty ? "empty" : "full",
	       s->world.neighbours_empty ? "empty" : "full",
	       s->world.questions_full ? "full" : "free",
	       s->world.swept_lately ? "swept lately" : "not swept lately");
	print_frame(f->to_device ? "to the device" : "from the device", f);
	print_reading(f);
}
