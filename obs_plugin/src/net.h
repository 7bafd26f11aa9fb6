/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trouble.h"
#include "url.h"

/* TCP that never waits, but in `net_wait`, and in `net_dial` for a name that must be looked up. */
struct net;

enum net_state {
	NET_CLOSED = 1,
	NET_DIALLING = 2,
	NET_OPEN = 3,
};

/* Once for a process, before all else; false where there is no network. */
bool net_start(void);
void net_end(void);

struct net *net_create(void);
void net_destroy(struct net *net);

/* Begin to connect. TROUBLE_UNKNOWN when there is no such host, otherwise TROUBLE_NONE. */
enum trouble net_dial(struct net *net, const struct url *url);
void net_close(struct net *net);
/* Goes on with dialling, and tells where it is: NET_CLOSED when nothing answered. */
enum net_state net_state(struct net *net);

/* Bytes moved: 0 when none can be now. What ends the connection makes it NET_CLOSED. */
size_t net_read(struct net *net, uint8_t *data, size_t size);
size_t net_write(struct net *net, const uint8_t *data, size_t size);

/* One thread waits, others wake it. */
struct waker;
struct waker *waker_create(void);
void waker_destroy(struct waker *waker);
/* From any thread but the audio's. */
void waker_wake(struct waker *waker);

/* Wait until one of `count` connections has something to read, can be written to if it `writes`, has
 * finished dialling, or the waker, if there is one, is woken; `timeout` milliseconds at most. */
void net_wait(struct waker *waker, struct net *const *nets, const bool *writes, size_t count, int timeout);

/* Milliseconds of a clock that only goes forward. */
uint64_t net_clock(void);
