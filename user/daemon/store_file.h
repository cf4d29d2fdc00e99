/* SPDX-License-Identifier: MIT */
/* How the files of the store share their work. Nobody else includes this. */
#ifndef DAEMON_STORE_FILE_H
#define DAEMON_STORE_FILE_H

#include "base/buf.h"
#include "base/json_reader.h"
#include "daemon/store.h"

/* A document of 8 MiB in a string, escaped, and all beside it. */
#define STORE_MAX_BYTES (128u * 1024 * 1024)
/* Names of files: ID.20 digits.tmp, HASH-16 digits.json. */
#define STORE_NAME_MAX 128
/* Stands for the generation in the name of a file that replaces one of the same generation. */
#define STORE_REPLACING "replacing"

enum store_place { STORE_SANDBOXES = 0, STORE_POLICIES, STORE_CHANGES, STORE_PLACES };

/* A change for many that has its file. */
struct store_change {
	uint64_t generation;
	char policy[STORE_NAME_MAX]; /* name of its file in policies/ */
};

struct store {
	char *dir;
	int dir_fd, lock_fd;
	int fd[STORE_PLACES];
	struct store_change *changes;
	size_t n_changes;
};

/* "DIR/sandboxes/NAME", for errors. The caller frees; NULL: no memory. */
char *store_path(const struct store *store, enum store_place place, const char *name);
/* err becomes "DIR/sandboxes/NAME: ..." with the text of errno -code. Returns code. */
int store_fail(const struct store *store, enum store_place place, const char *name, int code,
	       struct error *err);
/* [a-z0-9_-]{1,64} */
bool store_is_id(const char *text);
/* Decimal digits without leading zeros. */
bool store_parse_number(const char *text, uint64_t *ret_number);

/*
 * A file begins with its format and a sum over all that follows, so that a flipped byte inside a string is found as
 * well: {"version":1,"sum":"0123456789abcdef", ...}
 */
void store_begin(struct buf *text);
/* Adds the sum; buf_status(), or -EFBIG. */
int store_seal(struct buf *text);
/* The sum of what a text has behind its head so far: of a part that is believed even where the rest is damaged. */
#define STORE_SUM_SIZE 16
void store_sum_so_far(const char *text, size_t size, char ret_sum[STORE_SUM_SIZE + 1]);
/* The part itself; NULL: it has none. */
struct store_text;
const char *store_behind_head(const struct store_text *text, size_t *ret_size);
/* The 16 digits of a sealed text; more follows them. */
const char *store_sum(const struct buf *text);
/* Reads the file whole, checks its head and its sum. The caller frees. *ret_changed_ms may be NULL. */
struct store_text {
	char *text;
	size_t size;
	uint64_t changed_ms; /* when it was written */
};
int store_load(const struct store *store, enum store_place place, const char *name,
	       struct store_text *ret_text, struct error *err);
/* As it is, whatever it is. */
int store_load_raw(const struct store *store, enum store_place place, const char *name,
		   struct store_text *ret_text);
void store_text_done(struct store_text *text);
void store_buf_done(struct buf *text); /* wiped: it has secrets */

/* Written as `name` and fsynced, with mode 0600; nothing is left behind on failure. */
int store_write(const struct store *store, enum store_place place, const char *name,
		const struct buf *text, struct error *err);
/* Renamed, and the directory fsynced. */
int store_rename(const struct store *store, enum store_place place, const char *from,
		 const char *to, struct error *err);

/* store_write.c */
int store_remember_change(struct store *store, uint64_t generation, const char *policy);
bool store_needs_policy(const struct store *store, const char *policy);

/* store_text.c: struct stored <-> the text of its file. */
int store_put_stored(struct buf *out, const struct stored *stored);
int store_parse_stored(const char *path, const struct store_text *text, struct stored *ret_stored,
		       struct error *err);
/* Whose it is, and how it came: of a file that is damaged behind that. False: that is damaged as well. */
bool store_salvage(const struct store_text *text, const char *id, struct stored *ret_stored);
/* A number as a string: JSON readers elsewhere lose what is above 2^53. */
void store_put_number(struct buf *out, const char *key, uint64_t number);
const char *store_dialect_name(enum api_dialect dialect);
int store_read_dialect(const struct json_reader *rd, const struct json_node *node, void *dialect);
int store_read_number(const struct json_reader *rd, const struct json_node *node, void *number);

/* store_change.c: changes for many, as they are read. */
struct store_loaded_change {
	uint64_t generation;
	const char *policy_hash, *policy; /* in the reader's strings */
	enum api_dialect dialect;
	char *document; /* NULL: not loaded yet */
	bool used;
	struct json_reader reader;
	struct store_text text;
	char *path;
};
struct store_listed { /* one id of one change */
	const char *id;
	struct store_loaded_change *change;
};
struct store_changes {
	struct store_loaded_change **items;
	size_t count;
	struct store_listed *listed; /* by id, then by generation */
	size_t n_listed;
	bool damaged;	  /* something could not be read: no change is removed */
	uint64_t *unread; /* generations whose files could not be read */
	size_t n_unread;
};
int store_load_changes(struct store *store, struct store_changes *ret_changes, struct error *err);
void store_changes_done(struct store_changes *changes);
/* The change of that generation that lists id (0: the newest one that does), or NULL. */
struct store_loaded_change *store_find_change(const struct store_changes *changes, const char *id,
					      uint64_t generation);
bool store_change_is_damaged(const struct store_changes *changes, uint64_t generation);
/* Puts the change's document, dialect, hash and generation in. */
int store_fill_in(const struct store *store, struct store_loaded_change *change,
		  struct stored *stored, struct error *err);
/* Removes the files that no sandbox was found to need. */
void store_sweep_changes(struct store *store, const struct store_changes *changes);

/* Names in a directory, sorted; those beginning with '.' left out. */
struct store_names {
	char **items;
	size_t count;
};
int store_list(const struct store *store, enum store_place place, struct store_names *ret_names,
	       struct error *err);
void store_names_done(struct store_names *names);
/* Failures of the moment, not of a file. */
bool store_is_shortage(int code);

#endif
