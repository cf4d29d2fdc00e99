/* SPDX-License-Identifier: MIT */
/* What a relay needs in the maps of an object, whoever loaded it. Errors are -errno. */
#ifndef KERN_RELAY_OBJECT_H
#define KERN_RELAY_OBJECT_H

#include "kern/object.h"
#include "kern/relay.h"

/* Into a slot that no record names; blocks for a grace period. */
int kern_relay_put_origins(const struct kern_object *object, __u32 slot, int fd);
/* These sockets are the relay's for the record's sandbox: marked, and (a device) those that its packets go to. */
int kern_relay_name(const struct kern_object *object, const struct pst_sandbox *record, __u32 slot,
		    const struct kern_relay_sockets *sockets);
/* The slot's packets go to nobody. */
void kern_relay_unname(const struct kern_object *object, __u32 slot);

struct kern_lesson {
	const struct pst_sandbox *record; /* in force */
	const char *name;
	const struct pst_lesson_answer *answers;
	size_t count;
};
int kern_relay_teach(const struct kern_object *object, const struct kern_lesson *lesson,
		     size_t *ret_learned);
int kern_relay_tally(const struct kern_object *object, const struct pst_sandbox *record,
		     const struct kern_tally *tally);

#endif
