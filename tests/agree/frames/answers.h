/* SPDX-License-Identifier: MIT */
/* Whether `out` is the right answer to `in`. NULL: it is; else what is wrong with it. */
#ifndef TESTS_AGREE_FRAMES_ANSWERS_H
#define TESTS_AGREE_FRAMES_ANSWERS_H

#include "tests/agree/frames/frames.h"

const char *answer_check_rst(const struct frame *in, const struct frame *out);
/* To the peer, as from the sandbox. */
const char *answer_check_peer_rst(const struct frame *in, const struct frame *out);
/* To the sandbox, as from the peer. */
const char *answer_check_reset(const struct frame *in, const struct frame *out);
const char *answer_check_unreachable(const struct frame *in, const struct frame *out);
const char *answer_check_nxdomain(const struct frame *in, const struct frame *out);

#endif
