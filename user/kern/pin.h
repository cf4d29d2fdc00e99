/* SPDX-License-Identifier: MIT */
/*
 * bpffs: find or mount it, make the directory of a run, sweep what killed runs left.
 *
 *   BPFFS/postern-run/NAME/links/pst_egress ...    the links: they hold the enforcement
 *   BPFFS/postern-run/NAME/maps/pst_sandbox ...    the maps: for bpftool
 *
 * NAME is also the last component of the run's cgroup. The lock that says "the runner lives" is on
 * the directory NAME itself: see pin.c.
 */
#ifndef KERN_PIN_H
#define KERN_PIN_H

#include "base/error.h"

/* Where the runs' directories are, below bpffs and below the cgroup2 root alike. */
#define PIN_RUN_DIR "postern-run"

/* Finds the bpffs mount (/proc/self/mounts), mounts /sys/fs/bpf where there is none. The caller
 * frees *ret_path. */
int pin_find_bpffs(char **ret_path, struct error *err);
/* The same, but never mounts: -ENOENT where there is none. */
int pin_look_bpffs(char **ret_path, struct error *err);
/* Creates BPFFS/postern-run/NAME (0700 all the way) and locks it for as long as this process lives.
 * To be called before the run's cgroup is created. The caller frees *ret_dir. NAME: 1 to 64
 * letters, digits, '_' and '-'. */
int pin_make_dir(const char *bpffs, const char *name, char **ret_dir, struct error *err);
/* Unlinks what is in dir (and in its directories) and removes it. 0 when it is gone already. */
int pin_remove_dir(const char *dir);
/* The same of what pin_make_dir() returned, and when no other run is there, BPFFS/postern-run and the
 * cgroup of that name go too. The run's own cgroup has been removed before. */
int pin_remove_run(const char *dir, int cgroup_root_fd);
/* Removes the pins and cgroups of runs whose cgroup is empty and whose runner is dead (its lock is
 * free). Never touches another live run. `lock` protocol: see pin.c. Returns the number swept, or
 * -errno. */
int pin_sweep(const char *bpffs, int cgroup_root_fd);

#endif
