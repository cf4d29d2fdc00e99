/* SPDX-License-Identifier: MIT */
/* The command line's HTTP client, with the real server in a child process, and with peers that are none. */
#include "http_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#include "api/client.h"

struct fixture {
	struct http http;
	pid_t child;
	int published;
};

static int publish(void *context, int fd)
{
	struct fixture *f = context;
	const struct api_event event = {
		.sandbox = "a", .verdict = "deny", .name = "", .json = "{\"n\":1}"};

	(void)fd;
	api_server_publish(f->http.server, &event);
	return ++f->published == 2000 ? -ECANCELED : 0;
}

static _Noreturn void serve(struct fixture *f)
{
	const struct loop_period soon = {.first_ms = 1, .every_ms = 5};
	int timer;

	if (loop_timer(f->http.loop, &soon, publish, f, &timer) == 0)
		(void)loop_run(f->http.loop);
	_exit(0);
}

static int set_up(void **state)
{
	static const struct api_server_options defaults;
	static struct fixture f;

	http_start(&f.http, &defaults);
	f.published = 0;
	f.child = fork();
	if (f.child == 0)
		serve(&f);
	*state = &f;
	return f.child < 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	kill(f->child, SIGKILL);
	waitpid(f->child, NULL, 0);
	http_stop(&f->http);
	return 0;
}

static void gets_the_whole_reply_and_its_status(void **state)
{
	struct fixture *f = *state;
	struct api_client_request q = {.socket = f->http.path,
				       .method = "PUT",
				       .path = "/a?q=%2a.b",
				       .body = "hello",
				       .body_size = 5};
	struct error err = {.text = ""};
	struct buf body = {0};
	unsigned status = 0;

	assert_int_equal(api_client_call(&q, &status, &body, &err), 0);
	assert_int_equal(status, 200);
	assert_non_null(strstr(body.data, "<PUT /a role=2 owner= socket=1 q=*.b header=- size=5"));
	buf_done(&body);
	q = (struct api_client_request){.socket = f->http.path, .method = "GET", .path = "/none"};
	assert_int_equal(api_client_call(&q, &status, &body, &err), 0);
	assert_int_equal(status, 204);
	assert_int_equal(body.size, 0);
	buf_done(&body);
	q.path = "/large";
	assert_int_equal(api_client_call(&q, &status, &body, &err), 0);
	assert_true(body.size > 1600000);
	assert_string_equal(body.data + body.size - 9, "abcdefend");
	buf_done(&body);
}

static void sends_a_large_body_and_sees_it_refused(void **state)
{
	size_t size = 12u * 1024 * 1024;
	cleanup_free char *large = calloc(1, size);
	struct fixture *f = *state;
	struct api_client_request q = {
		.socket = f->http.path, .method = "PUT", .path = "/a", .body = large};
	struct error err = {.text = ""};
	struct buf body = {0};
	unsigned status = 0;

	assert_non_null(large);
	q.body_size = 8u * 1024 * 1024;
	assert_int_equal(api_client_call(&q, &status, &body, &err), 0);
	assert_int_equal(status, 200);
	assert_non_null(strstr(body.data, "size=8388608"));
	buf_done(&body);
	q.body_size = size;
	assert_int_equal(api_client_call(&q, &status, &body, &err), 0);
	assert_int_equal(status, 413);
	assert_string_equal(body.data, "{\"code\":413,\"message\":\"the body is too large\"}");
	buf_done(&body);
}

static void refuses_a_path_that_would_break_its_request(void **state)
{
	struct fixture *f = *state;
	const struct api_client_request q = {
		.socket = f->http.path, .method = "GET", .path = "/a HTTP/1.0\r\nX: y"};
	struct error err = {.text = ""};
	struct buf body = {0};
	unsigned status;

	assert_int_equal(api_client_call(&q, &status, &body, &err), -EINVAL);
}

static int count_lines(void *context, const char *line, size_t size)
{
	int *count = context;

	assert_int_equal(strlen(line), size);
	assert_string_equal(line, *count == 0 ? "first" : "{\"n\":1}");
	return ++*count == 4 ? 7 : 0;
}

static void a_stream_is_told_line_by_line_until_the_reader_has_enough(void **state)
{
	struct fixture *f = *state;
	const struct api_client_request q = {
		.socket = f->http.path, .method = "GET", .path = "/stream?sandbox=a"};
	struct error err = {.text = ""};
	struct buf body = {0};
	unsigned status = 0;
	int count = 0;

	assert_int_equal(api_client_stream(&q, &status, &body, count_lines, &count, &err), 7);
	assert_int_equal(status, 200);
	assert_int_equal(count, 4);
}

static void a_stream_that_is_refused_has_a_body(void **state)
{
	struct fixture *f = *state;
	const struct api_client_request q = {
		.socket = f->http.path, .method = "GET", .path = "/stream?sandbox=%zz"};
	struct error err = {.text = ""};
	struct buf body = {0};
	unsigned status = 0;
	int count = 0;

	assert_int_equal(api_client_stream(&q, &status, &body, count_lines, &count, &err), 0);
	assert_int_equal(status, 400);
	assert_string_equal(body.data, "{\"code\":400,\"message\":\"malformed query\"}");
	assert_int_equal(count, 0);
	buf_done(&body);
}

/* ---- no posternd ---- */

static void says_where_it_looked_when_nobody_is_there(void **state)
{
	char long_path[200] = {0};
	struct api_client_request q = {
		.socket = "/nonexistent/x.sock", .method = "GET", .path = "/"};
	struct error err = {.text = ""};
	struct buf body = {0};
	unsigned status;

	(void)state;
	assert_int_equal(api_client_call(&q, &status, &body, &err), -ENOENT);
	assert_string_equal(
		err.text,
		"cannot reach posternd at /nonexistent/x.sock: No such file or directory; is it running?");
	q.socket = NULL;
	assert_int_equal(setenv("POSTERN_SOCKET", "/nonexistent/env.sock", 1), 0);
	assert_int_equal(api_client_call(&q, &status, &body, &err), -ENOENT);
	assert_string_equal(
		err.text,
		"cannot reach posternd at /nonexistent/env.sock: No such file or directory; is it running?");
	assert_int_equal(unsetenv("POSTERN_SOCKET"), 0);
	memset(long_path, 'x', sizeof(long_path) - 1);
	q.socket = long_path;
	assert_int_equal(api_client_call(&q, &status, &body, &err), -ENAMETOOLONG);
}

/* Asks a peer that answers `reply`, whatever it is asked. */
static int ask_peer(const char *reply, unsigned *ret_status, struct buf *ret_body,
		    struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct api_client_request q = {.method = "GET", .path = "/", .socket = address.sun_path};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;
	pid_t child;

	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/pst-http-%d.peer", getpid());
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	child = fork();
	if (child == 0) {
		int peer = accept(fd, NULL, NULL);
		char asked[4096];

		if (read(peer, asked, sizeof(asked)) > 0 &&
		    write(peer, reply, strlen(reply)) == (ssize_t)strlen(reply))
			_exit(0);
		_exit(1);
	}
	r = api_client_call(&q, ret_status, ret_body, err);
	waitpid(child, NULL, 0);
	close(fd);
	unlink(address.sun_path);
	return r;
}

static void tells_what_is_no_http_and_what_was_cut_short(void **state)
{
	static const char *const strange[] = {
		"",
		"hello\n",
		"HTTP/1.1 2",
		"HTTP/2.0 200 OK\r\n\r\n",
		"HTTP/1.0 200 OK\r\nA: b\r\n",
	};
	struct error err = {.text = ""};
	struct buf body = {0};
	unsigned status = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
		assert_int_equal(ask_peer(strange[i], &status, &body, &err), -EBADMSG);
		assert_non_null(strstr(err.text, "is not posternd"));
	}
	assert_int_equal(
		ask_peer("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nfour", &status, &body, &err),
		-EBADMSG);
	assert_non_null(strstr(err.text, "the reply was cut short"));
	assert_int_equal(status, 0);
	assert_null(body.data);
	assert_int_equal(
		ask_peer("HTTP/1.0 418 X\r\nContent-Length: 4\r\n\r\nfour", &status, &body, &err),
		0);
	assert_int_equal(status, 418);
	assert_string_equal(body.data, "four");
	buf_done(&body);
	assert_int_equal(ask_peer("HTTP/1.1 200 OK\r\n\r\nto the end", &status, &body, &err), 0);
	assert_string_equal(body.data, "to the end");
	buf_done(&body);
}

static void encodes_all_but_what_is_unreserved(void **state)
{
	struct buf b = {0};

	(void)state;
	api_client_encode(&b, "aZ9-._~/?&=+% \xc3\xa9*");
	assert_string_equal(b.data, "aZ9-._~%2F%3F%26%3D%2B%25%20%C3%A9%2A");
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(gets_the_whole_reply_and_its_status, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(sends_a_large_body_and_sees_it_refused, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(refuses_a_path_that_would_break_its_request, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			a_stream_is_told_line_by_line_until_the_reader_has_enough, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(a_stream_that_is_refused_has_a_body, set_up,
						tear_down),
		cmocka_unit_test(says_where_it_looked_when_nobody_is_there),
		cmocka_unit_test(tells_what_is_no_http_and_what_was_cut_short),
		cmocka_unit_test(encodes_all_but_what_is_unreserved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
