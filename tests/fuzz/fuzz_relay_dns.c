/* SPDX-License-Identifier: MIT */
/*
 * Any bytes to the relay's DNS service. The first byte says as what: 0 a message for the gate, 1 a stream of the
 * sandbox's, 2 a resolver's reply (behind two bytes: 1 in the first puts the number of the question in, 2 its bytes).
 * Bits 4 and up of it are the policy's flags. No reply with addresses of a covered name comes before its lease.
 */
#include "fuzz.h"

#include <sys/socket.h>
#include <unistd.h>

#include "relay/dns.h"

static struct {
	struct relay relay;
	struct relay_sandbox sandbox;
	struct relay_policy *policy;
	int resolver_fd, client_fd;
	uint16_t port;
	struct session session;
	/* The starter */
	relay_answer_fn fn;
	void *context;
	unsigned asked;
} f;

struct relay_request *__wrap_control_ask(struct relay *relay, struct pst_relay_header *message,
					 relay_answer_fn fn, void *context);
void __wrap_control_forget(struct relay_request *request);
void __wrap_control_event(struct relay *relay, const struct pst_relay_event *event);
void __wrap_session_end(struct session *session, bool reset);

struct relay_request *__wrap_control_ask(struct relay *relay, struct pst_relay_header *message,
					 relay_answer_fn fn, void *context)
{
	const struct pst_relay_lease *lease = (const struct pst_relay_lease *)message;

	MUST(relay == &f.relay && message->size == sizeof(*lease));
	MUST(lease->count >= 1 && lease->count <= PST_DNS_MAX_ADDRESSES);
	MUST(!strcmp(lease->name, "example.com"));
	f.fn = fn;
	f.context = context;
	f.asked++;
	return (struct relay_request *)&f;
}

void __wrap_control_forget(struct relay_request *request)
{
	MUST(request == (struct relay_request *)&f);
	f.asked--;
}

void __wrap_control_event(struct relay *relay, const struct pst_relay_event *event)
{
	MUST(relay == &f.relay && memchr(event->name, 0, sizeof(event->name)));
	MUST(event->reason && !PST_REASON_ALLOWS(event->reason));
}

void __wrap_session_end(struct session *session, bool reset)
{
	(void)reset;
	dns_stream_end(session->dns);
	session->dns = NULL;
	close(session->fd);
	session->fd = -1;
}

static int open_udp(struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(*at);

	*at = (struct sockaddr_in){.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	MUST(fd >= 0 && bind(fd, (struct sockaddr *)at, size) == 0);
	MUST(getsockname(fd, (struct sockaddr *)at, &size) == 0);
	return fd;
}

/* For example.com; its resolver is ours. */
static void read_policy(void)
{
	const struct {
		struct pst_relay_item is_policy;
		struct pst_relay_policy policy;
		struct pst_relay_item is_resolver;
		uint8_t resolver[16];
		struct pst_relay_item is_name;
		struct pst_relay_name name;
	} bytes = {
		.is_policy = {PST_RELAY_ITEM_POLICY, sizeof(bytes.policy)},
		.policy = {.generation = 1, .lease_min_s = 300, .lease_max_s = 3600},
		.is_resolver = {PST_RELAY_ITEM_RESOLVER, sizeof(bytes.resolver)},
		.resolver = {[10] = 255, 255, 127, 0, 0, 1},
		.is_name = {PST_RELAY_ITEM_NAME, sizeof(bytes.name)},
		.name = {.rule = 1,
			 .first = 443,
			 .last = 443,
			 .protocols = PST_TCP,
			 .name = "example.com"},
	};

	MUST(relay_policy_parse(&bytes, sizeof(bytes), &f.policy) == 0);
	f.sandbox.policy = f.policy;
}

static void start(void)
{
	struct sockaddr_in at;
	int fd;

	f.relay.base = event_base_new();
	f.sandbox.relay = &f.relay;
	read_policy();
	f.resolver_fd = open_udp(&at);
	f.port = ntohs(at.sin_port);
	fd = open_udp(&at);
	MUST(dns_service_new(&f.sandbox, fd, -1, &f.sandbox.dns) == 0);
	f.sandbox.dns->port = f.port;
	f.client_fd = open_udp(&(struct sockaddr_in){0});
	MUST(connect(f.client_fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	f.session.fd = -1;
	f.session.sandbox = &f.sandbox;
}

static void turn(void)
{
	event_base_loop(f.relay.base, EVLOOP_NONBLOCK);
}

/* Nothing is left that is not ours, and a reply is none of the question's addresses. */
static void check_gate(const uint8_t *data, size_t size)
{
	struct dns_judged judged;
	uint8_t reply[DNS_OWN_MAX];
	size_t n;

	dns_judge(f.policy, data, size, &judged);
	if (judged.fate == DNS_DROP)
		return;
	MUST(size >= DNS_HEADER_SIZE && !(data[2] & 0x80));
	if (judged.fate == DNS_FORWARD) {
		MUST(size <= PST_DNS_MAX_QUERY);
		MUST(judged.is_covered ||
		     (f.policy->flags & (PST_RELAY_GATED | PST_RELAY_AUDIT)) != PST_RELAY_GATED);
	}
	n = dns_compose(data, size,
			(struct dns_own){.rcode = judged.rcode,
					 .is_blocked = judged.reason == PST_REASON_NAME_GATE},
			reply);
	MUST(n >= DNS_HEADER_SIZE && n <= DNS_OWN_MAX && n <= size + 6);
	MUST(reply[2] & 0x80 && !memcmp(reply, data, 2) && !reply[6] && !reply[7]);
	MUST(dns_question_parse(reply, n, &judged.question) == DNS_GATE_RESPONSE);
}

static void check_stream(const uint8_t *data, size_t size)
{
	uint8_t replies[4096];
	int pair[2];

	f.policy->n_resolvers = 0; /* so that what passes fails at once */
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	f.session.fd = pair[1];
	f.session.head_size = 0;
	MUST(dns_stream_start(&f.session) == 0);
	for (size_t at = 0; at < size && f.session.dns;) {
		size_t piece = size - at < 1u + data[at] ? size - at : 1u + data[at];
		ssize_t sent = send(pair[0], data + at, piece, MSG_NOSIGNAL);

		if (sent > 0)
			at += (size_t)sent;
		turn();
		while (recv(pair[0], replies, sizeof(replies), 0) > 0)
			;
	}
	close(pair[0]);
	for (int i = 0; f.session.dns; i++) {
		MUST(i < 1000);
		turn();
	}
}

static void check_reply(const uint8_t *data, size_t size)
{
	static const uint8_t question[] = "\0\1\1\0\0\1\0\0\0\0\0\0\7eXample\3com\0\0\1\0\1";
	enum { ASKED = sizeof(question) - 1 };
	uint8_t bytes[65536], asked[512];
	struct sockaddr_in from;
	socklen_t from_size = sizeof(from);
	ssize_t n;

	f.policy->n_resolvers = 1;
	MUST(send(f.client_fd, question, ASKED, 0) == ASKED);
	turn();
	n = recvfrom(f.resolver_fd, asked, sizeof(asked), 0, (struct sockaddr *)&from, &from_size);
	MUST(n == ASKED && !memcmp(asked + 2, question + 2, ASKED - 2));
	memcpy(bytes, data + 2, size - 2);
	size -= 2;
	if (data[0] & 1 && size >= 2)
		memcpy(bytes, asked, 2);
	if (data[0] & 2 && size >= ASKED)
		memcpy(bytes + DNS_HEADER_SIZE, asked + DNS_HEADER_SIZE, ASKED - DNS_HEADER_SIZE);
	MUST(sendto(f.resolver_fd, bytes, size, 0, (struct sockaddr *)&from, from_size) ==
	     (ssize_t)size);
	f.asked = 0;
	turn();
	if (f.asked) {
		struct pst_relay_answer answer = {.status = data[1] & 1 ? -1 : 0};

		MUST(recv(f.client_fd, asked, sizeof(asked), 0) < 0);
		f.fn(f.context, answer.status, &answer, NULL, 0);
		MUST(recv(f.client_fd, asked, sizeof(asked), 0) > 0);
		MUST(asked[0] == 0 && asked[1] == 1);
	}
	while (f.sandbox.dns->asks)
		dns_ask_free(f.sandbox.dns->asks);
	while (recv(f.client_fd, asked, sizeof(asked), 0) >= 0)
		;
	while (recv(f.resolver_fd, asked, sizeof(asked), 0) >= 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 4 || size > 16384)
		return 0;
	if (!f.relay.base)
		start();
	f.policy->flags = data[0] >> 4 & 7;
	if ((data[0] & 3) == 0)
		check_gate(data + 1, size - 1);
	else if ((data[0] & 3) == 1)
		check_stream(data + 1, size - 1);
	else
		check_reply(data + 1, size - 1);
	MUST(f.relay.questions == 0 && f.sandbox.dns->held == 0);
	return 0;
}
