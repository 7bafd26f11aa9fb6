/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "filter.h"

#include <string.h>
#include <util/platform.h>

#include "net.h"
#include "plugin.h"

/* Three threads meet here. The source's audio thread calls filter_audio: it only moves samples
 * between its own line and two rings. The link's thread calls `tick`: it holds the socket, chooses
 * the delay and does what may take a moment. OBS's other threads create, change and show. */

enum {
	JUMP_NS = 70 * 1000 * 1000,  /* OBS smooths what is less */
	HOP_MS = 80,                 /* so the delay changes by more than that */
	BUDGET_NS = 60 * 1000,       /* of filter_audio */
	FED_MS = 1000,
	STEADY_MS = 2000, /* after which a conversation should miss nothing */
	SHOW_MS = 2000,              /* between redrawings of an open dialog */
	EDITED_MS = 3000,            /* no redrawing under a user's hands */
	BUFFERING_TICKS = 45,        /* of 1024 samples: what OBS waits for a late source at most */
	BUFFERING_SPARE_MS = 80,
};

static const char *filter_name(void *unused)
{
	UNUSED_PARAMETER(unused);
	return obs_module_text("Timbral");
}

uint32_t filter_sync_most_ms(const struct filter *filter)
{
	return BUFFERING_TICKS * 1024 * 1000 / filter->rate - BUFFERING_SPARE_MS;
}

static uint32_t samples(const struct filter *filter, double ms)
{
	return (uint32_t)(ms * filter->rate / 1000.0 + 0.5);
}

static double milliseconds(const struct filter *filter, double count)
{
	return count * 1000.0 / filter->rate;
}

/* With the lock: the delay and timing that follow from what is asked for and what is known. */
static void settle_timing(struct filter *filter)
{
	uint32_t delay_ms = filter->fixed_ms ? filter->fixed_ms : filter->choice.ms;
	bool fits = delay_ms <= filter_sync_most_ms(filter) && !filter->is_low_latency;
	atomic_store(&filter->delay, samples(filter, delay_ms));
	atomic_store(&filter->is_sync, filter->timing == TIMING_SYNC || (filter->timing == TIMING_AUTO && fits));
}

static void filter_update(void *data, obs_data_t *settings)
{
	struct filter *filter = data;
	struct link_wish wish;
	memset(&wish, 0, sizeof(wish));
	struct session_wish *session = &wish.session;
	snprintf(wish.address, sizeof(wish.address), "%s", obs_data_get_string(settings, "server"));
	snprintf(session->token, sizeof(session->token), "%s", obs_data_get_string(settings, "token"));
	snprintf(session->voice, sizeof(session->voice), "%s", obs_data_get_string(settings, "voice"));
	snprintf(session->profile, sizeof(session->profile), "%s", obs_data_get_string(settings, "profile"));
	session->rate = filter->rate;
	session->pitch = obs_data_get_double(settings, "pitch");
	session->auto_pitch = obs_data_get_bool(settings, "auto_pitch");
	session->formant = obs_data_get_double(settings, "formant");
	session->index_rate = obs_data_get_double(settings, "index_rate");
	session->protect = obs_data_get_double(settings, "protect");
	session->loudness = obs_data_get_double(settings, "loudness");
	session->gate_db = obs_data_get_double(settings, "gate_db");
	atomic_store(&filter->wet, (unsigned)(obs_data_get_int(settings, "wet") * 10));
	atomic_store(&filter->is_bypassed, obs_data_get_bool(settings, "bypass"));
	atomic_store(&filter->is_original, !strcmp(obs_data_get_string(settings, "away"), "original"));
	atomic_store(&filter->edited_ms, net_clock());
	const char *timing = obs_data_get_string(settings, "timing");
	bool is_fixed = !strcmp(obs_data_get_string(settings, "delay_mode"), "fixed");
	pthread_mutex_lock(&filter->lock);
	filter->timing = !strcmp(timing, "sync") ? TIMING_SYNC : !strcmp(timing, "live") ? TIMING_LIVE : TIMING_AUTO;
	filter->fixed_ms = is_fixed ? (uint32_t)obs_data_get_int(settings, "delay_ms") : 0;
	if (!filter->choice.ms)
		filter->choice.ms = (uint32_t)obs_data_get_int(settings, "last_delay_ms");
	settle_timing(filter);
	pthread_mutex_unlock(&filter->lock);
	link_change(filter->link, &wish);
}

/* With the lock: what came and went since the last second. */
static void count_second(struct filter *filter, const struct line_counts *counts, bool is_expected)
{
	uint32_t missing = (uint32_t)(counts->missing - filter->missing_seen);
	filter->late_at = (filter->late_at + 1) % LATE_SECONDS;
	filter->late[filter->late_at] = is_expected ? missing : 0;
	filter->missing_seen = counts->missing;
	uint64_t packets = atomic_load(&filter->packets);
	filter->is_fed = packets != filter->packets_seen;
	filter->packets_seen = packets;
}

static void choose_delay(struct filter *filter, const struct link_status *link, const struct line_counts *counts,
			 bool was_late, uint32_t elapsed_ms)
{
	struct delay_facts facts = {
		.latency_ms = milliseconds(filter, link->facts.latency),
		.hop_ms = milliseconds(filter, link->facts.hop),
		.compute_p99_ms = link->facts.compute_p99,
		.packet_ms = milliseconds(filter, atomic_load(&filter->packet_frames)),
		.reports = link->facts.reports,
		.needed_ms = milliseconds(filter, counts->needed),
		.was_late = was_late,
		.elapsed_ms = elapsed_ms,
	};
	uint32_t before = filter->choice.ms;
	if (filter->session != link->sessions) {
		filter->session = link->sessions;
		delay_begin(&filter->choice, &facts);
	} else {
		delay_update(&filter->choice, &facts);
	}
	if (filter->choice.ms == before)
		return;
	LOG(LOG_INFO, "%s: the delay is %u ms (server %.0f, computing %.0f)", obs_source_get_name(filter->context),
	    filter->choice.ms, facts.latency_ms, facts.compute_p99_ms);
	settle_timing(filter);
}

static void redraw(struct filter *filter, uint64_t now)
{
	if (!atomic_load(&filter->views->open) || now - filter->shown_ms < SHOW_MS ||
	    now - atomic_load(&filter->edited_ms) < EDITED_MS)
		return;
	struct filter_view view;
	filter_view(filter, &view);
	uint64_t digest = status_digest(&view);
	if (digest == filter->shown)
		return;
	filter->shown = digest;
	filter->shown_ms = now;
	obs_source_update_properties(filter->context);
}

static void tick(void *data, uint64_t now)
{
	struct filter *filter = data;
	struct link_status link;
	link_status(filter->link, &link);
	struct line_counts counts = line_counts(filter->line);
	pthread_mutex_lock(&filter->lock);
	if (link.state != LINK_TALKING)
		filter->session_ms = now;
	bool is_steady = now - filter->session_ms > STEADY_MS;
	bool was_late = is_steady && counts.missing != filter->counts.missing;
	filter->counts = counts;
	if (link.state == LINK_TALKING)
		choose_delay(filter, &link, &counts, was_late, (uint32_t)(now - filter->ticked_ms));
	filter->ticked_ms = now;
	if (now - filter->second_ms >= FED_MS) {
		filter->second_ms = now;
		count_second(filter, &counts, is_steady);
	}
	pthread_mutex_unlock(&filter->lock);
	hotkeys_follow(filter);
	redraw(filter, now);
}

void filter_view(struct filter *filter, struct filter_view *view)
{
	memset(view, 0, sizeof(*view));
	link_status(filter->link, &view->link);
	const struct session_facts *facts = &view->link.facts;
	pthread_mutex_lock(&filter->lock);
	view->choice_ms = filter->choice.ms;
	view->timing = filter->timing;
	view->is_fixed = filter->fixed_ms > 0;
	view->counts = filter->counts;
	view->is_fed = filter->is_fed;
	uint64_t late = 0;
	for (size_t i = 0; i < LATE_SECONDS; i++)
		late += filter->late[i];
	pthread_mutex_unlock(&filter->lock);
	view->late_ms = (uint32_t)milliseconds(filter, (double)late);
	view->delay_ms = (uint32_t)(milliseconds(filter, atomic_load(&filter->delay)) + 0.5);
	view->packet_ms = (uint32_t)(milliseconds(filter, atomic_load(&filter->packet_frames)) + 0.5);
	struct delay_facts safe = {
		.latency_ms = milliseconds(filter, facts->latency),
		.hop_ms = milliseconds(filter, facts->hop),
		.compute_p99_ms = facts->compute_p99,
		.reports = facts->reports,
	};
	view->safe_ms = facts->latency ? delay_safe_ms(&safe) : 0;
	view->is_sync = atomic_load(&filter->is_sync);
	view->is_bypassed = atomic_load(&filter->is_bypassed) || atomic_load(&filter->is_pushed);
	view->is_original = atomic_load(&filter->is_original);
	view->is_low_latency = filter->is_low_latency;
	view->packets = atomic_load(&filter->packets);
	view->restarts = atomic_load(&filter->restarts);
	view->over_budget = atomic_load(&filter->over_budget);
	view->mean_cost_us = view->packets ? (double)atomic_load(&filter->cost_ns) / 1000.0 / (double)view->packets : 0;
	view->worst_cost_us = atomic_load(&filter->worst_cost_ns) / 1000.0;
}

static void tell_stats(void *data, calldata_t *answer)
{
	struct filter *filter = data;
	struct filter_view view;
	char line[512];
	filter_view(filter, &view);
	status_line(&view, line, sizeof(line));
	calldata_set_int(answer, "state", view.link.state);
	calldata_set_int(answer, "trouble", view.link.trouble);
	calldata_set_string(answer, "status", line);
	calldata_set_string(answer, "text", view.link.text);
	calldata_set_string(answer, "notice", view.link.notice);
	calldata_set_string(answer, "voice", view.link.facts.voice);
	calldata_set_int(answer, "delay_ms", view.delay_ms);
	calldata_set_int(answer, "safe_ms", view.safe_ms);
	calldata_set_float(answer, "latency_ms", milliseconds(filter, view.link.facts.latency));
	calldata_set_float(answer, "compute_p99_ms", view.link.facts.compute_p99);
	calldata_set_bool(answer, "sync", view.is_sync);
	calldata_set_bool(answer, "bypassed", view.is_bypassed);
	calldata_set_int(answer, "sessions", (long long)view.link.sessions);
	calldata_set_int(answer, "played", (long long)view.counts.played);
	calldata_set_int(answer, "missing", (long long)view.counts.missing);
	calldata_set_int(answer, "late_ms", view.late_ms);
	calldata_set_int(answer, "packets", (long long)view.packets);
	calldata_set_int(answer, "restarts", (long long)view.restarts);
	calldata_set_int(answer, "over_budget", (long long)view.over_budget);
	calldata_set_float(answer, "mean_cost_us", view.mean_cost_us);
	calldata_set_float(answer, "worst_cost_us", view.worst_cost_us);
}

static void filter_destroy(void *data)
{
	struct filter *filter = data;
	link_destroy(filter->link);
	hotkeys_remove(filter);
	obs_weak_source_release(atomic_load(&filter->parent));
	line_destroy(filter->line);
	ring_destroy(filter->asked);
	ring_destroy(filter->answered);
	views_release(filter->views);
	pthread_mutex_destroy(&filter->lock);
	pthread_mutex_destroy(&filter->hotkey_lock);
	bfree(filter);
}

static int centre_of(enum speaker_layout layout)
{
	return layout == SPEAKERS_4POINT0 || layout == SPEAKERS_5POINT1 || layout == SPEAKERS_7POINT1 ? 2 : -1;
}

static void *filter_create(obs_data_t *settings, obs_source_t *context)
{
	struct filter *filter = bzalloc(sizeof(*filter));
	struct obs_audio_info audio = {.samples_per_sec = 48000, .speakers = SPEAKERS_STEREO};
	obs_get_audio_info(&audio);
	filter->context = context;
	filter->views = bzalloc(sizeof(*filter->views));
	atomic_store(&filter->views->holders, 1);
	filter->rate = audio.samples_per_sec;
	filter->channels = get_audio_channels(audio.speakers);
	filter->is_low_latency = host_is_low_latency();
	for (int i = 0; i < HOTKEYS; i++)
		filter->hotkeys[i] = OBS_INVALID_HOTKEY_ID;
	pthread_mutex_init(&filter->lock, NULL);
	pthread_mutex_init(&filter->hotkey_lock, NULL);
	struct line_shape shape = {
		.rate = filter->rate,
		.channels = filter->channels,
		.longest = samples(filter, LONGEST_MS),
		.centre = centre_of(audio.speakers),
	};
	filter->asked = ring_create(filter->rate);
	filter->answered = ring_create(2 * filter->rate);
	if (filter->asked && filter->answered)
		filter->line = line_create(&shape, filter->asked, filter->answered);
	if (filter->line)
		filter->link = link_create(filter->asked, filter->answered, tick, filter);
	if (!filter->link || !link_start(filter->link)) {
		LOG(LOG_ERROR, "%s: no memory or no thread", obs_source_get_name(context));
		filter_destroy(filter);
		return NULL;
	}
	proc_handler_add(obs_source_get_proc_handler(context), "void timbral_stats(out int state)", tell_stats, filter);
	filter_update(filter, settings);
	return filter;
}

/* The line's positions follow the source's timestamps: a gap in time is one in the line. */
static void follow_clock(struct filter *filter, uint64_t timestamp, uint32_t frames)
{
	int64_t jump = filter->next_timestamp ? (int64_t)(timestamp - filter->next_timestamp) : 0;
	filter->next_timestamp = timestamp + (uint64_t)frames * 1000000000u / filter->rate;
	if (jump <= JUMP_NS && jump >= -JUMP_NS)
		return;
	uint64_t longest = samples(filter, LONGEST_MS) + filter->rate; /* makes a server forget */
	uint64_t gap = jump > 0 ? (uint64_t)jump / 1000 * filter->rate / 1000000 : longest;
	line_skip(filter->line, gap < longest ? gap : longest);
	atomic_fetch_add_explicit(&filter->restarts, 1, memory_order_relaxed);
}

static void note_cost(struct filter *filter, uint64_t ns)
{
	atomic_fetch_add_explicit(&filter->packets, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&filter->cost_ns, ns, memory_order_relaxed);
	if (ns > BUDGET_NS)
		atomic_fetch_add_explicit(&filter->over_budget, 1, memory_order_relaxed);
	if (ns > atomic_load_explicit(&filter->worst_cost_ns, memory_order_relaxed))
		atomic_store_explicit(&filter->worst_cost_ns, (unsigned)ns, memory_order_relaxed);
}

/* Which source the filter is on is known here only; a reference is one addition to a counter. */
static void note_parent(struct filter *filter)
{
	if (!atomic_load_explicit(&filter->parent, memory_order_relaxed))
		atomic_store(&filter->parent, obs_source_get_weak_source(obs_filter_get_parent(filter->context)));
}

static struct obs_audio_data *filter_audio(void *data, struct obs_audio_data *audio)
{
	struct filter *filter = data;
	uint64_t began = os_gettime_ns();
	float *planes[LINE_CHANNELS] = {0};
	struct line_settings now = {
		.delay = atomic_load_explicit(&filter->delay, memory_order_relaxed),
		.wet = (float)atomic_load_explicit(&filter->wet, memory_order_relaxed) / 1000.0f,
		.bypass = atomic_load_explicit(&filter->is_bypassed, memory_order_relaxed) ||
			  atomic_load_explicit(&filter->is_pushed, memory_order_relaxed),
		.original = atomic_load_explicit(&filter->is_original, memory_order_relaxed),
	};
	bool is_sync = atomic_load_explicit(&filter->is_sync, memory_order_relaxed);
	if (is_sync)
		now.hop = samples(filter, HOP_MS);
	for (uint32_t c = 0; c < filter->channels && c < MAX_AV_PLANES && c < LINE_CHANNELS; c++)
		planes[c] = (float *)audio->data[c];
	note_parent(filter);
	follow_clock(filter, audio->timestamp, audio->frames);
	line_process(filter->line, planes, audio->frames, &now);
	uint64_t delay_ns = (uint64_t)line_delay(filter->line) * 1000000000u / filter->rate;
	if (is_sync && audio->timestamp > delay_ns)
		audio->timestamp -= delay_ns;
	if (audio->frames > atomic_load_explicit(&filter->packet_frames, memory_order_relaxed))
		atomic_store_explicit(&filter->packet_frames, audio->frames, memory_order_relaxed);
	note_cost(filter, os_gettime_ns() - began);
	return audio;
}

static void filter_add(void *data, obs_source_t *parent)
{
	hotkeys_add(data, parent);
}

static void filter_remove(void *data, obs_source_t *parent)
{
	UNUSED_PARAMETER(parent);
	hotkeys_remove(data);
}

static void filter_save(void *data, obs_data_t *settings)
{
	struct filter *filter = data;
	pthread_mutex_lock(&filter->lock);
	uint32_t delay_ms = filter->choice.ms;
	pthread_mutex_unlock(&filter->lock);
	obs_data_erase(settings, "diagnostics");
	if (delay_ms)
		obs_data_set_int(settings, "last_delay_ms", delay_ms);
}

/* What newer headers append; libobs reads as much as the size says. */
struct source_info_30 {
	struct obs_source_info info;
	void (*filter_add)(void *data, obs_source_t *source);
};

void filter_register(void)
{
	struct source_info_30 source = {
		.info =
			{
				.id = FILTER_ID,
				.type = OBS_SOURCE_TYPE_FILTER,
				.output_flags = OBS_SOURCE_AUDIO,
				.get_name = filter_name,
				.create = filter_create,
				.destroy = filter_destroy,
				.update = filter_update,
				.get_defaults = properties_defaults,
				.get_properties = properties_create,
				.filter_audio = filter_audio,
				.filter_remove = filter_remove,
				.save = filter_save,
			},
		.filter_add = filter_add,
	};
	bool is_30 = obs_get_version() >= MAKE_SEMANTIC_VERSION(30, 0, 0);
	obs_register_source_s(&source.info, is_30 ? sizeof(source) : sizeof(source.info));
}
