/* SPDX-License-Identifier: MIT */
/*
 * Forges packets by the million: blast DEVICE, then lines on standard input "OFFSET COUNT FRAME" (FRAME in hex). Each
 * is sent COUNT times with the 16 bits at OFFSET xored with 1, 2, ... COUNT, and answered by "sent COUNT". No tap of
 * this namespace sees them (PACKET_QDISC_BYPASS).
 */
#include "tool.h"

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>

#define FRAME_MAX 2048

static uint16_t checksum(const uint8_t *data, size_t size)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < size; i += 2)
		sum += (uint32_t)data[i] << 8 | data[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void sign_ip4(uint8_t *frame)
{
	uint8_t *ip = frame + ETH_HLEN;
	uint16_t sum;

	if (ip[0] != 0x45)
		return;
	ip[10] = ip[11] = 0;
	sum = checksum(ip, 20);
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
}

static size_t from_hex(const char *text, uint8_t *out)
{
	size_t n = 0;
	unsigned byte;

	for (; n < FRAME_MAX && sscanf(text, "%2x", &byte) == 1 && text[1]; text += 2)
		out[n++] = (uint8_t)byte;
	return n;
}

static int open_device(const char *device)
{
	int on = 1, fd = open_socket(AF_PACKET, SOCK_RAW, 0);
	struct sockaddr_ll own = {.sll_family = AF_PACKET,
				  .sll_ifindex = (int)if_nametoindex(device)};

	if (!own.sll_ifindex || bind(fd, (struct sockaddr *)&own, sizeof(own)))
		misuse(device);
	if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)))
		misuse("PACKET_QDISC_BYPASS");
	return fd;
}

static unsigned blast(int fd, const uint8_t *frame, size_t size, size_t offset, unsigned count)
{
	uint8_t forged[FRAME_MAX];
	unsigned sent = 0;

	for (unsigned i = 1; i <= count; i++) {
		memcpy(forged, frame, size);
		forged[offset] ^= (uint8_t)(i >> 8);
		forged[offset + 1] ^= (uint8_t)i;
		sign_ip4(forged);
		sent += send(fd, forged, size, 0) == (ssize_t)size;
	}
	return sent;
}

int main(int argc, char **argv)
{
	char line[2 * FRAME_MAX + 64];
	uint8_t frame[FRAME_MAX];
	unsigned offset, count;
	int fd, text;

	if (argc != 2)
		misuse("arguments");
	fd = open_device(argv[1]);
	while (fgets(line, sizeof(line), stdin)) {
		size_t size;

		if (sscanf(line, "%u %u %n", &offset, &count, &text) != 2)
			misuse("line");
		size = from_hex(line + text, frame);
		if (offset + 2 > size || count > 0xffff)
			misuse("frame");
		printf("sent %u\n", blast(fd, frame, size, offset, count));
		fflush(stdout);
	}
	return 0;
}
