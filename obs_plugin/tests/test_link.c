/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "link.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "net.h"
#include "websocket.h"

/* Patience is long, because machines are slow under sanitizers; nothing waits in vain. */
enum { PATIENCE_MS = 30000 };

struct bench {
	struct ring *asked, *answered;
	struct link *link;
	atomic_uint ticks;
	int listener;
	uint16_t port;
};

static void tick(void *context, uint64_t now)
{
	struct bench *b = context;
	(void)now;
	atomic_fetch_add(&b->ticks, 1);
}

static struct bench *begin(void)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(here);
	b->asked = ring_create(48000);
	b->answered = ring_create(48000);
	b->listener = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(bind(b->listener, (struct sockaddr *)&here, size) == 0);
	CHECK(getsockname(b->listener, (struct sockaddr *)&here, &size) == 0);
	b->port = ntohs(here.sin_port);
	b->link = link_create(b->asked, b->answered, tick, b);
	CHECK(link_start(b->link));
	return b;
}

static void finish(struct bench *b)
{
	uint64_t began = net_clock();
	link_destroy(b->link);
	CHECK(net_clock() - began < 3000);
	close(b->listener);
	ring_destroy(b->asked);
	ring_destroy(b->answered);
	free(b);
}

static void wish_for(struct bench *b, const char *address)
{
	struct link_wish wish;
	memset(&wish, 0, sizeof(wish));
	snprintf(wish.address, sizeof(wish.address), "%s", address);
	strcpy(wish.session.voice, "ada");
	strcpy(wish.session.profile, "low");
	wish.session.rate = 48000;
	link_change(b->link, &wish);
}

static struct link_status wait_for(struct bench *b, enum link_state state, enum trouble trouble)
{
	struct link_status status;
	uint64_t began = net_clock();
	do {
		CHECK(net_clock() - began < PATIENCE_MS);
		net_wait(NULL, NULL, NULL, 0, 5);
		link_status(b->link, &status);
	} while (status.state != state || status.trouble != trouble);
	return status;
}

static void troubles_are_told_and_do_not_end_it(void)
{
	struct bench *b = begin();
	char address[64];
	wish_for(b, "wss://example.org");
	wait_for(b, LINK_WAITING, TROUBLE_ENCRYPTED);
	wish_for(b, "ws://:1");
	wait_for(b, LINK_WAITING, TROUBLE_ADDRESS);
	snprintf(address, sizeof(address), "ws://localhost:%u", b->port);
	wish_for(b, address); /* bound, but nobody listens */
	struct link_status status = wait_for(b, LINK_WAITING, TROUBLE_AWAY);
	CHECK(status.retry_ms <= 10000 && !status.is_far);
	CHECK(listen(b->listener, 4) == 0);
	int client = accept(b->listener, NULL, NULL);
	CHECK(write(client, "SSH-2.0-no\r\n\r\n", 14) == 14);
	wait_for(b, LINK_WAITING, TROUBLE_STRANGER);
	close(client);
	CHECK(atomic_load(&b->ticks) > 3);
	finish(b);
}

static void pauses_grow_and_differ(void)
{
	CHECK_EQUAL(link_pause_ms(1, 0, 0), 250);
	CHECK_EQUAL(link_pause_ms(2, 0, 0), 500);
	CHECK_EQUAL(link_pause_ms(6, 0, 0), 8000);
	CHECK_EQUAL(link_pause_ms(4000000000u, 0, 0), 8000);
	CHECK_EQUAL(link_pause_ms(3, 0, 1), 1250);
	CHECK_EQUAL(link_pause_ms(1, 5000, 0), 5000);
	CHECK_EQUAL(link_pause_ms(1, 5000, 1), 6250);
	CHECK_EQUAL(link_pause_ms(6, 5000, 0), 8000);
}

/* A whole server, as far as the link can tell, for one client. */
static void *serve(void *data)
{
	struct bench *b = data;
	char request[4096] = "", answer[512], accepted[WEBSOCKET_ACCEPT + 1];
	int client = accept(b->listener, NULL, NULL);
	size_t got = 0;
	while (!strstr(request, "\r\n\r\n")) {
		ssize_t count = read(client, request + got, sizeof(request) - 1 - got);
		CHECK(count > 0);
		got += (size_t)count;
		request[got] = 0;
	}
	websocket_accept(strstr(request, "Sec-WebSocket-Key: ") + 19, accepted);
	int size = snprintf(answer, sizeof(answer),
			    "HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n"
			    "Sec-WebSocket-Protocol: timbral.v1\r\n\r\n",
			    accepted);
	CHECK(write(client, answer, (size_t)size) == size);
	static const char ready[] = "\x81\x7e\0\x5f{\"type\":\"ready\",\"sample_rate\":48000,\"encoding\":\"f32le\",\"voice\":"
				    "\"ada\",\"hop_samples\":960,\"x\":100}";
	CHECK(write(client, ready, sizeof(ready) - 1) == sizeof(ready) - 1);
	while (read(client, request, sizeof(request)) > 0)
		;
	close(client);
	return NULL;
}

static void audio_given_while_talking_goes_out(void)
{
	struct bench *b = begin();
	pthread_t server;
	char address[64];
	float samples[480] = {0};
	CHECK(listen(b->listener, 4) == 0);
	CHECK(pthread_create(&server, NULL, serve, b) == 0);
	snprintf(address, sizeof(address), "127.0.0.1:%u", b->port);
	wish_for(b, address);
	struct link_status status = wait_for(b, LINK_TALKING, TROUBLE_NONE);
	CHECK_EQUAL(status.facts.hop, 960);
	for (uint32_t i = 0; i < 100; i++) {
		struct block block = {.position = i * 480, .count = 480};
		CHECK(ring_put(b->asked, &block, samples));
		net_wait(NULL, NULL, NULL, 0, 2);
	}
	struct block left;
	uint64_t began = net_clock();
	while (ring_peek(b->asked, &left))
		CHECK(net_clock() - began < PATIENCE_MS);
	free(link_voices(b->link));
	finish(b);
	pthread_join(server, NULL);
}

int main(void)
{
	CHECK(net_start());
	pauses_grow_and_differ();
	troubles_are_told_and_do_not_end_it();
	audio_given_while_talking_goes_out();
	net_end();
	return 0;
}
