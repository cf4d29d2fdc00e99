/* SPDX-License-Identifier: MIT */
/*
 * The agreement of frames: one random device, policy and sequence of frames; a model that judges them, written from
 * docs/DESIGN.md and the RFCs; and the programs of the real object, by BPF_PROG_TEST_RUN.
 */
#ifndef TESTS_AGREE_FRAMES_FRAMES_H
#define TESTS_AGREE_FRAMES_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "dns/dns.h"
#include "pst_abi.h"
#include "table/explain.h"
#include "tests/agree/agree.h"

#define FRAME_MAX  1600
#define FRAME_ETH  14
#define FRAME_ROOM (FRAME_MAX + 256) /* an answer may be longer */

/* BPF_PROG_TEST_RUN takes no shorter ones (Linux 6.18). */
#define FRAME_MIN      14
#define FRAME_MIN_IPV4 34
#define FRAME_MIN_IPV6 54

struct frame {
	uint8_t bytes[FRAME_ROOM];
	size_t size;
	uint32_t mark, gso_size;
	bool to_device;
};

/* ---- what a frame says, by the RFCs (read.c) ---- */

enum read_kind {
	READ_VLAN,
	READ_ARP,
	READ_OTHER, /* no protocol that we know */
	READ_IP,
};

struct reading {
	enum read_kind kind;
	enum pst_reason
		fault; /* READ_IP: why it is not understood as TCP, UDP or an echo request; UNSET: it is */
	bool v6, fragment; /* the first of several */
	struct addr from, to;
	uint8_t protocol; /* IP's */
	uint8_t ttl;
	size_t l4,
		end; /* in the frame: where the header behind IP begins, where the IP packet ends */
	uint16_t from_port, to_port;
	uint8_t flags;	    /* TCP */
	uint8_t type, code; /* ICMP */
	uint16_t echo;	    /* its id */
};

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define ICMP4 1
#define TCP   6
#define UDP   17
#define ICMP6 58

void frame_read(const struct frame *f, struct reading *ret_reading);
static inline bool reading_is_first_syn(const struct reading *r)
{
	return r->protocol == TCP && (r->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}
static inline uint16_t frame_word(const struct frame *f, size_t at)
{
	return at + 2 <= f->size ? (uint16_t)(f->bytes[at] << 8 | f->bytes[at + 1]) : 0;
}
static inline uint32_t frame_long(const struct frame *f, size_t at)
{
	return (uint32_t)frame_word(f, at) << 16 | frame_word(f, at + 2);
}

/* ---- what is in force, and what is remembered (model.c, flows.c) ---- */

#define FRAME_FLOWS  1024
#define FRAME_FEW    6 /* entries of the small table */
#define FRAME_ASKED  64
#define FRAME_LEASES (AGREE_LEASES + AGREE_NAMES)

struct flow {
	struct pst_peer_key key;
	uint64_t last_ns; /* CLOCK_MONOTONIC */
	uint64_t generation;
	uint8_t kind;	  /* enum pst_flow_kind */
	uint8_t state;	  /* enum pst_track_state */
	uint8_t fins;	  /* PST_TRACK_FIN_* */
	const char *name; /* that let it out; NULL: none did */
	uint32_t rule;
	uint64_t packets, bytes; /* that its rule has not been credited with yet */
};

/* Of a rule, as struct pst_rule_hits. */
struct hits {
	uint64_t connections, packets, bytes;
};
#define FRAME_RULES (AGREE_RULES + 1)

struct asked {
	uint64_t stamp_ns; /* CLOCK_BOOTTIME; 0: answered */
	struct addr resolver, local;
	uint16_t port;
	struct dns_question question;
};

/* The device and the sandbox behind it. */
struct world {
	struct agree_case c; /* policy, host, names, leases of the beginning */
	bool has_record;
	bool elsewhere; /* the device is in another network namespace than the record's */
	struct pst_device device;
	struct explain_lease leases[FRAME_LEASES]; /* the oracle's */
	size_t n_leases;
	struct flow flows[FRAME_FLOWS];
	size_t n_flows, max_flows;
	struct hits hits[FRAME_RULES];
	struct asked asked[FRAME_ASKED];
	size_t n_asked;
	/* Of this frame. */
	uint64_t now_ns;       /* CLOCK_MONOTONIC */
	uint64_t slack_ns;     /* by which the kernel's now may be later */
	bool answers_empty;    /* the bucket of answers */
	bool neighbours_empty; /* the bucket of ARP and ND */
	bool questions_full;   /* no place for a question is free */
	bool swept_lately;     /* a full table is not swept again */
	uint64_t unsure_ns;    /* since something was forgotten; UNSURE_NEVER */
	bool uncertain; /* time passed a limit between the two clocks: anything may be right */
};

#define UNSURE_NEVER (~0ULL)

enum act {
	ACT_PASS,
	ACT_DROP,
	ACT_RST, /* dropped, and answered */
	ACT_UNREACHABLE,
	ACT_NXDOMAIN,
	ACT_BOTH_RST, /* answered, and a RST goes on to the peer */
	ACT_RESET,    /* to the device: what was data is a RST */
	ACT_COUNT
};

struct verdict {
	enum act act;
	uint8_t reason;	   /* whose counter grows; UNSET: none */
	uint8_t why;	   /* why it passes or is denied, for people */
	bool neighbour;	   /* took a token of that bucket */
	bool token;	   /* took a token of the answers */
	bool held_back;	   /* would have been answered, but for the bucket */
	bool refused_flow; /* found the table full */
	bool busy;	   /* found no place for its question */
	bool swept;
	bool forgot;	  /* somebody whose answer may come still */
	bool is_new;	  /* the first frame of its flow */
	bool is_kept;	  /* by `existing: keep` alone */
	bool ends_own;	  /* denied, although it was of a flow that the sandbox had opened */
	bool counts_rule; /* one whose hits are to be compared */
	uint32_t rule;
	bool has_key; /* may have touched this entry of the flow table */
	struct pst_peer_key key;
	struct asked *asked; /* recorded this question */
	bool has_reply;
	enum pst_reply reply;			    /* what became of a resolver's reply */
	struct addr learned[PST_DNS_MAX_ADDRESSES]; /* has leases now */
	size_t n_learned;
};

void model_judge(struct world *w, const struct frame *f, struct verdict *ret_verdict);
const char *act_word(enum act act);

struct flow *flow_find(struct world *w, const struct pst_peer_key *key);
/* The same, if it has not been silent for too long. */
struct flow *flow_alive(struct world *w, const struct pst_peer_key *key);
bool flow_is_idle(struct world *w, const struct flow *flow);
struct pst_peer_key flow_key(const struct addr *remote, uint16_t remote_port, uint16_t local_port,
			     uint8_t protocol);
/* Credits its rule, unless that was another policy's. */
void flow_flush(struct world *w, struct flow *flow);
void flow_remove(struct world *w, struct flow *flow);
/* Not allowed any more. TCP's entry goes, as only a SYN opens another one. Datagrams that are still on their way must
 * not count as the peer's call: their entry stays until it was silent for long. */
void flow_deny(struct world *w, struct flow *flow);
/* A new entry; NULL: the table is full, also after what idled out was swept. */
struct flow *flow_add(struct world *w, const struct pst_peer_key *key, struct verdict *v);

/* ---- random worlds and frames (scene.c, generate.c) ---- */

struct dice {
	uint64_t state;
};
uint64_t dice_roll(struct dice *d);
unsigned dice_below(struct dice *d, unsigned limit);
bool dice_chance(struct dice *d, unsigned percent);

/* A flow that frames are made of again and again. */
struct pair {
	struct addr local, remote;
	uint16_t local_port, remote_port;
	uint8_t protocol; /* TCP, UDP or ICMP4 (for both families) */
};
#define PAIRS 24

struct scene {
	struct dice dice;
	uint64_t seed;
	struct world world;
	bool keeps;
	struct pair pairs[PAIRS]; /* the first four are resolvers */
};

#define SCENE_OWN  5
#define SCENE_MACS 3
extern const struct addr scene_own[SCENE_OWN];
extern const uint8_t scene_macs[SCENE_MACS][6];
extern const uint8_t scene_host_mac[6];
/* What replies say of the case's name with that number. */
struct addr scene_answer_addr(const struct scene *s, unsigned name, bool v6);

void scene_new(struct scene *s, uint64_t seed);
/* The next generation: with another policy, or the same once more. */
void scene_change(struct scene *s, bool policy);
void scene_frame(struct scene *s, struct frame *f);
/* Does BPF_PROG_TEST_RUN take it? */
bool frame_is_taken(const struct frame *f);
void scene_print(const struct scene *s, const struct frame *f);

#endif
