/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ring.h"
#include "session.h"
#include "voices.h"

/* The thread that keeps a conversation with the server going, whatever happens to it.
 *
 *   waiting -> connecting -> starting -> talking
 *      ^___________|____________|__________|     any trouble, after a growing pause
 *
 * Every function may be called from any thread but the audio's; none of them waits, but
 * `link_destroy`, which waits for the thread to end.
 */
struct link;

enum link_state {
	LINK_WAITING = 1,    /* until `retry_ms` are over, or a wish changes */
	LINK_CONNECTING = 2, /* to what may be a server */
	LINK_STARTING = 3,   /* it loads the voice */
	LINK_TALKING = 4,
};

struct link_wish {
	char address[512];
	struct session_wish session;
};

struct link_status {
	enum link_state state;
	enum trouble trouble; /* the last one, while not talking */
	char text[256];       /* the server's own word on it, or "" */
	char notice[256];     /* what it said that did not end the conversation, or "" */
	bool is_silent;       /* connected, but no word for seconds */
	bool is_far;          /* another machine: the voice travels unencrypted */
	uint32_t retry_ms;
	uint64_t sessions;    /* conversations so far */
	uint64_t dropped;     /* samples that could not be sent */
	struct session_facts facts;
};

/* Called from the thread a few times a second, and after every change of state; must not wait. */
typedef void (*link_tick)(void *context, uint64_t now);

/* asked, answered  belong to the caller and outlive the link; NULL without memory */
struct link *link_create(struct ring *asked, struct ring *answered, link_tick tick, void *context);
/* Begin, once; false without threads. */
bool link_start(struct link *link);
void link_destroy(struct link *link);

void link_change(struct link *link, const struct link_wish *wish);
/* Try again at once, and ask for the voices anew. */
void link_refresh(struct link *link);
void link_status(struct link *link, struct link_status *status);
/* A copy, for `free`; NULL without memory. */
struct voice_list *link_voices(struct link *link);

/* The pause after the `failures`th failure in a row, as long as the server `asked` for at least,
 * `chance` 0..1 of the way into its jitter. */
uint32_t link_pause_ms(unsigned failures, uint32_t asked, double chance);
