/* SPDX-License-Identifier: MIT */
/* A mistyped word -> the known word that was probably meant. Pure. */
#ifndef CLI_SUGGEST_H
#define CLI_SUGGEST_H

#include <stddef.h>

/* Changes (insert, delete, replace, swap neighbours) that turn one word into the other. */
size_t suggest_distance(const char *a, const char *b);

#endif
