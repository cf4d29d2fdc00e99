/* SPDX-License-Identifier: MIT */
/* What the files of the /v1 routes share. */
#ifndef API_NATIVE_H
#define API_NATIVE_H

#include "api/call.h"

/* Every status but API_OK: {"code", "message"}; API_WEAK with "holes" as well. `id` NULL: of the path. */
void native_refuse(struct call *call, const struct api_result *result, const char *id);
/* One sandbox with everything: 200; with the warnings of its creation, which may be none: 201. False: answered. */
bool native_reply_sandbox(struct call *call, const char *id, const struct api_texts *warnings);
/* The caller may see it. False: answered with 404. */
bool native_is_there(struct call *call, const char *id);
/* [a-z0-9_-]{1,64} */
bool native_is_id(const char *text, size_t size);

#endif
