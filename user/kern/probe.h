/* SPDX-License-Identifier: MIT */
/* What this kernel can do, found out by really loading and attaching tiny programs. */
#ifndef KERN_PROBE_H
#define KERN_PROBE_H

#include <stddef.h>

enum probe_level { PROBE_OK = 0, PROBE_WARNING = 1, PROBE_FAILURE = 2 };

#define PROBE_TEXT_MAX 256

struct probe_line {
	unsigned char level;	    /* enum probe_level */
	char what[64];		    /* "cgroup2", "cgroup/connect4", ... */
	char found[PROBE_TEXT_MAX]; /* what is there */
	char fix[PROBE_TEXT_MAX];   /* what to do; "" when ok */
};

/* Runs every probe. The caller frees *ret_lines. */
int probe_all(struct probe_line **ret_lines, size_t *ret_count);

#endif
