/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
typedef SOCKET socket_t;
typedef ULONG nfds_t;
#define poll WSAPoll
#define NO_SOCKET INVALID_SOCKET
#define MSG_NOSIGNAL 0
#else
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
typedef int socket_t;
#define NO_SOCKET (-1)
#define closesocket close
#ifndef MSG_NOSIGNAL /* macOS */
#define MSG_NOSIGNAL 0
#endif
#endif

enum { DIAL_MS = 3000, NETS_MOST = 4, ADDRESSES_MOST = 4 };

struct place {
	struct sockaddr_storage address;
	socklen_t size;
};

struct net {
	enum net_state state;
	socket_t socket;
	uint64_t dialled; /* when the present address was tried */
	struct place places[ADDRESSES_MOST];
	size_t place_count, next_place;
};

struct waker {
	socket_t socket; /* UDP, connected to itself */
};

bool net_start(void)
{
#ifdef _WIN32
	WSADATA data;
	return WSAStartup(MAKEWORD(2, 2), &data) == 0;
#else
	return true;
#endif
}

void net_end(void)
{
#ifdef _WIN32
	WSACleanup();
#endif
}

static bool would_block(void)
{
#ifdef _WIN32
	int error = WSAGetLastError();
	return error == WSAEWOULDBLOCK || error == WSAEINPROGRESS || error == WSAEINTR;
#else
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINPROGRESS || errno == EINTR;
#endif
}

static socket_t open_socket(int family, int type)
{
	socket_t s = socket(family, type, 0);
	if (s == NO_SOCKET)
		return s;
#ifdef _WIN32
	u_long on = 1;
	ioctlsocket(s, FIONBIO, &on);
#else
	fcntl(s, F_SETFL, fcntl(s, F_GETFL, 0) | O_NONBLOCK);
	fcntl(s, F_SETFD, FD_CLOEXEC);
#endif
#ifdef SO_NOSIGPIPE
	int yes = 1;
	setsockopt(s, SOL_SOCKET, SO_NOSIGPIPE, &yes, sizeof(yes));
#endif
	return s;
}

struct net *net_create(void)
{
	struct net *net = calloc(1, sizeof(*net));
	if (net) {
		net->state = NET_CLOSED;
		net->socket = NO_SOCKET;
	}
	return net;
}

void net_destroy(struct net *net)
{
	if (!net)
		return;
	net_close(net);
	free(net);
}

void net_close(struct net *net)
{
	if (net->socket != NO_SOCKET)
		closesocket(net->socket);
	net->socket = NO_SOCKET;
	net->state = NET_CLOSED;
}

static bool look_up(struct net *net, const char *host, uint16_t port)
{
	char service[8];
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(host, service, &hints, &list) != 0) {
		hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
		if (getaddrinfo(host, service, &hints, &list) != 0)
			return false;
	}
	for (struct addrinfo *one = list; one && net->place_count < ADDRESSES_MOST; one = one->ai_next) {
		struct place *place = net->places + net->place_count++;
		memcpy(&place->address, one->ai_addr, one->ai_addrlen);
		place->size = (socklen_t)one->ai_addrlen;
	}
	freeaddrinfo(list);
	return net->place_count > 0;
}

/* Try the next address; NET_CLOSED when there is none. */
static void dial_next(struct net *net)
{
	net_close(net);
	while (net->next_place < net->place_count) {
		struct place *place = net->places + net->next_place++;
		net->socket = open_socket(place->address.ss_family, SOCK_STREAM);
		if (net->socket == NO_SOCKET)
			continue;
		int yes = 1;
		setsockopt(net->socket, IPPROTO_TCP, TCP_NODELAY, (const void *)&yes, sizeof(yes));
		net->dialled = net_clock();
		net->state = NET_DIALLING;
		if (connect(net->socket, (struct sockaddr *)&place->address, place->size) == 0 || would_block())
			return;
		net_close(net);
	}
}

enum trouble net_dial(struct net *net, const struct url *url)
{
	net_close(net);
	net->place_count = net->next_place = 0;
	bool found;
	if (!strcmp(url->host, "localhost")) /* needs no looking up, which may take long */
		found = look_up(net, "127.0.0.1", url->port) | look_up(net, "::1", url->port);
	else
		found = look_up(net, url->host, url->port);
	if (!found)
		return TROUBLE_UNKNOWN;
	dial_next(net);
	return TROUBLE_NONE;
}

enum net_state net_state(struct net *net)
{
	if (net->state != NET_DIALLING)
		return net->state;
	struct pollfd ready = {.fd = net->socket, .events = POLLOUT};
	if (poll(&ready, 1, 0) > 0) {
		int error = 0;
		socklen_t size = sizeof(error);
		getsockopt(net->socket, SOL_SOCKET, SO_ERROR, (void *)&error, &size);
		if (error == 0 && !(ready.revents & (POLLERR | POLLHUP)))
			net->state = NET_OPEN;
		else
			dial_next(net);
	} else if (net_clock() - net->dialled > DIAL_MS) {
		dial_next(net);
	}
	return net->state;
}

size_t net_read(struct net *net, uint8_t *data, size_t size)
{
	if (net->state != NET_OPEN)
		return 0;
	long count = (long)recv(net->socket, (void *)data, size, 0);
	if (count > 0)
		return (size_t)count;
	if (count == 0 || !would_block())
		net_close(net);
	return 0;
}

size_t net_write(struct net *net, const uint8_t *data, size_t size)
{
	if (net->state != NET_OPEN || !size)
		return 0;
	long count = (long)send(net->socket, (const void *)data, size, MSG_NOSIGNAL);
	if (count >= 0)
		return (size_t)count;
	if (!would_block())
		net_close(net);
	return 0;
}

struct waker *waker_create(void)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(here);
	struct waker *waker = calloc(1, sizeof(*waker));
	if (!waker)
		return NULL;
	waker->socket = open_socket(AF_INET, SOCK_DGRAM);
	if (waker->socket != NO_SOCKET && bind(waker->socket, (struct sockaddr *)&here, size) == 0 &&
	    getsockname(waker->socket, (struct sockaddr *)&here, &size) == 0 &&
	    connect(waker->socket, (struct sockaddr *)&here, size) == 0)
		return waker;
	waker_destroy(waker);
	return NULL;
}

void waker_destroy(struct waker *waker)
{
	if (!waker)
		return;
	if (waker->socket != NO_SOCKET)
		closesocket(waker->socket);
	free(waker);
}

void waker_wake(struct waker *waker)
{
	(void)!send(waker->socket, "", 1, MSG_NOSIGNAL);
}

void net_wait(struct waker *waker, struct net *const *nets, const bool *writes, size_t count, int timeout)
{
	struct pollfd polls[NETS_MOST + 1];
	nfds_t used = 0;
	if (waker)
		polls[used++] = (struct pollfd){.fd = waker->socket, .events = POLLIN};
	for (size_t i = 0; i < count && i < NETS_MOST; i++) {
		short events = nets[i]->state == NET_DIALLING ? POLLOUT : POLLIN;
		if (nets[i]->state == NET_CLOSED)
			continue;
		if (writes[i])
			events |= POLLOUT;
		polls[used++] = (struct pollfd){.fd = nets[i]->socket, .events = events};
	}
	poll(polls, used, timeout);
	char byte[16];
	while (waker && polls[0].revents & POLLIN && recv(waker->socket, byte, sizeof(byte), 0) > 0)
		;
}

uint64_t net_clock(void)
{
#ifdef _WIN32
	return GetTickCount64();
#else
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
#endif
}
