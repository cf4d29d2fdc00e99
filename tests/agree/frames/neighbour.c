/* SPDX-License-Identifier: MIT */
/* The model's view of ARP (RFC 826, 5227), neighbour discovery (RFC 4861, 4862) and DHCP (RFC 2131, 8415). */
#include <string.h>

#include "tests/agree/frames/model.h"

#define ROUTER_SOLICITATION	133
#define NEIGHBOUR_SOLICITATION	135
#define NEIGHBOUR_ADVERTISEMENT 136

/* Ethernet pads to 60 bytes. */
#define ARP_END	   (FRAME_ETH + 28)
#define PADDED_END 60

static const struct addr none;

static struct addr ipv4_at(const struct frame *f, size_t at)
{
	struct addr a = {.bytes = {[10] = 0xff, 0xff}};

	memcpy(a.bytes + 12, f->bytes + at, 4);
	return a;
}

static void take_token(const struct world *w, struct verdict *v)
{
	if (w->neighbours_empty) {
		model_deny(v, PST_REASON_NEIGHBOUR_RATE);
		return;
	}
	v->neighbour = true;
	model_pass(v, PST_REASON_UNSET);
}

static bool is_zero4(const struct addr *a)
{
	return memcmp(a->bytes + 12, none.bytes, 4) == 0;
}

void model_arp(const struct world *w, const struct frame *f, struct verdict *v)
{
	uint16_t op = frame_word(f, 20);
	struct addr sender, target;

	if (f->size < ARP_END || f->size > PADDED_END || frame_word(f, 14) != 1 ||
	    frame_word(f, 16) != 0x0800 || frame_word(f, 18) != 0x0604 || (op != 1 && op != 2)) {
		model_deny(v, PST_REASON_MALFORMED);
		return;
	}
	sender = ipv4_at(f, 28);
	target = ipv4_at(f, 38);
	if (!model_is_own_mac(w, f->bytes + 22) ||
	    !(model_is_own(w, &sender) ||
	      (op == 1 && is_zero4(&sender) && model_is_own(w, &target)))) {
		model_deny(v, PST_REASON_SPOOFED);
		return;
	}
	take_token(w, v);
}

bool model_is_discovery(const struct reading *r)
{
	return r->kind == READ_IP && r->v6 && r->protocol == ICMP6 &&
	       r->fault == PST_REASON_ICMP_TYPE &&
	       (r->type == ROUTER_SOLICITATION || r->type == NEIGHBOUR_SOLICITATION ||
		r->type == NEIGHBOUR_ADVERTISEMENT);
}

/* RFC 4861 4.6. Each is 8 bytes long, of the one type that this message has, and names the sandbox's own hardware; a
 * probe (RFC 4862 5.4.2) may have a nonce (RFC 7527). */
static bool options_are_own(const struct world *w, const struct frame *f, const struct reading *r,
			    size_t at)
{
	uint8_t wanted = r->type == NEIGHBOUR_ADVERTISEMENT ? 2 : 1;
	bool probe = r->type == NEIGHBOUR_SOLICITATION && addr_equal(&r->from, &none);

	for (; at < r->end; at += 8) {
		if (f->bytes[at + 1] != 1)
			return false;
		if (probe && f->bytes[at] == 14)
			continue;
		if (f->bytes[at] != wanted || !model_is_own_mac(w, f->bytes + at + 2))
			return false;
	}
	return true;
}

/* Who says it, and about which address. */
static bool is_honest(const struct world *w, const struct reading *r, const struct addr *target)
{
	bool own = model_is_own(w, &r->from);

	if (r->type == ROUTER_SOLICITATION)
		return own || addr_equal(&r->from, &none);
	if (r->type == NEIGHBOUR_SOLICITATION)
		return own || (addr_equal(&r->from, &none) && model_is_own(w, target));
	return own && model_is_own(w, target);
}

static bool is_link_local6(const struct addr *a)
{
	return a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
}

/* What no router takes further; and the host. */
static bool stays_on_link(const struct world *w, const struct addr *to)
{
	return (to->bytes[0] == 0xff && to->bytes[1] == 2) || is_link_local6(to) ||
	       model_is_host(w, to);
}

static bool is_all_routers(const struct addr *to)
{
	return to->bytes[0] == 0xff && to->bytes[1] == 2 && to->bytes[15] == 2;
}

void model_discovery(const struct world *w, const struct frame *f, const struct reading *r,
		     struct verdict *v)
{
	size_t size = r->end - r->l4, fixed = r->type == ROUTER_SOLICITATION ? 8 : 24;
	struct addr target;

	if (r->ttl != 255 || size > 40 || r->end != f->size || r->code ||
	    !stays_on_link(w, &r->to)) {
		model_deny(v, PST_REASON_ICMP_TYPE);
		return;
	}
	if (r->type == ROUTER_SOLICITATION && !is_honest(w, r, NULL)) {
		model_deny(v, PST_REASON_SPOOFED);
		return;
	}
	if (size < fixed || (size - fixed) % 8 ||
	    (r->type == ROUTER_SOLICITATION && (size > 16 || !is_all_routers(&r->to)))) {
		model_deny(v, PST_REASON_ICMP_TYPE);
		return;
	}
	memcpy(target.bytes, f->bytes + r->l4 + 8, 16);
	if (!is_honest(w, r, &target) || !options_are_own(w, f, r, r->l4 + fixed)) {
		model_deny(v, PST_REASON_SPOOFED);
		return;
	}
	take_token(w, v);
}

/* A client that asks everybody on the link, or the host. */
static bool is_dhcp(const struct world *w, const struct reading *r)
{
	static const struct addr all = {.bytes = {[10] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
	bool own = model_is_own(w, &r->from);

	if (!(w->device.sandbox.flags & PST_SANDBOX_DHCP) || r->protocol != UDP || r->fault)
		return false;
	if (addr_is_ipv4(&r->to))
		return r->from_port == 68 && r->to_port == 67 &&
		       (own || (addr_is_ipv4(&r->from) && is_zero4(&r->from))) &&
		       (addr_equal(&r->to, &all) || model_is_host(w, &r->to));
	return r->from_port == 546 && r->to_port == 547 && own && stays_on_link(w, &r->to);
}

/* As often as neighbours are talked to; beyond that it is a datagram like any other. */
bool model_takes_dhcp(const struct world *w, const struct reading *r, struct verdict *v)
{
	if (!is_dhcp(w, r) || w->neighbours_empty)
		return false;
	take_token(w, v);
	return true;
}

bool model_is_dhcp_reply(const struct world *w, const struct reading *r)
{
	bool v4 = addr_is_ipv4(&r->to);

	return w->device.sandbox.flags & PST_SANDBOX_DHCP && r->protocol == UDP &&
	       r->from_port == (v4 ? 67 : 547) && r->to_port == (v4 ? 68 : 546);
}
