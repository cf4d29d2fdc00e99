/* SPDX-License-Identifier: MIT */
/*
 * Any bytes from a proxy, in one piece and byte by byte: both end alike, at the same byte, and no byte is taken that
 * does not belong to the handshake. The first byte of the input says what there is to say to it.
 */
#include "fuzz.h"

#include "relay/relay.h"

struct end {
	enum socks_status status;
	unsigned reply;
	size_t used;
	unsigned writes;
};

static struct end run(const struct relay_proxy *proxy, const struct relay_target *target,
		      const uint8_t *data, size_t size, size_t piece)
{
	struct end end = {.status = SOCKS_MORE};
	struct socks socks;
	size_t used, now;

	socks_start(&socks, proxy, target);
	end.status = socks_step(&socks, NULL, 0, &used);
	MUST(end.status == SOCKS_WRITE && used == 0);
	while (end.status == SOCKS_MORE || end.status == SOCKS_WRITE) {
		now = size - end.used < piece ? size - end.used : piece;
		if (!now)
			break;
		end.status = socks_step(&socks, data + end.used, now, &used);
		MUST(used > 0 && used <= now);
		MUST(end.status != SOCKS_MORE || used == now);
		end.used += used;
		if (end.status == SOCKS_WRITE) {
			MUST(socks.out_size > 0 && socks.out_size <= sizeof(socks.out));
			end.writes++;
		}
	}
	end.reply = socks.reply;
	return end;
}

/* A reply is 262 bytes at the most, and there are three. */
static void check(const struct end *end, const uint8_t *data)
{
	MUST(end->used <= 2 + 2 + 262);
	MUST(end->writes <= 2);
	if (end->status != SOCKS_DONE)
		return;
	MUST(data[0] == 5 && (data[1] == 0 || data[1] == 2));
	MUST(end->writes == (data[1] == 2 ? 2u : 1u));
	MUST(end->used >= 9);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct relay_proxy proxy = {.host = "proxy", .port = 1080};
	struct relay_target target = {.port = 443};
	struct end whole, bytes;

	if (size < 1)
		return 0;
	if (data[0] & 1) {
		strcpy(proxy.username, "user");
		strcpy(proxy.password, "password");
	}
	if (data[0] & 2)
		strcpy(target.name, "example.com");
	else if (data[0] & 4)
		target.addr.bytes[10] = target.addr.bytes[11] = 0xff;
	data++;
	size--;
	whole = run(&proxy, &target, data, size, SIZE_MAX);
	bytes = run(&proxy, &target, data, size, 1);
	check(&whole, data);
	MUST(whole.status == bytes.status && whole.used == bytes.used);
	MUST(whole.reply == bytes.reply && whole.writes == bytes.writes);
	return 0;
}
