/* SPDX-License-Identifier: MIT */
/*
 * postern-relay <-> whoever started it (posternd, postern run), over a SOCK_SEQPACKET pair: one message is one packet,
 * a header and what its type has behind it. Host order (both ends are of one host and build); what is read is checked
 * all the same. Secrets travel only in a sealed memfd. Whoever hears what he does not understand closes the socket:
 * the relay ends then, and its starter starts another.
 *
 *   starter -> relay     HELLO once; SANDBOX for each sandbox and change; DROP; LEASED, SIGNED as answers
 *   relay -> starter     READY once; APPLIED for each SANDBOX; LEASE, SIGN as requests; EVENT, COUNT
 *   starter <-> signer   SIGN, SIGNED; CA once, from the signer, before anything else
 *
 * Types: headers are fixed structs; text is NUL-terminated within its array; addresses are 16 bytes (IPv4 mapped).
 */
#ifndef PST_RELAY_H
#define PST_RELAY_H

#include <linux/types.h>
#include "pst_abi.h"

#define PST_RELAY_VERSION 1

/* The descriptor that a relay or signer finds its pair's end at. */
#define PST_RELAY_FD 3
/* And a signer the directory that it keeps the CA in (ca.key, ca.pem); closed: in memory, for its own life. */
#define PST_RELAY_CA_FD 4

/* A packet is no longer than this; what is longer travels in a memfd. */
#define PST_RELAY_MAX_MESSAGE 8192
/* A sandbox's policy in its memfd: 100,000 names and what belongs to them. */
#define PST_RELAY_MAX_POLICY (64 * 1024 * 1024)

/* An uncompressed P-256 point is 65 bytes and its SubjectPublicKeyInfo 91; a leaf of ours takes some 600 bytes. */
#define PST_RELAY_MAX_KEY  128
#define PST_RELAY_MAX_CERT 4096

enum pst_relay_type {
	PST_RELAY_NONE = 0,
	PST_RELAY_HELLO =
		1, /* struct pst_relay_hello; fd: the trusted certificates (PEM), or none */
	PST_RELAY_SANDBOX =
		2, /* struct pst_relay_sandbox; fds: policy memfd, then (first time) the sockets */
	PST_RELAY_DROP = 3,   /* header alone: its sessions end, its sockets are closed */
	PST_RELAY_LEASED = 4, /* struct pst_relay_answer */
	PST_RELAY_SIGNED = 5, /* struct pst_relay_answer, then the certificate in DER */
	PST_RELAY_READY = 16, /* header alone */
	PST_RELAY_APPLIED =
		17, /* struct pst_relay_answer: sessions that the policy does not allow are closed */
	PST_RELAY_LEASE = 18, /* struct pst_relay_lease */
	PST_RELAY_SIGN = 19,  /* struct pst_relay_sign */
	PST_RELAY_EVENT = 20, /* struct pst_relay_event */
	PST_RELAY_COUNT = 21, /* struct pst_relay_count */
	PST_RELAY_CA = 22,    /* signer: header, then the CA certificate in PEM */
	PST_RELAY_SHUT = 23,  /* header alone: somebody else has ended a listener of that sandbox */
};

struct pst_relay_header {
	__u32 type;    /* enum pst_relay_type */
	__u32 size;    /* of the whole message */
	__u64 sandbox; /* the record's id; 0: of no sandbox */
	__u64 seq;     /* of a request; its answer has the same */
};

/* What every relay is told first. Zero limits take the defaults. */
struct pst_relay_hello {
	struct pst_relay_header header;
	__u32 version;	   /* PST_RELAY_VERSION */
	__u32 connections; /* of a sandbox at once */
	__u32 head_bytes;  /* of a request's head, or a ClientHello */
	__u32 head_ms;	   /* for it to be complete */
	__u32 idle_ms;	   /* a connection without a byte either way */
	__u32 dial_ms;	   /* to resolve, connect and pass a proxy */
	__u32 total;	   /* connections of all sandboxes at once */
	__u32 pad;
};

#define PST_RELAY_CONNECTIONS 512
#define PST_RELAY_TOTAL	      8192
#define PST_RELAY_HEAD_BYTES  65536
#define PST_RELAY_HEAD_MS     10000
#define PST_RELAY_IDLE_MS     3600000
#define PST_RELAY_DIAL_MS     30000

/* Which descriptors follow the policy's in a SANDBOX message, in this order. */
#define PST_RELAY_HAS_TCP4    1U
#define PST_RELAY_HAS_TCP6    2U
#define PST_RELAY_HAS_UDP4    4U
#define PST_RELAY_HAS_UDP6    8U
#define PST_RELAY_HAS_ORIGINS 16U /* the sandbox's inner map of pst_origins */
#define PST_RELAY_MAX_FDS     6

struct pst_relay_sandbox {
	struct pst_relay_header header;
	__u64 generation;
	__u32 sockets; /* PST_RELAY_HAS_* */
	__u32 device;  /* 1: netdev kind: the sockets are transparent ones */
};

struct pst_relay_answer {
	struct pst_relay_header header;
	__u64 generation; /* APPLIED: as in SANDBOX */
	__s32 status;	  /* 0 or -errno */
	__u32 count; /* APPLIED: sessions that were closed; LEASED: addresses that were learned */
};

/* The name answered for these addresses: may they be leases? Written before the reply goes on. */
struct pst_relay_lease {
	struct pst_relay_header header;
	char name[PST_NAME_SIZE]; /* asked for: lower case, no trailing dot */
	__u32 count;
	__u32 pad;
	struct pst_lesson_answer answers[PST_DNS_MAX_ADDRESSES];
};

/* A leaf certificate for a name that a transform rule of this sandbox covers. */
struct pst_relay_sign {
	struct pst_relay_header header;
	char name[PST_NAME_SIZE];
	__u32 key_size;
	__u8 key[PST_RELAY_MAX_KEY]; /* SubjectPublicKeyInfo, DER */
	__u32 pad;
};

/* What became of a relayed connection, request or question, when it is decided. */
struct pst_relay_event {
	struct pst_relay_header header;
	__u8 addr[16]; /* that the sandbox asked for */
	__u16 port;
	__u8 protocol; /* PST_TCP or PST_UDP */
	__u8 verdict;  /* PST_VERDICT_ALLOW, _DENY or _WOULD_DENY */
	__u8 reason;   /* enum pst_reason */
	__u8 step;     /* enum pst_step */
	__u8 pad[2];
	__u32 rule;		  /* number, 0: none */
	__u32 lost;		  /* decisions of the sandbox before this one that were not told */
	char name[PST_NAME_SIZE]; /* SNI, Host or question; "": none */
};

/* What relayed connections have moved since the last COUNT, of one rule. */
struct pst_relay_count {
	struct pst_relay_header header;
	__u32 rule;
	__u32 active; /* connections of the sandbox now */
	__u64 connections;
	__u64 bytes_out; /* from the sandbox */
	__u64 bytes_in;
};

/*
 * A policy in its memfd: items, each a struct pst_relay_item and `size` bytes behind it, padded to 8. Of POLICY there
 * is one, first; the others come in any number and order, but RULEs in the order of the document.
 */
enum pst_relay_item_type {
	PST_RELAY_ITEM_POLICY = 1,   /* struct pst_relay_policy */
	PST_RELAY_ITEM_RESOLVER = 2, /* 16 bytes: trusted, asked in this order */
	PST_RELAY_ITEM_CLOSED =
		3, /* struct pst_relay_range: always denied, what is lifted taken out */
	PST_RELAY_ITEM_OPEN = 4,  /* struct pst_relay_range: lifted, beats CLOSED */
	PST_RELAY_ITEM_NAME = 5,  /* struct pst_relay_name: an allow rule's name */
	PST_RELAY_ITEM_PROXY = 6, /* struct pst_relay_proxy */
	PST_RELAY_ITEM_TRANSFORM =
		7, /* struct pst_relay_transform: the HEADERs behind it are its own */
	PST_RELAY_ITEM_HEADER = 8, /* struct pst_relay_field */
};

struct pst_relay_item {
	__u32 type;
	__u32 size; /* without this struct and the padding */
};

#define PST_RELAY_STRICT 1U /* hostCheck */
#define PST_RELAY_GATED	 2U /* questions must ask for a name that a rule covers */
#define PST_RELAY_AUDIT	 4U
#define PST_RELAY_KEEP	 8U /* existing: keep */

struct pst_relay_policy {
	__u64 generation;
	__u32 flags; /* PST_RELAY_* */
	__u32 lease_min_s, lease_max_s;
	__u32 pad;
};

/* addr/bits, bits of 128 (IPv4 mapped, + 96). */
struct pst_relay_range {
	__u8 addr[16];
	__u32 bits;
	__u32 pad;
};

struct pst_relay_name {
	__u32 rule;
	__u16 first, last; /* ports */
	__u8 protocols;	   /* PST_TCP | PST_UDP */
	__u8 wildcard;	   /* 1: "*.name"; with name "": "*" */
	__u8 web;	   /* 1: tcp 80 and 443, whatever first and last say */
	__u8 pad[5];
	char name[PST_NAME_SIZE]; /* lower case; without "*." */
};

struct pst_relay_proxy {
	char host[PST_NAME_SIZE];			       /* name or address */
	char username[PST_NAME_SIZE], password[PST_NAME_SIZE]; /* "": none; at most 255 bytes */
	__u16 port;
	__u8 pad[6];
};

struct pst_relay_transform {
	__u8 wildcard;
	__u8 pad[7];
	char name[PST_NAME_SIZE];
};

/* Name and value, each with its NUL, behind it. */
struct pst_relay_field {
	__u32 name_size, value_size; /* with the NUL */
};

#define PST_RELAY_ASSERT(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type)
PST_RELAY_ASSERT(pst_relay_header, 24);
PST_RELAY_ASSERT(pst_relay_hello, 56);
PST_RELAY_ASSERT(pst_relay_sandbox, 40);
PST_RELAY_ASSERT(pst_relay_answer, 40);
PST_RELAY_ASSERT(pst_relay_lease, 24 + 256 + 8 + 64 * 24);
PST_RELAY_ASSERT(pst_relay_sign, 24 + 256 + 4 + 128 + 4);
PST_RELAY_ASSERT(pst_relay_event, 24 + 32 + 256);
PST_RELAY_ASSERT(pst_relay_count, 24 + 8 + 24);
PST_RELAY_ASSERT(pst_relay_policy, 24);
PST_RELAY_ASSERT(pst_relay_range, 24);
PST_RELAY_ASSERT(pst_relay_name, 16 + 256);
PST_RELAY_ASSERT(pst_relay_proxy, 3 * 256 + 8);
PST_RELAY_ASSERT(pst_relay_transform, 8 + 256);

#endif
