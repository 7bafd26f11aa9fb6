/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "voices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hello.h"
#include "json.h"
#include "net.h"

enum { ROOM = 512 * 1024, PATIENCE_MS = 20000 };

struct voice_fetch {
	struct net *net;
	struct url url;
	bool busy;
	uint64_t began;
	size_t asked, ask_size, got;
	char ask[HELLO_MOST], answer[ROOM + 1];
};

static void see(void *context, const char *path, const struct json_value *value)
{
	struct voice_list *list = context;
	if (value->kind != JSON_STRING || strncmp(path, "voices.", 7))
		return;
	char *field;
	unsigned long index = strtoul(path + 7, &field, 10);
	if (index >= VOICES_MOST)
		return;
	struct voice *voice = list->voices + index;
	if (!strcmp(field, ".name")) {
		snprintf(voice->name, sizeof(voice->name), "%s", value->text);
		list->count = index + 1;
	} else if (!strcmp(field, ".error")) {
		voice->is_usable = false;
	} else if (!strcmp(field, ".description")) {
		snprintf(voice->about, sizeof(voice->about), "%s", value->text);
	}
}

bool voice_list_read(struct voice_list *list, const char *text, size_t size)
{
	struct voice_list *fresh = calloc(1, sizeof(*fresh));
	if (!fresh)
		return false;
	for (size_t i = 0; i < VOICES_MOST; i++)
		fresh->voices[i].is_usable = true;
	bool good = json_read(text, size, see, fresh);
	if (good)
		*list = *fresh;
	free(fresh);
	return good;
}

struct voice_fetch *voice_fetch_create(void)
{
	struct voice_fetch *fetch = calloc(1, sizeof(*fetch));
	if (fetch && !(fetch->net = net_create())) {
		free(fetch);
		fetch = NULL;
	}
	return fetch;
}

void voice_fetch_destroy(struct voice_fetch *fetch)
{
	if (!fetch)
		return;
	net_destroy(fetch->net);
	free(fetch);
}

void voice_fetch_begin(struct voice_fetch *fetch, const struct url *url, const char *token)
{
	fetch->ask_size = hello_voices(fetch->ask, url, token);
	fetch->asked = fetch->got = 0;
	fetch->began = net_clock();
	fetch->busy = net_dial(fetch->net, url) == TROUBLE_NONE;
}

static bool finish(struct voice_fetch *fetch, struct voice_list *list)
{
	fetch->busy = false;
	net_close(fetch->net);
	fetch->answer[fetch->got] = 0;
	char *body = strstr(fetch->answer, "\r\n\r\n");
	if (!body || hello_code(fetch->answer) != 200)
		return true;
	body += 4;
	voice_list_read(list, body, fetch->got - (size_t)(body - fetch->answer));
	return true;
}

bool voice_fetch_step(struct voice_fetch *fetch, struct voice_list *list)
{
	if (!fetch->busy)
		return false;
	enum net_state state = net_state(fetch->net);
	if (state == NET_OPEN) {
		const uint8_t *ask = (const uint8_t *)fetch->ask + fetch->asked;
		fetch->asked += net_write(fetch->net, ask, fetch->ask_size - fetch->asked);
		size_t count;
		do {
			count = net_read(fetch->net, (uint8_t *)fetch->answer + fetch->got, ROOM - fetch->got);
			fetch->got += count;
		} while (count && fetch->got < ROOM);
		state = net_state(fetch->net);
	}
	if (state == NET_CLOSED || fetch->got == ROOM || net_clock() - fetch->began > PATIENCE_MS)
		return finish(fetch, list);
	return false;
}

struct net *voice_fetch_net(struct voice_fetch *fetch)
{
	return fetch->net;
}

bool voice_fetch_writes(const struct voice_fetch *fetch)
{
	return fetch->busy && fetch->asked < fetch->ask_size;
}
