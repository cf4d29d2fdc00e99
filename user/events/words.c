/* SPDX-License-Identifier: MIT */
/* Codes of the ABI -> words. Unknown codes come from a newer kernel side: they are "?", never an error. */
#include <stddef.h>

#include "events/words.h"
#include "pst_abi.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *word(const char *const *words, size_t count, unsigned code)
{
	return code < count && words[code] ? words[code] : "?";
}

const char *words_verdict(unsigned verdict)
{
	static const char *const words[] = {
		[PST_VERDICT_DENY] = "deny",   [PST_VERDICT_ALLOW] = "allow",
		[PST_VERDICT_RELAY] = "relay", [PST_VERDICT_OWNER] = "owner",
		[PST_VERDICT_GATE] = "gate",   [PST_VERDICT_WOULD_DENY] = "would-deny",
	};

	return word(words, COUNT(words), verdict);
}

const char *words_reason(unsigned reason)
{
	static const char *const words[] = {
#define X(code, NAME, name, text) [code] = name,
		PST_REASONS(X)
#undef X
	};

	return word(words, COUNT(words), reason);
}

const char *words_reason_text(unsigned reason)
{
	static const char *const words[] = {
#define X(code, NAME, name, text) [code] = text,
		PST_REASONS(X)
#undef X
	};

	return word(words, COUNT(words), reason);
}

const char *words_protocol(unsigned protocol)
{
	switch (protocol) {
	case 0:
		return "";
	case PST_TCP:
		return "tcp";
	case PST_UDP:
		return "udp";
	case PST_ICMP:
		return "icmp";
	}
	return "?";
}

const char *words_hook(unsigned hook)
{
	static const char *const words[] = {
		[PST_HOOK_NONE] = "",		[PST_HOOK_CONNECT] = "connect",
		[PST_HOOK_SENDMSG] = "sendmsg", [PST_HOOK_SOCKET] = "socket",
		[PST_HOOK_SOCKOPT] = "sockopt", [PST_HOOK_EGRESS] = "egress",
		[PST_HOOK_INGRESS] = "ingress", [PST_HOOK_UNIX] = "unix",
		[PST_HOOK_RELAY] = "relay",
	};

	return word(words, COUNT(words), hook);
}

const char *words_reply(unsigned reply)
{
	static const char *const words[] = {
		[PST_REPLY_UNASKED] = "unasked",     [PST_REPLY_LEARNED] = "learned",
		[PST_REPLY_EMPTY] = "empty",	     [PST_REPLY_TRUNCATED] = "truncated",
		[PST_REPLY_MALFORMED] = "malformed", [PST_REPLY_OVERSIZE] = "oversize",
		[PST_REPLY_ERROR] = "error",	     [PST_REPLY_UNTRUSTED] = "untrusted",
	};

	return word(words, COUNT(words), reply);
}
