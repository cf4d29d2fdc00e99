/* SPDX-License-Identifier: MIT */
/*
 * postern-relay: started by posternd or `postern run`, with its end of a socketpair as descriptor 3; nobody starts it
 * by hand. Options, confinement, the loop; it ends with its starter.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "relay/core.h"

#ifndef POSTERN_VERSION
#define POSTERN_VERSION "0.1.0"
#endif

/* Two for each connection; while it is dialled, two for a name and one for each further address; one for a question. */
#define FILES_SPARE  8192
#define FILES	     (2ULL * PST_RELAY_TOTAL + FILES_SPARE)
#define FILES_SIGNER 64

enum exit_status { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_WRONG_USE = 2 };

static const char help[] =
	"Usage: postern-relay [--signer]\n"
	"Serves posternd and `postern run`, which start it: descriptor 3 is its end of a\n"
	"socket pair.\n"
	"\n"
	"      --signer   sign certificates, relay nothing\n"
	"  -V, --version  print the version\n"
	"  -h, --help     print this\n";

struct options {
	bool signer, done;
};

static int parse_options(int argc, char **argv, struct options *options)
{
	static const struct option names[] = {{"signer", no_argument, NULL, 's'},
					      {"help", no_argument, NULL, 'h'},
					      {"version", no_argument, NULL, 'V'},
					      {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "hV", names, NULL)) != -1) {
		switch (c) {
		case 's':
			options->signer = true;
			break;
		case 'h':
			(void)fputs(help, stdout);
			options->done = true;
			return 0;
		case 'V':
			(void)puts("postern-relay " POSTERN_VERSION);
			options->done = true;
			return 0;
		default:
			return -EINVAL;
		}
	}
	return optind == argc ? 0 : -EINVAL;
}

static bool has_starter(void)
{
	int type = 0;
	socklen_t size = sizeof(type);

	return getsockopt(PST_RELAY_FD, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
	       type == SOCK_SEQPACKET;
}

/* Ctrl-C is for whoever runs in the foreground: the starter ends us when it ends. */
static void ignore_signals(void)
{
	static const int ignored[] = {SIGPIPE, SIGINT, SIGQUIT, SIGHUP};

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		(void)signal(ignored[i], SIG_IGN);
}

/* ---- the relay ---- */

static struct event_base *new_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (!config)
		return NULL;
	if (event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV) == 0)
		base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

static int start(struct relay *relay)
{
	if (resolver_new(relay, &relay->resolver) < 0 || tally_start(relay) < 0 ||
	    control_new(relay, PST_RELAY_FD, &relay->control) < 0)
		return -ENOMEM;
	return 0;
}

static void stop(struct relay *relay)
{
	while (relay->sandboxes)
		sandbox_free(relay->sandboxes);
	control_free(TAKE_PTR(relay->control));
	tally_stop(relay);
	resolver_free(relay->resolver);
	relay_tls_done(relay);
	free(relay->shared);
	event_base_free(relay->base);
}

/* Whatever needs files or other system calls is done before the first byte of a sandbox comes in. */
static int run_relay(uint64_t files)
{
	struct relay relay = {.base = new_base()};
	int r;

	if (!relay.base)
		return EXIT_FAILED;
	relay.limits.total =
		files > 2 * FILES_SPARE ? (uint32_t)(files - FILES_SPARE) / 2 : (uint32_t)files / 4;
	r = confine_seal();
	if (r < 0)
		log_error("seccomp: %s", strerror(-r));
	else
		r = start(&relay);
	if (r == 0)
		r = event_base_dispatch(relay.base) < 0 || relay.failed ? -EIO : 0;
	stop(&relay);
	return r == 0 ? EXIT_OK : EXIT_FAILED;
}

/* The signer's directory; -1: it was given none. */
static int find_ca(bool signer)
{
	if (!signer || fcntl(PST_RELAY_CA_FD, F_GETFD) < 0)
		return -1;
	return PST_RELAY_CA_FD;
}

static int run(bool signer)
{
	struct confine_options confined = {.files = signer ? FILES_SIGNER : FILES,
					   .keeps_files = signer};
	struct error err = {.text = ""};
	uint64_t files = 0;
	int ca = find_ca(signer);

	(void)close_range(ca < 0 ? PST_RELAY_FD + 1 : PST_RELAY_CA_FD + 1, UINT_MAX, 0);
	ignore_signals();
	/* The host's openssl.cnf is not for us, nor can it be read later. */
	if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1)
		return EXIT_FAILED;
	if (confine(&confined, &files, &err) < 0) {
		log_error("%s", err.text);
		return EXIT_FAILED;
	}
	return signer ? signer_run(PST_RELAY_FD, ca) : run_relay(files);
}

int main(int argc, char **argv)
{
	struct options options = {.signer = false};

	log_set_program("postern-relay");
	if (parse_options(argc, argv, &options) < 0) {
		(void)fputs(help, stderr);
		return EXIT_WRONG_USE;
	}
	if (options.done)
		return EXIT_OK;
	if (!has_starter()) {
		log_error("posternd and `postern run` start this; descriptor 3 is no socket pair");
		return EXIT_WRONG_USE;
	}
	return run(options.signer);
}
