/* SPDX-License-Identifier: MIT */
/* What this host adds to every policy: its resolvers, and its own addresses. */
#include "kern/hostenv.h"

#include <errno.h>
#include <string.h>

#include "base/io.h"
#include "base/resolvconf.h"

#define RESOLV_CONF	     "/etc/resolv.conf"
#define RESOLV_CONF_MAX_SIZE (64u * 1024)

/* A host without resolv.conf trusts no resolver; every other failure is one. */
int host_read_resolvers(struct addr_list *ret_list, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t size;
	int r;

	r = io_read_file(RESOLV_CONF, RESOLV_CONF_MAX_SIZE, &text, &size, err);
	if (r == -ENOENT) {
		err->text[0] = '\0';
		return 0;
	}
	if (r < 0)
		return r;
	r = resolvconf_parse(text, ret_list);
	return r < 0 ? error_set(err, r, RESOLV_CONF ": %s", strerror(-r)) : 0;
}

int host_load(struct host *host, struct error *err)
{
	bool changed;
	int r;

	*host = (struct host){0};
	r = host_read_resolvers(&host->env.resolvers, err);
	if (r < 0)
		return r;
	r = hostaddr_new(&host->addresses, err);
	if (r < 0)
		return r;
	r = hostaddr_list(host->addresses, &host->always.host, &changed);
	if (r < 0)
		return error_set(err, r, "cannot list this host's addresses: %s", strerror(-r));
	return 0;
}

int host_refresh(struct host *host, bool *ret_changed)
{
	struct addr_list list = {0};
	int r;

	r = hostaddr_list(host->addresses, &list, ret_changed);
	if (r < 0)
		return r;
	free(host->always.host.items);
	host->always.host = list;
	return 0;
}

int host_always(const struct host *host, struct table_always_row **ret_rows, size_t *ret_count,
		struct error *err)
{
	int r = table_always(&host->always, ret_rows, ret_count);

	return r < 0 ? error_set(err, r, "cannot make the always-denied set: %s", strerror(-r)) : 0;
}

void host_done(struct host *host)
{
	hostaddr_free(host->addresses);
	free(host->always.host.items);
	free(host->env.resolvers.items);
}

struct explain_input host_explain_input(const struct host *host, const struct policy *policy)
{
	return (struct explain_input){
		.policy = policy,
		.env = &host->env,
		.always = &host->always,
	};
}
