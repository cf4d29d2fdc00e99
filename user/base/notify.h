/* SPDX-License-Identifier: MIT */
/*
 * What a service tells its manager: lines such as READY=1 in a datagram to the socket that NOTIFY_SOCKET names, as
 * sd_notify(3) describes it. Without a manager nothing is sent, and that is no failure.
 */
#ifndef BASE_NOTIFY_H
#define BASE_NOTIFY_H

#include <stdint.h>

/*
 * One or more lines: "READY=1\nSTATUS=%zu sandboxes", "STOPPING=1", "WATCHDOG=1". An argument must not have a newline.
 * Waits at most a tenth of a second. 0: sent, or there is nobody to tell; -errno.
 */
int notify_send(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* How often WATCHDOG=1 is due, in ms: half of what the manager waits. 0: it does not wait for this process. */
uint64_t notify_watchdog_ms(void);

#endif
