/* SPDX-License-Identifier: MIT */
/*
 * Free -> filling -> ready -> used -> returned -> settling -> free. The worker alone writes outer arrays, in one
 * batch for each: a batch waits for one grace period, however long it is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "kern/pool.h"

/* Slots of one batch: that many descriptors of each outer's new maps are open at a time. */
#define FILL_AT_ONCE 4096u
/* Linux 6.1 waits a grace period for each slot of a batch, newer ones for one in all: who wants a ready slot is not to
 * wait for all that came back. Twice as many the next time while a batch takes less than this. */
#define SETTLE_AT_LEAST 128u
#define SETTLE_NS	100000000u

enum slot_state {
	SLOT_FREE = 0, /* its maps are the nearly empty ones */
	SLOT_FILLING,
	SLOT_READY,
	SLOT_USED,
	SLOT_RETURNED,
	SLOT_SETTLING,
};

struct ready_slot {
	__u32 slot;
	int fd[KERN_POOL_OUTERS];
};

struct kern_pool {
	struct kern_pool_spec spec;
	unsigned char *state;	  /* enum slot_state of each slot */
	bool *late;		  /* it may have maps in the late outers */
	struct ready_slot *ready; /* a stack */
	size_t n_ready, room;
	size_t wanted; /* by kern_pool_reserve() */
	size_t n_free, n_filling, n_used;
	__u32 top;		     /* no slot from here on was ever anything but free */
	int empty[KERN_POOL_OUTERS]; /* what free slots hold */
};

struct kern_pools {
	const struct kern_object *object;
	pthread_t worker;
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	kern_pool_grown_fn grown;
	void *context;
	bool running, stop;
	bool busy;  /* in a round */
	int failed; /* -errno of the worker's last round */
	__u32 settle_at_once;
	size_t count;
	struct kern_pool pools[];
};

static void close_fds(int fds[KERN_POOL_OUTERS])
{
	for (int i = 0; i < KERN_POOL_OUTERS; i++)
		kern_close_fd(&fds[i]);
}

static void pool_done(struct kern_pool *pool)
{
	for (size_t i = 0; i < pool->n_ready; i++)
		close_fds(pool->ready[i].fd);
	close_fds(pool->empty);
	free(pool->ready);
	free(pool->late);
	free(pool->state);
}

static int make_maps(const struct kern_object *object, const struct kern_pool_spec *spec,
		     bool empty, int fds[KERN_POOL_OUTERS])
{
	int r = 0;

	for (int i = 0; i < KERN_POOL_OUTERS; i++)
		fds[i] = -1;
	for (int i = 0; !r && i < spec->n_outers - (empty ? 0 : spec->n_late); i++)
		r = kern_inner_new(object, spec->outer[i], empty ? 1 : spec->entries[i], &fds[i]);
	if (r < 0)
		close_fds(fds);
	return r;
}

static int pool_init(struct kern_pool *pool, const struct kern_object *object,
		     const struct kern_pool_spec *spec)
{
	pool->spec = *spec;
	pool->n_free = spec->slots - spec->first;
	pool->top = spec->first;
	pool->state = calloc(spec->slots, 1);
	pool->late = calloc(spec->slots, sizeof(*pool->late));
	if (!pool->state || !pool->late)
		return -ENOMEM;
	return make_maps(object, spec, true, pool->empty);
}

int kern_pools_new(const struct kern_object *object, const struct kern_pools_options *options,
		   struct kern_pools **ret_pools)
{
	struct kern_pools *pools =
		calloc(1, sizeof(*pools) + options->count * sizeof(pools->pools[0]));
	int r = 0;

	if (!pools)
		return -ENOMEM;
	pools->object = object;
	pools->count = options->count;
	pools->settle_at_once = SETTLE_AT_LEAST;
	pools->grown = options->grown;
	pools->context = options->context;
	(void)pthread_mutex_init(&pools->lock, NULL);
	(void)pthread_cond_init(&pools->work, NULL);
	(void)pthread_cond_init(&pools->done, NULL);
	for (size_t i = 0; i < options->count; i++)
		memset(pools->pools[i].empty, -1, sizeof(pools->pools[i].empty));
	for (size_t i = 0; !r && i < options->count; i++)
		r = pool_init(&pools->pools[i], object, &options->specs[i]);
	if (r < 0) {
		kern_pools_free(pools);
		return r;
	}
	*ret_pools = pools;
	return 0;
}

void kern_pools_free(struct kern_pools *pools)
{
	if (!pools)
		return;
	if (pools->running) {
		(void)pthread_mutex_lock(&pools->lock);
		pools->stop = true;
		(void)pthread_cond_signal(&pools->work);
		(void)pthread_mutex_unlock(&pools->lock);
		(void)pthread_join(pools->worker, NULL);
	}
	for (size_t i = 0; i < pools->count; i++)
		pool_done(&pools->pools[i]);
	(void)pthread_cond_destroy(&pools->work);
	(void)pthread_cond_destroy(&pools->done);
	(void)pthread_mutex_destroy(&pools->lock);
	free(pools);
}

/* ---- the worker's round ---- */

/* Slots of one pool whose maps are to be changed. */
struct batch {
	__u32 *slots;
	struct ready_slot *made; /* NULL: they get the nearly empty maps */
	size_t count;
};

static void batch_done(struct batch *batch)
{
	free(batch->slots);
	free(batch->made);
}

static size_t collect(const struct kern_pool *pool, enum slot_state state, __u32 *slots, size_t max)
{
	size_t n = 0;

	for (__u32 slot = pool->spec.first; slot < pool->spec.slots && n < max; slot++) {
		/* All free from here on: nobody needs to look. */
		if (slot >= pool->top && state != SLOT_FREE)
			break;
		if (pool->state[slot] == state)
			slots[n++] = slot;
	}
	return n;
}

static size_t count_missing(const struct kern_pool *pool)
{
	size_t wanted = pool->wanted > pool->spec.ready ? pool->wanted : pool->spec.ready;
	size_t missing = wanted > pool->n_ready ? wanted - pool->n_ready : 0;

	if (missing > FILL_AT_ONCE)
		missing = FILL_AT_ONCE;
	return missing < pool->n_free ? missing : pool->n_free;
}

static void raise_top(struct kern_pools *pools, struct kern_pool *pool, __u32 slot)
{
	if (slot < pool->top)
		return;
	pool->top = slot + 1;
	pools->grown(pools->context, (size_t)(pool - pools->pools), pool->top);
}

static int choose(struct kern_pools *pools, struct kern_pool *pool, enum slot_state from,
		  enum slot_state to, size_t count, struct batch *batch)
{
	batch->slots = reallocarray(NULL, count ? count : 1, sizeof(*batch->slots));
	if (!batch->slots)
		return -ENOMEM;
	batch->count = collect(pool, from, batch->slots, count);
	for (size_t i = 0; i < batch->count; i++) {
		__u32 slot = batch->slots[i];

		pool->state[slot] = (unsigned char)to;
		raise_top(pools, pool, slot);
	}
	return 0;
}

static int make_all(const struct kern_pools *pools, const struct kern_pool *pool,
		    struct batch *batch)
{
	batch->made = calloc(batch->count ? batch->count : 1, sizeof(*batch->made));
	if (!batch->made)
		return -ENOMEM;
	/* What is not made is not closed: 0 is a descriptor. */
	for (size_t i = 0; i < batch->count; i++)
		memset(batch->made[i].fd, -1, sizeof(batch->made[i].fd));
	for (size_t i = 0; i < batch->count; i++) {
		int r = make_maps(pools->object, &pool->spec, false, batch->made[i].fd);

		if (r < 0) {
			while (i--)
				close_fds(batch->made[i].fd);
			return r;
		}
		batch->made[i].slot = batch->slots[i];
	}
	return 0;
}

static bool is_late(const struct kern_pool *pool, int outer)
{
	return outer >= pool->spec.n_outers - pool->spec.n_late;
}

/* Late outers are not written when a slot is made ready, and emptied where they may have something. */
static __u32 list_writes(const struct kern_pool *pool, int i, const struct batch *batch,
			 __u32 *slots, int *fds)
{
	__u32 n = 0;

	for (size_t k = 0; k < batch->count; k++) {
		__u32 slot = batch->slots[k];

		if (is_late(pool, i) && (batch->made || !pool->late[slot]))
			continue;
		fds[n] = batch->made ? batch->made[k].fd[i] : pool->empty[i];
		slots[n++] = slot;
	}
	return n;
}

static int write_outer(const struct kern_pools *pools, const struct kern_pool *pool, int i,
		       const struct batch *batch)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options);
	cleanup_free int *fds = reallocarray(NULL, batch->count, sizeof(*fds));
	cleanup_free __u32 *slots = reallocarray(NULL, batch->count, sizeof(*slots));
	__u32 done = 0, count;

	if (!fds || !slots)
		return -ENOMEM;
	count = list_writes(pool, i, batch, slots, fds);
	while (done < count) {
		__u32 n = count - done;
		int r = bpf_map_update_batch(pools->object->map_fd[pool->spec.outer[i]],
					     slots + done, fds + done, &n, &options);

		if (r < 0)
			return r;
		done += n;
	}
	return 0;
}

struct write {
	pthread_t thread;
	const struct kern_pools *pools;
	const struct kern_pool *pool;
	const struct batch *batch;
	int outer;
	int status;
	bool started;
};

static void *write_thread(void *context)
{
	struct write *write = context;

	write->status = write_outer(write->pools, write->pool, write->outer, write->batch);
	return NULL;
}

/* The outers side by side: then they share one grace period. */
static int write_all(const struct kern_pools *pools, const struct kern_pool *pool,
		     const struct batch *batch)
{
	struct write all[KERN_POOL_OUTERS] = {};
	int r = 0;

	if (!batch->count)
		return 0;
	for (int i = 0; i < pool->spec.n_outers; i++) {
		all[i] = (struct write){.pools = pools, .pool = pool, .batch = batch, .outer = i};
		all[i].started = i + 1 < pool->spec.n_outers &&
				 !pthread_create(&all[i].thread, NULL, write_thread, &all[i]);
		if (!all[i].started)
			(void)write_thread(&all[i]);
	}
	for (int i = 0; i < pool->spec.n_outers; i++) {
		if (all[i].started)
			(void)pthread_join(all[i].thread, NULL);
		if (!r)
			r = all[i].status;
	}
	return r;
}

static void set_states(struct kern_pool *pool, const struct batch *batch, enum slot_state state)
{
	for (size_t i = 0; i < batch->count; i++)
		pool->state[batch->slots[i]] = (unsigned char)state;
}

static int add_ready(struct kern_pool *pool, const struct batch *batch)
{
	size_t wanted = pool->n_ready + batch->count;

	if (wanted > pool->room) {
		struct ready_slot *more = reallocarray(pool->ready, wanted, sizeof(*more));

		if (!more)
			return -ENOMEM;
		pool->ready = more;
		pool->room = wanted;
	}
	/* The outer holds them. */
	for (size_t i = 0; !pool->spec.filled && i < batch->count; i++)
		close_fds(batch->made[i].fd);
	memcpy(pool->ready + pool->n_ready, batch->made, batch->count * sizeof(*batch->made));
	pool->n_ready = wanted;
	return 0;
}

/* Called with the lock held, which it gives away while it writes. *ret_grace: a grace period has passed since. */
static int fill_some(struct kern_pools *pools, struct kern_pool *pool, bool *ret_grace)
{
	cleanup(batch_done) struct batch batch = {};
	int r = choose(pools, pool, SLOT_FREE, SLOT_FILLING, count_missing(pool), &batch);

	if (r < 0 || !batch.count)
		return r;
	pool->n_free -= batch.count;
	pool->n_filling = batch.count;
	(void)pthread_mutex_unlock(&pools->lock);
	r = make_all(pools, pool, &batch);
	if (!r) {
		r = write_all(pools, pool, &batch);
		if (!r && pool->spec.n_outers)
			*ret_grace = true;
	}
	(void)pthread_mutex_lock(&pools->lock);
	pool->n_filling = 0;
	if (!r)
		r = add_ready(pool, &batch);
	if (!r) {
		set_states(pool, &batch, SLOT_READY);
		return 0;
	}
	for (size_t i = 0; batch.made && i < batch.count; i++)
		close_fds(batch.made[i].fd);
	set_states(pool, &batch, SLOT_FREE);
	pool->n_free += batch.count;
	return r;
}

/* Nothing is changed; that is how long a program of before may still run. */
static int wait_grace(const struct kern_pools *pools)
{
	const struct kern_pool *pool = &pools->pools[0];
	__u32 slot = 0;

	return bpf_map_update_elem(pools->object->map_fd[pool->spec.outer[0]], &slot,
				   &pool->empty[0], BPF_ANY);
}

static int empty_some(struct kern_pools *pools, struct kern_pool *pool, struct batch *settling)
{
	uint64_t start_ns = loop_monotonic_ns();
	int r;

	if (!settling->count)
		return 0;
	(void)pthread_mutex_unlock(&pools->lock);
	r = write_all(pools, pool, settling);
	(void)pthread_mutex_lock(&pools->lock);
	/* Without outers it tells nothing of how long they take. */
	if (loop_monotonic_ns() - start_ns > SETTLE_NS)
		pools->settle_at_once = SETTLE_AT_LEAST;
	else if (pool->spec.n_outers && settling->count == pools->settle_at_once)
		pools->settle_at_once *= 2;
	/* What could not be emptied is tried again. */
	set_states(pool, settling, r < 0 ? SLOT_RETURNED : SLOT_FREE);
	for (size_t i = 0; !r && i < settling->count; i++)
		pool->late[settling->slots[i]] = false;
	if (!r) {
		pool->n_free += settling->count;
		pool->n_used -= settling->count;
	}
	return r;
}

static bool has_work(const struct kern_pools *pools)
{
	for (size_t i = 0; i < pools->count; i++) {
		const struct kern_pool *pool = &pools->pools[i];
		__u32 one;

		if (count_missing(pool) || collect(pool, SLOT_RETURNED, &one, 1))
			return true;
	}
	return false;
}

static int round_of(struct kern_pools *pools)
{
	struct batch *settling = calloc(pools->count, sizeof(*settling));
	bool grace = false, any = false;
	int r = settling ? 0 : -ENOMEM;

	for (size_t i = 0; !r && i < pools->count; i++) {
		struct kern_pool *pool = &pools->pools[i];

		/* Those without outers share the grace period of the others. */
		r = choose(pools, pool, SLOT_RETURNED, SLOT_SETTLING,
			   pool->spec.n_outers ? pools->settle_at_once : pool->spec.slots,
			   &settling[i]);
		any = any || settling[i].count;
	}
	for (size_t i = 0; !r && i < pools->count; i++) {
		do
			r = fill_some(pools, &pools->pools[i], &grace);
		while (!r && count_missing(&pools->pools[i]));
	}
	(void)pthread_cond_broadcast(&pools->done);
	if (any && !grace) {
		(void)pthread_mutex_unlock(&pools->lock);
		grace = !wait_grace(pools);
		(void)pthread_mutex_lock(&pools->lock);
	}
	for (size_t i = 0; settling && i < pools->count; i++) {
		int failed = grace ? empty_some(pools, &pools->pools[i], &settling[i]) : -EAGAIN;

		if (!grace)
			set_states(&pools->pools[i], &settling[i], SLOT_RETURNED);
		if (!r && settling[i].count)
			r = failed;
		batch_done(&settling[i]);
	}
	free(settling);
	return r;
}

static void *work(void *context)
{
	struct kern_pools *pools = context;
	struct timespec pause = {.tv_nsec = 100000000};

	(void)prctl(PR_SET_NAME, "pst-pool");
	(void)pthread_mutex_lock(&pools->lock);
	while (!pools->stop) {
		if (!has_work(pools)) {
			(void)pthread_cond_wait(&pools->work, &pools->lock);
			continue;
		}
		pools->busy = true;
		pools->failed = round_of(pools);
		pools->busy = false;
		(void)pthread_cond_broadcast(&pools->done);
		if (pools->failed && !pools->stop) {
			(void)pthread_mutex_unlock(&pools->lock);
			(void)nanosleep(&pause, NULL);
			(void)pthread_mutex_lock(&pools->lock);
		}
	}
	(void)pthread_mutex_unlock(&pools->lock);
	return NULL;
}

int kern_pools_start(struct kern_pools *pools)
{
	sigset_t all, old;
	int r;

	/* Signals are the caller's. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&pools->worker, NULL, work, pools);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	pools->running = !r;
	return r;
}

/* ---- what others ask for ---- */

int kern_pool_claim(struct kern_pools *pools, size_t index, __u32 slot)
{
	struct kern_pool *pool = &pools->pools[index];

	if (slot < pool->spec.first || slot >= pool->spec.slots)
		return -ERANGE;
	if (pool->state[slot] != SLOT_FREE)
		return -EEXIST;
	pool->state[slot] = SLOT_USED;
	pool->late[slot] = true; /* nobody knows what is there */
	pool->n_free--;
	pool->n_used++;
	raise_top(pools, pool, slot);
	return 0;
}

static int reserve(struct kern_pools *pools, struct kern_pool *pool, size_t count)
{
	int r = 0;

	pool->wanted = count;
	while (!r && pool->n_ready < count) {
		if (pool->n_ready + pool->n_filling + pool->n_free + pool->n_used < count)
			r = -ENOSPC;
		(void)pthread_cond_signal(&pools->work);
		pools->failed = 0;
		if (!r)
			(void)pthread_cond_wait(&pools->done, &pools->lock);
		if (!r && pool->n_ready < count && pools->failed)
			r = pools->failed;
		/* Nothing free, and nothing on its way back. */
		if (!r && pool->n_ready < count && !pool->n_free && !pools->busy &&
		    !has_work(pools))
			r = -ENOSPC;
	}
	pool->wanted = 0;
	return r;
}

int kern_pool_reserve(struct kern_pools *pools, size_t index, size_t count)
{
	int r;

	(void)pthread_mutex_lock(&pools->lock);
	r = reserve(pools, &pools->pools[index], count);
	(void)pthread_mutex_unlock(&pools->lock);
	return r;
}

int kern_pool_take(struct kern_pools *pools, size_t index, __u32 *ret_slot,
		   int ret_fds[KERN_POOL_OUTERS])
{
	struct kern_pool *pool = &pools->pools[index];
	int r;

	(void)pthread_mutex_lock(&pools->lock);
	r = reserve(pools, pool, 1);
	if (!r) {
		const struct ready_slot *ready = &pool->ready[--pool->n_ready];

		pool->state[ready->slot] = SLOT_USED;
		pool->n_used++;
		*ret_slot = ready->slot;
		memcpy(ret_fds, ready->fd, sizeof(ready->fd));
		/* A round takes some grace periods: it begins while most of them are left. */
		if (pool->n_ready < pool->spec.ready - pool->spec.ready / 4)
			(void)pthread_cond_signal(&pools->work);
	}
	(void)pthread_mutex_unlock(&pools->lock);
	return r;
}

int kern_pool_fill_late(struct kern_pools *pools, size_t index, __u32 slot, const int *inner)
{
	const struct kern_pool_spec *spec = &pools->pools[index].spec;
	int only[KERN_OUTER_COUNT];
	bool any = false;

	memset(only, -1, sizeof(only));
	for (int i = spec->n_outers - spec->n_late; i < spec->n_outers; i++) {
		only[spec->outer[i]] = inner[spec->outer[i]];
		any = any || inner[spec->outer[i]] >= 0;
	}
	if (!any)
		return 0;
	(void)pthread_mutex_lock(&pools->lock);
	pools->pools[index].late[slot] = true;
	(void)pthread_mutex_unlock(&pools->lock);
	return kern_insert(pools->object, only, slot);
}

void kern_pool_give(struct kern_pools *pools, size_t index, __u32 slot)
{
	struct kern_pool *pool = &pools->pools[index];

	(void)pthread_mutex_lock(&pools->lock);
	if (slot >= pool->spec.first && slot < pool->spec.slots && pool->state[slot] == SLOT_USED) {
		pool->state[slot] = SLOT_RETURNED;
		(void)pthread_cond_signal(&pools->work);
	}
	(void)pthread_mutex_unlock(&pools->lock);
}

size_t kern_pool_used(struct kern_pools *pools, size_t index)
{
	size_t used;

	(void)pthread_mutex_lock(&pools->lock);
	used = pools->pools[index].n_used;
	(void)pthread_mutex_unlock(&pools->lock);
	return used;
}

int kern_pool_replace(const struct kern_object *object, int outer, __u32 slot, int fd)
{
	return bpf_map_update_elem(object->map_fd[outer], &slot, &fd, BPF_ANY);
}

int kern_inner_open(const struct kern_object *object, int outer, __u32 slot, int *ret_fd)
{
	__u32 id;
	int r = bpf_map_lookup_elem(object->map_fd[outer], &slot, &id), fd;

	if (r < 0)
		return r;
	fd = bpf_map_get_fd_by_id(id);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}
