/* SPDX-License-Identifier: MIT */
/* A denial -> what to know and what to type next, as rows of a report have it. */
#include "cli/advice.h"
#include "table/advice.h"

void advise(const struct explain_input *in, const struct pst_event *event, const char *name,
	    struct record_advice *ret_advice)
{
	const struct advice_about about = {
		.event = event, .name = name, .is_question = record_is_question(event)};
	const struct advice advice = {
		.nearest = ret_advice->nearest,
		.nearest_size = sizeof(ret_advice->nearest),
		.fix = ret_advice->fix,
		.fix_size = sizeof(ret_advice->fix),
		.note = ret_advice->note,
		.note_size = sizeof(ret_advice->note),
	};

	advice_give(in, &about, &advice);
}
