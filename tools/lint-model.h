/* SPDX-License-Identifier: MIT */
/*
 * For clang-tidy only, which sees one file at a time: that error_set() and error_prepend() return a negative
 * number. Without it each `if (r < 0) return r;` seems passable with the out-parameter unset.
 */
#ifndef TOOLS_LINT_MODEL_H
#define TOOLS_LINT_MODEL_H

#include "base/error.h"

static inline int lint_error(struct error *err, int code)
{
	(void)err;
	return code < 0 ? code : -1;
}

#define error_set(err, code, ...)     lint_error(err, code)
#define error_prepend(err, code, ...) lint_error(err, code)

#endif
