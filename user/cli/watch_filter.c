/* SPDX-License-Identifier: MIT */
/* Which verdicts somebody wants to see. */
#include <errno.h>
#include <string.h>

#include "api/client.h"
#include "cli/watch_filter.h"
#include "events/words.h"

static const char *const verdicts[] = {"allow", "deny", "would-deny", "relay"};

int watch_filter_set_verdict(struct watch_filter *filter, const char *text, struct error *err)
{
	for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
		if (strcmp(text, verdicts[i]) == 0) {
			filter->verdict = verdicts[i];
			return 0;
		}
	}
	return error_set(err, -EINVAL,
			 "unknown verdict '%s', expected allow, deny, would-deny or relay", text);
}

int watch_filter_set_to(struct watch_filter *filter, const char *text, struct error *err)
{
	int r = policy_dest_parse(text, false, &filter->to, err);

	if (r < 0)
		return error_prepend(err, r, "--to: ");
	filter->has_to = true;
	return 0;
}

static void add_parameter(struct buf *out, const char **separator, const char *name,
			  const char *value)
{
	buf_printf(out, "%s%s=", *separator, name);
	api_client_encode(out, value);
	*separator = "&";
}

void watch_filter_path(const struct watch_filter *filter, struct buf *out)
{
	const struct policy_dest *to = &filter->to;
	char name[DOMAIN_MAX + 3];
	const char *separator = "?";

	buf_puts(out, "/v1/events");
	if (filter->sandbox)
		add_parameter(out, &separator, "sandbox", filter->sandbox);
	if (filter->verdict)
		add_parameter(out, &separator, "verdict", filter->verdict);
	if (filter->has_to && to->kind == POLICY_DEST_NAME && to->domain.kind != DOMAIN_ANY)
		add_parameter(out, &separator, "name", domain_print(&to->domain, name));
}

static unsigned protocol_of(const struct verdict *v)
{
	static const unsigned char known[] = {PST_TCP, PST_UDP, PST_ICMP};

	for (size_t i = 0; i < sizeof(known); i++) {
		if (strcmp(v->protocol, words_protocol(known[i])) == 0)
			return known[i];
	}
	return 0;
}

/* web_ports: no port was written, and whoever watches a name means all of them. */
static bool admits_port(const struct policy_dest *to, const struct verdict *v)
{
	if (to->web_ports || (to->any_port && to->protocols == PST_ANY_PROTO))
		return true;
	if (!(protocol_of(v) & to->protocols))
		return false;
	return to->any_port || (v->port >= to->first && v->port <= to->last);
}

static bool admits_host(const struct policy_dest *to, const struct verdict *v)
{
	struct addr address;

	if (to->kind == POLICY_DEST_NAME)
		return *v->name && domain_matches(&to->domain, v->name);
	return addr_parse(v->address, &address, NULL) == 0 && cidr_contains(&to->cidr, &address);
}

bool watch_filter_admits(const struct watch_filter *filter, const struct verdict *verdict)
{
	if (verdict->lost || !filter->has_to)
		return true;
	return admits_host(&filter->to, verdict) && admits_port(&filter->to, verdict);
}
