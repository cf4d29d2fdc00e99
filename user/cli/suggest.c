/* SPDX-License-Identifier: MIT */
/* A mistyped word -> the known word that was probably meant: edit distance over short words. */
#include <string.h>

#include "cli/suggest.h"

#define WORD_MAX 31 /* longer words are cut: nothing we know is that long */

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

size_t suggest_distance(const char *a, const char *b)
{
	size_t d[WORD_MAX + 1][WORD_MAX + 1];
	size_t rows = least(strlen(a), WORD_MAX), columns = least(strlen(b), WORD_MAX);

	for (size_t i = 0; i <= rows; i++)
		d[i][0] = i;
	for (size_t j = 0; j <= columns; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= rows; i++) {
		for (size_t j = 1; j <= columns; j++) {
			size_t replace = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

			d[i][j] = least(least(d[i - 1][j], d[i][j - 1]) + 1, replace);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
		}
	}
	return d[rows][columns];
}
