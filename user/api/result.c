/* SPDX-License-Identifier: MIT */
/* The values of api.h: lists of texts, results, states. */
#include "api/api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const api_state_names[] = {
	[API_RUNNING] = "running",
	[API_PAUSED] = "paused",
	[API_GONE] = "gone",
	[API_DAMAGED] = "damaged",
};

int api_texts_add(struct api_texts *texts, const char *text)
{
	char **more, *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	more = reallocarray(texts->items, texts->count + 1, sizeof(*more));
	if (!more) {
		free(copy);
		return -ENOMEM;
	}
	texts->items = more;
	texts->items[texts->count++] = copy;
	return 0;
}

void api_texts_done(struct api_texts *texts)
{
	for (size_t i = 0; i < texts->count; i++)
		free(texts->items[i]);
	free(texts->items);
	memset(texts, 0, sizeof(*texts));
}

void api_result_done(struct api_result *result)
{
	api_texts_done(&result->warnings);
	api_texts_done(&result->rules);
	api_texts_done(&result->flows);
	api_texts_done(&result->names);
	memset(result, 0, sizeof(*result));
}
