/* SPDX-License-Identifier: MIT */
/*
 * What a policy document means, after parsing and validation: one struct, whichever dialect wrote it.
 * Text -> struct policy -> canonical text. Pure: no I/O, no clock, no logging.
 */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/domain.h"
#include "base/error.h"
#include "base/json.h"
#include "pst_abi.h"

#define POLICY_MAX_BYTES   JSON_MAX_BYTES
#define POLICY_MAX_ENTRIES JSON_MAX_ENTRIES
/* Of a file that a command reads for itself: policy_parse_file(). Names are POLICY_MAX_ENTRIES at most. */
#define POLICY_FILE_MAX_BYTES	   (64u * 1024 * 1024)
#define POLICY_FILE_MAX_ENTRIES	   1000000u
#define POLICY_BRIMBLE_MAX_ENTRIES 50u
#define POLICY_MAX_RESOLVERS	   64u
#define POLICY_MAX_WARNINGS	   100u /* further ones are only counted */

/* Longest text of a destination: a wildcard, a range of ports, a protocol and NUL. */
#define POLICY_DEST_TEXT_MAX 288

/* Who sent the document, and so what it may say. */
enum policy_source {
	POLICY_FROM_FILE =
		0, /* files, command line, /v1: `mode` present is Brimble, else E2B plus native keys */
	POLICY_FROM_E2B = 1,	 /* E2B route: its keys only, its messages */
	POLICY_FROM_BRIMBLE = 2, /* Brimble route: likewise */
};

enum policy_dest_kind {
	POLICY_DEST_CIDR = 0,
	POLICY_DEST_NAME = 1,
};

/* An entry of a list, or a destination somebody asks about. */
struct policy_dest {
	unsigned char kind;	 /* enum policy_dest_kind */
	unsigned char protocols; /* PST_TCP | PST_UDP | PST_ICMP */
	bool any_port;		 /* no port was written: every protocol of `protocols`, all ports */
	bool web_ports; /* a name without a port: tcp 80 and 443 (Brimble: any_port, tcp and udp) */
	bool host_bits; /* bits beyond the prefix length were written, and cleared */
	uint16_t first, last; /* port range when !any_port (0..65535 for ":*") */
	struct cidr cidr;     /* POLICY_DEST_CIDR */
	struct domain domain; /* POLICY_DEST_NAME */
};
struct policy_rule {
	unsigned char verdict; /* PST_VERDICT_ALLOW or PST_VERDICT_DENY */
	const char
		*list;	/* "allowOut", "denyOut", "allow" (Brimble), "--allow", "--deny": static */
	unsigned index; /* place in that list, from 0 */
	char *text;	/* as written; owned */
	struct policy_dest dest;
};

enum policy_existing { POLICY_EXISTING_RECHECK = 0, POLICY_EXISTING_KEEP = 1 };
enum policy_host_check { POLICY_HOST_CHECK_OFF = 0, POLICY_HOST_CHECK_STRICT = 1 };
enum policy_unix { POLICY_UNIX_ALLOW = 0, POLICY_UNIX_PATHNAME = 1, POLICY_UNIX_DENY = 2 };

struct policy_header {
	char *name;
	char *value; /* secret: never printed */
};

/* `rules`: headers to inject for a name pattern. */
struct policy_transform {
	struct domain domain;
	struct policy_header *headers;
	size_t n_headers;
};

struct policy_proxy {
	char *host; /* lower-case name or address */
	uint16_t port;
	char *username; /* NULL: none */
	char *password; /* NULL: none; secret: never printed */
};

struct policy_test {
	char *to;		 /* as written */
	struct policy_dest dest; /* a single address or name, one port or any */
	unsigned char expect;	 /* PST_VERDICT_ALLOW or PST_VERDICT_DENY */
};

struct policy_warning {
	char *text; /* with its place: "allowOut[3]: ..." */
};

struct policy {
	bool brimble;	   /* written in Brimble's dialect (its names cover all ports) */
	bool default_deny; /* both families */
	bool audit;
	bool has_existing;	/* the document says it */
	bool has_names;		/* an allow rule with a name: the condition for DNS */
	unsigned char loopback; /* enum pst_loopback; default OWN */
	unsigned char inbound;	/* enum pst_inbound; default ALLOW */
	unsigned char existing;
	unsigned char host_check;
	unsigned char unix_sockets;
	bool dns_gate;		/* default true */
	uint32_t dns_min_ttl_s; /* default 300 */
	uint32_t dns_max_ttl_s; /* default 3600 */

	/* Allow entries in document order, then deny entries. Rule number (ABI, reports) = index here + 1.
	 * A plain deny-all entry (0.0.0.0/0 without ports in denyOut) is default_deny, not a rule. */
	struct policy_rule *rules;
	size_t n_rules;
	unsigned n_added_allow, n_added_deny; /* by policy_add() */

	struct addr_list resolvers;	/* dns.resolvers, --resolver */
	struct cidr_list allow_private; /* lifted from the always-denied set */
	struct cidr_list inbound_from;	/* PST_INBOUND_LIST */
	struct policy_proxy *proxy;	/* NULL: none */
	struct policy_transform *transforms;
	size_t n_transforms;
	struct policy_test *tests;
	size_t n_tests;
	struct policy_warning *warnings;
	size_t n_warnings;
};

/* An empty policy: everything allowed but the always-denied set; defaults as documented. */
int policy_new(struct policy **ret_policy);
void policy_free(struct policy *policy);
static inline void policy_freep(struct policy **policy)
{
	policy_free(*policy);
}
#define cleanup_policy cleanup(policy_freep)

/*
 * Parses and validates `size` bytes of JSON. `name` is what errors begin with:
 * `agent.json:7:15: allowOut[3]: ...`. With "" (requests) they carry the path only, errors of JSON itself line and column; E2B's route gets E2B's own messages
 * where it has one. -EINVAL with err; -ENOMEM, with err as it was; ret untouched on failure.
 */
int policy_parse(const char *name, const char *text, size_t size, enum policy_source source,
		 struct policy **ret_policy, struct error *err);
/* The same for POLICY_FROM_FILE, within POLICY_FILE_MAX_*. */
int policy_parse_file(const char *name, const char *text, size_t size, struct policy **ret_policy,
		      struct error *err);

/* Adds one command-line entry (verdict PST_VERDICT_ALLOW or _DENY; list "--allow", "--deny") behind those of its kind.
 * An allow entry does not touch default_deny; denying 0.0.0.0/0 sets it, as in a document. err names no place: the
 * caller prepends its own. */
int policy_add(struct policy *policy, unsigned char verdict, const char *text, struct error *err);
int policy_add_resolver(struct policy *policy, const char *text, struct error *err);
int policy_add_private(struct policy *policy, const char *text, struct error *err);
/* Checks what joins several entries (names need default deny, ...) and collects the warnings anew.
 * policy_parse() has done it; call it again after policy_add*(). */
int policy_check(struct policy *policy, struct error *err);

/* A native entry or (for explain) a destination; a URL too when `url` is true: its host and port
 * (80, 443 or written). */
int policy_dest_parse(const char *text, bool url, struct policy_dest *ret_dest, struct error *err);
/* The canonical native text; policy_dest_parse() of it gives the same meaning. Returns `text`. */
const char *policy_dest_print(const struct policy_dest *dest, char text[POLICY_DEST_TEXT_MAX]);

/* Canonical native JSON, one line, secrets as "***". Parsing it again gives the same text. */
int policy_print(const struct policy *policy, struct buf *out);

/* "allowOut[3] 10.0.0.0/8:5432" of a rule number; "" for 0. Writes at most `size`; returns `text`. */
const char *policy_rule_label(const struct policy *policy, unsigned number, char *text,
			      size_t size);

#endif
