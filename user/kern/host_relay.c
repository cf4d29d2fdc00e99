/* SPDX-License-Identifier: MIT */
/* A relay for an attachment: its slot, and what of it is in the record. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "kern/host_object.h"
#include "kern/relay.h"
#include "kern/relay_object.h"

void kern_relay_into(const struct kern_attachment *attachment, struct pst_sandbox *record)
{
	record->relay_port = attachment->relay_port;
	record->relay_slot = attachment->relay_port ? attachment->relay_slot : 0;
}

void kern_relay_settle(struct kern_attachment *attachment)
{
	struct kern_host *host = attachment->host;

	if (!attachment->relay_slot || attachment->record.relay_slot)
		return;
	kern_relay_unname(&host->object, attachment->relay_slot);
	kern_pool_give(host->pools, KERN_POOL_RELAY, attachment->relay_slot);
	attachment->relay_slot = 0;
}

static int take_slot(struct kern_attachment *attachment)
{
	const struct kern_host *host = attachment->host;
	int fds[KERN_POOL_OUTERS];
	int r = 0;

	if (attachment->relay_slot)
		return 0;
	r = kern_pool_take(host->pools, KERN_POOL_RELAY, &attachment->relay_slot, fds);
	if (r < 0)
		attachment->relay_slot = 0;
	for (int i = 0; !r && i < KERN_POOL_OUTERS; i++)
		kern_close_fd(&fds[i]);
	return r;
}

int kern_attachment_set_relay(struct kern_attachment *attachment,
			      const struct kern_relay_sockets *sockets, int *ret_origins,
			      struct error *err)
{
	const struct kern_object *object = &attachment->host->object;
	cleanup_close int origins = -1;
	int r;

	if (!sockets) {
		attachment->relay_port = 0;
		return 0;
	}
	r = take_slot(attachment);
	if (!r)
		r = kern_inner_open(object, KERN_MAP_ORIGINS, attachment->relay_slot, &origins);
	if (!r)
		r = kern_relay_name(object, &attachment->record, attachment->relay_slot, sockets);
	if (r < 0) {
		if (!attachment->record.relay_slot)
			attachment->relay_port = 0;
		kern_relay_settle(attachment);
		return error_set(err, r, "cannot give the sandbox a relay: %s", strerror(-r));
	}
	attachment->relay_port = sockets->port;
	*ret_origins = TAKE_FD(origins);
	return 0;
}

int kern_attachment_teach(struct kern_attachment *attachment, const char *name,
			  const struct pst_lesson_answer *answers, size_t count,
			  size_t *ret_learned)
{
	return kern_relay_teach(&attachment->host->object,
				&(struct kern_lesson){&attachment->record, name, answers, count},
				ret_learned);
}

int kern_attachment_tally(struct kern_attachment *attachment, const struct kern_tally *tally)
{
	return kern_relay_tally(&attachment->host->object, &attachment->record, tally);
}
