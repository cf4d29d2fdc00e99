/* SPDX-License-Identifier: MIT */
/* What list, show, attach and apply print of the daemon's answers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "cli/answer.h"
#include "cli/change_text.h"
#include "cli/columns.h"
#include "cli/remote.h"
#include "cli/sandbox_text.h"

#define NOW_MS 1795323938000ull /* 2026-11-22 05:05:38 UTC */

struct fixture {
	struct json json;
	struct buf out;
	struct error err;
};

static void begin(struct fixture *f, const char *text)
{
	*f = (struct fixture){0};
	assert_int_equal(answer_parse(text, strlen(text), &f->json, &f->err), 0);
}

static void end(struct fixture *f)
{
	json_done(&f->json);
	buf_done(&f->out);
}

static const char two[] =
	"{\"sandboxes\":[{\"id\":\"agent-7\",\"state\":\"running\",\"kind\":\"cgroup\","
	"\"cgroup\":\"/sys/fs/cgroup/postern/team/agent-7\",\"netdev\":\"\",\"generation\":17,"
	"\"assurance\":{\"level\":\"weak\"},\"changedAt\":\"2026-11-22T05:00:00.123Z\"},"
	"{\"id\":\"b\",\"state\":\"gone\",\"kind\":\"netdev\",\"cgroup\":\"\","
	"\"netdev\":\"veth0\",\"generation\":123456,\"assurance\":{\"level\":\"strong\"},"
	"\"changedAt\":null}]}";

static void lists_sandboxes_ids_first(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, two);
	assert_int_equal(sandbox_text_list(&f.json, NOW_MS, 0, &f.out, &f.err), 0);
	assert_string_equal(f.out.data,
			    "ID       STATE    KIND    LEVEL   GENERATION  CHANGED  WHERE\n"
			    "agent-7  running  cgroup  weak            17       5m  "
			    "/sys/fs/cgroup/postern/team/agent-7\n"
			    "b        gone     netdev  strong      123456        -  veth0\n");
	end(&f);
}

static size_t widest_line(const char *text)
{
	size_t widest = 0, size;

	for (; *text; text += size + 1) {
		size = strcspn(text, "\n");
		widest = size > widest ? size : widest;
	}
	return widest;
}

static void keeps_the_end_of_a_path_in_a_narrow_terminal(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, two);
	assert_int_equal(sandbox_text_list(&f.json, NOW_MS, 80, &f.out, &f.err), 0);
	assert_string_equal(f.out.data,
			    "ID       STATE    KIND    LEVEL   GENERATION  CHANGED  WHERE\n"
			    "agent-7  running  cgroup  weak            17       5m  "
			    "...p/postern/team/agent-7\n"
			    "b        gone     netdev  strong      123456        -  veth0\n");
	end(&f);
}

static void leaves_columns_out_where_there_is_no_room(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, two);
	assert_int_equal(sandbox_text_list(&f.json, NOW_MS, 51, &f.out, &f.err), 0);
	assert_string_equal(f.out.data, "ID       STATE    LEVEL   CHANGED  WHERE\n"
					"agent-7  running  weak         5m  .../team/agent-7\n"
					"b        gone     strong        -  veth0\n");
	for (unsigned width = 36; width < 120; width++) {
		f.out.size = 0;
		assert_int_equal(sandbox_text_list(&f.json, NOW_MS, width, &f.out, &f.err), 0);
		assert_true(widest_line(f.out.data) <= width);
	}
	end(&f);
}

static void leaves_out_what_nobody_has(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "{\"sandboxes\":[{\"id\":\"a\",\"state\":\"running\",\"kind\":\"cgroup\","
		  "\"cgroup\":\"/c/a\",\"generation\":1,\"changedAt\":\"2026-11-22T05:05:37Z\"}]}");
	assert_int_equal(sandbox_text_list(&f.json, NOW_MS, 0, &f.out, &f.err), 0);
	assert_string_equal(f.out.data, "ID  STATE    KIND    GENERATION  CHANGED  WHERE\n"
					"a   running  cgroup           1       1s  /c/a\n");
	end(&f);
}

static void lists_nothing_under_its_titles(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "{\"sandboxes\":[]}");
	assert_int_equal(sandbox_text_list(&f.json, NOW_MS, 80, &f.out, &f.err), 0);
	assert_string_equal(f.out.data, "ID  STATE  KIND  LEVEL  GENERATION  CHANGED  WHERE\n");
	end(&f);
}

static void refuses_an_answer_that_is_no_list(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "{\"sandboxes\":7}");
	assert_int_equal(sandbox_text_list(&f.json, NOW_MS, 80, &f.out, &f.err), -EINVAL);
	assert_string_equal(f.err.text, "posternd's answer has no list \"sandboxes\"");
	end(&f);
}

static void shows_rules_in_their_order(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "{\"rules\":[{\"rule\":\"default\",\"number\":0,\"connections\":2,\"packets\":3,"
		  "\"bytes\":120,\"lastHit\":\"2026-11-22T05:00:00.123Z\"},"
		  "{\"rule\":\"allowOut[0] 93.184.216.0/24\",\"number\":1,\"connections\":0,"
		  "\"packets\":0,\"bytes\":0,\"lastHit\":null}]}");
	assert_int_equal(sandbox_text_rules(&f.json, NOW_MS, 0, &f.out, &f.err), 0);
	assert_string_equal(f.out.data,
			    "RULE  HITS  PACKETS  BYTES  LAST  SAYS\n"
			    "   0     2        3    120    5m  default\n"
			    "   1     0        0      0     -  allowOut[0] 93.184.216.0/24\n");
	end(&f);
	begin(&f, "{\"rules\":7}");
	assert_int_equal(sandbox_text_rules(&f.json, NOW_MS, 0, &f.out, &f.err), -EINVAL);
	assert_string_equal(f.err.text, "posternd's answer has no list \"rules\"");
	end(&f);
}

static void shows_a_sandbox_with_its_holes_and_policy(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f,
	      "{\"id\":\"agent-7\",\"owner\":\"\",\"state\":\"running\",\"kind\":\"cgroup\","
	      "\"cgroup\":\"/c/agent-7\",\"netdev\":\"\",\"generation\":17,"
	      "\"policyHash\":\"1f00\",\"policy\":{\"allowOut\":[\"a.com\",\n\"b.com\"],"
	      "\"denyOut\":[\"0.0.0.0/0\"],\"audit\":false},\"assurance\":{\"level\":\"weak\","
	      "\"holes\":[{\"name\":\"unix\",\"text\":\"no connect_unix here\"}]},"
	      "\"resolvers\":[\"10.0.0.2\",\"::2\"],\"maps\":{\"pst_cidr4\":12,\"pst_names\":14},"
	      "\"createdAt\":\"2026-11-22T05:00:00.123Z\",\"changedAt\":null,\"endsAt\":null,"
	      "\"advice\":\"\"}");
	sandbox_text_show(&f.json, f.json.nodes, &f.out);
	assert_string_equal(f.out.data, "agent-7\n"
					"  state       running\n"
					"  kind        cgroup\n"
					"  where       /c/agent-7\n"
					"  level       weak\n"
					"    hole: unix: no connect_unix here\n"
					"  generation  17\n"
					"  hash        1f00\n"
					"  resolvers   10.0.0.2, ::2\n"
					"  created     2026-11-22 05:00:00 UTC\n"
					"  maps        pst_cidr4 12, pst_names 14\n"
					"  policy\n"
					"    allowOut: [\n"
					"      \"a.com\",\n"
					"      \"b.com\"\n"
					"    ]\n"
					"    denyOut: [\"0.0.0.0/0\"]\n"
					"    audit: false\n");
	end(&f);
}

static void shows_what_is_behind_a_device(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f,
	      "{\"id\":\"vm\",\"state\":\"running\",\"kind\":\"netdev\",\"cgroup\":\"\",\"netdev\":\"tap0\","
	      "\"generation\":3,\"assurance\":{\"level\":\"strong\",\"holes\":[]},"
	      "\"device\":{\"ifindex\":7,\"attached\":\"clsact\",\"addresses\":[\"10.0.0.2\",\"fd00::/64\"],"
	      "\"macs\":[\"02:00:00:00:00:01\"],\"dhcp\":true,\"denySilently\":true,"
	      "\"flows\":{\"used\":3,\"max\":1024},"
	      "\"programs\":{\"pst_from_device\":21,\"pst_to_device\":22}}}");
	sandbox_text_show(&f.json, f.json.nodes, &f.out);
	assert_string_equal(f.out.data, "vm\n"
					"  state       running\n"
					"  kind        netdev\n"
					"  where       tap0\n"
					"  attached    clsact, ifindex 7\n"
					"  addresses   10.0.0.2, fd00::/64\n"
					"  macs        02:00:00:00:00:01\n"
					"  dhcp        may ask for its addresses\n"
					"  denials     silent\n"
					"  flows       3 of 1024\n"
					"  programs    pst_from_device 21, pst_to_device 22\n"
					"  level       strong\n"
					"  generation  3\n");
	end(&f);
}

static void shows_the_beginning_of_a_long_list(void **state)
{
	struct buf text = {0};
	struct fixture f;

	(void)state;
	buf_puts(&text, "{\"id\":\"a\",\"policy\":{\"allowOut\":[\"1.0.0.0\"");
	for (unsigned i = 1; i < 1000; i++)
		buf_printf(&text, ",\"1.0.%u.%u\"", i / 256, i % 256);
	buf_puts(&text, "]}}");
	begin(&f, text.data);
	sandbox_text_show(&f.json, f.json.nodes, &f.out);
	assert_non_null(strstr(f.out.data, "      \"1.0.0.19\",\n"
					   "      ... 980 more: -o json shows all\n    ]\n"));
	assert_null(strstr(f.out.data, "1.0.0.20"));
	end(&f);
	buf_done(&text);
}

static void shows_what_to_do_about_a_damaged_one(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "{\"id\":\"a\",\"state\":\"damaged\",\"advice\":\"apply a policy anew\","
		  "\"policy\":null}");
	sandbox_text_show(&f.json, f.json.nodes, &f.out);
	assert_string_equal(f.out.data, "a\n"
					"  state       damaged\n"
					"  advice      apply a policy anew\n"
					"  generation  0\n");
	end(&f);
}

static void lets_no_text_drive_the_terminal(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "{\"id\":\"a\",\"cgroup\":\"/c/\\u001b[2J\\n\\u009b\","
		  "\"policy\":{\"x\\u001b\":\"\xc2\x9b\"},\"assurance\":{\"level\":\"weak\","
		  "\"holes\":[\"\\u0007\"]}}");
	sandbox_text_show(&f.json, f.json.nodes, &f.out);
	assert_string_equal(f.out.data, "a\n"
					"  where       /c/?[2J???\n"
					"  level       weak\n"
					"    hole: ?\n"
					"  generation  0\n"
					"  policy\n"
					"    x?: \"??\"\n");
	end(&f);
}

static void tells_what_was_attached(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "{\"id\":\"a\",\"kind\":\"cgroup\",\"cgroup\":\"/c/a\",\"netdev\":\"\","
		  "\"generation\":3,\"assurance\":{\"level\":\"weak\",\"holes\":["
		  "{\"name\":\"caps\",\"text\":\"pid 7 has CAP_NET_RAW\"}]}}");
	sandbox_text_attached(&f.json, f.json.nodes, &f.out);
	assert_string_equal(f.out.data, "a: attached to /c/a, weak, generation 3\n"
					"  hole: caps: pid 7 has CAP_NET_RAW\n");
	end(&f);
}

static void tells_that_a_change_is_enforced(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "{\"dryRun\":false,\"changed\":true,\"generation\":18,"
		  "\"policyHash\":\"0123456789abcdef\",\"warnings\":[\"allowOut[1]: no effect\"]}");
	change_text_done(&f.json, "a", &f.out);
	change_text_warnings(&f.json, &f.out);
	assert_string_equal(f.out.data, "a: enforced, generation 18, policy 0123456789ab\n"
					"warning: allowOut[1]: no effect\n");
	end(&f);
}

static void tells_what_a_change_would_do(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f,
	      "{\"dryRun\":true,\"changed\":true,\"rules\":[\"allowOut[2] 10.0.0.0/8: removed\"],"
	      "\"flows\":[\"tcp 10.1.2.3:5432\",\"udp 10.1.2.4:53\"],\"names\":[]}");
	change_text_dry_run(&f.json, "a", &f.out);
	assert_string_equal(f.out.data, "rules that would change (1):\n"
					"  allowOut[2] 10.0.0.0/8: removed\n"
					"live flows that would end (2):\n"
					"  tcp 10.1.2.3:5432\n"
					"  udp 10.1.2.4:53\n"
					"a: nothing was changed, as this was a dry run\n");
	end(&f);
	begin(&f, "{\"dryRun\":true,\"changed\":false,\"rules\":[],\"flows\":[],\"names\":[]}");
	change_text_dry_run(&f.json, "a", &f.out);
	assert_string_equal(f.out.data, "a: nothing would change\n");
	end(&f);
}

static void refuses_what_is_no_json(void **state)
{
	struct json json = {0};
	struct error err = {0};

	(void)state;
	assert_int_equal(answer_parse("<html>", 6, &json, &err), -EINVAL);
	assert_memory_equal(err.text, "posternd's answer is no JSON: 1:1: ", 34);
	assert_int_equal(answer_parse("7", 1, &json, &err), -EINVAL);
	assert_string_equal(err.text, "posternd answered with a whole number, expected an object");
}

static void reads_times_and_ages(void **state)
{
	static const struct {
		uint64_t ago_s;
		const char *age;
	} rows[] = {{0, "0s"},	  {59, "59s"},	   {60, "1m"},	   {3599, "59m"},
		    {3600, "1h"}, {172799, "47h"}, {172800, "2d"}, {8640000, "100d"}};
	char text[ANSWER_AGE_MAX];
	struct fixture f;

	(void)state;
	begin(&f,
	      "{\"a\":\"2026-11-22T05:05:38.999Z\",\"b\":1795323938000,\"c\":\"x\",\"d\":null}");
	assert_int_equal(answer_time_ms(&f.json, f.json.nodes, "a"), NOW_MS);
	assert_int_equal(answer_time_ms(&f.json, f.json.nodes, "b"), NOW_MS);
	assert_int_equal(answer_time_ms(&f.json, f.json.nodes, "c"), 0);
	assert_int_equal(answer_time_ms(&f.json, f.json.nodes, "d"), 0);
	end(&f);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(answer_age(NOW_MS - rows[i].ago_s * 1000, NOW_MS, text),
				    rows[i].age);
	assert_string_equal(answer_age(NOW_MS + 5000, NOW_MS, text), "0s");
	assert_string_equal(answer_age(0, NOW_MS, text), "-");
}

static void counts_characters_not_bytes(void **state)
{
	static const struct column spec[] = {{"ID", false, 0}, {"WHERE", false, 0}};
	struct columns columns = {.spec = spec, .n = 2};
	struct buf out = {0};

	(void)state;
	columns_add(&columns, "\xc3\xa4\xc3\xb6\xc3\xbc");
	columns_add(&columns, "/\xc3\xa4\xc3\xb6/123456789012345678");
	assert_int_equal(columns_print(&columns, 21, &out), 0);
	assert_string_equal(out.data, "ID   WHERE\n"
				      "\xc3\xa4\xc3\xb6\xc3\xbc  ...6789012345678\n");
	columns_done(&columns);
	buf_done(&out);
}

static void knows_what_an_id_looks_like(void **state)
{
	static const char *const bad[] = {"", "A", "a.b", "a/b", "\xc3\xa4", "a b"};
	char longest[66];
	struct error err = {0};

	(void)state;
	memset(longest, 'a', 65);
	longest[65] = '\0';
	assert_int_equal(remote_check_id(longest, &err), -EINVAL);
	longest[64] = '\0';
	assert_int_equal(remote_check_id(longest, &err), 0);
	assert_int_equal(remote_check_id("a-b_9", &err), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(remote_check_id(bad[i], &err), -EINVAL);
	assert_string_equal(err.text,
			    "bad sandbox ID 'a b', expected 1 to 64 of a-z, 0-9, '_' and '-'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_sandboxes_ids_first),
		cmocka_unit_test(keeps_the_end_of_a_path_in_a_narrow_terminal),
		cmocka_unit_test(leaves_columns_out_where_there_is_no_room),
		cmocka_unit_test(leaves_out_what_nobody_has),
		cmocka_unit_test(lists_nothing_under_its_titles),
		cmocka_unit_test(refuses_an_answer_that_is_no_list),
		cmocka_unit_test(shows_rules_in_their_order),
		cmocka_unit_test(shows_a_sandbox_with_its_holes_and_policy),
		cmocka_unit_test(shows_what_is_behind_a_device),
		cmocka_unit_test(shows_the_beginning_of_a_long_list),
		cmocka_unit_test(shows_what_to_do_about_a_damaged_one),
		cmocka_unit_test(lets_no_text_drive_the_terminal),
		cmocka_unit_test(tells_what_was_attached),
		cmocka_unit_test(tells_that_a_change_is_enforced),
		cmocka_unit_test(tells_what_a_change_would_do),
		cmocka_unit_test(refuses_what_is_no_json),
		cmocka_unit_test(reads_times_and_ages),
		cmocka_unit_test(counts_characters_not_bytes),
		cmocka_unit_test(knows_what_an_id_looks_like),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
