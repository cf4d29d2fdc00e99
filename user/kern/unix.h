/* SPDX-License-Identifier: MIT */
/* The two programs for unix sockets, which Linux has since 6.7 and libbpf by name since 1.3. */
#ifndef KERN_UNIX_H
#define KERN_UNIX_H

#include <stdbool.h>

struct bpf_object;
struct bpf_program;

/* Newer than the oldest headers that we build with. */
#define KERN_ATTACH_UNIX_CONNECT 49
#define KERN_ATTACH_UNIX_SENDMSG 50
#define KERN_UNIX_HOOKS		 2

/* 0: this kernel takes such programs. */
int kern_unix_try(void);
/* Before the object is loaded: gives them their types, or leaves them out. */
int kern_unix_prepare(struct bpf_object *bpf, bool wanted);
/* After that. */
bool kern_unix_is(const struct bpf_program *program);

#endif
