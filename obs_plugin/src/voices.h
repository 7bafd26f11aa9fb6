/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trouble.h"
#include "url.h"

enum { VOICES_MOST = 512 };

struct voice {
	char name[65], about[128]; /* about  "" when there is nothing to say */
	bool is_usable;
};

struct voice_list {
	size_t count;
	struct voice voices[VOICES_MOST];
};

/* Asking a server which voices it has, without waiting. One thread uses it. */
struct voice_fetch;

struct voice_fetch *voice_fetch_create(void);
void voice_fetch_destroy(struct voice_fetch *fetch);
void voice_fetch_begin(struct voice_fetch *fetch, const struct url *url, const char *token);
/* Go on; true once when it is over: then `list` was replaced, unless it failed. */
bool voice_fetch_step(struct voice_fetch *fetch, struct voice_list *list);
struct net *voice_fetch_net(struct voice_fetch *fetch);
bool voice_fetch_writes(const struct voice_fetch *fetch);

/* The body of the server's answer; false, and `list` unchanged, for what is none. */
bool voice_list_read(struct voice_list *list, const char *text, size_t size);
