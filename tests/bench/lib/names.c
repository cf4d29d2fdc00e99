/* SPDX-License-Identifier: MIT */
/* Names as allow lists have them, DNS messages, and the tables that replies leave their marks in. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "kern/cgroup.h"
#include "tests/bench/lib/names.h"

#define WILDCARD_EVERY 8

static const char *const suffixes[] = {"com", "net",   "org", "io", "dev",   "co.uk",
				       "de",  "cloud", "app", "fr", "com.br"};
static const char *const hosts[] = {"", "", "www.", "api.", "cdn.eu-west-1.", "registry."};

static uint32_t mix(uint32_t x)
{
	x = (x ^ x >> 16) * 0x7feb352dU;
	x = (x ^ x >> 15) * 0x846ca68bU;
	return x ^ x >> 16;
}

/* A domain of letters, other than every other one. */
static void domain(unsigned i, char *out, size_t size)
{
	uint32_t draw = mix(i + 1);
	char label[24];
	size_t n = 0;

	for (size_t letters = 2 + draw % 8; n < letters; n++) {
		label[n] = (char)('a' + draw % 26);
		draw = mix(draw);
	}
	for (unsigned rest = i + 26; rest; rest /= 26)
		label[n++] = (char)('a' + rest % 26);
	label[n] = 0;
	snprintf(out, size, "%s.%s", label,
		 suffixes[draw % (sizeof(suffixes) / sizeof(*suffixes))]);
}

static bool is_wildcard(unsigned i)
{
	return i % WILDCARD_EVERY == WILDCARD_EVERY - 1;
}

static const char *host(unsigned i)
{
	return hosts[mix(i ^ 0x5bd1e995U) % (sizeof(hosts) / sizeof(*hosts))];
}

void bench_name(unsigned i, char name[BENCH_NAME_SIZE])
{
	char text[BENCH_NAME_SIZE - 20];

	domain(i, text, sizeof(text));
	snprintf(name, BENCH_NAME_SIZE, "%s%s", is_wildcard(i) ? "files." : host(i), text);
}

void bench_names_text(const char *allow, unsigned count, struct buf *out)
{
	char name[BENCH_NAME_SIZE];

	buf_printf(out, "{\"dns\": {\"resolvers\": [\"" BENCH_RESOLVER "\"]},\n");
	buf_printf(out, "\"denyOut\": [\"0.0.0.0/0\"],\n\"allowOut\": [\"%s\"", allow);
	for (unsigned i = 0; i < count; i++) {
		domain(i, name, sizeof(name));
		buf_printf(out, ",\n\"%s%s:%u\"", is_wildcard(i) ? "*." : host(i), name,
			   BENCH_PORT);
	}
	buf_puts(out, "]}\n");
	if (buf_status(out) < 0)
		bench_fail("policy", ENOMEM);
}

void bench_names_make(struct bench_sandbox *sandbox, const char *parent, const char *name,
		      const char *allow, unsigned count)
{
	cleanup_buf struct buf text = {0};
	cleanup_policy struct policy *policy = NULL;
	cleanup_table struct table *table = NULL;

	bench_names_text(allow, count, &text);
	policy = bench_parse(&text);
	table = bench_compile(policy);
	bench_sandbox_open(sandbox, parent, name, table, NULL);
}

/* ---- messages ---- */

static void put(struct bench_message *message, const void *bytes, size_t size)
{
	if (size > sizeof(message->bytes) - message->size)
		bench_fail("a DNS message", EMSGSIZE);
	memcpy(message->bytes + message->size, bytes, size);
	message->size += size;
}

static void put16(struct bench_message *message, unsigned value)
{
	put(message, &(uint16_t){htons((uint16_t)value)}, 2);
}

static void put_name(struct bench_message *message, const char *name)
{
	while (*name) {
		unsigned char length = (unsigned char)strcspn(name, ".");

		put(message, &length, 1);
		put(message, name, length);
		name += length + (name[length] == '.');
	}
	put(message, "", 1);
}

static void put_head(struct bench_message *message, uint16_t txid, unsigned flags, unsigned answers,
		     const char *name)
{
	message->size = 0;
	put16(message, txid);
	put16(message, flags);
	put16(message, 1);
	put16(message, answers);
	put16(message, 0);
	put16(message, 1);
	put_name(message, name);
	put16(message, 1); /* A */
	put16(message, 1); /* IN */
}

static void put_edns(struct bench_message *message)
{
	put(message, "\0\0\x29\x04\xd0\0\0\0\0\0\0", 11);
}

void bench_question(struct bench_message *message, uint16_t txid, const char *name)
{
	put_head(message, txid, 0x0120, 0, name);
	put_edns(message);
}

void bench_reply(struct bench_message *message, uint16_t txid, const char *name, uint32_t addr)
{
	put_head(message, txid, 0x8180, 1, name);
	put(message, "\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4", 12);
	message->addr = message->size;
	put(message, &(uint32_t){htonl(addr)}, 4);
	put_edns(message);
}

/* ---- what replies leave behind ---- */

int bench_pinned(const struct bench_sandbox *sandbox, const char *map)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/maps/%s", sandbox->pin_dir, map);
	fd = bpf_obj_get(path);
	if (fd < 0)
		bench_fail(path, errno);
	return fd;
}

struct pst_sandbox bench_record(const struct bench_sandbox *sandbox)
{
	cleanup_close int map = bench_pinned(sandbox, "pst_sandbox");
	struct pst_sandbox record;
	uint64_t cgroup;

	if (cgroup_id(sandbox->cgroup_fd, &cgroup) || bpf_map_lookup_elem(map, &cgroup, &record))
		bench_fail("the sandbox record", errno);
	return record;
}

int bench_state_table(const struct bench_sandbox *sandbox, const char *map)
{
	cleanup_close int outer = bench_pinned(sandbox, map);
	struct pst_sandbox record = bench_record(sandbox);
	uint32_t id;
	int fd = -1;

	if (bpf_map_lookup_elem(outer, &record.names_slot, &id) == 0)
		fd = bpf_map_get_fd_by_id(id);
	if (fd < 0)
		bench_fail(map, errno);
	return fd;
}

void bench_clear(int table_fd, size_t key_size)
{
	unsigned char key[64];

	if (key_size > sizeof(key))
		bench_fail("a table's key", EMSGSIZE);
	while (bpf_map_get_next_key(table_fd, NULL, key) == 0) {
		if (bpf_map_delete_elem(table_fd, key))
			bench_fail("clearing a table", errno);
	}
}

struct pst_quota bench_quota(const struct bench_sandbox *sandbox)
{
	cleanup_close int map = bench_pinned(sandbox, "pst_quotas");
	struct pst_sandbox record = bench_record(sandbox);
	struct pst_quota quota;

	if (bpf_map_lookup_elem(map, &record.state_slot, &quota))
		bench_fail("the quota", errno);
	return quota;
}
