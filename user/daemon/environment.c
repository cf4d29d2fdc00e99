/* SPDX-License-Identifier: MIT */
/*
 * What this host adds to every policy: resolvers, its addresses, our own port. A policy is compiled with it, so one of
 * another environment is compiled again; stateDir/environment says which one the policies in force were compiled with.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "daemon/relay.h"

/* Compiled into E2B's templates. */
#define E2B_RESOLVER	"8.8.8.8"
#define ENVIRONMENT_MAX (64u * 1024)

/* E2B's sandboxes trust one resolver more. */
static int make_e2b_env(struct daemon *daemon, struct error *err)
{
	const struct addr_list *from = &daemon->host.env.resolvers;
	struct addr_list *to = &daemon->e2b_env.resolvers;
	struct addr *items = calloc(from->count + 1, sizeof(*items));
	int r;

	if (!items)
		return error_set(err, -ENOMEM, "out of memory");
	r = addr_parse(E2B_RESOLVER, &items[from->count], err);
	if (r < 0) {
		free(items);
		return r;
	}
	if (from->count)
		memcpy(items, from->items, from->count * sizeof(*items));
	free(to->items);
	*to = (struct addr_list){.items = items, .count = from->count + 1};
	return 0;
}

int daemon_load_environment(struct daemon *daemon, struct error *err)
{
	struct config *config = &daemon->config;
	struct host *host = &daemon->host;
	int r = host_load(host, err);

	if (r < 0)
		return r;
	host->always.add = config->always_add;
	host->always.except = config->always_except;
	config->always_add = config->always_except = (struct cidr_list){0};
	if (config->has_resolvers) {
		free(host->env.resolvers.items);
		host->env.resolvers = config->resolvers;
		config->resolvers = (struct addr_list){0};
	}
	if (!host->env.resolvers.count)
		log_warning("no resolver is trusted: names are never learned; set `resolvers`");
	host->env.daemon_port = daemon->e2b_env.daemon_port = config->listen_port;
	return make_e2b_env(daemon, err);
}

/* The policy of one under the environment of now. */
static void change_again(struct daemon *daemon, struct sandbox *sandbox)
{
	struct api_result result = {0};

	/* Of what is damaged another policy may be in force than the one that is stored. */
	if (!sandbox->at || sandbox->gone || sandbox->damaged || !sandbox->stored.document)
		return;
	daemon_change_again(daemon, sandbox, false, &result);
	if (result.status != API_OK)
		log_error("%s: the resolvers of before stay trusted: %s", sandbox->stored.id,
			  result.err.text);
	api_result_done(&result);
}

static int describe(const struct daemon *daemon, struct buf *out)
{
	const struct addr_list *list = &daemon->host.env.resolvers;
	char text[CIDR_TEXT_MAX];

	buf_printf(out, "port %u\n", daemon->host.env.daemon_port);
	/* On E2B's route names are the relay's to check where there is one. */
	buf_printf(out, "relays %d\n", daemon_relay_is_there(daemon));
	for (size_t i = 0; i < list->count; i++)
		buf_printf(out, "resolver %s\n", addr_print(&list->items[i], text));
	return buf_status(out);
}

static bool is_known(const char *path, const struct buf *text)
{
	cleanup_free char *before = NULL;
	struct error err = {0};
	size_t size;

	return !io_read_file(path, ENVIRONMENT_MAX, &before, &size, &err) && size == text->size &&
	       memcmp(before, text->data, size) == 0;
}

void daemon_compare_environment(struct daemon *daemon)
{
	cleanup_buf struct buf text = {0};
	cleanup_free char *path = NULL;
	struct error err = {0};

	if (asprintf(&path, "%s/environment", daemon->config.state_dir) < 0) {
		path = NULL;
		return;
	}
	if (describe(daemon, &text) < 0 || is_known(path, &text))
		return;
	for (struct sandbox *s = daemon->registry.first; s; s = s->next)
		change_again(daemon, s);
	if (io_replace_file(path, text.data, text.size, &err) < 0)
		log_warning("%s", err.text);
}

void daemon_reload_environment(struct daemon *daemon)
{
	struct addr_list *list = &daemon->host.env.resolvers, before = *list, fresh = {0};
	struct error err = {0};

	if (daemon->config.has_resolvers)
		return;
	if (host_read_resolvers(&fresh, &err) < 0) {
		log_error("the resolvers of before stay trusted: %s", err.text);
		return;
	}
	*list = fresh;
	if (make_e2b_env(daemon, &err) < 0) {
		log_error("the resolvers of before stay trusted: %s", err.text);
		*list = before;
		free(fresh.items);
		return;
	}
	free(before.items);
	daemon_compare_environment(daemon);
}
