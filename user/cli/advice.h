/* SPDX-License-Identifier: MIT */
/* A denial -> what to know and what to type next, in the words of `postern explain`. Pure. */
#ifndef CLI_ADVICE_H
#define CLI_ADVICE_H

#include "events/record.h"
#include "table/explain.h"

/* For record_words.advise: name is as record_name() gives it, *ret_advice all zero. */
void advise(const struct explain_input *in, const struct pst_event *event, const char *name,
	    struct record_advice *ret_advice);

#endif
