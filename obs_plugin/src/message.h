/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "json.h"
#include "session.h"

/* The protocol's text messages: see server/PROTOCOL.md. Pure functions. */

enum { MESSAGE_MOST = 4096 };

void message_start(struct json_writer *json, char *out, const struct session_wish *wish);
void message_voice(struct json_writer *json, char *out, const char *voice);
/* False when the controls of both are the same. */
bool message_controls(struct json_writer *json, char *out, const struct session_wish *wish,
		      const struct session_wish *told);
/* out  has room for 64 bytes */
void message_ping(struct json_writer *json, char *out, double time);

enum message_kind {
	MESSAGE_OTHER = 1, /* of a later version: ignored */
	MESSAGE_READY = 2,
	MESSAGE_STATS = 3,
	MESSAGE_VOICE = 4,
	MESSAGE_CONTROLS = 5,
	MESSAGE_ERROR = 6,
	MESSAGE_STOPPED = 7,
	MESSAGE_PONG = 8,
};

/* What a server said; fields that the message does not have are 0. Unknown fields are ignored. */
struct message {
	enum message_kind kind;
	struct session_facts facts;
	char encoding[16], code[32], text[256];
	uint32_t rate;
	double time;
	bool fatal;
};

/* False for what is no message. */
bool message_read(struct message *message, const char *text, size_t size);
