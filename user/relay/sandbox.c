/* SPDX-License-Identifier: MIT */
/* SANDBOX and DROP: a sandbox's policy and sockets come, change and go. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "relay/core.h"

/* Nobody may change it, or make it shorter, while it is read. */
#define SEALS (F_SEAL_SHRINK | F_SEAL_WRITE)

/* It is the first from now on: there may be thousands, of which a few are asked for again and again. */
struct relay_sandbox *sandbox_find(struct relay *relay, uint64_t id)
{
	struct relay_sandbox **link = &relay->sandboxes, *sandbox;

	while (*link && (*link)->id != id)
		link = &(*link)->next;
	sandbox = *link;
	if (sandbox) {
		*link = sandbox->next;
		sandbox->next = relay->sandboxes;
		relay->sandboxes = sandbox;
	}
	return sandbox;
}

static int read_policy(int fd, struct relay_policy **ret_policy)
{
	off_t size = lseek(fd, 0, SEEK_END);
	int seals = fcntl(fd, F_GET_SEALS), r;
	void *bytes;

	if (seals < 0 || (seals & SEALS) != SEALS || size <= 0 || size > PST_RELAY_MAX_POLICY)
		return -EINVAL;
	bytes = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	r = relay_policy_parse(bytes, (size_t)size, ret_policy);
	munmap(bytes, (size_t)size);
	return r;
}

/* The descriptors behind the policy's, each where it belongs. */
struct sockets {
	int tcp4, tcp6, udp4, udp6, origins;
};

static void take_sockets(uint32_t which, int *fds, struct sockets *ret_sockets)
{
	struct sockets s = {-1, -1, -1, -1, -1};
	const struct {
		uint32_t bit;
		int *to;
	} places[] = {
		{PST_RELAY_HAS_TCP4, &s.tcp4},	     {PST_RELAY_HAS_TCP6, &s.tcp6},
		{PST_RELAY_HAS_UDP4, &s.udp4},	     {PST_RELAY_HAS_UDP6, &s.udp6},
		{PST_RELAY_HAS_ORIGINS, &s.origins},
	};
	unsigned at = 1;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (which & places[i].bit) {
			*places[i].to = TAKE_FD(fds[at]);
			at++;
		}
	}
	*ret_sockets = s;
}

static void close_sockets(const struct sockets *sockets)
{
	const int fds[] = {sockets->tcp4, sockets->tcp6, sockets->udp4, sockets->udp6,
			   sockets->origins};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

static int serve_dns(struct relay_sandbox *sandbox, struct sockets *sockets)
{
	if (sockets->udp4 < 0 && sockets->udp6 < 0)
		return 0;
	if (sandbox->dns)
		return -EEXIST;
	return dns_service_new(sandbox, TAKE_FD(sockets->udp4), TAKE_FD(sockets->udp6),
			       &sandbox->dns);
}

static int use_sockets(struct relay_sandbox *sandbox, struct sockets *sockets)
{
	int r = serve_dns(sandbox, sockets);

	if (r == 0 && sockets->tcp4 >= 0)
		r = listener_add(sandbox, TAKE_FD(sockets->tcp4));
	if (r == 0 && sockets->tcp6 >= 0)
		r = listener_add(sandbox, TAKE_FD(sockets->tcp6));
	if (r == 0 && sockets->origins >= 0) {
		if (sandbox->origins >= 0)
			close(sandbox->origins);
		sandbox->origins = TAKE_FD(sockets->origins);
	}
	if (r == 0 && sandbox->origins >= 0)
		listeners_start(sandbox);
	return r;
}

static struct relay_sandbox *new_sandbox(struct relay *relay, const struct pst_relay_sandbox *said)
{
	struct relay_sandbox *sandbox = calloc(1, sizeof(*sandbox));

	if (!sandbox)
		return NULL;
	sandbox->relay = relay;
	sandbox->id = said->header.sandbox;
	sandbox->is_device = said->device;
	sandbox->origins = -1;
	sandbox->next = relay->sandboxes;
	relay->sandboxes = sandbox;
	return sandbox;
}

static int apply(struct relay *relay, const struct pst_relay_sandbox *said, int policy_fd,
		 struct sockets *sockets, unsigned *ret_closed)
{
	struct relay_sandbox *sandbox = sandbox_find(relay, said->header.sandbox);
	struct relay_policy *policy = NULL;
	bool is_new = !sandbox;
	int r = read_policy(policy_fd, &policy);

	if (r < 0 || !policy)
		return r < 0 ? r : -EINVAL;
	if (is_new)
		sandbox = new_sandbox(relay, said);
	if (!sandbox) {
		relay_policy_unref(policy);
		return -ENOMEM;
	}
	relay_policy_unref(sandbox->policy);
	sandbox->policy = policy;
	*ret_closed = session_judge_all(sandbox);
	if (sandbox->dns)
		dns_service_judge(sandbox->dns);
	r = use_sockets(sandbox, sockets);
	if (r < 0 && is_new)
		sandbox_free(sandbox);
	return r;
}

int sandbox_apply(struct relay *relay, const struct pst_relay_sandbox *said, int *fds,
		  unsigned n_fds, unsigned *ret_closed)
{
	cleanup_close int policy_fd = TAKE_FD(fds[0]);
	struct sockets sockets;
	int r;

	(void)n_fds; /* as many as `sockets` says: message_parse() */
	take_sockets(said->sockets, fds, &sockets);
	r = apply(relay, said, policy_fd, &sockets, ret_closed);
	close_sockets(&sockets);
	return r;
}

void sandbox_free(struct relay_sandbox *sandbox)
{
	struct relay_sandbox **link = &sandbox->relay->sandboxes;

	while (*link != sandbox)
		link = &(*link)->next;
	*link = sandbox->next;
	listeners_free(sandbox);
	while (sandbox->sessions)
		session_end(sandbox->sessions, true);
	dns_service_free(sandbox->dns);
	tally_free(sandbox);
	if (sandbox->origins >= 0)
		close(sandbox->origins);
	relay_policy_unref(sandbox->policy);
	free(sandbox);
}

void sandbox_drop(struct relay *relay, uint64_t id)
{
	struct relay_sandbox *sandbox = sandbox_find(relay, id);

	if (sandbox)
		sandbox_free(sandbox);
}
