/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Filters are private sources, which cannot have hotkeys: they are registered on the source that
 * the filter is on. OBS 30 and later say which that is when the filter is added; before, it is
 * known from the first packet of audio on. */

static const double PITCH_MOST = 24;

static void change(struct filter *filter, obs_data_t *settings)
{
	obs_source_update(filter->context, settings);
	obs_source_update_properties(filter->context);
}

static void toggle_bypass(struct filter *filter, obs_data_t *settings)
{
	obs_data_set_bool(settings, "bypass", !obs_data_get_bool(settings, "bypass"));
	change(filter, settings);
}

static void move_pitch(struct filter *filter, obs_data_t *settings, double semitones)
{
	double pitch = obs_data_get_double(settings, "pitch") + semitones;
	if (pitch >= -PITCH_MOST && pitch <= PITCH_MOST) {
		obs_data_set_double(settings, "pitch", pitch);
		change(filter, settings);
	}
}

static void move_voice(struct filter *filter, obs_data_t *settings, int step)
{
	struct voice_list *list = link_voices(filter->link);
	const char *voice = obs_data_get_string(settings, "voice");
	int count = list ? (int)list->count : 0, at = step > 0 ? -1 : count;
	for (int i = 0; i < count; i++)
		if (!strcmp(list->voices[i].name, voice))
			at = i;
	for (int tried = 0; tried < count; tried++) {
		at = (at + step + count) % count;
		if (!list->voices[at].is_usable)
			continue;
		obs_data_set_string(settings, "voice", list->voices[at].name);
		change(filter, settings);
		break;
	}
	free(list);
}

static void pressed(void *data, obs_hotkey_id id, obs_hotkey_t *hotkey, bool is_down)
{
	UNUSED_PARAMETER(hotkey);
	struct filter *filter = data;
	int which = 0;
	while (which < HOTKEYS && filter->hotkeys[which] != id)
		which++;
	if (which == HOTKEY_PUSH)
		atomic_store(&filter->is_pushed, is_down);
	if (which == HOTKEY_PUSH || which == HOTKEYS || !is_down)
		return;
	obs_data_t *settings = obs_source_get_settings(filter->context);
	if (which == HOTKEY_BYPASS)
		toggle_bypass(filter, settings);
	else if (which == HOTKEY_UP || which == HOTKEY_DOWN)
		move_pitch(filter, settings, which == HOTKEY_UP ? 1 : -1);
	else
		move_voice(filter, settings, which == HOTKEY_NEXT ? 1 : -1);
	obs_data_release(settings);
}

static void add_to(struct filter *filter, obs_source_t *parent)
{
	static const char *const names[HOTKEYS] = {"bypass", "push", "next", "previous", "up", "down"};
	const char *own = obs_source_get_name(filter->context);
	for (int i = 0; i < HOTKEYS; i++) {
		char name[256], key[32], text[256];
		snprintf(name, sizeof(name), "timbral.%s.%s", names[i], own);
		snprintf(key, sizeof(key), "Hotkey.%s", names[i]);
		snprintf(text, sizeof(text), "%s: %s", own, obs_module_text(key));
		if (filter->hotkeys[i] == OBS_INVALID_HOTKEY_ID)
			filter->hotkeys[i] = obs_hotkey_register_source(parent, name, text, pressed, filter);
	}
}

void hotkeys_add(struct filter *filter, obs_source_t *parent)
{
	pthread_mutex_lock(&filter->hotkey_lock);
	if (!filter->is_removed && filter->hotkeys[0] == OBS_INVALID_HOTKEY_ID)
		add_to(filter, parent);
	pthread_mutex_unlock(&filter->hotkey_lock);
}

void hotkeys_follow(struct filter *filter)
{
	obs_source_t *parent = obs_weak_source_get_source(atomic_load(&filter->parent));
	if (!parent)
		return;
	hotkeys_add(filter, parent);
	obs_source_release(parent); /* not under the lock: it may be the last, and lead to hotkeys_remove */
}

void hotkeys_remove(struct filter *filter)
{
	pthread_mutex_lock(&filter->hotkey_lock);
	filter->is_removed = true;
	for (int i = 0; i < HOTKEYS; i++) {
		if (filter->hotkeys[i] != OBS_INVALID_HOTKEY_ID)
			obs_hotkey_unregister(filter->hotkeys[i]);
		filter->hotkeys[i] = OBS_INVALID_HOTKEY_ID;
	}
	pthread_mutex_unlock(&filter->hotkey_lock);
}
