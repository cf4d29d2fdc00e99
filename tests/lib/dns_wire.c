/* SPDX-License-Identifier: MIT */
#include "tests/lib/dns_wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/addr.h"

void dns_wire_u8(struct dns_wire *w, unsigned value)
{
	if (w->size < sizeof(w->bytes))
		w->bytes[w->size] = (uint8_t)value;
	w->size++;
}

void dns_wire_bytes(struct dns_wire *w, const void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		dns_wire_u8(w, ((const uint8_t *)bytes)[i]);
}

void dns_wire_u16(struct dns_wire *w, unsigned value)
{
	dns_wire_u8(w, value >> 8);
	dns_wire_u8(w, value);
}

void dns_wire_u32(struct dns_wire *w, uint32_t value)
{
	dns_wire_u16(w, value >> 16);
	dns_wire_u16(w, value);
}

void dns_wire_patch(struct dns_wire *w, size_t at, unsigned value)
{
	w->bytes[at] = (uint8_t)(value >> 8);
	w->bytes[at + 1] = (uint8_t)value;
}

void dns_wire_header(struct dns_wire *w, const struct dns_wire_header *header)
{
	w->size = 0;
	dns_wire_u16(w, header->txid);
	dns_wire_u16(w, header->flags);
	dns_wire_u16(w, header->questions);
	dns_wire_u16(w, header->answers);
	dns_wire_u16(w, header->authority);
	dns_wire_u16(w, header->additional);
}

size_t dns_wire_name(struct dns_wire *w, const char *text)
{
	size_t at = w->size;

	for (;;) {
		size_t size = strcspn(text, ".@");

		if (size) {
			dns_wire_u8(w, (unsigned)size);
			dns_wire_bytes(w, text, size);
		}
		text += size;
		if (*text == '.') {
			text++;
			continue;
		}
		if (*text == '@')
			dns_wire_u16(w, 0xc000u | (unsigned)strtoul(text + 1, NULL, 10));
		else
			dns_wire_u8(w, 0);
		return at;
	}
}

void dns_wire_question(struct dns_wire *w, const char *name, unsigned type)
{
	dns_wire_name(w, name);
	dns_wire_u16(w, type);
	dns_wire_u16(w, 1);
}

static size_t begin_record(struct dns_wire *w, const struct dns_wire_record *record)
{
	dns_wire_name(w, record->owner);
	dns_wire_u16(w, record->type);
	dns_wire_u16(w, record->class ? record->class : 1);
	dns_wire_u32(w, record->ttl_s);
	dns_wire_u16(w, 0);
	return w->size;
}

static size_t end_record(struct dns_wire *w, size_t data)
{
	if (data <= sizeof(w->bytes))
		dns_wire_patch(w, data - 2, (unsigned)(w->size - data));
	return data;
}

size_t dns_wire_record(struct dns_wire *w, const struct dns_wire_record *record, const void *data,
		       size_t size)
{
	size_t at = begin_record(w, record);

	dns_wire_bytes(w, data, size);
	return end_record(w, at);
}

size_t dns_wire_cname(struct dns_wire *w, const char *owner, uint32_t ttl_s, const char *target)
{
	const struct dns_wire_record record = {.owner = owner, .type = 5, .ttl_s = ttl_s};
	size_t at = begin_record(w, &record);

	dns_wire_name(w, target);
	return end_record(w, at);
}

size_t dns_wire_address(struct dns_wire *w, const char *owner, uint32_t ttl_s, const char *text)
{
	struct dns_wire_record record = {.owner = owner, .type = 28, .ttl_s = ttl_s};
	struct addr addr;

	if (addr_parse(text, &addr, NULL))
		abort();
	if (!addr_is_ipv4(&addr))
		return dns_wire_record(w, &record, addr.bytes, 16);
	record.type = 1;
	return dns_wire_record(w, &record, addr.bytes + 12, 4);
}

void dns_wire_opt(struct dns_wire *w, const void *data, size_t size)
{
	const struct dns_wire_record record = {.owner = "", .type = 41, .class = 1232};

	dns_wire_record(w, &record, data, size);
}
