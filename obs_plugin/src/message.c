/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "message.h"

#include <stdio.h>
#include <string.h>

static void add_controls(struct json_writer *json, const struct session_wish *wish)
{
	json_number(json, "pitch", wish->pitch);
	json_bool(json, "auto_pitch", wish->auto_pitch);
	json_number(json, "formant", wish->formant);
	json_number(json, "index_rate", wish->index_rate);
	json_number(json, "protect", wish->protect);
	json_number(json, "loudness", wish->loudness);
	json_number(json, "gate_db", wish->gate_db);
}

void message_start(struct json_writer *json, char *out, const struct session_wish *wish)
{
	json_begin(json, out, MESSAGE_MOST);
	json_open(json, NULL);
	json_text(json, "type", "start");
	json_number(json, "version", 1);
	json_text(json, "voice", wish->voice);
	json_number(json, "sample_rate", wish->rate);
	json_text(json, "encoding", "f32le");
	json_text(json, "profile", wish->profile);
	json_open(json, "controls");
	add_controls(json, wish);
	json_close(json);
	if (*wish->token)
		json_text(json, "token", wish->token);
	json_close(json);
}

void message_voice(struct json_writer *json, char *out, const char *voice)
{
	json_begin(json, out, MESSAGE_MOST);
	json_open(json, NULL);
	json_text(json, "type", "voice");
	json_text(json, "voice", voice);
	json_close(json);
}

bool message_controls(struct json_writer *json, char *out, const struct session_wish *wish,
		      const struct session_wish *told)
{
	json_begin(json, out, MESSAGE_MOST);
	json_open(json, NULL);
	json_text(json, "type", "controls");
	add_controls(json, wish);
	json_close(json);
	return wish->pitch != told->pitch || wish->auto_pitch != told->auto_pitch || wish->formant != told->formant ||
	       wish->index_rate != told->index_rate || wish->protect != told->protect ||
	       wish->loudness != told->loudness || wish->gate_db != told->gate_db;
}

void message_ping(struct json_writer *json, char *out, double time)
{
	json_begin(json, out, 64);
	json_open(json, NULL);
	json_text(json, "type", "ping");
	json_number(json, "t", time);
	json_close(json);
}

struct reading {
	struct message *message;
	bool has_type;
};

enum { RETRY_MOST_S = 3600 }; /* a longer wait is none that a server of ours asks for */

static uint64_t whole(double number)
{
	return number > 0 && number < 9e15 ? (uint64_t)number : 0;
}

static void see_type(struct reading *reading, const char *type)
{
	static const char *const types[] = {"ready", "stats", "voice", "controls", "error", "stopped", "pong"};
	reading->has_type = true;
	reading->message->kind = MESSAGE_OTHER;
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (!strcmp(type, types[i]))
			reading->message->kind = (enum message_kind)(MESSAGE_READY + i);
}

static void see_text(struct message *m, const char *path, const char *text)
{
	const struct {
		const char *path;
		char *out;
		size_t room;
	} fields[] = {
		{"voice", m->facts.voice, sizeof(m->facts.voice)},
		{"profile", m->facts.profile, sizeof(m->facts.profile)},
		{"provider", m->facts.provider, sizeof(m->facts.provider)},
		{"why", m->facts.why, sizeof(m->facts.why)},
		{"eased", m->facts.eased, sizeof(m->facts.eased)},
		{"encoding", m->encoding, sizeof(m->encoding)},
		{"code", m->code, sizeof(m->code)},
		{"message", m->text, sizeof(m->text)},
	};
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		if (!strcmp(path, fields[i].path))
			snprintf(fields[i].out, fields[i].room, "%s", text);
}

static void see_number(struct message *m, const char *path, double number)
{
	if (!strcmp(path, "sample_rate"))
		m->rate = (uint32_t)whole(number);
	else if (!strcmp(path, "hop_samples"))
		m->facts.hop = (uint32_t)whole(number);
	else if (!strcmp(path, "latency_samples"))
		m->facts.latency = (uint32_t)whole(number);
	else if (!strcmp(path, "compute_ms.p50"))
		m->facts.compute_p50 = number;
	else if (!strcmp(path, "compute_ms.p99"))
		m->facts.compute_p99 = number;
	else if (!strcmp(path, "queue_ms"))
		m->facts.queue = number;
	else if (!strcmp(path, "retry_s"))
		m->facts.retry_ms = number > 0 && number < RETRY_MOST_S ? (uint32_t)(1000 * number) : 0;
	else if (!strcmp(path, "t"))
		m->time = number;
	else if (!strcmp(path, "rtf"))
		m->facts.rtf = number;
	else if (!strcmp(path, "deadline_misses"))
		m->facts.misses = whole(number);
	else if (!strcmp(path, "underruns"))
		m->facts.underruns = whole(number);
}

static void see(void *context, const char *path, const struct json_value *value)
{
	struct reading *reading = context;
	if (value->kind == JSON_STRING && !strcmp(path, "type"))
		see_type(reading, value->text);
	else if (value->kind == JSON_STRING)
		see_text(reading->message, path, value->text);
	else if (value->kind == JSON_NUMBER)
		see_number(reading->message, path, value->number);
	else if (value->kind == JSON_BOOL && !strcmp(path, "fatal"))
		reading->message->fatal = value->is_true;
}

bool message_read(struct message *message, const char *text, size_t size)
{
	struct reading reading = {.message = message};
	*message = (struct message){.kind = MESSAGE_OTHER};
	return json_read(text, size, see, &reading) && reading.has_type;
}
