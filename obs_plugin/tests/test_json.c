/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "json.h"

#include <string.h>

#include "check.h"
#include "message.h"
#include "voices.h"

struct seen {
	char all[4096];
	size_t size;
};

static void see(void *context, const char *path, const struct json_value *value)
{
	struct seen *seen = context;
	char line[2048];
	const char *text = value->kind == JSON_STRING ? value->text
			   : value->kind == JSON_BOOL ? (value->is_true ? "true" : "false")
						      : "null";
	if (value->kind == JSON_NUMBER)
		snprintf(line, sizeof(line), "%s=%.9g;", path, value->number);
	else
		snprintf(line, sizeof(line), "%s=%s;", path, text);
	size_t size = strlen(line);
	if (seen->size + size < sizeof(seen->all)) {
		memcpy(seen->all + seen->size, line, size + 1);
		seen->size += size;
	}
}

static bool reads(const char *text, const char *wanted)
{
	static struct seen seen;
	memset(&seen, 0, sizeof(seen));
	bool good = json_read(text, strlen(text), see, &seen);
	if (good && wanted && strcmp(seen.all, wanted))
		fprintf(stderr, "%s\n", seen.all);
	return good && (!wanted || !strcmp(seen.all, wanted));
}

static void values_are_told_with_their_paths(void)
{
	CHECK(reads("{\"a\": {\"b\": [1, -2.5, 1e3, 25E-1]}, \"c\":true , \"d\":null, \"e\":[]}",
		    "a.b.0=1;a.b.1=-2.5;a.b.2=1000;a.b.3=2.5;c=true;d=null;"));
	CHECK(reads("{\"t\":\"a\\n\\\"\\\\\\u00e9\\u4e2d\\ud83d\\ude00\\ud800x\\u0000\"}",
		    "t=a\n\"\\é中😀\xef\xbf\xbdx\xef\xbf\xbd;"));
	CHECK(reads("false", "=false;"));
}

static void what_is_no_json_is_refused(void)
{
	static const char *const bad[] = {"",        "{",      "[1,]",    "{\"a\"}",   "{\"a\":}", "01x",
					  "[1 2]",   "\"a",    "\"\\x\"", "\"\\u12\"", "nul",      "-",
					  "1.",      "1e",     "{1:2}",   "[1]]",      "\"\n\"",  "{\"a\":1,}"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK(!reads(bad[i], NULL));
	char deep[200] = "";
	memset(deep, '[', 100);
	memset(deep + 100, ']', 99);
	CHECK(!reads(deep, NULL));
}

static void long_texts_are_cut_between_characters(void)
{
	char text[3000] = "\"x";
	static struct seen seen;
	for (size_t i = 2; i + 4 < sizeof(text); i += 3)
		memcpy(text + i, "中", 4);
	strcat(text, "\"");
	CHECK(json_read(text, strlen(text), see, &seen));
	CHECK_EQUAL(seen.size, 1 + (1 + 340 * 3) + 1);
}

static void nothing_that_arrives_does_harm(void)
{
	static const char good[] = "{\"type\":\"stats\",\"compute_ms\":{\"p50\":1.5,\"p99\":2e1},\"x\":[true,null,\"\\u00e9"
				   "\\ud83d\\ude00\"],\"voices\":[{\"name\":\"ada\",\"error\":\"no\"}]}";
	uint64_t state = 5;
	for (int turn = 0; turn < (IS_SLOW ? 40000 : 200000); turn++) {
		size_t size = draw(&state) % sizeof(good);
		char *text = malloc(size + 1);
		struct message message;
		memcpy(text, good, size);
		for (uint32_t k = draw(&state) % 4; k && size; k--)
			text[draw(&state) % size] = (char)(turn % 2 ? draw(&state) : (unsigned)good[draw(&state) % 100]);
		message_read(&message, text, size);
		free(text);
	}
}

static void unknown_fields_and_types_are_ignored(void)
{
	struct message m;
	const char ready[] = "{\"type\":\"ready\",\"session\":\"s\",\"version\":1,\"voice\":\"ada\",\"sample_rate\":48000,"
			     "\"encoding\":\"f32le\",\"hop_samples\":960,\"latency_samples\":3014,\"provider\":\"CPU\","
			     "\"profile\":\"low\",\"why\":\"fast\",\"news\":{\"deep\":[1]}}";
	CHECK(message_read(&m, ready, strlen(ready)));
	CHECK(m.kind == MESSAGE_READY && m.rate == 48000 && m.facts.latency == 3014 && m.facts.hop == 960);
	CHECK(!strcmp(m.facts.profile, "low") && !strcmp(m.facts.why, "fast") && !strcmp(m.facts.voice, "ada"));
	CHECK(message_read(&m, "{\"type\":\"song\"}", 15) && m.kind == MESSAGE_OTHER);
	CHECK(!message_read(&m, "{\"kind\":\"song\"}", 15));
	const char error[] = "{\"type\":\"error\",\"code\":\"idle\",\"message\":\"x\",\"fatal\":true}";
	CHECK(message_read(&m, error, strlen(error)) && m.fatal && !strcmp(m.code, "idle"));
}

static void what_is_written_is_read_the_same(void)
{
	char out[MESSAGE_MOST];
	struct json_writer json;
	json_begin(&json, out, sizeof(out));
	json_open(&json, NULL);
	json_text(&json, "a", "q\"\\\n中");
	json_number(&json, "b", -3.5);
	json_number(&json, "c", 0.33);
	json_number(&json, "d", 1e12);
	json_open(&json, "e");
	json_bool(&json, "f", false);
	json_close(&json);
	json_close(&json);
	CHECK(!json.full);
	CHECK(reads(out, "a=q\"\\\n中;b=-3.5;c=0.33;d=1e+12;e.f=false;"));
	json_begin(&json, out, 8);
	json_text(&json, NULL, "much too long");
	CHECK(json.full && strlen(out) < 8);
}

static void voices_are_listed(void)
{
	static struct voice_list list;
	const char text[] = "{\"default\":\"ada\",\"voices\":[{\"name\":\"ada\",\"description\":\"A\",\"x\":[1,{\"name\":\"no\"}]},"
			    "{\"name\":\"ben\",\"error\":\"broken\"}]}";
	CHECK(voice_list_read(&list, text, strlen(text)));
	CHECK_EQUAL(list.count, 2);
	CHECK(!strcmp(list.voices[0].name, "ada") && list.voices[0].is_usable && !list.voices[1].is_usable);
	CHECK(!voice_list_read(&list, "<html>", 6));
	CHECK_EQUAL(list.count, 2);
}

int main(void)
{
	values_are_told_with_their_paths();
	what_is_no_json_is_refused();
	long_texts_are_cut_between_characters();
	nothing_that_arrives_does_harm();
	unknown_fields_and_types_are_ignored();
	what_is_written_is_read_the_same();
	voices_are_listed();
	return 0;
}
