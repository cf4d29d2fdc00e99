/* SPDX-License-Identifier: MIT */
/* Any packet of a relay (or, by the first byte, of the signer): what passes holds what its starter relies on. */
#include "fuzz.h"

#include "base/domain.h"
#include "pst_reason.h"
#include "supervise/message.h"

static void check_name(const char *name)
{
	char canonical[DOMAIN_MAX + 1];

	MUST(memchr(name, '\0', PST_NAME_SIZE));
	MUST(domain_parse_name(name, canonical, NULL) == 0 && strcmp(name, canonical) == 0);
}

static void check_event(const struct pst_relay_event *event)
{
	MUST(memchr(event->name, '\0', sizeof(event->name)));
	for (const char *c = event->name; *c; c++)
		MUST(*c > 0x20 && *c < 0x7f && *c != '"' && *c != '\\');
	MUST(event->reason && event->reason < PST_REASON_MAX);
	MUST(event->step <= PST_STEP_DEFAULT);
}

static void check_relays(const union message *m, size_t size)
{
	switch (m->header.type) {
	case PST_RELAY_READY:
		MUST(size == sizeof(m->header));
		break;
	case PST_RELAY_APPLIED:
		MUST(size == sizeof(m->answer) && m->answer.status <= 0);
		break;
	case PST_RELAY_LEASE:
		MUST(size == sizeof(m->lease) && m->lease.count <= PST_DNS_MAX_ADDRESSES);
		check_name(m->lease.name);
		break;
	case PST_RELAY_SIGN:
		MUST(size == sizeof(m->sign) && m->sign.key_size <= PST_RELAY_MAX_KEY);
		check_name(m->sign.name);
		break;
	case PST_RELAY_EVENT:
		MUST(size == sizeof(m->event));
		check_event(&m->event);
		break;
	case PST_RELAY_COUNT:
		MUST(size == sizeof(m->count));
		break;
	default:
		MUST(m->header.type == PST_RELAY_READY); /* no relay says that */
	}
}

static void check_signers(const union message *m, size_t size)
{
	size_t length = 0;

	if (m->header.type == PST_RELAY_CA) {
		MUST(strlen(message_ca(m)) <= size - sizeof(m->header));
		MUST(strncmp(message_ca(m), "-----BEGIN", 10) == 0);
		return;
	}
	MUST(m->header.type == PST_RELAY_SIGNED);
	MUST(message_certificate(m, &length) && length <= PST_RELAY_MAX_CERT);
	MUST(length + sizeof(m->answer) == size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	union message *message;
	bool is_signer = size && data[0] & 1;

	if (!size || --size > sizeof(message->bytes))
		return 0;
	/* In memory of its own: what is read behind it is found. */
	message = calloc(1, sizeof(*message));
	MUST(message);
	memcpy(message->bytes, data + 1, size);
	if (message_check(message, size, is_signer) == 0) {
		MUST(message->header.size == size);
		if (is_signer)
			check_signers(message, size);
		else
			check_relays(message, size);
	}
	free(message);
	return 0;
}
