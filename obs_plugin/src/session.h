/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring.h"
#include "trouble.h"
#include "url.h"

/* One conversation with a server, from the HTTP request to the last word: bytes in, bytes out.
 * No socket, no thread; every function is told the time, in milliseconds of any clock.
 */
struct session;

/* What the user wants. Compared and copied as a whole: start from a struct of zeros. */
struct session_wish {
	char voice[65], profile[16], token[513];
	uint32_t rate; /* Hz */
	double pitch, formant, index_rate, protect, loudness, gate_db;
	bool auto_pitch;
};

/* What the server said last. */
struct session_facts {
	char voice[65], profile[16], provider[64], why[256];
	char eased[32];        /* what a busy server gives up for now, or "" */
	uint32_t hop, latency; /* samples; the latency as it is now */
	uint32_t more_ms;      /* of latency than at the beginning */
	uint32_t retry_ms;     /* that a server which refused asks to wait; 0 when it does not say */
	double round_trip;                           /* ms; 0 until it was measured */
	double compute_p50, compute_p99, queue, rtf; /* ms, ms, ms, 1 */
	uint32_t reports;                            /* how often the four above were told */
	uint64_t misses, underruns;
};

enum session_phase {
	SESSION_SHAKING = 1,  /* HTTP */
	SESSION_STARTING = 2, /* the server loads the voice */
	SESSION_TALKING = 3,
	SESSION_OVER = 4, /* see session_trouble */
};

/* answered  gets the converted audio; seed  of what is to look random */
struct session *session_create(struct ring *answered, uint64_t seed);
void session_destroy(struct session *session);

/* A new connection to `url` is open. */
void session_begin(struct session *session, const struct url *url, const struct session_wish *wish, uint64_t now);
/* The wish changed: false when that takes a new conversation. */
bool session_change(struct session *session, const struct session_wish *wish);
/* Bytes arrived. */
void session_receive(struct session *session, const uint8_t *data, size_t size, uint64_t now);
/* The connection ended. */
void session_cut(struct session *session);
/* Let time pass: a few times a second at least. */
void session_tick(struct session *session, uint64_t now);
/* Audio for conversion; false when it was dropped, because the server does not read or is not ready. */
bool session_audio(struct session *session, const struct block *block, const float *samples);
/* Measure the round trip anew, soon. */
void session_ping(struct session *session);
/* No more audio. */
void session_stop(struct session *session);

/* What is to be sent, and that the first `size` bytes of it were. */
const uint8_t *session_output(const struct session *session, size_t *size);
void session_sent(struct session *session, size_t size);

enum session_phase session_phase(const struct session *session);
const struct session_facts *session_facts(const struct session *session);
/* Why it is over; `text` is the server's own word, or "". */
enum trouble session_trouble(const struct session *session, const char **text);
/* What the server said that did not end it, or "". */
const char *session_notice(const struct session *session);
/* Whether the server has said nothing for seconds. */
bool session_silent(const struct session *session, uint64_t now);
