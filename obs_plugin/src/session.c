/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "hello.h"
#include "json.h"
#include "message.h"
#include "websocket.h"

enum {
	OUT_ROOM = 256 * 1024,   /* bytes */
	BACKLOG_MS = 300,        /* of audio that may wait to be sent */
	ANSWER_ROOM = 4 * 1024,  /* of an HTTP answer's head */
	PATIENCE_MS = 5000,      /* for HTTP */
	LOADING_MS = 60000,      /* for `ready` */
	SILENCE_MS = 3000,       /* without a word: `stats` come once a second */
	DEAD_MS = 10000,
	PING_MS = 5000,
	PART = 2048, /* samples */
};

struct session {
	enum session_phase phase;
	enum trouble trouble;
	char text[256], notice[256];
	struct session_wish wish, told;
	struct session_facts facts;
	struct websocket_reader *reader;
	struct ring *answered;
	uint64_t random, began, heard, ping_due;
	uint32_t seq, latency; /* as `ready` told */
	bool voice_asked;
	char key[WEBSOCKET_KEY + 1], answer[ANSWER_ROOM];
	size_t answer_size, out_from, out_to;
	float part[PART];
	uint8_t out[OUT_ROOM];
};

static uint64_t draw(struct session *s)
{
	uint64_t z = s->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void copy(char *out, size_t room, const char *text)
{
	snprintf(out, room, "%s", text);
}

static void end(struct session *s, enum trouble trouble, const char *text)
{
	if (s->phase == SESSION_OVER)
		return;
	s->phase = SESSION_OVER;
	s->trouble = trouble;
	copy(s->text, sizeof(s->text), text);
}

struct session *session_create(struct ring *answered, uint64_t seed)
{
	struct session *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->reader = websocket_reader_create(FRAME_MOST + FRAME_HEADER);
	s->answered = answered;
	s->random = seed;
	s->phase = SESSION_OVER;
	s->trouble = TROUBLE_NONE;
	if (s->reader)
		return s;
	session_destroy(s);
	return NULL;
}

void session_destroy(struct session *s)
{
	if (!s)
		return;
	websocket_reader_destroy(s->reader);
	free(s);
}

/* Room for `size` bytes more; NULL when there is none. */
static uint8_t *make_room(struct session *s, size_t size)
{
	if (OUT_ROOM - s->out_to < size) {
		memmove(s->out, s->out + s->out_from, s->out_to - s->out_from);
		s->out_to -= s->out_from;
		s->out_from = 0;
	}
	return OUT_ROOM - s->out_to < size ? NULL : s->out + s->out_to;
}

/* Send a frame whose payload of `size` bytes `fill` writes. */
static uint8_t *open_frame(struct session *s, size_t size)
{
	uint8_t *place = make_room(s, WEBSOCKET_HEADER + size);
	return place ? place + WEBSOCKET_HEADER : NULL;
}

static void close_frame(struct session *s, enum websocket_kind kind, uint8_t *payload, size_t size)
{
	uint64_t random = draw(s);
	uint8_t mask[4], header[WEBSOCKET_HEADER];
	memcpy(mask, &random, 4);
	size_t count = websocket_write(header, kind, mask, payload, size);
	memcpy(s->out + s->out_to, header, count);
	memmove(s->out + s->out_to + count, payload, size);
	s->out_to += count + size;
}

static bool send_bytes(struct session *s, enum websocket_kind kind, const void *data, size_t size)
{
	uint8_t *payload = open_frame(s, size);
	if (!payload)
		return false;
	if (size)
		memcpy(payload, data, size);
	close_frame(s, kind, payload, size);
	return true;
}

static bool say(struct session *s, const struct json_writer *json)
{
	return !json->full && send_bytes(s, WEBSOCKET_TEXT, json->out, json->size);
}

void session_begin(struct session *s, const struct url *url, const struct session_wish *wish, uint64_t now)
{
	uint64_t random[2] = {draw(s), draw(s)};
	char request[HELLO_MOST];
	websocket_reader_reset(s->reader);
	websocket_key((const uint8_t *)random, s->key);
	s->wish = *wish;
	s->facts = (struct session_facts){0};
	s->phase = SESSION_SHAKING;
	s->trouble = TROUBLE_NONE;
	s->text[0] = s->notice[0] = 0;
	s->began = s->heard = s->ping_due = now;
	s->seq = 0;
	s->voice_asked = false;
	s->answer_size = s->out_from = s->out_to = 0;
	size_t size = hello_request(request, url, s->key);
	memcpy(make_room(s, size), request, size);
	s->out_to += size;
}

/* Tell the server in what the wish differs from what it was told. */
static void reconcile(struct session *s)
{
	char text[MESSAGE_MOST];
	struct json_writer json;
	if (s->phase != SESSION_TALKING)
		return;
	if (strcmp(s->wish.voice, s->told.voice)) {
		message_voice(&json, text, s->wish.voice);
		if (!say(s, &json))
			return;
		copy(s->told.voice, sizeof(s->told.voice), s->wish.voice);
		s->voice_asked = true;
	}
	if (message_controls(&json, text, &s->wish, &s->told) && say(s, &json))
		s->told = s->wish;
}

bool session_change(struct session *s, const struct session_wish *wish)
{
	if (s->phase == SESSION_OVER || wish->rate != s->wish.rate || strcmp(wish->profile, s->wish.profile) ||
	    strcmp(wish->token, s->wish.token))
		return false;
	if (s->phase == SESSION_STARTING && strcmp(wish->voice, s->wish.voice))
		return false; /* it may be loading the wrong one for long */
	s->wish = *wish;
	reconcile(s);
	return true;
}

static enum trouble trouble_of(const char *code)
{
	static const struct {
		const char *code;
		enum trouble trouble;
	} known[] = {
		{"unauthorized", TROUBLE_TOKEN},
		{"overloaded", TROUBLE_BUSY},
		{"voice_not_found", TROUBLE_VOICE},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (!strcmp(code, known[i].code))
			return known[i].trouble;
	return TROUBLE_REFUSED;
}

static void hear_error(struct session *s, const struct message *m)
{
	if (m->fatal) {
		s->facts.retry_ms = m->facts.retry_ms;
		end(s, trouble_of(m->code), m->text);
	} else if (s->voice_asked && !strcmp(m->code, "unsupported")) {
		end(s, TROUBLE_NONE, ""); /* the voice needs a stream of its own */
	} else {
		copy(s->notice, sizeof(s->notice), m->text);
	}
}

/* Under pressure a server may give something up, and longer hops are later. */
static void hear_stats(struct session *s, const struct session_facts *told)
{
	struct session_facts *facts = &s->facts;
	facts->compute_p50 = told->compute_p50;
	facts->compute_p99 = told->compute_p99;
	facts->queue = told->queue;
	facts->rtf = told->rtf;
	facts->misses = told->misses;
	facts->underruns = told->underruns;
	facts->reports++;
	copy(facts->eased, sizeof(facts->eased), told->eased);
	if (told->profile[0])
		copy(facts->profile, sizeof(facts->profile), told->profile);
	if (told->latency)
		facts->latency = told->latency;
	uint32_t more = facts->latency > s->latency ? facts->latency - s->latency : 0;
	facts->more_ms = (uint32_t)((uint64_t)more * 1000 / s->wish.rate);
}

static void hear_text(struct session *s, const uint8_t *data, size_t size)
{
	struct message m;
	if (!message_read(&m, (const char *)data, size)) {
		end(s, TROUBLE_GARBLED, "");
	} else if (m.kind == MESSAGE_ERROR) {
		hear_error(s, &m);
	} else if (m.kind == MESSAGE_READY && s->phase == SESSION_STARTING) {
		if (m.rate != s->wish.rate || strcmp(m.encoding, "f32le")) {
			end(s, TROUBLE_GARBLED, "");
			return;
		}
		s->facts = m.facts;
		s->latency = m.facts.latency;
		s->phase = SESSION_TALKING;
		reconcile(s);
	} else if (m.kind == MESSAGE_STATS) {
		hear_stats(s, &m.facts);
	} else if (m.kind == MESSAGE_VOICE) {
		copy(s->facts.voice, sizeof(s->facts.voice), m.facts.voice);
		s->voice_asked = false;
		s->notice[0] = 0;
	} else if (m.kind == MESSAGE_PONG) {
		s->facts.round_trip = (double)s->heard - m.time;
	} else if (m.kind == MESSAGE_CONTROLS) {
		s->notice[0] = 0;
	} else if (m.kind == MESSAGE_STOPPED) {
		end(s, TROUBLE_LOST, "");
	}
}

static void hear_audio(struct session *s, const uint8_t *data, size_t size)
{
	struct frame frame;
	const char *why;
	if (!frame_read(&frame, FRAME_F32, data, size, &why)) {
		end(s, TROUBLE_GARBLED, why);
		return;
	}
	for (uint32_t done = 0; done < frame.count;) {
		struct block block = {.position = frame.position + done, .flags = frame.flags};
		block.count = frame.count - done < PART ? frame.count - done : PART;
		frame_samples(&frame, FRAME_F32, done, s->part, block.count);
		ring_put(s->answered, &block, s->part); /* full: nobody listens */
		done += block.count;
	}
}

static bool hear(void *context, enum websocket_kind kind, const uint8_t *data, size_t size)
{
	struct session *s = context;
	switch (kind) {
	case WEBSOCKET_TEXT:
		hear_text(s, data, size);
		break;
	case WEBSOCKET_BINARY:
		if (s->phase == SESSION_TALKING)
			hear_audio(s, data, size);
		break;
	case WEBSOCKET_PING:
		send_bytes(s, WEBSOCKET_PONG, data, size);
		break;
	case WEBSOCKET_PONG:
		break;
	case WEBSOCKET_CLOSE:
		end(s, TROUBLE_LOST, "");
	}
	return s->phase != SESSION_OVER;
}

static void hear_head(struct session *s)
{
	enum trouble trouble = hello_verdict(s->answer, s->key);
	if (trouble != TROUBLE_NONE) {
		end(s, trouble, hello_status(s->answer));
		return;
	}
	char text[MESSAGE_MOST];
	struct json_writer json;
	message_start(&json, text, &s->wish);
	if (!say(s, &json)) {
		end(s, TROUBLE_GARBLED, "");
		return;
	}
	s->told = s->wish;
	s->phase = SESSION_STARTING;
}

void session_receive(struct session *s, const uint8_t *data, size_t size, uint64_t now)
{
	s->heard = now;
	while (size && s->phase == SESSION_SHAKING) {
		if (s->answer_size + 1 == ANSWER_ROOM) {
			end(s, TROUBLE_STRANGER, "");
			return;
		}
		s->answer[s->answer_size++] = (char)*data++;
		s->answer[s->answer_size] = 0;
		size--;
		if (s->answer_size >= 4 && !memcmp(s->answer + s->answer_size - 4, "\r\n\r\n", 4))
			hear_head(s);
	}
	if (!size || s->phase == SESSION_OVER)
		return;
	const char *wrong = websocket_read(s->reader, data, size, hear, s);
	if (wrong)
		end(s, TROUBLE_GARBLED, wrong);
}

void session_cut(struct session *s)
{
	end(s, s->phase == SESSION_SHAKING ? TROUBLE_STRANGER : TROUBLE_LOST, "");
}

void session_tick(struct session *s, uint64_t now)
{
	uint64_t quiet = now - s->heard;
	if (s->phase == SESSION_OVER)
		return;
	if (s->phase == SESSION_SHAKING && now - s->began > PATIENCE_MS)
		end(s, TROUBLE_STRANGER, "");
	else if (s->phase == SESSION_STARTING && now - s->began > LOADING_MS)
		end(s, TROUBLE_SILENT, "");
	else if (s->phase == SESSION_TALKING && quiet > DEAD_MS)
		end(s, TROUBLE_SILENT, "");
	if (s->phase != SESSION_TALKING)
		return;
	reconcile(s);
	if (now >= s->ping_due) {
		char text[64];
		struct json_writer json;
		s->ping_due = now + PING_MS;
		message_ping(&json, text, (double)now);
		say(s, &json);
	}
}

bool session_audio(struct session *s, const struct block *block, const float *samples)
{
	size_t size = FRAME_HEADER + block->count * sizeof(float);
	size_t most = (size_t)s->wish.rate * sizeof(float) * BACKLOG_MS / 1000;
	if (s->phase != SESSION_TALKING || s->out_to - s->out_from > most)
		return false;
	uint8_t *payload = open_frame(s, size);
	if (!payload)
		return false;
	frame_write(payload, s->seq++, block->position, samples, block->count);
	close_frame(s, WEBSOCKET_BINARY, payload, size);
	return true;
}

void session_ping(struct session *s)
{
	s->ping_due = 0;
}

void session_stop(struct session *s)
{
	static const uint8_t going[2] = {0x03, 0xe9}; /* 1001 */
	if (s->phase == SESSION_TALKING || s->phase == SESSION_STARTING)
		send_bytes(s, WEBSOCKET_CLOSE, going, sizeof(going));
	end(s, TROUBLE_NONE, "");
}

const uint8_t *session_output(const struct session *s, size_t *size)
{
	*size = s->out_to - s->out_from;
	return s->out + s->out_from;
}

void session_sent(struct session *s, size_t size)
{
	s->out_from += size;
	if (s->out_from == s->out_to)
		s->out_from = s->out_to = 0;
}

enum session_phase session_phase(const struct session *s)
{
	return s->phase;
}

const struct session_facts *session_facts(const struct session *s)
{
	return &s->facts;
}

enum trouble session_trouble(const struct session *s, const char **text)
{
	*text = s->text;
	return s->trouble;
}

const char *session_notice(const struct session *s)
{
	return s->notice;
}

bool session_silent(const struct session *s, uint64_t now)
{
	return s->phase == SESSION_TALKING && now - s->heard > SILENCE_MS;
}
