/* SPDX-License-Identifier: MIT */
/* What explain_dest() found -> the labels of its rules, the destination as it was asked about. */
#include "table/explain_answer.h"
#include "table/explain_fix.h"

static unsigned rule_number(const struct policy *policy, const struct policy_rule *rule)
{
	return rule ? (unsigned)(rule - policy->rules) + 1 : 0;
}

static uint8_t protocol_of(const struct policy_dest *dest)
{
	if (dest->any_port || dest->web_ports || (dest->protocols & PST_TCP))
		return PST_TCP;
	return dest->protocols;
}

int explain_answer(const struct explain_input *in, const struct policy_dest *dest,
		   struct explain_answer *ret_answer, struct error *err)
{
	const struct policy *policy = in->policy;
	struct explain_answer *answer = ret_answer;
	struct explain_report report;
	int r = explain_dest(in, dest, &report, err);

	if (r < 0)
		return r;
	answer->report = report;
	answer->port = dest->any_port || dest->web_ports ? 443 : dest->first;
	answer->protocol = protocol_of(dest);
	answer->address[0] = '\0';
	if (dest->kind == POLICY_DEST_CIDR)
		addr_print(&dest->cidr.addr, answer->address);
	policy_rule_label(policy, rule_number(policy, report.rule), answer->rule,
			  sizeof(answer->rule));
	policy_rule_label(policy, rule_number(policy, report.nearest), answer->nearest,
			  sizeof(answer->nearest));
	answer->lack =
		report.nearest ? explain_lack(report.nearest, &dest->cidr.addr, report.name) : NULL;
	return 0;
}
