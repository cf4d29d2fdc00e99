/* SPDX-License-Identifier: MIT */
/* Bytes of a relay -> a message that says nothing it may not say. */
#include <errno.h>
#include <string.h>

#include "base/domain.h"
#include "pst_reason.h"
#include "supervise/message.h"

/* What nobody has moved between two COUNTs. */
#define MAX_BYTES	(1ULL << 56)
#define MAX_CONNECTIONS (1ULL << 32)

#define CA_BEGIN "-----BEGIN CERTIFICATE-----"

/* Names that go back into a question or a certificate are to be what the policy's parser makes of them. */
static bool is_name(const char name[PST_NAME_SIZE])
{
	char canonical[DOMAIN_MAX + 1];

	return memchr(name, '\0', PST_NAME_SIZE) && name[0] &&
	       !domain_parse_name(name, canonical, NULL) && strcmp(name, canonical) == 0;
}

/* For people: whatever the sandbox called it. */
static int clean_text(char text[PST_NAME_SIZE])
{
	size_t size = strnlen(text, PST_NAME_SIZE);

	if (size == PST_NAME_SIZE)
		return -EPROTO;
	for (size_t i = 0; i < size; i++) {
		if (text[i] <= 0x20 || text[i] >= 0x7f || text[i] == '"' || text[i] == '\\')
			text[i] = '?';
	}
	memset(text + size, 0, PST_NAME_SIZE - size);
	return 0;
}

static int check_header(union message *message, size_t size)
{
	(void)message;
	return size == sizeof(message->header) ? 0 : -EPROTO;
}

static int check_applied(union message *message, size_t size)
{
	if (size != sizeof(message->answer) || message->answer.status > 0)
		return -EPROTO;
	return 0;
}

static int check_lease(union message *message, size_t size)
{
	const struct pst_relay_lease *lease = &message->lease;

	if (size != sizeof(*lease) || !lease->count || lease->count > PST_DNS_MAX_ADDRESSES ||
	    lease->pad || !is_name(lease->name))
		return -EPROTO;
	return 0;
}

static int check_sign(union message *message, size_t size)
{
	const struct pst_relay_sign *sign = &message->sign;

	if (size != sizeof(*sign) || !sign->key_size || sign->key_size > PST_RELAY_MAX_KEY ||
	    sign->pad || !is_name(sign->name))
		return -EPROTO;
	return 0;
}

static bool is_reason(uint8_t code)
{
	switch (code) {
#define X(number, NAME, name, text) case number:
		PST_REASONS(X)
#undef X
		return code != PST_REASON_UNSET;
	}
	return false;
}

static int check_event(union message *message, size_t size)
{
	struct pst_relay_event *event = &message->event;

	if (size != sizeof(*event) || !is_reason(event->reason) || event->step > PST_STEP_DEFAULT ||
	    (event->protocol != PST_TCP && event->protocol != PST_UDP))
		return -EPROTO;
	if (event->verdict != PST_VERDICT_ALLOW && event->verdict != PST_VERDICT_DENY &&
	    event->verdict != PST_VERDICT_WOULD_DENY)
		return -EPROTO;
	return clean_text(event->name);
}

static int check_count(union message *message, size_t size)
{
	const struct pst_relay_count *count = &message->count;

	if (size != sizeof(*count) || count->connections > MAX_CONNECTIONS ||
	    count->bytes_out > MAX_BYTES || count->bytes_in > MAX_BYTES)
		return -EPROTO;
	return 0;
}

static int check_signed(union message *message, size_t size)
{
	size_t rest = size - sizeof(message->answer);

	if (size < sizeof(message->answer) || rest > PST_RELAY_MAX_CERT ||
	    message->answer.status > 0 || (message->answer.status == 0) != (rest > 0))
		return -EPROTO;
	return 0;
}

/* What clients are told to trust: text, and of a certificate. */
static int check_ca(union message *message, size_t size)
{
	uint8_t *text = message->bytes + sizeof(message->header);
	size_t length;

	if (size <= sizeof(message->header) || size >= sizeof(message->bytes))
		return -EPROTO;
	length = size - sizeof(message->header);
	for (size_t i = 0; i < length; i++) {
		/* A NUL may stand at its end. */
		if (!text[i] && i + 1 == length)
			break;
		if ((text[i] < 0x20 && text[i] != '\n' && text[i] != '\r') || text[i] >= 0x7f)
			return -EPROTO;
	}
	text[length] = '\0';
	return strncmp((const char *)text, CA_BEGIN, strlen(CA_BEGIN)) == 0 ? 0 : -EPROTO;
}

static const struct kind {
	uint32_t type;
	bool is_signers;
	int (*check)(union message *message, size_t size);
} kinds[] = {
	{PST_RELAY_READY, false, check_header}, {PST_RELAY_APPLIED, false, check_applied},
	{PST_RELAY_LEASE, false, check_lease},	{PST_RELAY_SIGN, false, check_sign},
	{PST_RELAY_EVENT, false, check_event},	{PST_RELAY_COUNT, false, check_count},
	{PST_RELAY_SHUT, false, check_header},	{PST_RELAY_SIGNED, true, check_signed},
	{PST_RELAY_CA, true, check_ca},
};

int message_check(union message *message, size_t size, bool is_signer)
{
	if (size < sizeof(message->header) || size > sizeof(message->bytes) ||
	    message->header.size != size)
		return -EPROTO;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (kinds[i].type == message->header.type && kinds[i].is_signers == is_signer)
			return kinds[i].check(message, size);
	}
	return -EPROTO;
}

const uint8_t *message_certificate(const union message *message, size_t *ret_size)
{
	*ret_size = message->header.size - sizeof(message->answer);
	return message->bytes + sizeof(message->answer);
}

const char *message_ca(const union message *message)
{
	return (const char *)message->bytes + sizeof(message->header);
}
