/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "link.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

enum {
	STREAMING_MS = 5, /* between looks at the audio */
	RESTING_MS = 20,  /* the same while none comes */
	IDLE_MS = 250,
	TICK_MS = 200,
	RESTED_MS = 1000,
	TYPING_MS = 700, /* after an address changed */
	PROVEN_MS = 10000, /* a conversation of that length ends a row of failures */
	PAUSE_MOST_MS = 8000,
	PART = 2048, /* samples */
};

struct link {
	pthread_t thread;
	bool is_running;
	pthread_mutex_t lock; /* of what other threads see: the next block */
	struct link_wish wish;
	uint64_t wishes; /* how often it changed */
	bool refresh;
	struct link_status status;
	struct voice_list voices;

	atomic_bool stop;
	struct waker *waker;
	struct ring *asked;
	link_tick tick;
	void *context;

	/* of the thread alone */
	struct net *net;
	struct session *session;
	struct voice_fetch *fetch;
	struct link_wish now;
	struct link_status mine;
	struct voice_list heard_voices;
	struct url url;
	uint64_t followed, retry, began, ticked, spoke;
	unsigned failures;
	bool typed; /* there was an address before */
	uint32_t random;
	float part[PART];
	uint8_t bytes[64 * 1024];
};

uint32_t link_pause_ms(unsigned failures, uint32_t asked, double chance)
{
	uint32_t pause = 250;
	while (failures-- > 1 && pause < PAUSE_MOST_MS)
		pause *= 2;
	if (pause < asked)
		pause = asked;
	return pause + (uint32_t)(pause * 0.25 * chance);
}

static double chance(struct link *link)
{
	link->random = link->random * 1664525u + 1013904223u;
	return (link->random >> 8) / 16777216.0;
}

static void tell(struct link *link, uint64_t now)
{
	struct link_status *mine = &link->mine;
	mine->facts = *session_facts(link->session);
	mine->is_silent = session_silent(link->session, now);
	mine->is_far = link->url.host[0] && !link->url.is_local;
	mine->retry_ms = mine->state == LINK_WAITING && link->retry > now ? (uint32_t)(link->retry - now) : 0;
	strcpy(mine->notice, session_notice(link->session));
	pthread_mutex_lock(&link->lock);
	link->status = *mine;
	pthread_mutex_unlock(&link->lock);
	link->ticked = now;
	link->tick(link->context, now);
}

static void enter(struct link *link, enum link_state state, uint64_t now)
{
	if (link->mine.state == state)
		return;
	link->mine.state = state;
	if (state == LINK_TALKING) {
		link->mine.trouble = TROUBLE_NONE;
		link->mine.text[0] = 0;
		link->mine.sessions++;
		link->began = now;
		voice_fetch_begin(link->fetch, &link->url, link->now.session.token);
	}
	tell(link, now);
}

/* Pause, then try again. */
static void fall_back(struct link *link, enum trouble trouble, const char *text, uint64_t now)
{
	bool was_proven = link->mine.state == LINK_TALKING && now - link->began > PROVEN_MS;
	link->failures = was_proven ? 1 : link->failures + 1;
	net_close(link->net);
	link->mine.trouble = trouble;
	strncpy(link->mine.text, text, sizeof(link->mine.text) - 1);
	bool is_told = trouble == TROUBLE_VOICE || trouble == TROUBLE_REFUSED || trouble == TROUBLE_TOKEN;
	bool is_final = trouble <= TROUBLE_RATE && trouble != TROUBLE_NONE;
	uint32_t asked = trouble == TROUBLE_BUSY ? session_facts(link->session)->retry_ms : 0;
	link->retry = now + (is_told ? PAUSE_MOST_MS : link_pause_ms(link->failures, asked, chance(link)));
	if (is_final)
		link->retry = UINT64_MAX;
	if (trouble == TROUBLE_NONE)
		link->retry = now;
	enter(link, LINK_WAITING, now);
}

static bool is_speakable(uint32_t rate)
{
	static const uint32_t rates[] = {8000, 16000, 22050, 24000, 32000, 44100, 48000};
	for (size_t i = 0; i < sizeof(rates) / sizeof(*rates); i++)
		if (rates[i] == rate)
			return true;
	return false;
}

static void connect_now(struct link *link, uint64_t now)
{
	enum url_verdict verdict = url_read(&link->url, link->now.address);
	enum trouble trouble = TROUBLE_NONE;
	if (verdict != URL_GOOD)
		trouble = verdict == URL_ENCRYPTED ? TROUBLE_ENCRYPTED : TROUBLE_ADDRESS;
	else if (!is_speakable(link->now.session.rate))
		trouble = TROUBLE_RATE;
	else
		trouble = net_dial(link->net, &link->url);
	if (trouble == TROUBLE_NONE)
		enter(link, LINK_CONNECTING, now);
	else
		fall_back(link, trouble, "", now);
}

/* Take over what others asked for. */
static void follow(struct link *link, uint64_t now)
{
	pthread_mutex_lock(&link->lock);
	bool changed = link->followed != link->wishes, refresh = link->refresh;
	link->now = link->wish;
	link->followed = link->wishes;
	link->refresh = false;
	pthread_mutex_unlock(&link->lock);
	struct url url;
	url_read(&url, link->now.address);
	bool moved = changed && memcmp(&url, &link->url, sizeof(url)) != 0;
	bool waiting = link->mine.state == LINK_WAITING;
	if (refresh && link->mine.state == LINK_TALKING) {
		session_ping(link->session);
		voice_fetch_begin(link->fetch, &link->url, link->now.session.token);
	}
	if (waiting && (changed || refresh)) {
		link->failures = 0;
		link->retry = moved && link->typed ? now + TYPING_MS : now;
		link->typed = true;
	} else if (changed && (moved || (link->mine.state != LINK_CONNECTING &&
					 !session_change(link->session, &link->now.session)))) {
		session_stop(link->session);
		link->failures = 0;
		fall_back(link, TROUBLE_NONE, "", now);
		if (moved)
			link->retry = now + TYPING_MS;
	}
}

/* Move the audio that waits to the session, or drop it: nothing is kept for later. */
static void move_audio(struct link *link, uint64_t now)
{
	struct block block;
	while (ring_peek(link->asked, &block)) {
		if (block.count <= PART) {
			ring_copy(link->asked, 0, link->part, block.count);
			if (!session_audio(link->session, &block, link->part) && link->mine.state == LINK_TALKING)
				link->mine.dropped += block.count;
		}
		ring_drop(link->asked);
		link->spoke = now;
	}
}

static void exchange(struct link *link, uint64_t now)
{
	size_t count, size;
	for (int i = 0; i < 16 && (count = net_read(link->net, link->bytes, sizeof(link->bytes))); i++)
		session_receive(link->session, link->bytes, count, now);
	const uint8_t *data = session_output(link->session, &size);
	session_sent(link->session, net_write(link->net, data, size));
	if (net_state(link->net) == NET_CLOSED)
		session_cut(link->session);
}

static void converse(struct link *link, uint64_t now)
{
	if (link->mine.state == LINK_CONNECTING && session_phase(link->session) == SESSION_OVER) {
		enum net_state state = net_state(link->net);
		if (state == NET_CLOSED)
			fall_back(link, TROUBLE_AWAY, "", now);
		if (state != NET_OPEN)
			return;
		session_begin(link->session, &link->url, &link->now.session, now);
	}
	session_tick(link->session, now);
	exchange(link, now);
	const char *text;
	enum trouble trouble;
	switch (session_phase(link->session)) {
	case SESSION_SHAKING:
		break;
	case SESSION_STARTING:
		enter(link, LINK_STARTING, now);
		break;
	case SESSION_TALKING:
		enter(link, LINK_TALKING, now);
		break;
	case SESSION_OVER:
		trouble = session_trouble(link->session, &text);
		fall_back(link, trouble, text, now);
	}
}

static void publish_voices(struct link *link, uint64_t now)
{
	pthread_mutex_lock(&link->lock);
	link->voices = link->heard_voices;
	pthread_mutex_unlock(&link->lock);
	tell(link, now);
}

static void rest(struct link *link, uint64_t now)
{
	struct net *nets[2] = {link->net, voice_fetch_net(link->fetch)};
	bool writes[2] = {false, voice_fetch_writes(link->fetch)};
	int timeout = IDLE_MS;
	size_t size;
	session_output(link->session, &size);
	writes[0] = size > 0;
	if (link->mine.state == LINK_TALKING)
		timeout = now - link->spoke < RESTED_MS ? STREAMING_MS : RESTING_MS;
	else if (link->mine.state == LINK_WAITING && link->retry < now + IDLE_MS)
		timeout = link->retry > now ? (int)(link->retry - now) : 0;
	net_wait(link->waker, nets, writes, 2, timeout);
}

static void *run(void *data)
{
	struct link *link = data;
	while (!atomic_load(&link->stop)) {
		uint64_t now = net_clock();
		follow(link, now);
		if (link->mine.state == LINK_WAITING && now >= link->retry)
			connect_now(link, now);
		move_audio(link, now);
		if (link->mine.state != LINK_WAITING)
			converse(link, now);
		if (voice_fetch_step(link->fetch, &link->heard_voices))
			publish_voices(link, now);
		if (now - link->ticked >= TICK_MS)
			tell(link, now);
		rest(link, now);
	}
	session_stop(link->session);
	size_t size;
	const uint8_t *last = session_output(link->session, &size);
	net_write(link->net, last, size);
	return NULL;
}

struct link *link_create(struct ring *asked, struct ring *answered, link_tick tick, void *context)
{
	struct link *link = calloc(1, sizeof(*link));
	if (!link)
		return NULL;
	uint64_t seed = net_clock() * 0x9e3779b97f4a7c15u ^ (uint64_t)(uintptr_t)link;
	link->asked = asked;
	link->tick = tick;
	link->context = context;
	link->random = (uint32_t)(seed >> 32);
	link->mine.state = link->status.state = LINK_WAITING;
	link->mine.trouble = link->status.trouble = TROUBLE_ADDRESS;
	link->retry = UINT64_MAX;
	link->waker = waker_create();
	link->net = net_create();
	link->session = session_create(answered, seed);
	link->fetch = voice_fetch_create();
	pthread_mutex_init(&link->lock, NULL);
	if (link->waker && link->net && link->session && link->fetch)
		return link;
	link_destroy(link);
	return NULL;
}

bool link_start(struct link *link)
{
	link->is_running = pthread_create(&link->thread, NULL, run, link) == 0;
	return link->is_running;
}

void link_destroy(struct link *link)
{
	if (!link)
		return;
	atomic_store(&link->stop, true);
	if (link->is_running) {
		waker_wake(link->waker);
		pthread_join(link->thread, NULL);
	}
	waker_destroy(link->waker);
	net_destroy(link->net);
	session_destroy(link->session);
	voice_fetch_destroy(link->fetch);
	pthread_mutex_destroy(&link->lock);
	free(link);
}

void link_change(struct link *link, const struct link_wish *wish)
{
	pthread_mutex_lock(&link->lock);
	if (!link->wishes || memcmp(&link->wish, wish, sizeof(*wish)) != 0) {
		link->wish = *wish;
		link->wishes++;
	}
	pthread_mutex_unlock(&link->lock);
	waker_wake(link->waker);
}

void link_refresh(struct link *link)
{
	pthread_mutex_lock(&link->lock);
	link->refresh = true;
	pthread_mutex_unlock(&link->lock);
	waker_wake(link->waker);
}

void link_status(struct link *link, struct link_status *status)
{
	pthread_mutex_lock(&link->lock);
	*status = link->status;
	pthread_mutex_unlock(&link->lock);
}

struct voice_list *link_voices(struct link *link)
{
	struct voice_list *copy = malloc(sizeof(*copy));
	if (!copy)
		return NULL;
	pthread_mutex_lock(&link->lock);
	*copy = link->voices;
	pthread_mutex_unlock(&link->lock);
	return copy;
}
