/* SPDX-License-Identifier: MIT */
/* posternd: options; the start, in an order in which nothing is ever open; the loop; an end that leaves all in
 * force. */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/notify.h"
#include "daemon/daemon.h"
#include "daemon/listen.h"
#include "daemon/privileges.h"
#include "daemon/relay.h"
#include "kern/cgroup.h"
#include "kern/device_watch.h"
#include "kern/pin.h"

#ifndef POSTERN_VERSION
#define POSTERN_VERSION "0.1.0"
#endif

#define TICK_MS 250

/* As those of postern(1). */
enum daemon_exit { DAEMON_OK = 0, DAEMON_FAILURE = 1, DAEMON_USAGE = 2, DAEMON_UNSUPPORTED = 6 };

static const char help[] =
	"Usage: posternd [-c FILE] [-n]\n"
	"Keeps the egress policies of this host's sandboxes in force, and changes "
	"them over HTTP.\n"
	"\n"
	"  -c, --config FILE   configuration (" CONFIG_PATH ")\n"
	"  -n, --check         check the configuration and exit\n"
	"  -V, --version       print the version\n"
	"  -h, --help          print this\n"
	"\n"
	"Exit status: 0 ended by a signal, 1 failure, 2 usage or configuration, 6 "
	"this kernel cannot.\n";

struct options {
	const char *config;
	bool config_given, check_only, done;
};

static int parse_options(int argc, char **argv, struct options *options)
{
	static const struct option names[] = {{"config", required_argument, NULL, 'c'},
					      {"check", no_argument, NULL, 'n'},
					      {"help", no_argument, NULL, 'h'},
					      {"version", no_argument, NULL, 'V'},
					      {NULL, 0, NULL, 0}};
	int c;

	options->config = CONFIG_PATH;
	while ((c = getopt_long(argc, argv, "c:nhV", names, NULL)) != -1) {
		switch (c) {
		case 'c':
			options->config = optarg;
			options->config_given = true;
			break;
		case 'n':
			options->check_only = true;
			break;
		case 'h':
			(void)fputs(help, stdout);
			options->done = true;
			return 0;
		case 'V':
			(void)puts("posternd " POSTERN_VERSION);
			options->done = true;
			return 0;
		default:
			return -EINVAL;
		}
	}
	return optind == argc ? 0 : -EINVAL;
}

/* ---- the host ---- */

static int set_always(struct daemon *daemon, struct error *err)
{
	cleanup_free struct table_always_row *rows = NULL;
	size_t count = 0;
	int r = host_always(&daemon->host, &rows, &count, err);

	return r ? r : kern_host_set_always(daemon->kern, rows, count, err);
}

static int on_host_change(void *context, int fd)
{
	(void)fd;
	daemon_follow_host(context);
	return 0;
}

/* ---- start ---- */

static int open_kernel(struct daemon *daemon, struct error *err)
{
	struct kern_host_options options = {.dir = daemon->config.bpffs_dir,
					    .cgroup_root_fd = daemon->root_fd,
					    .max_sandboxes = daemon->config.max_sandboxes,
					    .leases = daemon->config.max_leases,
					    .with_walk = true};
	int r = kern_host_open(&options, &daemon->kern, err);

	if (!r)
		r = set_always(daemon, err);
	/* Without it each look takes its time. */
	if (!r && members_probe_new(&daemon->probe) < 0)
		log_warning("this kernel does not let us walk open files: every attach is weak");
	/* libbpf has read the kernel's BTF once more for the probe. */
	(void)malloc_trim(0);
	if (!r)
		daemon_relay_sweep(daemon);
	if (!r)
		r = daemon_adopt(daemon, err);
	/* The host may have other addresses than when the last daemon looked. */
	if (!r)
		daemon_refresh(daemon);
	return r;
}

struct sockets {
	int unix_fd, tcp_fd;
};

static void sockets_done(struct sockets *sockets)
{
	cleanup_close_(&sockets->unix_fd);
	cleanup_close_(&sockets->tcp_fd);
}

static int open_sockets(const struct config *config, struct sockets *sockets, struct error *err)
{
	int r = listen_unix(config->socket, &sockets->unix_fd, err);

	if (!r && config->listen_host)
		r = listen_tcp(config->listen_host, config->listen_port, &sockets->tcp_fd, err);
	return r;
}

static int serve(struct daemon *daemon, struct sockets *sockets, struct error *err)
{
	const struct config *config = &daemon->config;
	const struct api_server_options options = {.backend = &daemon->backend,
						   .loop = daemon->loop,
						   .unix_fd = sockets->unix_fd,
						   .tcp_fd = sockets->tcp_fd,
						   .check_host = config->listen_loopback,
						   .keys = config->keys,
						   .n_keys = config->n_keys,
						   .max_body = config->max_body,
						   .max_connections = config->max_connections,
						   .max_streams = config->max_streams};

	daemon_backend(daemon, &daemon->backend);
	return api_server_new(&options, &daemon->server, err);
}

/* What more rights are needed for comes first; the second thread comes after
 * they are dropped. */
static int start(struct daemon *daemon, struct sockets *sockets, struct error *err)
{
	cleanup_free char *bpffs = NULL;
	char kept[ERROR_TEXT_MAX];
	int r = store_open(daemon->config.state_dir, &daemon->store, err);

	if (!r)
		r = open_sockets(&daemon->config, sockets, err);
	if (!r)
		r = cgroup_open_root(&daemon->root_fd, &daemon->root_path, err);
	if (!r)
		r = pin_find_bpffs(&bpffs, err);
	if (!r)
		r = daemon_load_environment(daemon, err);
	if (r < 0)
		return r;
	daemon_relay_start(daemon);
	r = privileges_drop(kept, sizeof(kept), err);
	if (r == -EPERM)
		log_warning("%s", err->text);
	else if (r < 0)
		return r;
	log_info("%s", kept);
	/* Before sandboxes are found again: what goes meanwhile is announced. */
	r = daemon_devices_start(daemon, err);
	if (!r)
		r = open_kernel(daemon, err);
	if (!r)
		r = daemon_stream_start(daemon, err);
	if (!r)
		daemon_relay_adopt(daemon);
	if (!r)
		r = daemon_folder_start(daemon, err);
	return r ? r : serve(daemon, sockets, err);
}

/* ---- the loop ---- */

static void reload(struct daemon *daemon)
{
	(void)notify_send("RELOADING=1");
	daemon_reload_environment(daemon);
	daemon_folder_reload(daemon);
	(void)notify_send("READY=1\nSTATUS=%zu sandboxes", daemon->registry.count);
}

static int on_signal(void *context, int fd)
{
	struct daemon *daemon = context;
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return 0;
	if (info.ssi_signo == SIGHUP)
		reload(daemon);
	else
		loop_stop(daemon->loop);
	return 0;
}

static int on_watchdog(void *context, int fd)
{
	(void)context;
	(void)fd;
	(void)notify_send("WATCHDOG=1");
	return 0;
}

static int watch_signals(struct daemon *daemon, int *ret_fd)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -errno;
	*ret_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return *ret_fd < 0 ? -errno : loop_watch(daemon->loop, *ret_fd, on_signal, daemon);
}

static int watch_all(struct daemon *daemon)
{
	const struct loop_period tick = {.first_ms = TICK_MS, .every_ms = TICK_MS};
	uint64_t watchdog_ms = notify_watchdog_ms();
	const struct loop_period watchdog = {.first_ms = watchdog_ms / 3,
					     .every_ms = watchdog_ms / 3};
	int fd, r;

	r = loop_watch(daemon->loop, hostaddr_fd(daemon->host.addresses), on_host_change, daemon);
	if (!r)
		r = loop_timer(daemon->loop, &tick, daemon_tick, daemon, &fd);
	if (!r && watchdog.every_ms)
		r = loop_timer(daemon->loop, &watchdog, on_watchdog, daemon, &fd);
	return r;
}

static int run(struct daemon *daemon, struct sockets *sockets, struct error *err)
{
	cleanup_close int signals = -1;
	int r = loop_new(&daemon->loop);

	if (!r)
		r = watch_signals(daemon, &signals);
	if (r < 0)
		return error_set(err, r, "cannot watch signals: %s", strerror(-r));
	daemon->started_ms = daemon_now_ms();
	r = start(daemon, sockets, err);
	if (r < 0)
		return r;
	r = watch_all(daemon);
	if (r < 0)
		return error_set(err, r, "cannot watch this host: %s", strerror(-r));
	daemon->ready = true;
	(void)notify_send("READY=1\nSTATUS=%zu sandboxes", daemon->registry.count);
	/* Not before: it may take its time, and what is in force is no worse than it was. */
	daemon_compare_environment(daemon);
	log_info("ready: %zu sandboxes, %s", daemon->registry.count, daemon->config.socket);
	r = loop_run(daemon->loop);
	(void)notify_send("STOPPING=1");
	return r < 0 ? error_set(err, r, "the loop failed: %s", strerror(-r)) : 0;
}

/* Nothing is detached: what is pinned stays in force. */
static void daemon_done(struct daemon *daemon)
{
	api_server_free(daemon->server);
	daemon->server = NULL;
	daemon_relay_end(daemon);
	daemon_folder_end(daemon);
	daemon_stream_end(daemon);
	registry_done(&daemon->registry);
	while (daemon->endings) {
		struct ending *next = daemon->endings->next;

		ending_free(daemon->endings);
		daemon->endings = next;
	}
	while (daemon->changes) {
		struct mass_change *next = daemon->changes->next;

		free(daemon->changes);
		daemon->changes = next;
	}
	members_probe_free(daemon->probe);
	device_watch_free(daemon->devices);
	kern_host_close(daemon->kern);
	store_close(daemon->store);
	free(daemon->host.always.add.items);
	free(daemon->host.always.except.items);
	host_done(&daemon->host);
	free(daemon->e2b_env.resolvers.items);
	cleanup_close_(&daemon->root_fd);
	free(daemon->root_path);
	free(daemon->outside);
	loop_free(daemon->loop);
	config_done(&daemon->config);
}

static int posternd(const struct options *options)
{
	cleanup(daemon_done) struct daemon daemon = {.root_fd = -1};
	cleanup(sockets_done) struct sockets sockets = {-1, -1};
	struct error err = {0};
	int r = config_load(options->config, !options->config_given, &daemon.config, &err);

	if (r < 0) {
		log_error("%s", err.text);
		return DAEMON_USAGE;
	}
	if (options->check_only) {
		(void)printf("%s: ok\n", options->config);
		return DAEMON_OK;
	}
	log_set_format(daemon.config.log_text ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON);
	r = run(&daemon, &sockets, &err);
	if (r < 0)
		log_error("%s", err.text);
	if (r == -EOPNOTSUPP || r == -EPERM)
		return DAEMON_UNSUPPORTED;
	return r < 0 ? DAEMON_FAILURE : DAEMON_OK;
}

int main(int argc, char **argv)
{
	struct options options = {0};

	log_set_program("posternd");
	log_set_level(LOG_LEVEL_INFO);
	if (parse_options(argc, argv, &options) < 0) {
		(void)fputs(help, stderr);
		return DAEMON_USAGE;
	}
	return options.done ? DAEMON_OK : posternd(&options);
}
