/* SPDX-License-Identifier: MIT */
/* What this host adds to every policy: its resolvers, and its own addresses. */
#ifndef KERN_HOSTENV_H
#define KERN_HOSTENV_H

#include "base/cleanup.h"
#include "base/error.h"
#include "kern/hostaddr.h"
#include "table/explain.h"
#include "table/table.h"

struct host {
	struct table_env env;
	struct table_always_input always;
	struct hostaddr *addresses; /* follows always.host */
};

int host_load(struct host *host, struct error *err);
/* The resolvers that /etc/resolv.conf names; none where there is no such file. The caller frees ret_list->items. */
int host_read_resolvers(struct addr_list *ret_list, struct error *err);
/* Reads what has changed since; *ret_changed tells whether always.host is another list now. */
int host_refresh(struct host *host, bool *ret_changed);
/* The always-denied set; the caller frees the rows. */
int host_always(const struct host *host, struct table_always_row **ret_rows, size_t *ret_count,
		struct error *err);
void host_done(struct host *host);
#define cleanup_host cleanup(host_done)

struct explain_input host_explain_input(const struct host *host, const struct policy *policy);

#endif
