/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <obs-module.h>
#include <pthread.h>
#include <stdatomic.h>

#include "delay.h"
#include "line.h"
#include "link.h"
#include "ring.h"

/* The parts of the filter. Each field says who may touch it; see filter.c for the rest. */

#define FILTER_ID "timbral_filter"

enum timing { TIMING_AUTO = 1, TIMING_SYNC = 2, TIMING_LIVE = 3 };
enum hotkey { HOTKEY_BYPASS, HOTKEY_PUSH, HOTKEY_NEXT, HOTKEY_PREVIOUS, HOTKEY_UP, HOTKEY_DOWN, HOTKEYS };
enum { LATE_SECONDS = 60, LONGEST_MS = DELAY_MOST_MS };

/* The open dialogs: one may be closed after the filter is gone. */
struct views {
	atomic_int holders, open;
};

struct filter {
	/* constant */
	obs_source_t *context;
	uint32_t rate, channels;
	bool is_low_latency; /* OBS keeps no buffer to wait in */
	struct ring *asked, *answered;
	struct link *link;

	/* the audio thread's */
	struct line *line;
	uint64_t next_timestamp; /* ns; 0 for none */

	/* written by the user's threads, read by the audio thread */
	atomic_uint delay; /* samples */
	atomic_uint wet;   /* thousandths */
	atomic_bool is_sync, is_bypassed, is_pushed, is_original;

	/* written by the audio thread, read by all */
	atomic_uint_least64_t packets, restarts, cost_ns, over_budget;
	atomic_uint worst_cost_ns, packet_frames, delay_now;
	_Atomic(obs_weak_source_t *) parent; /* taken and released by the link's thread */

	struct views *views;
	atomic_ullong edited_ms; /* when a setting last changed */

	/* anybody's, under the lock */
	pthread_mutex_t lock;
	enum timing timing; /* as asked */
	uint32_t fixed_ms;  /* 0: automatic */
	struct delay_choice choice;
	struct line_counts counts;            /* `needed` within the last minute */
	uint32_t late[LATE_SECONDS], late_at; /* samples missing, by second */
	bool is_fed;                          /* audio came in lately */

	/* the link's thread's */
	uint64_t ticked_ms, second_ms, packets_seen, shown_ms;
	uint64_t missing_seen, session, session_ms, shown; /* shown  a digest of what a dialog shows */

	/* hotkeys.c, under its lock, which is never held in a hotkey's callback */
	pthread_mutex_t hotkey_lock;
	bool is_removed;
	obs_hotkey_id hotkeys[HOTKEYS];
};

/* What the user sees; taken as a whole by `filter_view`. */
struct filter_view {
	struct link_status link;
	uint32_t delay_ms, safe_ms, choice_ms, packet_ms;
	bool is_sync, is_fixed, is_bypassed, is_original, is_fed, is_low_latency;
	enum timing timing;
	uint32_t late_ms; /* heard nothing for so long, of the last minute */
	struct line_counts counts;
	uint64_t packets, restarts, over_budget;
	double mean_cost_us, worst_cost_us;
};

void filter_view(struct filter *filter, struct filter_view *view);
/* The longest delay that OBS can wait for, in ms. */
uint32_t filter_sync_most_ms(const struct filter *filter);

/* properties.c */
void properties_defaults(obs_data_t *settings);
obs_properties_t *properties_create(void *filter);
void views_release(struct views *views);

/* status.c: what is shown, translated. `out` is always ended by a 0. */
enum obs_text_info_type status_line(const struct filter_view *view, char *out, size_t room);
void status_timing(const struct filter_view *view, char *out, size_t room);
/* For whom to ask for help; holds no secret. */
void status_diagnostics(struct filter *filter, char *out, size_t room);
/* Something that changes when the dialog should be drawn anew. */
uint64_t status_digest(const struct filter_view *view);

/* hotkeys.c */
void hotkeys_follow(struct filter *filter);
void hotkeys_add(struct filter *filter, obs_source_t *parent);
void hotkeys_remove(struct filter *filter);

/* host.c: whether OBS runs with low-latency audio buffering. */
bool host_is_low_latency(void);
/* Put text where it can be pasted; false where nothing here can do that. */
bool host_copy(const char *text);
