/* SPDX-License-Identifier: MIT */
/* What a relay tells of a connection, request or question -> an event like the kernel's. */
#include <netinet/in.h>
#include <string.h>

#include "base/domain.h"
#include "events/relayed.h"

void relayed_event(const struct pst_relay_event *told, uint64_t sandbox, uint64_t now_ns,
		   struct pst_event *ret_event)
{
	struct pst_event event = {.time_ns = now_ns,
				  .sandbox = sandbox,
				  .rule = told->rule,
				  .port = told->port,
				  .protocol = told->protocol,
				  .verdict = told->verdict,
				  .step = told->step,
				  .reason = told->reason,
				  .hook = PST_HOOK_RELAY,
				  .ip_protocol =
					  told->protocol == PST_UDP ? IPPROTO_UDP : IPPROTO_TCP};

	memcpy(event.addr, told->addr, sizeof(event.addr));
	if (told->name[0])
		(void)domain_to_key(told->name, &event.name);
	*ret_event = event;
}
