/* SPDX-License-Identifier: MIT */
/*
 * The signer's starter: it holds the CA's key, and signs what is forwarded from here, which is for names that a
 * transform of that sandbox covers. One for all relays, started for the first policy with transforms.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "supervise/parts.h"

#define READY_MS 15000

/* ---- answers ---- */

/* Its answer, or a refusal, for the relay that asked. */
static void hand_back(const struct sign *sign, struct pst_relay_answer *reply, size_t size)
{
	const struct packet packet = {.bytes = reply, .size = size};

	reply->header = (struct pst_relay_header){.type = PST_RELAY_SIGNED,
						  .size = (uint32_t)size,
						  .sandbox = sign->sandbox,
						  .seq = sign->relay_seq};
	(void)relay_send(sign->relay, &packet);
}

static void refuse_all(struct signer *signer)
{
	for (size_t i = 0; i < SIGNS_MAX; i++) {
		struct sign sign = signer->signs[i];
		struct pst_relay_answer reply = {.status = -EPIPE};

		signer->signs[i] = (struct sign){0};
		if (sign.relay)
			hand_back(&sign, &reply, sizeof(reply));
	}
}

static void died(struct signer *signer, const char *why)
{
	if (!process_is_there(&signer->keeper.process))
		return;
	keeper_stop(&signer->keeper);
	log_error("%s %s%s%s", signer->keeper.who, why, signer->keeper.last[0] ? ": " : "",
		  signer->keeper.last);
	keeper_again(&signer->keeper);
	refuse_all(signer);
}

static void hear_signed(struct signer *signer, union message *message)
{
	struct sign sign;

	for (size_t i = 0; i < SIGNS_MAX; i++) {
		if (!signer->signs[i].seq || signer->signs[i].seq != message->header.seq)
			continue;
		sign = signer->signs[i];
		signer->signs[i] = (struct sign){0};
		if (sign.relay)
			hand_back(&sign, &message->answer, message->header.size);
		return;
	}
	died(signer, "answered what it was not asked");
}

static void hear_ca(struct signer *signer, const char *text)
{
	const struct loop_period off = {.off = true};

	/* Another one after a new start, where it is kept in memory only: who trusts it has to hear of the new one. */
	if (signer->ca && strcmp(signer->ca, text) != 0)
		log_warning("%s has made a new CA: what trusts the old one has to be told",
			    signer->keeper.who);
	free(signer->ca);
	signer->ca = strdup(text);
	signer->keeper.ready = signer->ca;
	(void)loop_timer_set(signer->keeper.again_fd, &off);
	if (!signer->ca)
		died(signer, strerror(ENOMEM));
}

/* 1: something was heard. */
static int hear(struct signer *signer)
{
	union message message;
	int size = process_receive(&signer->keeper.process, &message);

	if (size == -EAGAIN)
		return 0;
	if (size <= 0) {
		died(signer, size ? strerror(-size) : "has ended");
		return 0;
	}
	if (message_check(&message, (size_t)size, true) < 0 ||
	    (message.header.type == PST_RELAY_CA) == signer->keeper.ready)
		died(signer, "said what no signer says");
	else if (message.header.type == PST_RELAY_CA)
		hear_ca(signer, message_ca(&message));
	else
		hear_signed(signer, &message);
	return process_is_there(&signer->keeper.process);
}

static int on_heard(void *context, int fd)
{
	(void)fd;
	while (hear(context))
		;
	return 0;
}

/* ---- questions ---- */

int signer_ask(struct relay *relay, const struct pst_relay_sign *sign)
{
	struct signer *signer = &relay->keeper.supervise->signer;
	struct pst_relay_sign message = *sign;
	const struct packet packet = {.bytes = &message, .size = sizeof(message)};
	size_t i = 0, of_relay = 0;
	int r;

	if (!signer->keeper.ready)
		return -EPIPE;
	for (size_t j = 0; j < SIGNS_MAX; j++)
		of_relay += signer->signs[j].relay == relay;
	while (i < SIGNS_MAX && signer->signs[i].seq)
		i++;
	/* One owner does not take the places of all. */
	if (i == SIGNS_MAX || of_relay >= SIGNS_MAX / 4)
		return -EBUSY;
	message.header.seq = ++signer->seq;
	message.header.sandbox = 0;
	r = process_send(&signer->keeper.process, &packet);
	if (r < 0) {
		died(signer, r == -ETIMEDOUT ? "does not read" : strerror(-r));
		return -EPIPE;
	}
	signer->signs[i] = (struct sign){.relay = relay,
					 .seq = message.header.seq,
					 .sandbox = sign->header.sandbox,
					 .relay_seq = sign->header.seq};
	return 0;
}

void signer_forget(struct supervise *supervise, const struct relay *relay)
{
	for (size_t i = 0; i < SIGNS_MAX; i++) {
		/* Its place waits for the signer's answer. */
		if (supervise->signer.signs[i].relay == relay)
			supervise->signer.signs[i].relay = NULL;
	}
}

/* ---- its life ---- */

static int start(struct signer *signer, struct error *err)
{
	const struct process_options options = {.program = &signer->keeper.supervise->program,
						.is_signer = true,
						.cgroup_fd = -1,
						.extra_fd = signer->dir_fd};
	const struct loop_period late = {.first_ms = READY_MS};
	int r = keeper_start(&signer->keeper, &options, on_heard, signer, err);

	if (!r)
		(void)loop_timer_set(signer->keeper.again_fd, &late);
	return r;
}

static int on_again(void *context, int fd)
{
	struct signer *signer = context;
	struct error err = {0};

	(void)fd;
	if (process_is_there(&signer->keeper.process)) {
		if (!signer->keeper.ready)
			died(signer, "was not ready in time");
		return 0;
	}
	if (start(signer, &err) < 0) {
		log_error("%s: %s", signer->keeper.who, err.text);
		keeper_again(&signer->keeper);
	}
	return 0;
}

int signer_ensure(struct supervise *supervise, struct error *err)
{
	struct signer *signer = &supervise->signer;
	struct keeper *keeper = &signer->keeper;
	uint64_t until_ns = loop_boot_ns() + READY_MS * 1000000ULL;
	int r = process_is_there(&keeper->process) ? 0 : start(signer, err);

	while (!r && process_is_there(&keeper->process) && !keeper->ready) {
		if (keeper_wait(keeper, until_ns))
			(void)hear(signer);
		else
			died(signer, "was not ready in time");
	}
	if (!r && !keeper->ready)
		r = keeper_explain(keeper, -EPIPE, "does not start", err);
	return r;
}

/* Below a directory that is root's alone: made for whom the signer runs as. */
static int open_dir(const char *path, const struct program *program, int *ret_fd, struct error *err)
{
	cleanup_close int fd = -1;
	struct stat is;

	if (mkdir(path, 0700) && errno != EEXIST)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &is) < 0)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	if ((is.st_uid != program->uid || is.st_gid != program->gid) && !geteuid() &&
	    fchown(fd, program->uid, program->gid))
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (fchmod(fd, 0700))
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int signer_init(struct supervise *supervise, const char *ca_dir, struct error *err)
{
	struct signer *signer = &supervise->signer;
	int r = keeper_init(&signer->keeper, supervise, on_again, signer);

	signer->dir_fd = -1;
	(void)snprintf(signer->keeper.who, sizeof(signer->keeper.who), "the signer");
	if (r < 0)
		return error_set(err, r, "cannot watch the signer: %s", strerror(-r));
	return ca_dir ? open_dir(ca_dir, &supervise->program, &signer->dir_fd, err) : 0;
}

void signer_done(struct supervise *supervise)
{
	struct signer *signer = &supervise->signer;

	keeper_done(&signer->keeper);
	cleanup_close_(&signer->dir_fd);
	free(signer->ca);
	signer->ca = NULL;
}
