/* SPDX-License-Identifier: MIT */
/* Domain names and patterns: any text a person writes -> lower-case A-labels, checked. Pure. */
#ifndef BASE_DOMAIN_H
#define BASE_DOMAIN_H

#include <stdbool.h>

#include "base/error.h"
#include "pst_abi.h"

#define DOMAIN_MAX 253

enum domain_kind {
	DOMAIN_EXACT = 0, /* example.com */
	DOMAIN_WILDCARD =
		1,	/* *.example.com: any depth below, not the apex; name is "example.com" */
	DOMAIN_ANY = 2, /* *: any name; name is "" */
};

struct domain {
	char name[DOMAIN_MAX + 1]; /* lower-case A-labels, no trailing dot */
	unsigned char kind;	   /* enum domain_kind */
};

/* A pattern as a policy writes it. One trailing dot is tolerated; U-labels become A-labels; labels of
 * letters, digits, hyphen and underscore, 1..63; `*` only as the whole leftmost label. -EINVAL with err. */
int domain_parse(const char *text, struct domain *ret_domain, struct error *err);
/* A plain name to look up (no wildcard), same rules. */
int domain_parse_name(const char *text, char ret_name[DOMAIN_MAX + 1], struct error *err);
/* Canonical text of the pattern into `text`; returns it. */
const char *domain_print(const struct domain *d, char text[DOMAIN_MAX + 3]);
/* name: lower-case A-labels without trailing dot. */
bool domain_matches(const struct domain *d, const char *name);
/* `*.co.uk` and the like: a wildcard directly above a public suffix (libpsl). */
bool domain_is_above_public_suffix(const struct domain *d);

/* A whole name as the tries have it. name: as for domain_matches(); "" is the root. -EINVAL when it is too long. */
int domain_to_key(const char *name, struct pst_name_key *ret_key);
/* And back, for people: "" when the key is no whole name (prefixlen 0 included), "." for the root, '?' for a byte that
 * no name here has. Writes at most DOMAIN_MAX + 1 bytes, whatever the key holds; returns `text`. */
const char *domain_from_key(const struct pst_name_key *key, char text[DOMAIN_MAX + 1]);

#endif
