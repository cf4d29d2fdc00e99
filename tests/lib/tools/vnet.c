/* SPDX-License-Identifier: MIT */
/*
 * Sends frames that say what is left to do: where a checksum is missing, how to cut them (struct virtio_net_hdr, 10
 * bytes, in front of each). All of it is as the sender likes.
 *	vnet DEVICE HEX...
 */
#include "tool.h"

#include <linux/if_packet.h>
#include <net/if.h>

#define FRAME_SIZE 4096

static size_t from_hex(const char *text, uint8_t *bytes)
{
	size_t n = 0;
	unsigned int byte;

	for (; text[0] && text[1] && n < FRAME_SIZE; text += 2, n++) {
		if (sscanf(text, "%2x", &byte) != 1)
			misuse(text);
		bytes[n] = (uint8_t)byte;
	}
	return n;
}

int main(int argc, char **argv)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET};
	int fd = open_socket(AF_PACKET, SOCK_RAW, 0), on = 1, failed = 0;
	uint8_t frame[FRAME_SIZE];

	if (argc < 3)
		misuse("vnet DEVICE HEX...");
	to.sll_ifindex = (int)if_nametoindex(argv[1]);
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&to, sizeof(to)))
		return report("bind", -1, now_ms());
	for (int n = 2; n < argc; n++) {
		double since = now_ms();
		size_t size = from_hex(argv[n], frame);

		failed |= report("send", send(fd, frame, size, 0), since);
	}
	close(fd);
	return failed;
}
