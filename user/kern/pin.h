/* SPDX-License-Identifier: MIT */
/* bpffs: find or mount it, make the directory of a run, sweep what killed runs left. */
#ifndef KERN_PIN_H
#define KERN_PIN_H

#include "base/error.h"

/* Finds the bpffs mount (/proc/self/mounts), mounts /sys/fs/bpf where there is none. The caller frees *ret_path. */
int pin_find_bpffs(char **ret_path, struct error *err);
/* Creates BPFFS/postern-run/NAME (0700 all the way). The caller frees *ret_dir. */
int pin_make_dir(const char *bpffs, const char *name, char **ret_dir, struct error *err);
/* Unlinks what is in dir and removes it. */
int pin_remove_dir(const char *dir);
/* Removes the pins and cgroups of runs whose cgroup is empty and whose runner is dead (its lock is free). Never touches another
 * live run. `lock` protocol: see pin.c. Returns the number swept, or -errno. */
int pin_sweep(const char *bpffs, int cgroup_root_fd);

#endif
