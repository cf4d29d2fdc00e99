/* SPDX-License-Identifier: MIT */
/* What relayed connections have moved, by rule: gathered, and told by COUNT once a second. */
#include <stdlib.h>
#include <string.h>

#include "relay/core.h"

/* Rules of a sandbox that have moved something in the same second; with more of them COUNT comes sooner. */
#define ENTRIES 16

struct tally_entry {
	uint32_t rule;
	uint64_t connections, bytes_out, bytes_in;
};

struct tally {
	struct tally_entry entries[ENTRIES];
	size_t count;
	uint32_t told_active;
};

static bool tell(struct relay_sandbox *sandbox, const struct tally_entry *entry)
{
	struct pst_relay_count count = {
		.header = {.type = PST_RELAY_COUNT, .size = sizeof(count), .sandbox = sandbox->id},
		.rule = entry->rule,
		.active = sandbox->n_sessions,
		.connections = entry->connections,
		.bytes_out = entry->bytes_out,
		.bytes_in = entry->bytes_in,
	};

	if (control_send(sandbox->relay, &count.header) < 0)
		return false;
	sandbox->tally->told_active = sandbox->n_sessions;
	return true;
}

/* What the starter does not take now stays for the next time. */
static void flush(struct relay_sandbox *sandbox)
{
	struct tally *tally = sandbox->tally;
	const struct tally_entry none = {.rule = 0};

	while (tally->count && tell(sandbox, &tally->entries[tally->count - 1]))
		tally->count--;
	if (!tally->count && tally->told_active != sandbox->n_sessions)
		(void)tell(sandbox, &none);
}

/* NULL: there is no memory, or no room; what was to be counted is not. */
static struct tally_entry *entry_of(struct relay_sandbox *sandbox, uint32_t rule)
{
	struct tally *tally = sandbox->tally;

	if (!tally)
		tally = sandbox->tally = calloc(1, sizeof(*tally));
	if (!tally)
		return NULL;
	for (size_t i = 0; i < tally->count; i++) {
		if (tally->entries[i].rule == rule)
			return &tally->entries[i];
	}
	if (tally->count == ENTRIES)
		flush(sandbox);
	if (tally->count == ENTRIES)
		return NULL;
	memset(&tally->entries[tally->count], 0, sizeof(tally->entries[0]));
	tally->entries[tally->count].rule = rule;
	return &tally->entries[tally->count++];
}

void tally_session(struct session *session)
{
	bool is_new = !session->is_counted && session->verdict != PST_VERDICT_DENY;
	struct tally_entry *entry;

	if (!is_new && session->bytes_out == session->told_out &&
	    session->bytes_in == session->told_in)
		return;
	entry = entry_of(session->sandbox, session->rule);
	if (!entry)
		return;
	entry->connections += is_new;
	session->is_counted |= is_new;
	entry->bytes_out += session->bytes_out - session->told_out;
	entry->bytes_in += session->bytes_in - session->told_in;
	session->told_out = session->bytes_out;
	session->told_in = session->bytes_in;
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
	struct relay *relay = context;

	(void)fd, (void)what;
	for (struct relay_sandbox *s = relay->sandboxes; s; s = s->next) {
		for (struct session *session = s->sessions; session; session = session->next)
			tally_session(session);
		if (s->tally)
			flush(s);
	}
}

int tally_start(struct relay *relay)
{
	const struct timeval second = {.tv_sec = 1};

	relay->tick = event_new(relay->base, -1, EV_PERSIST, on_tick, relay);
	return relay->tick && event_add(relay->tick, &second) == 0 ? 0 : -1;
}

void tally_stop(struct relay *relay)
{
	if (relay->tick)
		event_free(relay->tick);
	relay->tick = NULL;
}

/* With the last of it told, if the starter still listens. */
void tally_free(struct relay_sandbox *sandbox)
{
	if (sandbox->tally)
		flush(sandbox);
	free(sandbox->tally);
	sandbox->tally = NULL;
}
