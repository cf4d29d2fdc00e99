/* SPDX-License-Identifier: MIT */
/*
 * The record in force -> the end of the TCP connections that it denies, so that their applications see an error. The
 * object's walk names them, SOCK_DESTROY ends them. (bpf_sock_destroy() would need Linux 6.5.) Changes no verdict:
 * their packets are denied anyway.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <bpf/bpf.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "kern/object.h"
#include "kern/sockets.h"

/* A connect() that was judged just before the change may show up only after the first walk. */
#define WALKS 4

struct walk {
	const struct kern_object *object;
	const struct kern_walk *of;
	struct buf *list; /* not to be ended: what there is goes here */
	size_t ended;
	int status;
	const char *what; /* failed */
};

static int failed(struct walk *walk, int r, const char *what)
{
	walk->what = what;
	return r;
}

static int read_all(int fd, struct buf *out)
{
	char part[16384];
	ssize_t n;

	while ((n = read(fd, part, sizeof(part))) > 0)
		buf_add(out, part, (size_t)n);
	return n < 0 ? -errno : buf_status(out);
}

/* The denied ones, as struct pst_socket. The iterator looks into the namespace of who creates it. */
static int list_denied(struct walk *walk, struct buf *out)
{
	cleanup_close int link = bpf_link_create(walk->object->walk_fd, 0, BPF_TRACE_ITER, NULL);
	cleanup_close int iter = -1;
	int r;

	if (link < 0)
		return failed(walk, link, "attach the socket walk");
	iter = bpf_iter_create(link);
	r = iter < 0 ? iter : read_all(iter, out);
	if (!r && out->size % sizeof(struct pst_socket))
		r = -EBADMSG;
	return r < 0 ? failed(walk, r, "walk the sockets") : 0;
}

static void fill_address(__be32 out[4], int family, const __u8 addr[16])
{
	if (family == AF_INET)
		memcpy(out, addr + 12, 4);
	else
		memcpy(out, addr, 16);
}

static int open_diag(void)
{
	const struct timeval limit = {.tv_sec = 5};
	cleanup_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)))
		return -errno;
	return TAKE_FD(fd);
}

/* -ENOENT: it is gone already. */
static int destroy(int netlink, const struct pst_socket *socket)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 body;
	} ask = {.header = {.nlmsg_len = sizeof(ask),
			    .nlmsg_type = SOCK_DESTROY,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		 .body = {.sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0U}};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char rest[256]; /* the request, and the kernel's words */
	} answer = {};
	struct inet_diag_sockid *id = &ask.body.id;
	static const __u8 mapped[12] = {[10] = 0xff, 0xff};
	int family = memcmp(socket->remote, mapped, sizeof(mapped)) ? AF_INET6 : AF_INET;

	ask.body.sdiag_family = (__u8)family;
	id->idiag_sport = htons(socket->local_port);
	id->idiag_dport = htons(socket->remote_port);
	fill_address(id->idiag_src, family, socket->local);
	fill_address(id->idiag_dst, family, socket->remote);
	id->idiag_if = socket->ifindex;
	id->idiag_cookie[0] = (__u32)socket->cookie;
	id->idiag_cookie[1] = (__u32)(socket->cookie >> 32);
	if (send(netlink, &ask, sizeof(ask), 0) < 0 ||
	    recv(netlink, &answer, sizeof(answer), 0) < 0)
		return -errno;
	if (answer.header.nlmsg_type != NLMSG_ERROR)
		return -EBADMSG;
	return answer.error.error;
}

static int destroy_all(struct walk *walk, const struct buf *denied)
{
	cleanup_close int netlink = open_diag();
	struct pst_socket one;

	if (netlink < 0)
		return failed(walk, netlink, "open a socket to NETLINK_SOCK_DIAG");
	for (size_t at = 0; at < denied->size; at += sizeof(one)) {
		int r;

		memcpy(&one, denied->data + at, sizeof(one));
		r = destroy(netlink, &one);
		if (r < 0 && r != -ENOENT)
			return failed(walk, r, "end a connection by SOCK_DESTROY");
	}
	return 0;
}

/* Until a walk finds none: what it finds again was not ended, or came in between. */
static int end_denied(struct walk *walk)
{
	size_t before = 0;

	if (walk->of->netns_fd >= 0 && setns(walk->of->netns_fd, CLONE_NEWNET))
		return failed(walk, -errno, "enter the network namespace");
	if (walk->list)
		return list_denied(walk, walk->list);
	for (int i = 0; i < WALKS; i++) {
		cleanup(buf_done) struct buf denied = {};
		int r = list_denied(walk, &denied);

		walk->ended += before;
		before = denied.size / sizeof(struct pst_socket);
		if (r < 0 || !before)
			return r;
		r = destroy_all(walk, &denied);
		if (r < 0)
			return r;
	}
	return failed(walk, -EBUSY, "end every connection");
}

static void *run(void *context)
{
	struct walk *walk = context;

	walk->status = end_denied(walk);
	return NULL;
}

static int write_records(int map_fd, const struct kern_walk *of)
{
	const struct pst_sandbox level = {.cgroup_level = of->records[0]->cgroup_level,
					  .flags = of->all ? PST_WALK_ALL : 0};
	uint64_t key = 0;
	int r = bpf_map_update_elem(map_fd, &key, &level, BPF_ANY);

	for (size_t i = 0; !r && i < of->n_records; i++)
		r = bpf_map_update_elem(map_fd, &of->records[i]->cgroup_id, of->records[i],
					BPF_ANY);
	return r;
}

static void remove_records(int map_fd, const struct kern_walk *of)
{
	for (size_t i = 0; i < of->n_records; i++)
		(void)bpf_map_delete_elem(map_fd, &of->records[i]->cgroup_id);
}

/* In a thread of its own where a namespace is to be entered: that is for good. */
static int run_there(struct walk *walk, struct error *err)
{
	pthread_t thread;
	int r;

	if (walk->of->netns_fd < 0) {
		(void)run(walk);
		return 0;
	}
	r = pthread_create(&thread, NULL, run, walk);
	if (r)
		return error_set(err, -r, "cannot start a thread: %s", strerror(r));
	(void)pthread_join(thread, NULL);
	return 0;
}

static int walk_all(struct walk *walk, struct error *err)
{
	int map_fd = walk->object->map_fd[KERN_MAP_WALKED];
	int r;

	if (walk->object->walk_fd < 0)
		return error_set(err, -EOPNOTSUPP, "this kernel does not let us walk its sockets");
	r = write_records(map_fd, walk->of);
	if (r < 0)
		(void)error_set(err, r, "cannot write the socket walk's records: %s", strerror(-r));
	else
		r = run_there(walk, err);
	remove_records(map_fd, walk->of);
	if (r < 0)
		return r;
	if (walk->status < 0)
		return error_set(err, walk->status, "cannot %s: %s", walk->what,
				 strerror(-walk->status));
	return 0;
}

int kern_sockets_end_denied(const struct kern_object *object, const struct kern_walk *of,
			    size_t *ret_ended, struct error *err)
{
	struct walk walk = {.object = object, .of = of};
	int r = of->n_records ? walk_all(&walk, err) : 0;

	if (!r)
		*ret_ended = walk.ended;
	return r;
}

int kern_sockets_list(const struct kern_object *object, const struct kern_walk *of, struct buf *out,
		      struct error *err)
{
	struct walk walk = {.object = object, .of = of, .list = out};

	return of->n_records ? walk_all(&walk, err) : 0;
}

int kern_sockets_try(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cleanup_close int netlink = open_diag();
	struct pst_socket own = {.local = {[10] = 0xff, 0xff}, .remote = {[10] = 0xff, 0xff}};
	socklen_t size = sizeof(at), cookie_size = sizeof(own.cookie);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, size) || listen(fd, 1) ||
	    getsockname(fd, (struct sockaddr *)&at, &size) ||
	    getsockopt(fd, SOL_SOCKET, SO_COOKIE, &own.cookie, &cookie_size))
		return -errno;
	if (netlink < 0)
		return netlink;
	memcpy(own.local + 12, &at.sin_addr, 4);
	own.local_port = ntohs(at.sin_port);
	return destroy(netlink, &own);
}
