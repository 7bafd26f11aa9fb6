/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

#define T(key) obs_module_text(key)

enum { LAST_DELAY_MS = 200, FIXED_DELAY_MS = 250 };

void properties_defaults(obs_data_t *settings)
{
	obs_data_set_default_string(settings, "server", "ws://127.0.0.1:8765");
	obs_data_set_default_string(settings, "token", "");
	obs_data_set_default_string(settings, "voice", "starter");
	obs_data_set_default_string(settings, "profile", "auto");
	obs_data_set_default_double(settings, "pitch", 0);
	obs_data_set_default_bool(settings, "auto_pitch", true);
	obs_data_set_default_double(settings, "formant", 0);
	obs_data_set_default_double(settings, "index_rate", 0);
	obs_data_set_default_double(settings, "protect", 0.33);
	obs_data_set_default_double(settings, "loudness", 0);
	obs_data_set_default_double(settings, "gate_db", -60);
	obs_data_set_default_int(settings, "wet", 100);
	obs_data_set_default_bool(settings, "bypass", false);
	obs_data_set_default_string(settings, "delay_mode", "auto");
	obs_data_set_default_int(settings, "delay_ms", FIXED_DELAY_MS);
	obs_data_set_default_int(settings, "last_delay_ms", LAST_DELAY_MS);
	obs_data_set_default_string(settings, "timing", "auto");
	obs_data_set_default_string(settings, "away", "mute");
}

static bool test_clicked(obs_properties_t *properties, obs_property_t *button, void *data)
{
	UNUSED_PARAMETER(properties);
	UNUSED_PARAMETER(button);
	struct filter *filter = data;
	link_refresh(filter->link);
	atomic_store(&filter->edited_ms, 0); /* the answer is to be shown as soon as it is there */
	return false;
}

static bool refresh_clicked(obs_properties_t *properties, obs_property_t *button, void *data)
{
	test_clicked(properties, button, data);
	obs_source_update_properties(((struct filter *)data)->context);
	return false;
}

static bool copy_clicked(obs_properties_t *properties, obs_property_t *button, void *data)
{
	struct filter *filter = data;
	char text[4096];
	status_diagnostics(filter, text, sizeof(text));
	LOG(LOG_INFO, "diagnostics of %s:\n%s", obs_source_get_name(filter->context), text);
	bool is_copied = host_copy(text);
	obs_property_set_description(button, T(is_copied ? "Copied" : "CopyBelow"));
	obs_data_t *settings = obs_source_get_settings(filter->context);
	obs_data_set_string(settings, "diagnostics", text);
	obs_data_release(settings);
	obs_property_set_visible(obs_properties_get(properties, "diagnostics"), !is_copied);
	return true;
}

static bool delay_changed(obs_properties_t *properties, obs_property_t *property, obs_data_t *settings)
{
	UNUSED_PARAMETER(property);
	bool is_fixed = !strcmp(obs_data_get_string(settings, "delay_mode"), "fixed");
	obs_property_set_visible(obs_properties_get(properties, "delay_ms"), is_fixed);
	return true;
}

static bool away_changed(obs_properties_t *properties, obs_property_t *property, obs_data_t *settings)
{
	UNUSED_PARAMETER(property);
	bool is_original = !strcmp(obs_data_get_string(settings, "away"), "original");
	obs_property_set_visible(obs_properties_get(properties, "away_warning"), is_original);
	return true;
}

static obs_property_t *add_choice(obs_properties_t *properties, const char *name, const char *label,
				  const char *const *values)
{
	obs_property_t *list =
		obs_properties_add_list(properties, name, T(label), OBS_COMBO_TYPE_LIST, OBS_COMBO_FORMAT_STRING);
	for (; *values; values++) {
		char key[64];
		snprintf(key, sizeof(key), "%s.%s", label, *values);
		obs_property_list_add_string(list, T(key), *values);
	}
	return list;
}

static void add_voices(obs_properties_t *properties, struct filter *filter)
{
	obs_property_t *list = obs_properties_add_list(properties, "voice", T("Voice"), OBS_COMBO_TYPE_LIST,
						       OBS_COMBO_FORMAT_STRING);
	struct voice_list *voices = link_voices(filter->link);
	obs_data_t *settings = obs_source_get_settings(filter->context);
	const char *chosen = obs_data_get_string(settings, "voice");
	bool is_listed = false;
	for (size_t i = 0; voices && i < voices->count; i++) {
		struct voice *voice = voices->voices + i;
		if (!voice->name[0])
			continue;
		is_listed = is_listed || !strcmp(voice->name, chosen);
		size_t at = obs_property_list_add_string(list, voice->name, voice->name);
		obs_property_list_item_disable(list, at, !voice->is_usable);
	}
	if (!is_listed)
		obs_property_list_add_string(list, chosen, chosen);
	obs_data_release(settings);
	free(voices);
}

static void add_info(obs_properties_t *properties, const char *name, const char *text, enum obs_text_info_type type)
{
	obs_property_t *info = obs_properties_add_text(properties, name, text, OBS_TEXT_INFO);
	obs_property_text_set_info_type(info, type);
	obs_property_text_set_info_word_wrap(info, true);
}

static void add_number(obs_properties_t *properties, const char *name, const char *label, double least, double most,
		       double step, const char *unit)
{
	obs_property_t *number = obs_properties_add_float_slider(properties, name, T(label), least, most, step);
	obs_property_float_set_suffix(number, unit);
}

static void add_server(obs_properties_t *properties)
{
	obs_properties_t *group = obs_properties_create();
	obs_property_t *server = obs_properties_add_text(group, "server", T("Server"), OBS_TEXT_DEFAULT);
	obs_property_set_long_description(server, T("Server.Help"));
	obs_properties_add_text(group, "token", T("Token"), OBS_TEXT_PASSWORD);
	obs_properties_add_button2(group, "test", T("Test"), test_clicked, NULL);
	obs_properties_add_group(properties, "server_group", T("Server.Group"), OBS_GROUP_NORMAL, group);
}

static void add_timing(obs_properties_t *properties, const struct filter_view *view)
{
	static const char *const timings[] = {"auto", "sync", "live", NULL};
	static const char *const modes[] = {"auto", "fixed", NULL};
	char text[1024];
	obs_properties_t *group = obs_properties_create();
	add_choice(group, "timing", "Timing", timings);
	obs_property_t *mode = add_choice(group, "delay_mode", "Delay", modes);
	obs_property_set_modified_callback(mode, delay_changed);
	obs_property_t *delay =
		obs_properties_add_int(group, "delay_ms", T("Delay.Ms"), DELAY_LEAST_MS, DELAY_MOST_MS, 1);
	obs_property_int_set_suffix(delay, " ms");
	status_timing(view, text, sizeof(text));
	bool is_mute = view->is_sync && view->is_low_latency;
	add_info(group, "timing_info", text, is_mute ? OBS_TEXT_INFO_ERROR : OBS_TEXT_INFO_NORMAL);
	obs_properties_add_group(properties, "timing_group", T("Timing.Group"), OBS_GROUP_NORMAL, group);
}

static void add_advanced(obs_properties_t *properties)
{
	static const char *const profiles[] = {"auto", "low", "balanced", "quality", "relaxed", NULL};
	obs_properties_t *group = obs_properties_create();
	add_choice(group, "profile", "Profile", profiles);
	add_number(group, "index_rate", "IndexRate", 0, 1, 0.01, "");
	add_number(group, "protect", "Protect", 0, 0.5, 0.01, "");
	add_number(group, "loudness", "Loudness", 0, 1, 0.01, "");
	add_number(group, "gate_db", "Gate", -90, 0, 1, " dB");
	obs_property_t *wet = obs_properties_add_int_slider(group, "wet", T("Wet"), 0, 100, 1);
	obs_property_int_set_suffix(wet, " %");
	obs_properties_add_button2(group, "copy", T("Copy"), copy_clicked, NULL);
	obs_property_t *text = obs_properties_add_text(group, "diagnostics", T("Diagnostics"), OBS_TEXT_MULTILINE);
	obs_property_set_visible(text, false);
	obs_properties_add_group(properties, "advanced_group", T("Advanced.Group"), OBS_GROUP_NORMAL, group);
}

static void add_away(obs_properties_t *properties)
{
	static const char *const choices[] = {"mute", "original", NULL};
	obs_property_t *away = add_choice(properties, "away", "Away", choices);
	obs_property_set_modified_callback(away, away_changed);
	add_info(properties, "away_warning", T("Away.Warning"), OBS_TEXT_INFO_ERROR);
}

void views_release(struct views *views)
{
	if (atomic_fetch_sub(&views->holders, 1) == 1)
		bfree(views);
}

static void closed(void *data)
{
	struct views *views = data;
	atomic_fetch_sub(&views->open, 1);
	views_release(views);
}

obs_properties_t *properties_create(void *data)
{
	struct filter *filter = data;
	struct filter_view view;
	char line[1024];
	filter_view(filter, &view);
	obs_properties_t *properties = obs_properties_create();
	atomic_fetch_add(&filter->views->holders, 1);
	atomic_fetch_add(&filter->views->open, 1);
	obs_properties_set_param(properties, filter->views, closed);
	enum obs_text_info_type type = status_line(&view, line, sizeof(line));
	add_info(properties, "status", line, type);
	add_voices(properties, filter);
	obs_properties_add_button2(properties, "refresh", T("Refresh"), refresh_clicked, NULL);
	add_number(properties, "pitch", "Pitch", -24, 24, 0.5, T("Semitones"));
	obs_properties_add_bool(properties, "auto_pitch", T("AutoPitch"));
	add_number(properties, "formant", "Formant", -6, 6, 0.1, T("Semitones"));
	obs_properties_add_bool(properties, "bypass", T("Bypass"));
	add_away(properties);
	add_server(properties);
	add_timing(properties, &view);
	add_advanced(properties);
	return properties;
}
