/* SPDX-License-Identifier: MIT */
/* json_reader while a document becomes a policy: E2B's words where it speaks, keys by dialect, guesses at them. */
#ifndef POLICY_READER_H
#define POLICY_READER_H

#include "base/json_reader.h"
#include "policy/policy.h"

struct reader {
	struct json_reader in; /* its name is "" for a request */
	enum policy_source source;
	struct policy *policy;
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

/* As json_reader_fail(), but -ENOMEM gets no text: the caller has one. */
int reader_fail(const struct reader *rd, const struct json_node *node, int code);
int reader_want(const struct reader *rd, const struct json_node *node, unsigned char type);
int reader_bool(const struct reader *rd, const struct json_node *node, bool *ret_value);
int reader_string(const struct reader *rd, const struct json_node *node, const char **ret_value);
int reader_integer(const struct reader *rd, const struct json_node *node, unsigned min,
		   unsigned max, uint32_t *ret_value);
int reader_word(const struct reader *rd, const struct json_node *node,
		const struct json_word *words, unsigned char *ret_value);

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
