/* SPDX-License-Identifier: MIT */
/*
 * What the kernel side and the user side both read: keys, values, events, enums.
 * Fixed-width types, explicit pads that writers zero, no bool, bitfield, pointer or packed.
 * The zero of every enum is the safe value. Addresses are 16 bytes in network order, IPv4 as
 * ::ffff:a.b.c.d; ports are in host order (they print well in `bpftool map dump`).
 */
#ifndef PST_ABI_H
#define PST_ABI_H

#ifndef __bpf__
#include <linux/types.h>
#endif
#include "pst_limits.h"
#include "pst_reason.h"

#define PST_ABI_VERSION 1

/* What pst_decide() answers. OWNER, GATE and RELAY are conditional: the hook, which has the socket or
 * the packet, settles them; one that cannot settle them denies. */
enum pst_verdict {
	PST_VERDICT_DENY = 0,
	PST_VERDICT_ALLOW = 1,
	PST_VERDICT_RELAY = 2,	    /* only through the relay */
	PST_VERDICT_OWNER = 3,	    /* only if the local listener belongs to this sandbox */
	PST_VERDICT_GATE = 4,	    /* only if the DNS question passes the name gate */
	PST_VERDICT_WOULD_DENY = 5, /* audit: let through, and reported */
};

/* The step of the verdict order that settled it; see pst_decide(). */
enum pst_step {
	PST_STEP_NONE = 0,
	PST_STEP_PARSE = 1,
	PST_STEP_SPOOFED = 2,
	PST_STEP_INBOUND = 3,
	PST_STEP_RELAY = 4,
	PST_STEP_LOOPBACK = 5,
	PST_STEP_RESOLVER = 6,
	PST_STEP_ALWAYS_DENIED = 7,
	PST_STEP_CIDR_ALLOW = 8,
	PST_STEP_NAME = 9,
	PST_STEP_CIDR_DENY = 10,
	PST_STEP_DEFAULT = 11,
};

enum pst_hook {
	PST_HOOK_NONE = 0,
	PST_HOOK_CONNECT = 1,
	PST_HOOK_SENDMSG = 2,
	PST_HOOK_SOCKET = 3,
	PST_HOOK_SOCKOPT = 4,
	PST_HOOK_EGRESS = 5,
	PST_HOOK_INGRESS = 6,
	PST_HOOK_UNIX = 7,  /* connect() and sendto() on unix sockets */
	PST_HOOK_RELAY = 8, /* none of the kernel's: the relay's own decision */
};

/* Protocols as a set: a rule covers several. */
#define PST_TCP	      1U
#define PST_UDP	      2U
#define PST_ICMP      4U
#define PST_ANY_PROTO (PST_TCP | PST_UDP | PST_ICMP)

enum pst_loopback {
	PST_LOOPBACK_DENY = 0,
	PST_LOOPBACK_OWN = 1,
	PST_LOOPBACK_HOST = 2,
};

enum pst_inbound {
	PST_INBOUND_DENY = 0,
	PST_INBOUND_LIST = 1, /* peers whose prefix has PST_CIDR_INBOUND */
	PST_INBOUND_ALLOW = 2,
};

enum pst_dns {
	PST_DNS_RULES = 0, /* judged like everything else */
	PST_DNS_GATED = 1, /* UDP to a trusted resolver, names that a rule allows */
	PST_DNS_OPEN = 2,  /* UDP and TCP to a trusted resolver pass */
};

/* Which DNS replies leave leases behind. */
enum pst_learn {
	PST_LEARN_NONE = 0,
	PST_LEARN_COVERED = 1, /* for names that a rule covers */
	PST_LEARN_ALL =
		2, /* for every name: what no rule covers allows nothing, but reports name it */
};

/* Which host unix sockets may be connected to. */
enum pst_unix {
	PST_UNIX_DENY = 0,
	PST_UNIX_PATHNAME = 1,
	PST_UNIX_ALLOW = 2,
};

#define PST_SANDBOX_AUDIT  1U
#define PST_SANDBOX_DHCP   2U /* netdev: it may ask for its addresses by DHCP */
#define PST_SANDBOX_SILENT 4U /* netdev: denials are not answered */
/* What goes through the relay: */
#define PST_SANDBOX_PROXIED 8U	/* egressProxy: all TCP that is allowed */
#define PST_SANDBOX_RULES   16U /* header transforms: TCP to ports 80 and 443 that is allowed */
#define PST_SANDBOX_STRICT  32U /* hostCheck: TCP to ports 80 and 443 that no prefix allows */
/* What its prefixes are in, for each family: the arrays of pst_trie_*, not pst_cidr4 or pst_cidr6. */
#define PST_SANDBOX_TRIE4   64U
#define PST_SANDBOX_TRIE6   128U
#define PST_SANDBOX_RELAYED (PST_SANDBOX_PROXIED | PST_SANDBOX_RULES | PST_SANDBOX_STRICT)
/* Only in pst_walked, under 0: name every connection, not only the denied ones. */
#define PST_WALK_ALL 0x80000000U

/* pst_sandbox: the record of an attachment. All zero: deny. 128 bytes for ever (ABI). */
struct pst_sandbox {
	__u64 id;	      /* never reused; 0: no policy yet */
	__u64 generation;     /* host-wide, never reused; 0: no policy yet */
	__u64 cgroup_id;      /* the attached cgroup's */
	__u64 netns_cookie;   /* where packets from outside arrive */
	__u32 policy_slot;    /* in pst_cidr4, pst_cidr6, pst_trie_*, pst_ports, pst_names */
	__u32 state_slot;     /* in pst_flows, pst_quotas */
	__u32 cgroup_level;   /* depth of the attached cgroup; the cgroup2 root is 0 */
	__u32 flags;	      /* PST_SANDBOX_* */
	__u32 rules;	      /* numbers below this have counters; 0 counts the default */
	__u8 default_verdict; /* PST_VERDICT_DENY or PST_VERDICT_ALLOW */
	__u8 loopback;	      /* enum pst_loopback */
	__u8 inbound;	      /* enum pst_inbound */
	__u8 dns;	      /* enum pst_dns */
	__u64 seed; /* of the hashes of questions and names: what is inside cannot choose collisions */
	__u32 lease_min_s; /* a lease ends neither before ... */
	__u32 lease_max_s; /* ... nor after this, whatever the TTL */
	__u8 learn;	   /* enum pst_learn */
	__u8 unix_sockets; /* enum pst_unix */
	__u16 daemon_port; /* TCP, of this host: denied whatever `loopback` says; 0: none */
	__u32 hits_slot;   /* in pst_rules */
	__u64 keep_since;  /* flows judged under this generation or a later one live on; 0: none */
	__u32 names_slot;  /* in pst_questions, pst_leases, pst_learned */
	__u16 relay_port; /* of the relay's listeners for this sandbox, both families, TCP and UDP; 0: none */
	__u8 pad2[2];
	__u64 change; /* generation that its policy came with; that of the host may have moved on since */
	__u32 ifindex;	  /* netdev: the host side of its device; 0: cgroup kind */
	__u32 track_slot; /* netdev: in pst_tracked */
	__u32 relay_slot; /* in pst_origins, pst_listeners; with relay_port */
	__u8 reserve[12];
};

/*
 * pst_netdevs: ifindex -> one word, so that it is read of one piece: which pst_devices element is in force, and 48 bits
 * of the generation that it has. An element of pst_devices is written before that word names it, and never while it
 * may be read; what is read there is this device's only if `ifindex` and the generation say so.
 */
#define PST_DEVICE_SLOT_BITS	  16
#define PST_DEVICE_REF(gen, slot) ((__u64)(gen) << PST_DEVICE_SLOT_BITS | (slot))
#define PST_DEVICE_SLOT(ref)	  ((__u32)((ref) & ((1U << PST_DEVICE_SLOT_BITS) - 1)))
#define PST_DEVICE_REF_IS(ref, gen)                                                                \
	((ref) >> PST_DEVICE_SLOT_BITS == (gen) << PST_DEVICE_SLOT_BITS >> PST_DEVICE_SLOT_BITS)

struct pst_mac {
	__u8 mac[6];
	__u8 pad[2];
};

/* A source that is the sandbox's own: (packet's & mask) == addr. IPv4 as mapped, its mask with 96 bits in front. */
struct pst_own {
	__u8 addr[16];
	__u8 mask[16];
};

/* pst_devices: a sandbox of the netdev kind. n_macs 0: frames carry none (netkit's L3 mode). */
struct pst_device {
	struct pst_sandbox sandbox;
	__u32 n_macs, n_own;
	struct pst_mac mac[PST_DEVICE_MACS];
	struct pst_own own[PST_DEVICE_ADDRS];
};

/* LPM keys. prefixlen is in bits of addr. */
struct pst_key4 {
	__u32 prefixlen;
	__u8 addr[4];
};

struct pst_key6 {
	__u32 prefixlen;
	__u8 addr[16];
};

/*
 * pst_names: a name as the trie wants it: lower case, back to front, so that what is below a name begins with its key.
 * `example.com` is "moc.elpmaxe\0", `*.example.com` is "moc.elpmaxe.", `*` is "". A name that is looked up is a whole
 * one, with its NUL. What lies behind prefixlen is arbitrary.
 */
struct pst_name_key {
	__u32 prefixlen; /* in bits of name */
	char name[PST_NAME_SIZE];
};

/* pst_names: the rules of a pattern. */
struct pst_name {
	__u32 rule; /* the first with this pattern */
	__u32 ports; /* index into pst_ports: the union of this pattern's rules and those of wider ones; never 0 */
};

#define PST_CIDR_LIFTED	  1U /* lifted from the always-denied set */
#define PST_CIDR_INBOUND  2U /* may open connections towards the sandbox */
#define PST_CIDR_RESOLVER 4U /* a trusted resolver's address */

/* pst_cidr4, pst_cidr6: the final answer for a prefix. Every trie has a root, so a miss is a failure. */
struct pst_cidr {
	__u32 rule;  /* number of the rule behind verdict; 0: none */
	__u32 ports; /* 0: verdict holds for every protocol and port; else an index into pst_ports */
	__u8 decided; /* 1: verdict is an answer; 0: neither allowed nor denied here */
	__u8 verdict; /* PST_VERDICT_DENY or PST_VERDICT_ALLOW, when decided and ports is 0 */
	__u8 flags;   /* PST_CIDR_* */
	__u8 pad[5];
};

/*
 * pst_trie_*: the same for large policies, as a path-compressed multibit trie in arrays. An address is taken apart from
 * its first bit on: PST_TRIE_ROOT_BITS choose the root, then each node compares a path and takes PST_TRIE_STRIDE bits,
 * down to a leaf. The row that holds is the last one of those on the way.
 */
struct pst_trie_root { /* number: family (0: IPv4, 1: IPv6) << PST_TRIE_ROOT_BITS | the first bits */
	__u32 row;     /* number of the row that these bits alone have */
	__u32 node;    /* 0: there is nothing below */
};

/* Number 0 is none. Bit v of a set is about the value v of this node's bits; the n-th bit set is about number first + n
 * (of rows: the first number is what holds below the first bit). */
struct pst_trie_node {
	__u64 children; /* a node is below */
	__u64 leaves;	/* a leaf is below */
	__u64 rows;	/* from here on up another row holds */
	__u32 first_child;
	__u32 first_leaf;
	__u32 first_row;
	__u32 path; /* what comes before this node's bits, its first bit on top; the lowest 8 bits: how many they are */
};
#define PST_TRIE_PATH_BITS(path) ((path)&0xff)
#define PST_TRIE_PATH_OF(path)	 ((path) & ~0xffU)

enum pst_trie_says {
	PST_SAYS_UNKNOWN = 0, /* never written: a failure */
	PST_SAYS_NOTHING = 1, /* neither allowed nor denied here */
	PST_SAYS_DENY = 2,
	PST_SAYS_ALLOW = 3,
};

struct pst_trie_row { /* struct pst_cidr, in less room */
	__u32 rule;
	__u16 ports;
	__u8 says;  /* enum pst_trie_says */
	__u8 flags; /* PST_CIDR_* */
};

struct pst_trie_leaf { /* one prefix */
	struct pst_trie_row row;
	__u32 path; /* the rest of the prefix, its first bit on top */
	__u8 path_bits;
	__u8 pad[3];
};

/* One line of a port set. The first that matches decides: allow lines stand before deny lines. */
struct pst_port_range {
	__u32 rule;
	__u16 first;
	__u16 last;
	__u8 protocols; /* PST_TCP | PST_UDP | PST_ICMP; ICMP echo has no port and matches any range */
	__u8 verdict; /* PST_VERDICT_DENY or PST_VERDICT_ALLOW */
	__u8 pad[2];
};

/* pst_ports: index -> port set. Index 0 is never used. */
struct pst_ports {
	__u32 count;
	struct pst_port_range range[PST_MAX_PORT_RANGES];
};

enum pst_always_kind {
	PST_ALWAYS_UNKNOWN = 0, /* the zero value denies */
	PST_ALWAYS_RANGE = 1,	/* a range nobody's sandbox may reach */
	PST_ALWAYS_HOST = 2,	/* an address of this host, followed as it changes */
	PST_ALWAYS_OPEN = 3,	/* the root: not in the set */
};

/* pst_always: pst_key6 (IPv4 as mapped) -> this. The root must be there: a miss is a failure. */
struct pst_always {
	__u32 kind; /* enum pst_always_kind */
};

/* pst_open: a bit for each first octet of IPv4 addresses under which nothing is always denied. Zero:
 * pst_always knows. */
struct pst_open {
	__u32 word[8];
};

/* What a hook asks pst_decide(). */
struct pst_query {
	__u8 addr[16]; /* destination */
	__u16 port;    /* destination; 0 for ICMP echo */
	__u8 protocol; /* one of PST_TCP, PST_UDP, PST_ICMP */
	__u8 broken;   /* enum pst_reason: why the packet was not understood; 0: it was */
	__u8 inbound;  /* 1: the hook found the state of an admitted inbound connection */
	__u8 dns; /* 1: the socket asked for port 53 of this address, and a translation moved the port */
	__u8 pad[2];
	__u32 live; /* port set of the name that let this flow out before; 0: it is new, or no name did */
	__u32 pad2;
};

struct pst_decision {
	__u8 verdict; /* enum pst_verdict */
	__u8 step;    /* enum pst_step */
	__u8 reason;  /* enum pst_reason */
	__u8 name;    /* step 9: enum pst_name_place */
	__u32 rule;   /* number of the rule, 0: none */
};

/* Which name let the connection out, or would have: 1 + its place in the address's lease. */
enum pst_name_place {
	PST_NAME_NONE = 0,
	PST_NAME_EMBEDDED = 8, /* added: in the lease of the IPv4 address inside the destination */
	PST_NAME_LIVE = 16,    /* the one its flow remembers */
};

/*
 * pst_questions: a DNS question that left and has no answer yet. One writer at a time: who turned the stamp into
 * PST_CLAIMED. It is consumed by turning the stamp into 0.
 */
#define PST_CLAIMED (~0ULL)

struct pst_question {
	__u64 stamp;	   /* CLOCK_BOOTTIME ns when it left; 0: free */
	__u64 name;	   /* pst_learned's key */
	__u64 derived;	   /* what the rules said to the name when it was asked for (PST_DERIVED) */
	__u8 resolver[16]; /* as the application asked for it, before translation */
	__u16 port;	   /* the client's */
	__u16 txid;	   /* as a number */
	__u16 size;	   /* bytes of wire: name, type and class */
	__u8 translated;   /* 1: the packet went elsewhere than the application asked */
	__u8 pad;
	__u8 wire
		[PST_WIRE_SIZE]; /* the question's own bytes, in its own case: as a reply must have them */
	struct pst_name_key key; /* the name, for pst_names */
	__u16 at, limit;	 /* while it is being read */
};

/* pst_learned: name id -> a name that an answer came for. An id is a seeded hash of the name. */
struct pst_learned {
	__u64 name; /* its own key: tells a reader whether the entry was given to another name meanwhile */
	__u64 expires_ns; /* the end of its last lease, CLOCK_BOOTTIME */
	struct pst_name_key key;
	__u32 pad;
};

/*
 * pst_leases: address -> the names it was the answer for. `derived` is what the rules say to a name: the generation
 * they were asked under, and the port set (PST_DERIVED). Of an older generation: it is asked again. It is written last
 * and taken away first (PST_CLAIMED), so what is read between two equal ones is of one piece.
 */
struct pst_lease_name {
	__u64 derived;	  /* 0: free */
	__u64 expires_ns; /* CLOCK_BOOTTIME */
	__u64 learned_ns; /* of the last answer */
	__u64 name;	  /* pst_learned's key */
};

struct pst_addr {
	__u8 addr[16];
};

struct pst_name_id {
	__u64 name;
};

struct pst_lease {
	__u8 addr[16]; /* its own key: as in pst_learned */
	struct pst_lease_name by[PST_LEASE_NAMES];
};

#define PST_DERIVED_BITS                                                                           \
	17 /* of a port set's index; the rest is of the generation, which returns after 39 hours of ns */
#define PST_DERIVED(generation, ports) ((generation) << PST_DERIVED_BITS | (ports))
#define PST_DERIVED_PORTS(derived)     ((__u32)((derived) & ((1U << PST_DERIVED_BITS) - 1)))
#define PST_DERIVED_IS_OF(derived, generation)                                                     \
	((derived) >> PST_DERIVED_BITS == (generation) << PST_DERIVED_BITS >> PST_DERIVED_BITS)

/* pst_asked: socket storage of UDP sockets without connect(): where it last sent a question to. */
struct pst_asked {
	__u64 sandbox;
	__u8 addr[16];
};

/* What became of DNS replies; places in pst_quota.replies. */
enum pst_reply {
	PST_REPLY_UNASKED = 0, /* answers no question that is open: forged, late, or a second one */
	PST_REPLY_LEARNED = 1, /* at least one lease was written */
	PST_REPLY_EMPTY = 2,   /* understood; nothing in it to learn */
	PST_REPLY_TRUNCATED = 3, /* TC */
	PST_REPLY_MALFORMED = 4, /* or stranger than PST_DNS_* allow */
	PST_REPLY_OVERSIZE = 5,	 /* more than PST_DNS_MAX_MESSAGE bytes */
	PST_REPLY_ERROR = 6,	 /* NXDOMAIN, SERVFAIL, ... */
	PST_REPLY_UNTRUSTED = 7, /* not from where that resolver's replies come */
	PST_REPLY_KINDS = 8,
};

enum pst_flow_kind {
	PST_FLOW_NONE = 0,
	PST_FLOW_OUT = 1, /* opened by the sandbox, judged under its generation */
	PST_FLOW_IN = 2,  /* opened by an admitted peer */
	PST_FLOW_LISTENER =
		3, /* on a listening socket: what accept() clones from it was opened by a peer */
};

/* pst_sockets: socket storage. A hit needs sandbox, generation, protocol, address and port equal. */
struct pst_flow {
	__u64 sandbox;
	__u64 generation;
	__u64 cookie; /* LISTENER: of the socket it was written on (a clone has another); UDP: CLOCK_MONOTONIC at the
			* last tick before it was judged */
	__u64 packets; /* not yet added to the rule's counters */
	__u64 bytes;
	__u8 addr[16]; /* remote */
	__u32 rule;
	__u16 port; /* remote */
	__u8 protocol;
	__u8 kind; /* enum pst_flow_kind */
	/* Only of a flow that a name let out: */
	__u64 last_ns;		 /* UDP: CLOCK_MONOTONIC at the last tick */
	__u64 name;		 /* its id; 0: no name did */
	struct pst_name_key key; /* kept here: the lease may be gone when the policy changes */
	__u32 writes;		 /* UDP: times that it was claimed to be written */
};

/* pst_flows: UDP without connect() has many peers a socket, so its state is here. */
struct pst_peer_key {
	__u8 addr[16]; /* remote */
	__u16 port;    /* remote */
	__u16 local_port;
	__u8 protocol;
	__u8 pad[3];
};

struct pst_peer {
	__u64 last_ns; /* CLOCK_MONOTONIC at the last tick: an exact clock costs as much as a lookup */
	__u8 kind;     /* PST_FLOW_OUT or PST_FLOW_IN */
	__u8 replied; /* 1: both sides have spoken */
	__u8 pad[6];
	__u64 name; /* id of the name that let it out; 0: no name did */
	__u64 generation; /* under which it was last allowed, told exactly while keep_since is set; 0: never */
};

/* What a flow of the netdev kind has come to; decides how long it may be silent (PST_TRACK_*_NS). */
enum pst_track_state {
	PST_TRACK_NEW = 0,     /* only one side has spoken */
	PST_TRACK_OPEN = 1,    /* both have */
	PST_TRACK_CLOSING = 2, /* TCP: one side has said that it ends */
	PST_TRACK_CLOSED = 3,  /* TCP: both have, or one has reset it */
};

/* TCP: which sides have sent a FIN. */
#define PST_TRACK_FIN_OUT 1U
#define PST_TRACK_FIN_IN  2U

/*
 * pst_tracked: a flow of the netdev kind; key: pst_peer_key (ICMP echo: its id is local_port, port is 0). A hit needs
 * `generation` equal to the record's: under another one the flow is judged again. `seal` tells a reader whose entry was
 * given to another flow meanwhile: it is the generation and a seeded hash of the flow's own key.
 */
struct pst_tracked {
	__u64 last_ns; /* CLOCK_MONOTONIC at the last tick */
	__u64 generation; /* under which it was last allowed; 0: by audit or the gate, so it is judged each time */
	__u64 seal;
	__u64 packets; /* sent, not yet added to the rule's counters */
	__u64 bytes;
	__u32 rule;
	__u8 kind;		 /* PST_FLOW_OUT or PST_FLOW_IN */
	__u8 state;		 /* enum pst_track_state */
	__u8 step;		 /* enum pst_step that allowed it */
	__u8 fins;		 /* PST_TRACK_FIN_* */
	__u64 name;		 /* id of the name that let it out; 0: no name did */
	struct pst_name_key key; /* kept here: the lease may be gone when the policy changes */
	__u8 relayed;		 /* 1: it goes to the relay, from its first packet to its last */
	__u8 pad[3];
};

/* pst_owners: socket storage of bound sockets: which sandbox's listener this is. */
struct pst_owner {
	__u64 sandbox;
	__u64 relay_of; /* the relay listens here for this sandbox: written by the loader; 0: it does not */
};

/* pst_redirects: socket storage of sockets that were sent to the relay: where they wanted to go. UDP: `addr` is the
 * IPv6 resolver asked last, which ::1 stands for. */
struct pst_redirect {
	__u64 sandbox;
	__u64 generation; /* under which it was last judged to be the relay's */
	__u8 addr[16];
	__u16 port;
	__u8 protocol;	  /* PST_TCP; PST_UDP: port 53 */
	__u8 n_resolvers; /* UDP: of those below that are used */
	__u16 relay_port; /* where it was sent */
	__u16 pad;
	__u8 resolvers[PST_REDIRECT_RESOLVERS][16]; /* UDP: 127.0.0.(2 + i) stands for the i-th */
};

/* pst_origins: source of a connection to the relay's listener -> where it wanted to go. Taken out by the relay. */
struct pst_origin_key {
	__u8 addr[16];
	__u16 port;
	__u8 pad[6];
};

struct pst_origin {
	__u64 sandbox;
	__u64 generation;
	__u64 time_ns; /* CLOCK_BOOTTIME at the SYN */
	__u8 addr[16];
	__u16 port;
	__u8 step; /* enum pst_step that let it out: PST_STEP_RELAY when that is the relay's to say */
	__u8 reason; /* enum pst_reason */
	__u32 rule;  /* number, 0: none */
	struct pst_name_key
		name; /* the newest name that its address was learned for; prefixlen 0: none */
	__u32 pad;
};

/* What the loader has learned for a sandbox: the argument of pst_teach. */
struct pst_lesson_answer {
	__u8 addr[16];
	__u32 ttl_s;
	__u32 pad;
};

struct pst_lesson {
	struct pst_sandbox sandbox; /* the record in force */
	struct pst_name_key name;   /* that was asked for */
	__u32 count;
	__u32 learned; /* out: addresses that are leases now */
	__u32 pad;
	struct pst_lesson_answer answers[PST_DNS_MAX_ADDRESSES];
};

/* What the relay has moved for a sandbox: the argument of pst_tally. */
struct pst_tally {
	__u32 hits_slot; /* in pst_rules */
	__u32 rule;
	__u64 connections;
	__u64 packets;
	__u64 bytes;
};

/* pst_rules: rule number -> hits. A cached flow may be PST_FLOW_FLUSH_PACKETS ahead of it. */
struct pst_rule_hits {
	__u64 connections;
	__u64 packets;
	__u64 bytes;
	__u64 last_ns; /* CLOCK_MONOTONIC at the last tick */
};

/* pst_quotas: state slot -> the sandbox's event budget. */
struct pst_quota {
	__u64 next_ns;		/* GCRA: when the bucket would be full again */
	__u64 lost;		/* events not reported: bucket empty or ring full */
	__u64 swept_ns;		/* when its flow table was last swept */
	__u64 flows_refused;	/* flows that found the table full */
	__u64 leases_swept_ns;	/* when its leases were last swept */
	__u64 origins_swept_ns; /* when its connections on their way to the relay were last swept */
	__u64 leases_refused;	/* addresses (or names) of answers that found the table full */
	__u64 names_displaced; /* live names that a fifth one of the same address took the place of */
	__u64 questions_refused; /* questions that found too many without an answer */
	__u64 replies[PST_REPLY_KINDS];
	/* netdev: GCRA words as next_ns, and what they refused */
	__u64 answers_next_ns;	  /* answers to denied packets */
	__u64 answers_held_back;  /* denied all the same, but silently */
	__u64 neighbours_next_ns; /* ARP and neighbour discovery */
	__u64 unsure_ns; /* CLOCK_MONOTONIC up to which own datagrams may have left unremembered; 0: none has */
};

/* pst_events: one denial (or would-be denial). */
struct pst_event {
	__u64 time_ns; /* CLOCK_BOOTTIME */
	__u64 sandbox;
	__u64 generation;
	__u32 pid; /* thread group of the caller; 0 in the packet hooks, which run for anybody */
	__u32 rule;
	__u8 addr[16];
	__u16 port;
	__u8 protocol; /* PST_TCP ... or 0 */
	__u8 verdict;
	__u8 step;
	__u8 reason;
	__u8 hook;
	__u8 ip_protocol; /* as in the packet or the socket call */
	char comm[16];
	__u32 age_s; /* PST_REASON_LEASE_EXPIRED: seconds since the answer */
	/* The name asked for (PST_REASON_NAME_GATE), or one that the address was the answer for; prefixlen 0: none. */
	struct pst_name_key name;
};

/* pst_members: attached cgroup -> what the LSM programs, which run for no cgroup, have to know. */
struct pst_member {
	__u64 sandbox; /* under key 0: the thread that asks whether it is judged (a trial), or 0 */
	__u32 state_slot; /* in pst_quotas */
	__u32 pad;
	__u8 levels[PST_LSM_LEVELS]; /* under key 0: where such cgroups are, 0: no more */
};

/* What the socket walk writes: a TCP socket whose flow the policy in force denies; as SOCK_DESTROY wants it. */
struct pst_socket {
	__u64 cookie;
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u32 ifindex;	  /* that it is bound to; 0: none */
	__u8 meant[16];	  /* where it asked to go, when `remote` is the relay ... */
	__u16 meant_port; /* ... 0: it is not */
	__u16 pad[3];
};

/* A constant of the object, set before it is loaded: what will never happen. */
struct pst_options {
	__u8 one_policy; /* there is one policy for good: nothing is ever kept */
	__u8 no_relay;	 /* nothing goes through a relay */
	__u8 no_trie;	 /* no policy is large */
};

/* pst_types, a constant of the object: keeps in its BTF what only inner maps use (and the skeleton names it). */
struct pst_inner_types {
	__u32 abi_version;
	struct pst_key4 key4;
	struct pst_cidr cidr;
	struct pst_ports ports;
	struct pst_rule_hits hits;
	struct pst_peer_key peer_key;
	struct pst_peer peer;
	struct pst_name_key name_key;
	struct pst_name name;
	struct pst_question question;
	struct pst_learned learned;
	struct pst_lease lease;
	struct pst_addr lease_key;
	struct pst_name_id learned_key;
	struct pst_tracked tracked;
	struct pst_device device;
	struct pst_origin_key origin_key;
	struct pst_origin origin;
	struct pst_trie_root trie_root;
	struct pst_trie_node trie_node;
	struct pst_trie_leaf trie_leaf;
	struct pst_trie_row trie_row;
};

#define PST_ASSERT(name, cond) _Static_assert(cond, name)
PST_ASSERT("pst_sandbox is 128 bytes", sizeof(struct pst_sandbox) == 128);
PST_ASSERT("keep_since is aligned", __builtin_offsetof(struct pst_sandbox, keep_since) % 8 == 0);
PST_ASSERT("pst_key4 is 8 bytes", sizeof(struct pst_key4) == 8);
PST_ASSERT("pst_key6 is 20 bytes", sizeof(struct pst_key6) == 20);
PST_ASSERT("pst_cidr is 16 bytes", sizeof(struct pst_cidr) == 16);
PST_ASSERT("pst_trie_root is 8 bytes", sizeof(struct pst_trie_root) == 8);
PST_ASSERT("pst_trie_node is 40 bytes", sizeof(struct pst_trie_node) == 40);
PST_ASSERT("pst_trie_leaf is 16 bytes", sizeof(struct pst_trie_leaf) == 16);
PST_ASSERT("pst_trie_row is 8 bytes", sizeof(struct pst_trie_row) == 8);
PST_ASSERT("pst_port_range is 12 bytes", sizeof(struct pst_port_range) == 12);
PST_ASSERT("pst_ports is 196 bytes", sizeof(struct pst_ports) == 196);
PST_ASSERT("pst_query is 32 bytes", sizeof(struct pst_query) == 32);
PST_ASSERT("pst_decision is 8 bytes", sizeof(struct pst_decision) == 8);
PST_ASSERT("pst_flow is 344 bytes", sizeof(struct pst_flow) == 344);
PST_ASSERT("pst_peer_key is 24 bytes", sizeof(struct pst_peer_key) == 24);
PST_ASSERT("pst_peer is 32 bytes", sizeof(struct pst_peer) == 32);
PST_ASSERT("pst_tracked is 320 bytes", sizeof(struct pst_tracked) == 320);
PST_ASSERT("pst_device is 424 bytes", sizeof(struct pst_device) == 424);
PST_ASSERT("pst_own is aligned", __builtin_offsetof(struct pst_device, own) % 8 == 0);
PST_ASSERT("pst_event is 336 bytes", sizeof(struct pst_event) == 336);
PST_ASSERT("pst_name_key is 260 bytes", sizeof(struct pst_name_key) == 260);
PST_ASSERT("pst_question is 576 bytes", sizeof(struct pst_question) == 576);
PST_ASSERT("pst_learned is 280 bytes", sizeof(struct pst_learned) == 280);
PST_ASSERT("pst_lease is 144 bytes", sizeof(struct pst_lease) == 144);
PST_ASSERT("pst_member is 24 bytes", sizeof(struct pst_member) == 24);
PST_ASSERT("pst_socket is 72 bytes", sizeof(struct pst_socket) == 72);
PST_ASSERT("pst_redirect is 104 bytes", sizeof(struct pst_redirect) == 104);
PST_ASSERT("pst_origin_key is 24 bytes", sizeof(struct pst_origin_key) == 24);
PST_ASSERT("pst_origin is 312 bytes", sizeof(struct pst_origin) == 312);
PST_ASSERT("pst_lesson is 1936 bytes", sizeof(struct pst_lesson) == 128 + 260 + 12 + 64 * 24);

#endif
