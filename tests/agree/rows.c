/* SPDX-License-Identifier: MIT */
/* What a sandbox has learned -> the oracle's leases, and the rows that ingress would have written. */
#include <string.h>

#include "tests/agree/agree.h"

/* Ids: of a name; of one that nothing is known of any more; of one whose id is another's now. */
#define ID_OF(name)	   (0x9e3779b97f4a7c15ULL * ((name) + 1))
#define FORGOTTEN_OF(name) (ID_OF(name) ^ 1)
#define RENAMED_OF(name)   (ID_OF(name) ^ 2)

#define HOUR_NS 3600000000000ULL

void agree_oracle_leases(const struct agree_case *c, struct explain_lease leases[AGREE_LEASES])
{
	memset(leases, 0, AGREE_LEASES * sizeof(*leases));
	for (size_t i = 0; i < c->n_leases; i++) {
		leases[i].addr = c->leases[i].addr;
		for (unsigned at = 0; at < PST_LEASE_NAMES && !c->leases[i].moved; at++) {
			if (c->leases[i].by[at].state > AGREE_STALE)
				continue;
			leases[i].by[at].name = c->names[c->leases[i].by[at].name];
			leases[i].by[at].expired = c->leases[i].by[at].expired;
		}
	}
}

/* A pattern's key is the beginning of the keys that it covers. */
uint32_t agree_name_ports(const struct table *table, const struct pst_name_key *name)
{
	const struct table_name_row *found = NULL;

	for (size_t i = 0; i < table->n_names; i++) {
		const struct table_name_row *row = &table->names[i];

		if (8u * row->key_size <= name->prefixlen &&
		    (!found || row->key_size > found->key_size) &&
		    memcmp(row->key, name->name, row->key_size) == 0)
			found = row;
	}
	return found ? found->ports : 0;
}

static void make_place(const struct agree_case *c, const struct agree_lease *lease, unsigned at,
		       const struct agree_rows *rows, const struct table *table,
		       struct pst_lease_name *place)
{
	unsigned name = lease->by[at].name;
	/* Of an older generation every port set was possible. */
	uint32_t old_ports = (uint32_t)(name + at) % (uint32_t)table->n_ports;

	place->name = ID_OF(name);
	place->derived = PST_DERIVED(c->old_generation, old_ports);
	switch (lease->by[at].state) {
	case AGREE_FRESH:
		place->derived =
			PST_DERIVED(c->generation, agree_name_ports(table, &rows->names[name]));
		break;
	case AGREE_FREE:
		place->derived = 0;
		break;
	case AGREE_CLAIMED:
		place->derived = PST_CLAIMED;
		break;
	case AGREE_FORGOTTEN:
		place->name = FORGOTTEN_OF(name);
		break;
	case AGREE_RENAMED:
		place->name = RENAMED_OF(name);
		break;
	case AGREE_STALE:
	case AGREE_PLACES:
		break;
	}
}

static void make_lease(const struct agree_case *c, size_t i, const struct table *table,
		       uint64_t now_ns, struct agree_rows *rows)
{
	const struct agree_lease *lease = &c->leases[i];
	struct pst_lease *row = &rows->leases[i].value;

	rows->leases[i].addr = lease->addr;
	memcpy(row->addr, lease->addr.bytes, sizeof(row->addr));
	row->addr[15] ^= lease->moved;
	for (unsigned at = 0; at < PST_LEASE_NAMES; at++) {
		make_place(c, lease, at, rows, table, &row->by[at]);
		if (lease->by[at].expired)
			row->by[at].expires_ns = at & 1 ? 1 : now_ns;
		else
			row->by[at].expires_ns = at & 1 ? UINT64_MAX : now_ns + HOUR_NS;
	}
}

static void make_learned(struct agree_rows *rows, uint64_t id, uint64_t own_id,
			 const struct pst_name_key *key)
{
	rows->learned[rows->n_learned].id = id;
	rows->learned[rows->n_learned].value =
		(struct pst_learned){.name = own_id, .expires_ns = UINT64_MAX, .key = *key};
	rows->n_learned++;
}

void agree_rows(const struct agree_case *c, const struct table *table, uint64_t now_ns,
		struct agree_rows *ret_rows)
{
	memset(ret_rows, 0, sizeof(*ret_rows));
	for (unsigned i = 0; i < AGREE_NAMES; i++) {
		struct pst_name_key *key = &ret_rows->names[i];

		(void)domain_to_key(c->names[i], key); /* names of cases have a key */
		make_learned(ret_rows, ID_OF(i), ID_OF(i), key);
		make_learned(ret_rows, RENAMED_OF(i), ID_OF(i), key);
	}
	for (size_t i = 0; i < c->n_leases; i++)
		make_lease(c, i, table, now_ns, ret_rows);
	ret_rows->n_leases = c->n_leases;
}
