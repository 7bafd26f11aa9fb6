/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "session.h"

#include <string.h>

#include "check.h"
#include "frame.h"
#include "websocket.h"

/* A server in a few lines: bytes in, bytes out, as the session itself. */
struct server {
	struct session *session;
	struct ring *answered;
	struct session_wish wish;
	uint64_t now;
	char text[4096]; /* what the client said in text frames, one a line */
	size_t audio;    /* samples that it sent */
	uint64_t position;
};

static struct server *begin(void)
{
	struct server *s = calloc(1, sizeof(*s));
	struct url url;
	url_read(&url, "ws://127.0.0.1:8765/deep");
	s->answered = ring_create(100000);
	s->session = session_create(s->answered, 42);
	s->now = 1000;
	strcpy(s->wish.voice, "ada");
	strcpy(s->wish.profile, "low");
	s->wish.rate = 48000;
	session_begin(s->session, &url, &s->wish, s->now);
	return s;
}

static void finish(struct server *s)
{
	session_destroy(s->session);
	ring_destroy(s->answered);
	free(s);
}

static void give(struct server *s, const void *data, size_t size)
{
	session_receive(s->session, data, size, s->now);
}

static void shake(struct server *s, const char *first_line)
{
	size_t size;
	char head[1024], accept[WEBSOCKET_ACCEPT + 1];
	const char *request = (const char *)session_output(s->session, &size);
	CHECK(!strncmp(request, "GET /deep/v1/stream HTTP/1.1\r\nHost: 127.0.0.1:8765\r\n", 50));
	const char *key = strstr(request, "Sec-WebSocket-Key: ");
	CHECK(key);
	websocket_accept(key + 19, accept);
	session_sent(s->session, size);
	snprintf(head, sizeof(head),
		 "%s\r\nupgrade: WebSocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: %s\r\n"
		 "Sec-WebSocket-Protocol: timbral.v1\r\n\r\n",
		 first_line, accept);
	give(s, head, strlen(head));
}

static void say(struct server *s, const char *text)
{
	uint8_t frame[1024];
	size_t size = strlen(text), at = 0;
	frame[at++] = 0x81;
	frame[at++] = (uint8_t)(size < 126 ? size : 126);
	if (size >= 126) {
		frame[at++] = (uint8_t)(size >> 8);
		frame[at++] = (uint8_t)size;
	}
	memcpy(frame + at, text, size);
	give(s, frame, at + size);
}

/* Take what the client sent, unmasked; frames of both kinds. */
static void take(struct server *s)
{
	size_t size, at = 0;
	const uint8_t *data = session_output(s->session, &size);
	s->text[0] = 0;
	while (at < size) {
		uint8_t kind = data[at] & 15;
		size_t count = data[at + 1] & 127, head = 2;
		CHECK(data[at + 1] & 0x80);
		if (count == 126) {
			count = (size_t)data[at + 2] << 8 | data[at + 3];
			head = 4;
		}
		const uint8_t *mask = data + at + head, *body = mask + 4;
		uint8_t payload[70000];
		for (size_t i = 0; i < count; i++)
			payload[i] = body[i] ^ mask[i & 3];
		at += head + 4 + count;
		payload[count] = 0;
		if (kind == 1) {
			strcat(s->text, (char *)payload);
			strcat(s->text, "\n");
		} else if (kind == 2) {
			struct frame frame;
			const char *why;
			CHECK(frame_read(&frame, FRAME_F32, payload, count, &why));
			s->audio += frame.count;
			s->position = frame.position;
		}
	}
	session_sent(s->session, size);
}

static const char *ready = "{\"type\":\"ready\",\"session\":\"s\",\"version\":1,\"voice\":\"ada\",\"sample_rate\":48000,"
			   "\"encoding\":\"f32le\",\"hop_samples\":960,\"latency_samples\":3014,\"provider\":\"P\","
			   "\"profile\":\"low\",\"why\":\"\"}";

static struct server *talking(void)
{
	struct server *s = begin();
	shake(s, "HTTP/1.1 101 Switching Protocols");
	take(s);
	say(s, ready);
	CHECK_EQUAL(session_phase(s->session), SESSION_TALKING);
	return s;
}

static void a_conversation_goes_as_the_protocol_says(void)
{
	struct server *s = begin();
	float samples[100] = {0.5f};
	struct block block = {.position = 1234567, .count = 100};
	CHECK(!session_audio(s->session, &block, samples));
	shake(s, "HTTP/1.1 101 Switching Protocols");
	take(s);
	CHECK(strstr(s->text, "{\"type\":\"start\",\"version\":1,\"voice\":\"ada\",\"sample_rate\":48000,"
			      "\"encoding\":\"f32le\",\"profile\":\"low\",\"controls\":{\"pitch\":0,"));
	CHECK(!strstr(s->text, "token"));
	CHECK(!session_audio(s->session, &block, samples));
	say(s, ready);
	CHECK(session_audio(s->session, &block, samples));
	take(s);
	CHECK_EQUAL(s->audio, 100);
	CHECK(s->position == 1234567);
	uint8_t frame[2 + FRAME_HEADER + 8] = {0x82, FRAME_HEADER + 8};
	float answer[2] = {0.25f, -0.5f};
	frame_write(frame + 2, 0, 1234567, answer, 2);
	give(s, frame, sizeof(frame));
	CHECK(ring_peek(s->answered, &block) && block.count == 2 && block.position == 1234567);
	finish(s);
}

static void controls_and_voices_change_without_a_new_conversation(void)
{
	struct server *s = talking();
	s->wish.pitch = -3.5;
	CHECK(session_change(s->session, &s->wish));
	take(s);
	CHECK(strstr(s->text, "{\"type\":\"controls\",\"pitch\":-3.500,"));
	strcpy(s->wish.voice, "ben");
	CHECK(session_change(s->session, &s->wish));
	take(s);
	CHECK(!strcmp(s->text, "{\"type\":\"voice\",\"voice\":\"ben\"}\n"));
	CHECK(session_change(s->session, &s->wish));
	take(s);
	CHECK(!s->text[0]);
	strcpy(s->wish.profile, "quality");
	CHECK(!session_change(s->session, &s->wish));
	finish(s);
}

static void a_voice_that_needs_its_own_stream_gets_one(void)
{
	struct server *s = talking();
	const char *text;
	strcpy(s->wish.voice, "ben");
	session_change(s->session, &s->wish);
	say(s, "{\"type\":\"error\",\"code\":\"unsupported\",\"message\":\"another latency\",\"fatal\":false}");
	CHECK_EQUAL(session_phase(s->session), SESSION_OVER);
	CHECK_EQUAL(session_trouble(s->session, &text), TROUBLE_NONE);
	finish(s);
	s = talking();
	strcpy(s->wish.voice, "eve");
	session_change(s->session, &s->wish);
	say(s, "{\"type\":\"error\",\"code\":\"voice_not_found\",\"message\":\"No voice 'eve'.\",\"fatal\":false}");
	CHECK_EQUAL(session_phase(s->session), SESSION_TALKING);
	CHECK(!strcmp(session_notice(s->session), "No voice 'eve'."));
	finish(s);
}

static void a_server_that_does_not_read_costs_audio_not_memory(void)
{
	struct server *s = talking();
	static float samples[2048];
	unsigned sent = 0;
	for (uint32_t i = 0; i < 1000; i++) {
		struct block block = {.position = i * 2048, .count = 2048};
		sent += session_audio(s->session, &block, samples);
	}
	CHECK(sent * 2048 >= 48000 * 3 / 10 && sent * 2048 < 48000 * 3 / 10 + 3 * 2048);
	finish(s);
}

static void refusals_are_told_apart(void)
{
	static const struct {
		const char *line;
		enum trouble trouble;
		const char *text;
	} heads[] = {
		{"HTTP/1.1 503 Service Unavailable", TROUBLE_LOADING, "HTTP 503"},
		{"HTTP/1.1 401 Unauthorized", TROUBLE_TOKEN, "HTTP 401"},
		{"HTTP/1.1 200 OK", TROUBLE_STRANGER, "HTTP 200"},
		{"SSH-2.0-OpenSSH", TROUBLE_STRANGER, ""},
	};
	static const struct {
		const char *code;
		enum trouble trouble;
	} codes[] = {{"unauthorized", TROUBLE_TOKEN}, {"overloaded", TROUBLE_BUSY}, {"voice_not_found", TROUBLE_VOICE},
		     {"internal", TROUBLE_REFUSED}};
	const char *text;
	for (size_t i = 0; i < 4; i++) {
		struct server *s = begin();
		shake(s, heads[i].line);
		CHECK_EQUAL(session_trouble(s->session, &text), heads[i].trouble);
		CHECK(!strcmp(text, heads[i].text));
		finish(s);
		s = begin();
		char error[200];
		shake(s, "HTTP/1.1 101 Switching Protocols");
		snprintf(error, sizeof(error), "{\"type\":\"error\",\"code\":\"%s\",\"message\":\"why\",\"fatal\":true}",
			 codes[i].code);
		say(s, error);
		CHECK_EQUAL(session_trouble(s->session, &text), codes[i].trouble);
		CHECK(!strcmp(text, "why"));
		finish(s);
	}
	struct server *s = begin();
	give(s, "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: no\r\n\r\n", 75);
	CHECK_EQUAL(session_trouble(s->session, &text), TROUBLE_STRANGER);
	finish(s);
}

static void what_a_busy_server_gives_up_is_known_with_its_latency(void)
{
	struct server *s = talking();
	const struct session_facts *facts = session_facts(s->session);
	CHECK(!facts->eased[0] && facts->more_ms == 0 && facts->latency == 3014);
	say(s, "{\"type\":\"stats\",\"profile\":\"balanced\",\"latency_samples\":3974,\"eased\":\"longer hops\"}");
	CHECK(!strcmp(facts->eased, "longer hops") && !strcmp(facts->profile, "balanced"));
	CHECK_EQUAL(facts->latency, 3974);
	CHECK_EQUAL(facts->more_ms, 20);
	say(s, "{\"type\":\"stats\",\"profile\":\"low\",\"latency_samples\":3014,\"eased\":\"\"}");
	CHECK(!facts->eased[0] && facts->more_ms == 0 && facts->latency == 3014);
	say(s, "{\"type\":\"stats\"}");
	CHECK(facts->latency == 3014 && !strcmp(facts->profile, "low"));
	finish(s);
}

static void who_finds_no_room_knows_how_long_to_wait(void)
{
	static const struct {
		const char *asked;
		uint32_t ms;
	} waits[] = {{"5", 5000}, {"0.5", 500}, {"0", 0}, {"-1", 0}, {"1e9", 0}, {"\"x\"", 0}};
	for (size_t i = 0; i < sizeof(waits) / sizeof(*waits); i++) {
		struct server *s = begin();
		char error[200];
		shake(s, "HTTP/1.1 101 Switching Protocols");
		snprintf(error, sizeof(error),
			 "{\"type\":\"error\",\"code\":\"overloaded\",\"message\":\"full\",\"fatal\":true,\"retry_s\":%s}",
			 waits[i].asked);
		say(s, error);
		CHECK_EQUAL(session_facts(s->session)->retry_ms, waits[i].ms);
		finish(s);
	}
}

static void silence_is_noticed_and_ends_it(void)
{
	struct server *s = talking();
	const char *text;
	bool pinged = false;
	for (uint64_t i = 0; i < 120 && session_phase(s->session) != SESSION_OVER; i++) {
		s->now += 100;
		session_tick(s->session, s->now);
		take(s);
		pinged = pinged || strstr(s->text, "{\"type\":\"ping\",\"t\":");
		CHECK_EQUAL(session_silent(s->session, s->now), i > 29 && i < 100);
	}
	CHECK(pinged);
	CHECK_EQUAL(session_trouble(s->session, &text), TROUBLE_SILENT);
	finish(s);
}

static void nothing_that_arrives_does_harm(void)
{
	uint64_t state = 9;
	for (int turn = 0; turn < (IS_SLOW ? 300 : 3000); turn++) {
		struct server *s = talking();
		uint8_t bytes[300];
		size_t size = draw(&state) % sizeof(bytes);
		for (size_t i = 0; i < size; i++)
			bytes[i] = (uint8_t)draw(&state);
		bytes[0] = (uint8_t)(0x80 | (turn % 3 ? 2 : 1));
		bytes[1] = (uint8_t)(draw(&state) % 126);
		if (turn % 3 == 2)
			memcpy(bytes + 2, "\1\0\0\0", 4);
		give(s, bytes, size);
		session_tick(s->session, s->now + 1);
		finish(s);
	}
}

int main(void)
{
	a_conversation_goes_as_the_protocol_says();
	controls_and_voices_change_without_a_new_conversation();
	a_voice_that_needs_its_own_stream_gets_one();
	a_server_that_does_not_read_costs_audio_not_memory();
	refusals_are_told_apart();
	what_a_busy_server_gives_up_is_known_with_its_latency();
	who_finds_no_room_knows_how_long_to_wait();
	silence_is_noticed_and_ends_it();
	nothing_that_arrives_does_harm();
	return 0;
}
