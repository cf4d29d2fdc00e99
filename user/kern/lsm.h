/* SPDX-License-Identifier: MIT */
/*
 * The LSM programs: sockets of other families, sockets that a sandbox did not make. Attached once for a host,
 * pinned, so that they outlive the daemon; optional, because many kernels run no BPF LSM.
 */
#ifndef KERN_LSM_H
#define KERN_LSM_H

#include <stdint.h>

#include "base/error.h"
#include "pst_abi.h"

struct kern_object;
struct kern_lsm;

/*
 * Adopts what this build pinned below `dir` (which is there, on a bpffs), else loads, attaches and pins, and then
 * removes what another build left there, whose members are taken over. Shares the object's maps. Fails where the
 * programs are refused, or load but are not asked (-EOPNOTSUPP): then nothing is left behind. Single-threaded while
 * it asks.
 */
int kern_lsm_attach(const struct kern_object *object, const char *dir, struct kern_lsm **ret_lsm,
		    struct error *err);
/* Closes the descriptors; what is pinned stays in force. */
void kern_lsm_free(struct kern_lsm *lsm);
/* The same, and nothing is in force any more. */
void kern_lsm_detach(struct kern_lsm *lsm);

/* The members of record->cgroup_id are inside of this sandbox from now on; again when its state_slot has changed.
 * -ENOSPC: at more than PST_LSM_LEVELS levels there are sandboxes: this one is not held. */
int kern_lsm_add(struct kern_lsm *lsm, const struct pst_sandbox *record);
/* Idempotent. */
int kern_lsm_remove(struct kern_lsm *lsm, uint64_t cgroup_id);

#endif
