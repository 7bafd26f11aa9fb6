/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "filter.h"

#include <stdio.h>
#include <string.h>

#include "plugin.h"

/* A text that grows; what does not fit is left out. */
struct text {
	char *out;
	size_t room, size;
};

static void add(struct text *text, const char *piece, size_t size)
{
	if (text->room - text->size <= size)
		return;
	memcpy(text->out + text->size, piece, size);
	text->size += size;
	text->out[text->size] = 0;
}

/* A server's words are shown, never interpreted. */
static void add_escaped(struct text *text, const char *piece)
{
	for (; *piece; piece++) {
		const char *safe = *piece == '<' ? "&lt;" : *piece == '>' ? "&gt;" : *piece == '&' ? "&amp;" : NULL;
		add(text, safe ? safe : piece, safe ? strlen(safe) : 1);
	}
}

/* The translation of `key`, with `{}` replaced by `value`. */
static void say(struct text *text, const char *key, const char *value)
{
	const char *line = obs_module_text(key), *hole = strstr(line, "{}");
	add(text, line, hole ? (size_t)(hole - line) : strlen(line));
	if (!hole)
		return;
	add_escaped(text, value);
	add(text, hole + 2, strlen(hole + 2));
}

static void say_number(struct text *text, const char *key, unsigned number)
{
	char value[16];
	snprintf(value, sizeof(value), "%u", number);
	say(text, key, value);
}

static struct text begin(char *out, size_t room)
{
	out[0] = 0;
	return (struct text){.out = out, .room = room};
}

static void say_colour(struct text *text, const char *colour)
{
	char mark[64];
	int size = snprintf(mark, sizeof(mark), "<span style=\"color:%s\">&#9679;</span> ", colour);
	add(text, mark, (size_t)size);
}

static void say_trouble(struct text *text, const struct filter_view *view)
{
	char key[16];
	snprintf(key, sizeof(key), "Trouble.%d", view->link.trouble);
	say(text, key, view->link.text);
	if (view->link.text[0] && view->link.trouble != TROUBLE_REFUSED) {
		add(text, " (", 2);
		add_escaped(text, view->link.text);
		add(text, ")", 1);
	}
	add(text, "<br>", 4);
	say(text, view->is_original ? "Heard.Original" : "Heard.Nothing", "");
	if (view->link.retry_ms) {
		add(text, " ", 1);
		say_number(text, "Retry", (view->link.retry_ms + 999) / 1000);
	}
}

static void say_eased(struct text *text, const struct session_facts *facts)
{
	static const struct {
		const char *name, *key;
	} known[] = {
		{"light pitch", "Eased.Pitch"},
		{"less context", "Eased.Context"},
		{"longer hops", "Eased.Hops"},
		{"longest hops", "Eased.Hops"},
	};
	add(text, "<br>", 4);
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (!strcmp(facts->eased, known[i].name)) {
			say_number(text, known[i].key, facts->more_ms);
			return;
		}
	say(text, "Eased.Other", facts->eased);
}

static enum obs_text_info_type say_talking(struct text *text, const struct filter_view *view)
{
	bool is_eased = view->link.facts.eased[0] != 0;
	bool is_warning = view->late_ms > 0 || is_eased || view->link.notice[0] || view->link.is_silent;
	say_colour(text, view->link.is_silent ? "#e5484d" : is_warning ? "#e6a700" : "#30a46c");
	if (view->is_bypassed)
		say(text, "State.Bypass", "");
	else if (view->link.is_silent)
		say(text, "State.Silent", "");
	else if (!view->is_fed)
		say(text, "State.NoAudio", "");
	else
		say(text, "State.Converting", view->link.facts.voice);
	add(text, "<br>", 4);
	say_number(text, "Delay.Now", view->delay_ms);
	add(text, " ", 1);
	say(text, view->is_sync ? "Delay.Sync" : "Delay.Live", "");
	add(text, " ", 1);
	say_number(text, view->late_ms ? "Late.Some" : "Late.None", view->late_ms);
	if (view->link.facts.eased[0])
		say_eased(text, &view->link.facts);
	if (view->link.notice[0]) {
		add(text, "<br>", 4);
		add_escaped(text, view->link.notice);
	}
	if (view->link.is_far) {
		add(text, "<br>", 4);
		say(text, "Far", "");
	}
	return view->is_bypassed || is_warning || view->link.is_far ? OBS_TEXT_INFO_WARNING : OBS_TEXT_INFO_NORMAL;
}

enum obs_text_info_type status_line(const struct filter_view *view, char *out, size_t room)
{
	struct text text = begin(out, room);
	if (view->link.state == LINK_TALKING)
		return say_talking(&text, view);
	bool is_waiting = view->link.state == LINK_WAITING || view->link.trouble != TROUBLE_NONE;
	say_colour(&text, is_waiting ? "#e5484d" : "#e6a700");
	if (is_waiting && view->link.trouble != TROUBLE_NONE)
		say_trouble(&text, view);
	else
		say(&text, view->link.state == LINK_STARTING ? "State.Starting" : "State.Connecting", "");
	return view->is_original || is_waiting ? OBS_TEXT_INFO_ERROR : OBS_TEXT_INFO_WARNING;
}

void status_timing(const struct filter_view *view, char *out, size_t room)
{
	struct text text = begin(out, room);
	if (view->safe_ms) {
		say_number(&text, "Delay.Safe", view->safe_ms);
		add(&text, "<br>", 4);
	}
	if (!view->is_sync)
		say_number(&text, "Live.Advice", view->delay_ms);
	if (!view->is_sync && view->timing == TIMING_AUTO)
		say(&text, view->is_low_latency ? "Live.LowLatency" : "Live.TooLong", "");
	if (view->is_sync)
		say(&text, view->is_low_latency ? "Sync.LowLatency" : "Sync.Advice", "");
}

static uint64_t mix(uint64_t digest, const void *data, size_t size)
{
	const uint8_t *bytes = data;
	while (size--)
		digest = (digest ^ *bytes++) * 0x100000001b3u; /* FNV-1a */
	return digest;
}

uint64_t status_digest(const struct filter_view *view)
{
	char line[1024], timing[1024];
	struct filter_view calm = *view;
	calm.link.retry_ms = 0; /* a countdown is not worth a redrawing */
	status_line(&calm, line, sizeof(line));
	status_timing(&calm, timing, sizeof(timing));
	return mix(mix(0xcbf29ce484222325u, line, strlen(line)), timing, strlen(timing));
}

void status_diagnostics(struct filter *filter, char *out, size_t room)
{
	struct filter_view view;
	filter_view(filter, &view);
	const struct session_facts *facts = &view.link.facts;
	obs_data_t *settings = obs_source_get_settings(filter->context);
	snprintf(out, room,
		 "timbral %s in OBS %s, %u Hz, %u channels, low latency %d\n"
		 "server %s, token %s, voice %s, profile %s\n"
		 "state %d, trouble %d, sessions %llu, retry in %u ms\n"
		 "said: %s / %s\n"
		 "provider %s, profile %s (%s), gives up: %s, hop %u, latency %u samples, round trip %.0f ms\n"
		 "compute p50 %.1f p99 %.1f ms, queue %.1f ms, RTF %.2f, late hops %llu, lost %llu\n"
		 "delay %u ms (safe %u, chosen %u, fixed %d), sync %d, packets of %u ms\n"
		 "played %llu, missing %llu, lost %llu, not sent %llu samples, gaps %llu, late in the last minute %u ms\n"
		 "filter_audio: %llu calls, mean %.1f us, worst %.0f us, %llu above 60 us\n",
		 TIMBRAL_VERSION, obs_get_version_string(), filter->rate, filter->channels, filter->is_low_latency,
		 obs_data_get_string(settings, "server"), *obs_data_get_string(settings, "token") ? "set" : "none",
		 obs_data_get_string(settings, "voice"), obs_data_get_string(settings, "profile"), view.link.state,
		 view.link.trouble, (unsigned long long)view.link.sessions, view.link.retry_ms, view.link.text,
		 view.link.notice, facts->provider, facts->profile, facts->why, facts->eased, facts->hop, facts->latency,
		 facts->round_trip, facts->compute_p50, facts->compute_p99, facts->queue, facts->rtf,
		 (unsigned long long)facts->misses, (unsigned long long)facts->underruns, view.delay_ms, view.safe_ms,
		 view.choice_ms, view.is_fixed, view.is_sync, view.packet_ms, (unsigned long long)view.counts.played,
		 (unsigned long long)view.counts.missing, (unsigned long long)view.counts.lost,
		 (unsigned long long)view.link.dropped, (unsigned long long)view.restarts, view.late_ms,
		 (unsigned long long)view.packets, view.mean_cost_us, view.worst_cost_us,
		 (unsigned long long)view.over_budget);
	obs_data_release(settings);
}
