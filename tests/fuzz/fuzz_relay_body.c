/* SPDX-License-Identifier: MIT */
/* Any bytes as a chunked body, in pieces of any size: the same payload, the same end, and no byte of framing in it. */
#include "fuzz.h"

#include "relay/body.h"

struct outcome {
	enum body_status status;
	size_t used, payload;
	uint64_t hash;
};

static void take(struct outcome *o, const uint8_t *run, size_t size)
{
	o->payload += size;
	for (size_t i = 0; i < size; i++)
		o->hash = (o->hash ^ run[i]) * 0x100000001b3u;
}

static struct outcome run(enum body_kind kind, const uint8_t *data, size_t size, size_t step)
{
	struct outcome o = {.status = BODY_MORE};
	struct body body;

	body_start(&body, kind, 1000);
	while (o.used < size || step == 0) {
		size_t piece = step && size - o.used > step ? step : size - o.used, used = 0;
		const uint8_t *at = NULL;
		size_t at_size = 0;

		o.status = body_step(&body, data + o.used, piece, &used, &at, &at_size);
		if (o.status == BODY_BAD)
			return o;
		MUST(used <= piece && at_size <= used);
		if (o.status == BODY_DATA) {
			MUST(at_size > 0 && at + at_size == data + o.used + used);
			take(&o, at, at_size);
		}
		o.used += used;
		if (o.status == BODY_DONE || (o.status == BODY_MORE && o.used == size))
			break;
		MUST(used > 0);
	}
	if (o.status == BODY_DATA) { /* the end shows with nothing more to read */
		size_t used;
		const uint8_t *at;

		o.status = body_step(&body, data + size, 0, &used, &at, &used);
	}
	MUST(o.payload <= o.used);
	return o;
}

static void check(enum body_kind kind, const uint8_t *data, size_t size)
{
	struct outcome whole = run(kind, data, size, size), bytes = run(kind, data, size, 1);

	MUST(whole.status == bytes.status);
	if (whole.status == BODY_BAD)
		return;
	MUST(whole.used == bytes.used && whole.payload == bytes.payload);
	MUST(whole.hash == bytes.hash);
	MUST(kind == BODY_CHUNKED || whole.payload == whole.used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	check(BODY_CHUNKED, data, size);
	check(BODY_LENGTH, data, size);
	check(BODY_UNTIL_CLOSE, data, size);
	return 0;
}
