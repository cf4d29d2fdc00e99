/* SPDX-License-Identifier: MIT */
/* Behind a device, over a change of policy: a flow is the relay's from its first packet to its last, or never. */
#define _GNU_SOURCE
#include "relay_scene.h"

static void goes_on_over_a_change_that_leaves_it_to_the_relay(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	struct pair p = relayed(&s, FAR4);
	struct error err = {{0}};

	check(kern_attachment_refresh(s.one.at, kern_host_next_generation(s.host->kern), &err));
	assert_carries(p.relay, p.inside);
	assert_carries(p.inside, p.relay);
	put_in_force(&s, ALLOWED, PST_SANDBOX_PROXIED | PST_SANDBOX_RULES, false);
	assert_carries(p.inside, p.relay);
	assert_carries(p.relay, p.inside);
	assert_nothing_went_far(&s);
	pair_end(&p);
	scene_end(&s);
}

/* In the middle of a stream nobody else understands it, or may have it. */
static void is_reset_when_it_would_go_directly(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	struct pair p = relayed(&s, FAR4), q = relayed(&s, FAR6);

	put_in_force(&s, ALLOWED, 0, false);
	assert_int_equal(send(p.inside, "secret", 6, MSG_NOSIGNAL), 6);
	assert_int_equal(ends_with(p.inside), ECONNRESET);
	assert_int_equal(ends_with(p.relay), ECONNRESET);
	/* And by what the relay sends. */
	assert_int_equal(send(q.relay, "secret", 6, MSG_NOSIGNAL), 6);
	assert_int_equal(ends_with(q.inside), ECONNRESET);
	assert_int_equal(ends_with(q.relay), ECONNRESET);
	assert_nothing_went_far(&s);
	pair_end(&p);
	pair_end(&q);
	scene_end(&s);
}

static void is_reset_when_it_is_denied(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	struct pair p = relayed(&s, FAR4), q = relayed(&s, FAR6);
	uint64_t before = denied(&s, PST_REASON_DEFAULT_DENY);

	put_in_force(&s, DENIED, PST_SANDBOX_PROXIED, false);
	assert_int_equal(send(p.inside, "secret", 6, MSG_NOSIGNAL), 6);
	assert_int_equal(ends_with(p.inside), ECONNRESET);
	assert_int_equal(ends_with(p.relay), ECONNRESET);
	/* The sandbox only waits, for what the relay has for it: both learn of it. */
	assert_int_equal(send(q.relay, "secret", 6, MSG_NOSIGNAL), 6);
	assert_int_equal(ends_with(q.inside), ECONNRESET);
	assert_int_equal(ends_with(q.relay), ECONNRESET);
	assert_true(denied(&s, PST_REASON_DEFAULT_DENY) > before);
	put_in_force(&s, ALLOWED, PST_SANDBOX_PROXIED, false);
	assert_nothing_went_far(&s);
	pair_end(&p);
	pair_end(&q);
	scene_end(&s);
}

static void a_direct_one_is_reset_when_the_relay_takes_over(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	uint64_t before = denied(&s, PST_REASON_NO_ORIGIN);

	for (int i = 0; i < 2; i++) {
		int inside, far;

		put_in_force(&s, ALLOWED, 0, false);
		inside = call(&s, both[i]);
		assert_int_equal(outcome(inside), 0);
		far = accept_one(s.listener);
		assert_carries(inside, far);
		put_in_force(&s, ALLOWED, PST_SANDBOX_PROXIED, false);
		fence(&s);
		(void)seen_far(&s);
		assert_int_equal(send(inside, "secret", 6, MSG_NOSIGNAL), 6);
		assert_int_equal(ends_with(inside), ECONNRESET);
		assert_int_equal(ends_with(far), ECONNRESET);
		fence(&s);
		/* Its peer is told by a RST, and by nothing else. */
		{
			struct seen seen = seen_far(&s);

			assert_int_equal(seen.with_data, 0);
			assert_int_equal(seen.tcp, seen.resets);
		}
		close(inside);
		close(far);
	}
	assert_true(denied(&s, PST_REASON_NO_ORIGIN) >= before + 2);
	scene_end(&s);
}

/* existing: keep. What was the relay's stays the relay's; what was not stays away from it. */
static void is_kept_as_it_was(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	struct pair p;
	int inside, far;

	put_in_force(&s, ALLOWED, 0, true);
	inside = call(&s, FAR6);
	assert_int_equal(outcome(inside), 0);
	far = accept_one(s.listener);
	assert_carries(inside, far);
	put_in_force(&s, ALLOWED, PST_SANDBOX_PROXIED, true);
	p = relayed(&s, FAR4);
	assert_carries(p.inside, p.relay);
	assert_carries(inside, far);
	assert_carries(far, inside);
	fence(&s);
	(void)seen_far(&s);
	put_in_force(&s, ALLOWED, 0, true);
	assert_carries(p.inside, p.relay);
	put_in_force(&s, DENIED, PST_SANDBOX_PROXIED, true);
	assert_carries(p.inside, p.relay);
	assert_carries(p.relay, p.inside);
	put_in_force(&s, ALLOWED, 0, true);
	assert_nothing_went_far(&s);
	pair_end(&p);
	close(inside);
	close(far);
	scene_end(&s);
}

/* What a rule would deny goes there too, and is told once. */
static void in_audit_it_is_relayed_and_told(void **state)
{
	struct scene s = scene_begin(*state, KERN_TC_AUTO);
	uint64_t before = denied(&s, PST_REASON_DEFAULT_DENY);
	struct pair p;

	put_in_force(&s, DENIED, PST_SANDBOX_PROXIED | PST_SANDBOX_AUDIT, false);
	p = relayed(&s, FAR4);
	assert_int_equal(take_origin(&s, p.relay).reason, PST_REASON_DEFAULT_DENY);
	assert_carries(p.inside, p.relay);
	assert_carries(p.relay, p.inside);
	assert_int_equal(denied(&s, PST_REASON_DEFAULT_DENY), before + 1);
	assert_nothing_went_far(&s);
	pair_end(&p);
	scene_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_on_over_a_change_that_leaves_it_to_the_relay),
		cmocka_unit_test(is_reset_when_it_would_go_directly),
		cmocka_unit_test(is_reset_when_it_is_denied),
		cmocka_unit_test(a_direct_one_is_reset_when_the_relay_takes_over),
		cmocka_unit_test(is_kept_as_it_was),
		cmocka_unit_test(in_audit_it_is_relayed_and_told),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
