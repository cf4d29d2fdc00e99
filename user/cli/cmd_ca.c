/* SPDX-License-Identifier: MIT */
/* postern ca: the certificate of the CA that ends TLS for header transforms, and how a sandbox comes to trust it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/remote.h"

static const char trust[] =
	"How a sandbox comes to trust it, with the certificate in it as /etc/postern-ca.pem:\n"
	"  Debian, Ubuntu, Alpine\n"
	"      cp /etc/postern-ca.pem /usr/local/share/ca-certificates/postern.crt && update-ca-certificates\n"
	"  Fedora, RHEL\n"
	"      cp /etc/postern-ca.pem /etc/pki/ca-trust/source/anchors/postern.pem && update-ca-trust\n"
	"  Node: NODE_EXTRA_CA_CERTS=/etc/postern-ca.pem, on top of what it trusts\n"
	"  OpenSSL, Python, Ruby, Go: SSL_CERT_FILE; Python's requests: REQUESTS_CA_BUNDLE; curl: CURL_CA_BUNDLE;\n"
	"  git: GIT_SSL_CAINFO. They take the place of the system's list, so they need a file with both:\n"
	"      cat /etc/ssl/certs/ca-certificates.crt /etc/postern-ca.pem > /etc/postern-bundle.pem\n"
	"  Java\n"
	"      keytool -importcert -noprompt -cacerts -alias postern -file /etc/postern-ca.pem\n";

static const char help[] =
	"Usage: postern ca [--trust] [-o json]\n"
	"Prints the certificate (PEM) of the CA that sandboxes trust whose policy has \"rules\" for HTTPS.\n"
	"\n"
	"      --trust           tell how a sandbox comes to trust it, instead\n" REMOTE_HELP_TEXT
	"\n"
	"Exit status: 0 printed, 2 usage, 4 there is none yet, 5 no daemon answers.\n";

enum { OPTION_TRUST = 1 };

static const struct option_spec specs[] = {
	{OPTION_TRUST, 0, "trust", false},
	REMOTE_SPEC_OUTPUT,
	REMOTE_SPEC_SOCKET,
	REMOTE_SPEC_HELP,
	{0, 0, NULL, false},
};

struct ca {
	struct remote_options remote;
	bool is_about_trust;
};

static int parse(int argc, char **argv, struct ca *ca, struct error *err)
{
	struct options options = {.specs = specs, .argc = argc, .argv = argv, .next = 1};
	const char *value = NULL;
	int option, r = 0;

	while (r == 0 && (option = options_next(&options, &value, err)) != OPTIONS_END) {
		if (option < 0)
			return option;
		if (option == OPTION_TRUST)
			ca->is_about_trust = true;
		else
			r = remote_take_option(&ca->remote, option, value, err);
	}
	return r;
}

/* It is written into files of trust: nothing else may come with it. */
static bool is_pem(const struct buf *body)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----\n";

	if (strncmp(body->data, begin, sizeof(begin) - 1) != 0)
		return false;
	for (size_t i = 0; i < body->size; i++) {
		if (body->data[i] != '\n' && (body->data[i] < ' ' || body->data[i] > '~'))
			return false;
	}
	return true;
}

static int print(const struct ca *ca, const struct buf *body)
{
	cleanup_buf struct buf out = {0};

	if (!is_pem(body)) {
		log_error("ca: posternd's answer is no certificate");
		return CLI_FAILURE;
	}
	if (!ca->remote.json)
		return remote_print("ca", body);
	buf_puts(&out, "{\"certificate\":");
	buf_json_string(&out, body->data);
	buf_puts(&out, "}\n");
	return remote_print("ca", &out);
}

int cmd_ca(int argc, char **argv)
{
	struct ca ca = {.is_about_trust = false};
	cleanup_buf struct buf body = {0};
	struct error err = {0};
	struct remote_request request = {.command = "ca", .method = "GET", .path = "/v1/ca.pem"};
	int exit;

	if (parse(argc, argv, &ca, &err) < 0)
		return cli_usage_error("ca", &err);
	if (ca.remote.help)
		return fputs(help, stdout) < 0 ? CLI_FAILURE : CLI_OK;
	if (ca.is_about_trust)
		return fputs(trust, stdout) < 0 ? CLI_FAILURE : CLI_OK;
	request.socket = ca.remote.socket;
	exit = remote_call(&request, &body);
	return exit == CLI_OK ? print(&ca, &body) : exit;
}
