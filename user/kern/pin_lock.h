/* SPDX-License-Identifier: MIT */
/* The locks of pin.c and sweep.c; nobody else's business. */
#ifndef KERN_PIN_LOCK_H
#define KERN_PIN_LOCK_H

/* Opens BPFFS/postern-run (creates it when `create`) and locks it: who makes or removes runs works
 * alone. */
int pin_lock_all(const char *bpffs, int create, int *ret_fd);
/* Opens the directory NAME below fd and locks it; -EWOULDBLOCK while its runner lives. */
int pin_lock_run(int fd, const char *name, int *ret_fd);
/* Unlinks what is in the directory `name` below fd, two levels deep, and removes it. */
int pin_remove_at(int fd, const char *name);

#endif
