/* SPDX-License-Identifier: MIT */
/* Typed access to a JSON document while it becomes a policy; what is refused is refused with its place. */
#ifndef POLICY_READER_H
#define POLICY_READER_H

#include "base/json.h"
#include "policy/policy.h"

struct reader {
	struct json json;
	const char *
		name; /* of the document; "": a request, whose errors carry paths but no positions */
	enum policy_source source;
	struct policy *policy;
	struct error *err;
};

/* Where a key may stand. */
#define KEY_FILE    1U /* E2B's vocabulary with the native keys */
#define KEY_E2B	    2U /* E2B's route */
#define KEY_BRIMBLE 4U
#define KEY_NULL    8U /* null is the same as leaving it out */
#define KEY_SHARED  (KEY_FILE | KEY_E2B)

struct reader_key {
	const char *name;
	unsigned flags; /* KEY_* */
	/* NULL: somebody else reads it. */
	int (*read)(struct reader *rd, const struct json_node *node);
};

struct reader_word {
	const char *word;
	unsigned char value;
};

/* Puts the place of `node` before the text in err; passes `code` on. -ENOMEM has no text. */
int reader_fail(const struct reader *rd, const struct json_node *node, int code);
/* reader_fail() with the text at hand and -EINVAL. */
int reader_refuse(const struct reader *rd, const struct json_node *node, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

int reader_want(const struct reader *rd, const struct json_node *node, unsigned char type);
int reader_bool(const struct reader *rd, const struct json_node *node, bool *ret_value);
int reader_string(const struct reader *rd, const struct json_node *node, const char **ret_value);
int reader_integer(const struct reader *rd, const struct json_node *node, unsigned min,
		   unsigned max, uint32_t *ret_value);
/* One of `words`, which ends with a NULL word. */
int reader_word(const struct reader *rd, const struct json_node *node,
		const struct reader_word *words, unsigned char *ret_value);

/* Checks that node is an object of these keys, as far as `flags` admits them; unknown ones are refused. The table
 * ends with a NULL name. */
int reader_keys(const struct reader *rd, const struct json_node *node,
		const struct reader_key *keys, unsigned flags);
/* Reads the keys that are there, in the order of the table. */
int reader_members(struct reader *rd, const struct json_node *node, const struct reader_key *keys);
/* Both. */
int reader_object(struct reader *rd, const struct json_node *node, const struct reader_key *keys,
		  unsigned flags);

/* lists.c: allowOut and denyOut; Brimble's allow. */
int read_lists(struct reader *rd);
int read_brimble(struct reader *rd);
/* native.c */
int read_native(struct reader *rd);
/* proxy.c, transform.c */
int read_proxy(struct reader *rd, const struct json_node *node);
int read_transforms(struct reader *rd, const struct json_node *node);

#endif
