/* SPDX-License-Identifier: MIT */
/*
 * Why a destination is allowed or denied, told from the policy itself, entry by entry: slow, independent of
 * the tables, and so the oracle that pst_decide() is compared with. Pure.
 */
#ifndef TABLE_EXPLAIN_H
#define TABLE_EXPLAIN_H

#include "policy/policy.h"
#include "pst_abi.h"
#include "table/table.h"

#define EXPLAIN_TEXT_MAX 1024

/* The names that an address was the answer for, each at its place. */
struct explain_lease_name {
	const char *name; /* as in struct domain; NULL: nothing is at this place */
	bool expired;
};

struct explain_lease {
	struct addr addr;
	struct explain_lease_name by[PST_LEASE_NAMES];
};

struct explain_input {
	const struct policy *policy;
	const struct table_env *env;		 /* NULL: no resolvers of the host */
	const struct table_always_input *always; /* NULL: the documented ranges alone */
	const struct explain_lease *leases;	 /* what the sandbox has learned, one an address */
	size_t n_leases;
	/* The name that let the query's flow out before; NULL: none did. Instead of pst_query.live, a number that means
	 * nothing without a table. */
	const char *live;
	bool device;	 /* netdev kind: the host is a neighbour like any other */
	bool relay_down; /* what needs the relay is refused */
	bool dns_relay;	 /* it serves DNS over TCP, also where nothing else needs it */
};

/* The oracle: what pst_decide() must answer to `query`. Uses no table. */
struct pst_decision explain_query(const struct explain_input *in, const struct pst_query *query);

/* Whether a rule for this destination speaks of the query's protocol and port. */
bool explain_covers_port(const struct policy_dest *dest, const struct pst_query *query);
/* The allow rule whose pattern covers `name` and the query's port: most exact, then first in the document. 0: none. */
uint32_t explain_name_rule(const struct policy *policy, const char *name,
			   const struct pst_query *query);
/* Whether SNI and Host decide on TCP 80 and 443: hostCheck strict, where names decide at all. */
bool explain_is_strict(const struct policy *policy);
/* What becomes of an answer of steps 8 to 11: through the relay where egressProxy or rules say so, else as it was. */
struct pst_decision explain_relayed(const struct explain_input *in, const struct pst_query *query,
				    struct pst_decision d);
/* The lease of `a` as it is, or of the IPv4 address inside it. NULL: none. */
const struct explain_lease *explain_find_lease(const struct explain_input *in, const struct addr *a,
					       bool embedded);
/* Whether `a` is one of the policy's or the host's trusted resolvers. */
bool explain_is_trusted(const struct explain_input *in, const struct addr *a);
/* Whether this very address is in the always-denied set and the policy does not lift it. */
bool explain_is_always_denied(const struct explain_input *in, const struct addr *a);
/* The same for every reading of `a`: IPv4 inside NAT64 forms too. *ret_addr: the reading that is denied. */
bool explain_find_always_denied(const struct explain_input *in, const struct addr *a,
				struct addr *ret_addr);

/* What people read. */
struct explain_report {
	struct pst_decision decision;
	const struct policy_rule *rule;	   /* behind the verdict; NULL: none */
	const struct policy_rule *nearest; /* closest rule that does not decide; NULL: none */
	char name[DOMAIN_MAX + 1];	   /* asked for, or judged by; "" otherwise */
	char fix[EXPLAIN_TEXT_MAX];	   /* what edit would change the verdict; "" when allowed */
};

/* `dest` is one address or name with one port or any (any: tcp 443). */
int explain_dest(const struct explain_input *in, const struct policy_dest *dest,
		 struct explain_report *ret_report, struct error *err);

#endif
