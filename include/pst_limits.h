/* SPDX-License-Identifier: MIT */
/* Numbers that the kernel side and the user side must agree on, each with its why. */
#ifndef PST_LIMITS_H
#define PST_LIMITS_H

/* Port ranges in one final prefix: bounds the scan of a packet, checked when a policy is compiled. */
#define PST_MAX_PORT_RANGES 16

/* The trie of large policies: bits that choose the root, bits that a node takes, those that it or a leaf may compare
 * before, and the nodes that an address of 128 bits passes at the most. */
#define PST_TRIE_ROOT_BITS 14
#define PST_TRIE_STRIDE	   6
#define PST_TRIE_PATH	   24
#define PST_TRIE_LEAF_PATH 32
#define PST_TRIE_LEVELS	   ((128 - PST_TRIE_ROOT_BITS + PST_TRIE_STRIDE - 1) / PST_TRIE_STRIDE)

/* UDP peers a sandbox has flow state for. A hash entry is about 100 bytes: 400 KB at the most. */
#define PST_MAX_FLOWS 4096

/* UDP flow state idles out: 30 s, or 180 s once both sides have spoken (RFC 4787 4.3 asks for 120+). */
#define PST_UDP_IDLE_NS		30000000000ULL
#define PST_UDP_IDLE_REPLIED_NS 180000000000ULL

/* While this is not over a datagram that nobody asked for, as far as is remembered, may be the answer to one that could
 * not be: sent before the attach, or into a full table. Then it is no call. On its way it is a second at the most; a
 * server that is slow may take as long as UDP is remembered, but who answers by a well-known port from which nobody
 * calls one that is not is a server. */
#define PST_UNSURE_NS	     1000000000ULL
#define PST_UNSURE_SERVER_NS PST_UDP_IDLE_NS
#define PST_SERVER_PORTS     1024

/* A connected UDP socket's flow is looked up again in the table of peers at least this often, so that it is known there
 * while it lives: PST_UDP_IDLE_NS and some. */
#define PST_FLOW_FRESH_NS 10000000000ULL

/* A full flow table is swept at most this often, so that a flood cannot make every packet pay for one. */
#define PST_SWEEP_INTERVAL_NS 100000000ULL

/* Events a sandbox may report at once, and the time that one token takes to come back (100 a second). */
#define PST_EVENT_BURST	      512
#define PST_EVENT_INTERVAL_NS 10000000ULL

/* The event ring, in bytes: a power of two and of the page size; about 760 events. */
#define PST_RING_BYTES (256 * 1024)

/* A TCP flow gets a socket's worth of state once it has sent this many segments: creating it costs
 * 0.65 to 1.05 us, which a short connection never earns back. */
#define PST_FLOW_AFTER_SEGMENTS 8

/* Packets a cached flow may be ahead of its rule's counters. */
#define PST_FLOW_FLUSH_PACKETS 64

/* A name as text has 253 characters at the most (RFC 1035 2.3.4); 256 is also the most that a trie's key holds. */
#define PST_NAME_MAX  253
#define PST_NAME_SIZE 256

/* A question on the wire: a name of 255 bytes, type and class; rounded up to words. */
#define PST_WIRE_SIZE 264

/* What a question that passes the gate, and a reply that is learned from, may hold. 512 bytes: RFC 1035 4.2.1; what
 * real resolvers send fits well into the rest. */
#define PST_DNS_MAX_QUERY     512
#define PST_DNS_MAX_MESSAGE   4096
#define PST_DNS_MAX_CNAMES    8
#define PST_DNS_MAX_ADDRESSES 64 /* of a reply; the ones behind are not learned */
/* Labels and pointers looked at to tell whose a reply's records are: bounds what a hostile zone costs. */
#define PST_DNS_MAX_STEPS 1024

/* Questions of a sandbox without an answer, how many places one may stand at (with 4, a few of 256 at once found
 * none), and how long it waits. */
#define PST_QUESTIONS	    512
#define PST_QUESTION_PROBES 16
#define PST_QUESTION_NS	    10000000000ULL

/* Full tables of leases are swept at most this often: a reply is to find what has expired, a flood not to sweep all day
 * (2,048 entries take about 40 us). */
#define PST_LEASE_SWEEP_NS 10000000ULL

/* Addresses that a sandbox has leases for: as many as its tier of size has, and names for one address. */
#define PST_MAX_LEASES	2048
#define PST_MAX_NAMES	(2 * PST_MAX_LEASES) /* that these addresses were the answer for */
#define PST_FEW_LEASES	256
#define PST_LEASE_NAMES 4

/* Levels of a cgroup path that BPF can look at (the kernel's ancestor helpers take any; we bound ours). */
#define PST_MAX_CGROUP_LEVEL 32

/* netdev: hardware addresses and address ranges that a device's frames may come from. */
#define PST_DEVICE_MACS	 4
#define PST_DEVICE_ADDRS 8

/* netdev: flows that a sandbox has state for at once: 1,024 to begin with (an entry takes about 400 bytes, and only
 * while it is used), as many as the operator says at the most. A full table is swept in one piece with softirqs off,
 * at worst 5 ms for that many. */
#define PST_TRACKED	1024
#define PST_MAX_TRACKED 16384

/* How long a tracked flow may be silent: TCP while it opens, once it is open (RFC 5382 5: 2 h 4 min), while one side
 * has ended it (the same: 4 min), and once both have (for the last ACK); UDP and ICMP echo: PST_UDP_IDLE_*. */
#define PST_TRACK_NEW_NS     60000000000ULL
#define PST_TRACK_OPEN_NS    7440000000000ULL
#define PST_TRACK_CLOSING_NS 240000000000ULL
#define PST_TRACK_CLOSED_NS  1000000000ULL

/* And in a full table, while a new flow needs room: TCP that was never answered; UDP and ICMP echo that a prefix or the
 * default let out; TCP likewise, which passes without state. */
#define PST_SPARE_NEW_NS  5000000000ULL
#define PST_SPARE_UDP_NS  2000000000ULL
#define PST_SPARE_OPEN_NS 60000000000ULL
/* TCP that is over, whatever let it out: what it waits for are last ACKs. */
#define PST_SPARE_CLOSED_NS 100000000ULL

/* Answers to denied packets: at once, and the time that one token takes to come back (200 a second). */
#define PST_ANSWER_BURST       256
#define PST_ANSWER_INTERVAL_NS 5000000ULL

/* ARP and neighbour discovery from a device: 50 a second. */
#define PST_NEIGHBOUR_BURST	  100
#define PST_NEIGHBOUR_INTERVAL_NS 20000000ULL

/* skb->mark of the answers that our own program on the way to the sandbox lets pass ("PST"). */
#define PST_ANSWER_MARK 0x50535401U

/* Connections of a sandbox that are on their way to the relay: it takes them out as it accepts them. A full table is
 * swept of those older than this, at most every PST_SWEEP_INTERVAL_NS. */
#define PST_MAX_ORIGINS 1024
#define PST_ORIGIN_NS	30000000000ULL

/* Resolvers that one unconnected UDP socket asks through the relay (musl: 3); a further one takes the place of the
 * first. */
#define PST_REDIRECT_RESOLVERS 4

/* skb->mark of packets for the relay's transparent listeners: the route of the same number brings them in. None of the
 * bits that Cilium (0xf00) and kube-proxy (0x4000, 0x8000) give a meaning. */
#define PST_RELAY_MARK 0x50530002U

/* LSM: levels of the cgroup tree at which there are sandboxes, and sandboxes (and the entry that lists the levels). */
#define PST_LSM_LEVELS	8
#define PST_MAX_MEMBERS 16384

#endif
