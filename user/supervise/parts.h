/* SPDX-License-Identifier: MIT */
/* The supervisor as its own files share it. */
#ifndef SUPERVISE_PARTS_H
#define SUPERVISE_PARTS_H

#include "base/domain.h"
#include "base/rate.h"
#include "supervise/process.h"
#include "supervise/supervise.h"

/* Certificates that are being made, of all relays. */
#define SIGNS_MAX 128
/* Lines of one process that go to the log. */
#define REPORT_LINES 20
#define REPORT_TEXT  200

/* A process, what it reports, and when it is started again. */
struct keeper {
	struct supervise *supervise;
	struct process process;
	char who[96]; /* for the log */
	char last[REPORT_TEXT];
	unsigned lines;
	bool ready;	     /* READY, or CA, has come */
	uint64_t started_ns; /* of the last start */
	uint64_t backoff_ms;
	int again_fd; /* timer: to be started again, or to be ready by then */
};

struct relay {
	struct relay *next;
	struct keeper keeper;
	char *owner;
	struct buf confinement; /* the policy that its cgroup is under, as text */
	int cgroup_fd;		/* confine()'s; -1: none */
	bool is_confined, is_ending;
	uint64_t waited_ns, waited_since_ns; /* for it to read, in this period */
	uint64_t seq;
	struct placed *placed;
};

/* A sandbox. */
struct placed {
	struct placed *next;
	struct relay *relay;
	uint64_t id, generation;
	bool is_device;
	int netns_fd;  /* ours; -1: our namespace */
	int policy_fd; /* sealed */
	uint32_t n_rules;
	struct domain *transforms;
	size_t n_transforms;
	struct cidr_list lifted;
	struct addr_list resolvers;
	bool reaches_host; /* what is lifted is (also) of this host */
	struct kern_relay_sockets sockets;
	bool has_sockets;
	bool tcp_only,
		is_given;	/* DNS alone; the first of its sockets were made by somebody else */
	uint64_t sent, applied; /* seq of SANDBOX and APPLIED */
	uint64_t since;		/* seq of the SANDBOX that brought its sockets */
	uint64_t
		not_before_ns; /* has none: it gets others then; 0: as soon as its relay is ready */
	uint32_t closed;       /* sessions, since the last settle */
	struct rate signs, leases;
	uint64_t epoch, told; /* of its relay's life, and as far as the caller knows */
};

struct sign {
	struct relay *relay; /* NULL: free, or its relay has died */
	uint64_t seq;	     /* the signer's */
	uint64_t sandbox, relay_seq;
};

struct signer {
	struct keeper keeper;
	char *ca;
	int dir_fd; /* -1: in memory */
	bool is_wanted;
	uint64_t seq;
	struct sign signs[SIGNS_MAX];
};

struct supervise {
	struct supervise_options options; /* without its texts */
	struct program program;
	size_t places; /* for sandboxes, in each relay */
	int trust_fd;  /* -1: none */
	struct relay *relays;
	struct signer signer;
	int tell_fd, serve_fd; /* timers */
};

/* keeper.c: a process that is kept. */
int keeper_init(struct keeper *keeper, struct supervise *supervise, loop_fn again, void *context);
int keeper_start(struct keeper *keeper, const struct process_options *options, loop_fn heard,
		 void *context, struct error *err);
/* Ends it, if it runs. Nothing more is heard of it. */
void keeper_stop(struct keeper *keeper);
/* To be started again, later each time. */
void keeper_again(struct keeper *keeper);
void keeper_done(struct keeper *keeper);
/* Why it is not there: err, with what it said at last. */
int keeper_explain(struct keeper *keeper, int r, const char *what, struct error *err);
/* Waits until something can be read: 1; 0: it is late (until_ns). */
int keeper_wait(const struct keeper *keeper, uint64_t until_ns);

/* relay.c */
int relay_get(struct supervise *supervise, const char *owner, struct relay **ret_relay,
	      struct error *err);
/* Under the policy that its sandboxes ask for, running, ready: waits for that. */
int relay_confine(struct relay *relay, struct error *err);
int relay_ensure(struct relay *relay, struct error *err);
/* It broke the rules, or has ended: its sockets are closed, it is started again. */
void relay_died(struct relay *relay, const char *why);
/* Nobody will need it: its last counts are heard. */
void relay_leave(struct relay *relay);
/* Nobody needs it. */
void relay_end(struct relay *relay);
/* Listeners, if it has none, and SANDBOX. */
int relay_hand_over(struct placed *placed, struct error *err);
int relay_send_origins(struct placed *placed, int fd);
int relay_send(struct relay *relay, const struct packet *packet);
struct placed *relay_find(struct relay *relay, uint64_t id);
int relay_on_again(void *context, int fd);
/* It alone is refused what it needs, until it gets other listeners. */
void relay_let_go(struct placed *placed, const char *why, uint64_t for_ns);
int supervise_on_tell(void *context, int fd);
void supervise_tell_soon(struct supervise *supervise);
/* Sandboxes without listeners, whose relay is ready, get some. */
int supervise_on_serve(void *context, int fd);
void supervise_serve_soon(struct supervise *supervise);

/* hear.c */
/* The loop's: some of what a relay says. */
int relay_heard(void *context, int fd);
/* One message, if there is one: 1; 0: there is none, or the relay has died. */
int relay_hear(struct relay *relay);

/* signer.c */
int signer_init(struct supervise *supervise, const char *ca_dir, struct error *err);
int signer_ensure(struct supervise *supervise, struct error *err);
/* Asks for a leaf for a name that was checked; -errno: `sign` gets no answer. */
int signer_ask(struct relay *relay, const struct pst_relay_sign *sign);
/* What was asked for it is nobody's any more. */
void signer_forget(struct supervise *supervise, const struct relay *relay);
void signer_done(struct supervise *supervise);

/* confine.c: the policy of a relay's own cgroup, from those of its sandboxes. */
int confine_policy(const struct relay *relay, struct policy **ret_policy);
/* Is one of these prefixes (or what no row closes) of this host? */
bool confine_reaches_host(const struct cidr_list *lifted, const struct table_always_row *rows,
			  size_t count);

/* trust.c: the system's certificates and the configured ones, in a file in memory. */
int trust_new(const char *ca_bundle, int *ret_fd, struct error *err);

#endif
