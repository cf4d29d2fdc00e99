/* SPDX-License-Identifier: MIT */
/* A document -> its meaning, its tests judged, its tables, and the hash that tells equal ones. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/evp.h>

#include "base/cleanup.h"
#include "daemon/daemon.h"
#include "daemon/relay.h"
#include "events/words.h"
#include "table/digest.h"

void daemon_fail(struct api_result *result, enum api_status status, const struct error *err)
{
	result->status = status;
	result->err = *err;
}

void daemon_refuse(struct api_result *result, enum api_status status, const char *format, ...)
{
	va_list args;

	result->status = status;
	va_start(args, format);
	(void)vsnprintf(result->err.text, sizeof(result->err.text), format, args);
	va_end(args);
}

uint64_t daemon_now_ms(void)
{
	return loop_wall_ns() / 1000000;
}

void compiled_done(struct compiled *compiled)
{
	policy_free(compiled->policy);
	table_free(compiled->table);
	*compiled = (struct compiled){0};
}

static enum policy_source source_of(enum api_dialect dialect)
{
	static const enum policy_source of[] = {[API_NATIVE] = POLICY_FROM_FILE,
						[API_E2B] = POLICY_FROM_E2B,
						[API_BRIMBLE] = POLICY_FROM_BRIMBLE};

	return of[dialect];
}

const struct table_env *sandbox_env(const struct daemon *daemon, enum api_dialect dialect)
{
	return dialect == API_E2B ? &daemon->e2b_env : &daemon->host.env;
}

static enum api_status status_of(int r)
{
	if (r == -ENOMEM)
		return API_FAILED;
	return API_INVALID;
}

/* What needs a relay. */
static const char *unsupported(const struct daemon *daemon, const struct policy *policy)
{
	if (daemon_relay_is_there(daemon))
		return NULL;
	if (policy->proxy)
		return "egressProxy";
	if (policy->n_transforms)
		return "rules";
	if (policy->host_check != POLICY_HOST_CHECK_OFF)
		return "hostCheck: strict";
	return NULL;
}

/* What a document leaves to this host. On E2B's route names are bound to SNI and Host. */
static void take_defaults(const struct daemon *daemon, enum api_dialect dialect,
			  struct policy *policy)
{
	if (!policy->has_existing)
		policy->existing = daemon->config.existing;
	if (dialect == API_E2B && daemon_relay_is_there(daemon) && policy->default_deny &&
	    policy->has_names)
		policy->host_check = POLICY_HOST_CHECK_STRICT;
}

/* A name is resolved, and what it resolves to judged, by the relay, each time. */
static int refuse_endpoint(const struct daemon *daemon, enum api_dialect dialect,
			   const struct policy *policy, struct error *err)
{
	const struct explain_input in = {.policy = policy, .always = &daemon->host.always};
	struct addr addr, denied;

	if (!policy->proxy || addr_parse(policy->proxy->host, &addr, NULL) < 0 ||
	    !explain_find_always_denied(&in, &addr, &denied))
		return 0;
	return error_set(
		err, -EINVAL,
		"%segress proxy endpoint resolves to an internal / denied IP range: %s resolves to %s",
		dialect == API_E2B ? "Invalid egress proxy config: " : "egressProxy: ",
		policy->proxy->host, policy->proxy->host);
}

enum api_status daemon_check(const struct daemon *daemon, enum api_dialect dialect,
			     const char *document, size_t size, struct policy **ret_policy,
			     struct error *err)
{
	cleanup_policy struct policy *policy = NULL;
	const char *what;
	int r = policy_parse("", document, size, source_of(dialect), &policy, err);

	if (r == -ENOMEM)
		(void)error_set(err, r, "out of memory");
	if (r < 0)
		return status_of(r);
	what = unsupported(daemon, policy);
	if (what) {
		(void)error_set(err, -EOPNOTSUPP, "%s needs a relay, and none can run here", what);
		return API_UNSUPPORTED;
	}
	take_defaults(daemon, dialect, policy);
	if (refuse_endpoint(daemon, dialect, policy, err) < 0)
		return API_INVALID;
	*ret_policy = TAKE_PTR(policy);
	return API_OK;
}

static struct explain_input input_of(const struct daemon *daemon, enum api_dialect dialect,
				     const struct policy *policy)
{
	return (struct explain_input){.policy = policy,
				      .env = sandbox_env(daemon, dialect),
				      .always = &daemon->host.always};
}

static enum api_status judge_tests(const struct daemon *daemon, enum api_dialect dialect,
				   const struct policy *policy, struct error *err)
{
	const struct explain_input in = input_of(daemon, dialect, policy);

	for (size_t i = 0; i < policy->n_tests; i++) {
		const struct policy_test *test = &policy->tests[i];
		struct explain_report report;
		uint8_t verdict;

		if (explain_dest(&in, &test->dest, &report, err) < 0) {
			(void)error_prepend(err, -EINVAL, "tests[%zu]: ", i);
			return API_INVALID;
		}
		verdict = report.decision.verdict;
		if ((verdict != PST_VERDICT_DENY) == (test->expect != PST_VERDICT_DENY))
			continue;
		(void)error_set(err, -EACCES, "tests[%zu]: %s: expected %s, found %s (%s)", i,
				test->to, words_verdict(test->expect), words_verdict(verdict),
				words_reason(report.decision.reason));
		return API_INVALID;
	}
	return API_OK;
}

static void add_bytes(void *context, const void *bytes, size_t size)
{
	(void)EVP_DigestUpdate(context, bytes, size);
}

static int hash_table(const struct table *table, struct compiled *compiled)
{
	EVP_MD_CTX *sha = EVP_MD_CTX_new();
	unsigned size = 0;
	int ok = sha && EVP_DigestInit_ex(sha, EVP_sha256(), NULL);

	if (ok) {
		table_digest(table, add_bytes, sha);
		ok = EVP_DigestFinal_ex(sha, compiled->hash, &size);
	}
	EVP_MD_CTX_free(sha);
	if (!ok || size != sizeof(compiled->hash))
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(compiled->hash); i++)
		(void)snprintf(compiled->hash_text + 2 * i, 3, "%02x", compiled->hash[i]);
	return 0;
}

enum api_status daemon_compile(const struct daemon *daemon, enum api_dialect whose,
			       const struct api_change *change, struct compiled *ret_compiled,
			       struct error *err)
{
	cleanup(compiled_done) struct compiled compiled = {0};
	enum api_status status = daemon_check(daemon, change->dialect, change->document,
					      change->document_size, &compiled.policy, err);
	int r;

	if (status == API_OK)
		status = judge_tests(daemon, whose, compiled.policy, err);
	if (status != API_OK)
		return status;
	r = table_compile(compiled.policy, sandbox_env(daemon, whose), &compiled.table, err);
	if (!r)
		r = hash_table(compiled.table, &compiled);
	if (r == -ENOMEM)
		(void)error_set(err, r, "out of memory");
	if (r < 0)
		return status_of(r);
	*ret_compiled = compiled;
	compiled = (struct compiled){0};
	return API_OK;
}

int daemon_compile_own(const struct daemon *daemon, const struct policy *policy,
		       struct compiled *ret_compiled, struct error *err)
{
	const struct table_env env = {.daemon_port = daemon->host.env.daemon_port};
	struct compiled compiled = {0};
	int r = table_compile(policy, &env, &compiled.table, err);

	if (!r)
		r = hash_table(compiled.table, &compiled);
	if (r < 0) {
		compiled_done(&compiled);
		return r == -ENOMEM ? error_set(err, r, "out of memory") : r;
	}
	*ret_compiled = compiled;
	return 0;
}

const struct policy *sandbox_policy(struct sandbox *sandbox, struct error *err)
{
	const struct stored *stored = &sandbox->stored;

	sandbox->policy_used = true;
	if (!sandbox->policy && stored->document &&
	    policy_parse("", stored->document, strlen(stored->document),
			 source_of(stored->document_dialect), &sandbox->policy, err) < 0)
		return NULL;
	/* That was this host's to say, when the document came. */
	if (sandbox->policy && sandbox->at &&
	    kern_attachment_record(sandbox->at)->flags & PST_SANDBOX_STRICT)
		sandbox->policy->host_check = POLICY_HOST_CHECK_STRICT;
	if (!sandbox->policy)
		(void)error_set(err, -ENOENT, "its policy is not known: put one again");
	return sandbox->policy;
}
