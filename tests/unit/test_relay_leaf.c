/* SPDX-License-Identifier: MIT */
/* Leaf certificates: asked for once, kept, bounded, and never taken for another name or key. */
#include "relay_http_fixture.h"

#include <openssl/x509v3.h>

struct heard {
	unsigned count;
	int status;
};

static void on_leaf(void *context, int status)
{
	struct heard *heard = context;

	heard->count++;
	heard->status = status;
}

static void begin(struct fixture *f)
{
	setup(f, 443);
	assert_int_equal(signer_new(-1, &f->signer, NULL), 0);
	assert_int_equal(relay_tls_init(&f->relay, -1), 0);
}

static void one_request_serves_all_who_wait(void **state)
{
	char name[] = "a.example";
	struct heard heard = {0};
	struct fixture f;
	SSL *ssl;

	(void)state;
	begin(&f);
	assert_null(leaf_accept(f.relay.leaves, name));
	for (int i = 0; i < 3; i++)
		assert_non_null(leaf_ask(&f.sandbox, name, on_leaf, &heard));
	assert_int_equal(f.n_signs, 1);
	assert_int_equal(heard.count, 0);
	until(&f, heard.count == 3);
	assert_int_equal(heard.status, 0);
	ssl = leaf_accept(f.relay.leaves, name);
	assert_non_null(ssl);
	assert_int_equal(X509_check_host(SSL_get_certificate(ssl), name, 0, 0, NULL), 1);
	SSL_free(ssl);
	teardown(&f);
}

static void who_has_gone_is_not_told(void **state)
{
	struct heard gone = {0}, heard = {0};
	struct leaf_wait *wait;
	struct fixture f;

	(void)state;
	begin(&f);
	wait = leaf_ask(&f.sandbox, "a.example", on_leaf, &gone);
	leaf_ask(&f.sandbox, "a.example", on_leaf, &heard);
	leaf_forget(wait);
	leaf_forget(NULL);
	until(&f, heard.count == 1);
	assert_int_equal(gone.count, 0);
	teardown(&f);
}

static void a_refusal_is_told_and_not_kept(void **state)
{
	struct heard heard = {0};
	struct fixture f;

	(void)state;
	begin(&f);
	f.sign_fails = -EACCES;
	leaf_ask(&f.sandbox, "a.example", on_leaf, &heard);
	until(&f, heard.count == 1);
	assert_int_equal(heard.status, -EACCES);
	f.sign_fails = 0;
	leaf_ask(&f.sandbox, "a.example", on_leaf, &heard);
	until(&f, heard.count == 2);
	assert_int_equal(heard.status, 0);
	teardown(&f);
}

static void on_forgetting(void *context, int status)
{
	struct leaf_wait **wait = context;

	assert_int_equal(status, -EACCES);
	leaf_forget(*wait); /* as the end of a session does that hears of it */
	*wait = NULL;
}

static void who_is_told_may_forget_himself_and_others(void **state)
{
	struct leaf_wait *waits[2];
	struct fixture f;

	(void)state;
	begin(&f);
	f.sign_fails = -EACCES;
	waits[0] = leaf_ask(&f.sandbox, "a.example", on_forgetting, &waits[1]);
	waits[1] = leaf_ask(&f.sandbox, "a.example", on_forgetting, &waits[1]);
	until(&f, !waits[1]);
	for (int i = 0; i < 3; i++)
		round_of(&f);
	teardown(&f);
}

/* A name that nobody asked for, and a key that is not ours: what comes from the starter is checked like anything. */
static void a_certificate_for_another_name_or_key_is_not_taken(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct heard heard = {0};
		struct fixture f;

		begin(&f);
		leaf_ask(&f.sandbox, "a.example", on_leaf, &heard);
		if (i == 0) {
			strcpy(f.requests[0].sign.name, "b.example");
		} else {
			unsigned char *at = f.requests[0].sign.key;
			EVP_PKEY *other = EVP_EC_gen("P-256");

			f.requests[0].sign.key_size = (__u32)i2d_PUBKEY(other, &at);
			EVP_PKEY_free(other);
		}
		until(&f, heard.count == 1);
		assert_int_equal(heard.status, -EPROTO);
		assert_null(leaf_accept(f.relay.leaves, (char[]){"a.example"}));
		teardown(&f);
	}
}

static void a_sandbox_can_have_so_many_asked_for_at_once(void **state)
{
	struct heard heard = {0};
	struct relay_sandbox other;
	struct fixture f;
	char name[32];

	(void)state;
	begin(&f);
	other = f.sandbox;
	other.id++;
	for (int i = 0; i < LEAF_ASKED_OF_ONE; i++) {
		snprintf(name, sizeof(name), "n%d.example", i);
		assert_non_null(leaf_ask(&f.sandbox, name, on_leaf, &heard));
	}
	assert_null(leaf_ask(&f.sandbox, "more.example", on_leaf, &heard));
	assert_non_null(leaf_ask(&f.sandbox, "n0.example", on_leaf, &heard));
	assert_int_equal(f.n_signs, LEAF_ASKED_OF_ONE);
	/* Another one is not held up by it, nor is its request the same. */
	assert_non_null(leaf_ask(&other, "n0.example", on_leaf, &heard));
	assert_int_equal(f.n_signs, LEAF_ASKED_OF_ONE + 1);
	event_base_loop(f.relay.base, EVLOOP_ONCE);
	until(&f, heard.count == LEAF_ASKED_OF_ONE + 2);
	teardown(&f);
}

static void the_least_used_make_room(void **state)
{
	char first[] = "kept.example", name[32];
	struct heard heard = {0};
	struct fixture f;
	SSL *ssl;

	(void)state;
	begin(&f);
	leaf_ask(&f.sandbox, first, on_leaf, &heard);
	until(&f, heard.count == 1);
	for (unsigned i = 0; i < LEAF_KEPT + 10; i++) {
		snprintf(name, sizeof(name), "n%u.example", i);
		leaf_ask(&f.sandbox, name, on_leaf, &heard);
		until(&f, heard.count == i + 2);
		/* In use all the time. */
		ssl = leaf_accept(f.relay.leaves, first);
		assert_non_null(ssl);
		SSL_free(ssl);
	}
	assert_null(leaf_accept(f.relay.leaves, (char[]){"n0.example"}));
	ssl = leaf_accept(f.relay.leaves, name);
	assert_non_null(ssl);
	SSL_free(ssl);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_request_serves_all_who_wait),
		cmocka_unit_test(who_has_gone_is_not_told),
		cmocka_unit_test(a_refusal_is_told_and_not_kept),
		cmocka_unit_test(who_is_told_may_forget_himself_and_others),
		cmocka_unit_test(a_certificate_for_another_name_or_key_is_not_taken),
		cmocka_unit_test(a_sandbox_can_have_so_many_asked_for_at_once),
		cmocka_unit_test(the_least_used_make_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
