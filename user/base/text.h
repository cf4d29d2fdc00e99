/* SPDX-License-Identifier: MIT */
/* Text from strangers, made fit for a terminal and for one line. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

/* Replaces control characters (C0, DEL, and the C1 controls of UTF-8) by '?', in place. */
void text_blank_controls(char *text);

#endif
