/* SPDX-License-Identifier: MIT */
/* What stands in for the relay's session, policy and dialling where HTTP alone is tried (ld --wrap). */
#ifndef TESTS_LIB_RELAY_WRAPS_H
#define TESTS_LIB_RELAY_WRAPS_H

#include "relay/core.h"

void __wrap_session_end(struct session *session, bool reset);
enum pst_reason __wrap_session_judge(const struct session *session, const char *name,
				     uint32_t *ret_rule);
bool __wrap_session_deny(struct session *session, enum pst_reason reason);
void __wrap_session_report(struct session *session, uint8_t verdict, enum pst_reason reason);
const struct relay_name *__wrap_relay_policy_name(const struct relay_policy *policy,
						  const char *name, uint8_t protocol,
						  uint16_t port);
const struct relay_transform *__wrap_relay_policy_transform(const struct relay_policy *policy,
							    const char *name);
struct dial *__wrap_relay_dial(struct relay_sandbox *sandbox, const struct relay_target *target,
			       relay_dialled_fn fn, void *context);
void __wrap_relay_dial_cancel(struct dial *dial);

#endif
