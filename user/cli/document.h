/* SPDX-License-Identifier: MIT */
/* A policy file on its way to posternd: checked here, where its name and lines are known; sent as it stands. */
#ifndef CLI_DOCUMENT_H
#define CLI_DOCUMENT_H

#include "base/buf.h"

/* Appends the text of the file ("-": standard input). CLI_OK; else it has been told, and the exit code is returned. */
int document_read(const char *command, const char *path, struct buf *out);
/* Documents hold passwords: wiped before it is freed. */
void document_done(struct buf *text);
#define cleanup_document cleanup(document_done)

#endif
