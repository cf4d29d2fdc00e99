/* SPDX-License-Identifier: MIT */
/* What the DNS agreement test and its program tell each other: shared by agree_dns.bpf.c and tests/agree/dns. */
#ifndef TESTS_BPF_AGREE_DNS_H
#define TESTS_BPF_AGREE_DNS_H

#include "pst_abi.h"

/* Replies of one run of the program; each has a sandbox of its own. */
#define AGREE_DNS_BATCH 64
/* When they come. */
#define AGREE_DNS_NOW_NS 1000000000000ULL

/* The question of one packet. */
struct agree_dns_question {
	__u32 reason; /* enum pst_reason; 0: it passes */
	__u32 rule;
	struct pst_question question;
};

struct agree_dns_address {
	__u8 addr[16];
	__u32 ttl_s;
};

struct agree_dns_reply {
	/* in */
	struct pst_sandbox record;
	__u64 name; /* id of the name asked for */
	struct pst_name_key key;
	__u32 size, min_s, max_s;
	__u32 asked_size;
	__u16 txid;
	__u16 pad;
	__u8 asked[PST_WIRE_SIZE];
	__u8 message[PST_DNS_MAX_MESSAGE];
	/* out */
	__u32 became;  /* enum pst_reply: by the message alone */
	__u32 learned; /* and by its leases */
	__u32 steps;
	__u32 count;
	struct agree_dns_address answers[PST_DNS_MAX_ADDRESSES];
};

#endif
