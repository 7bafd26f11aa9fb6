/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "url.h"

#include <string.h>

#include "check.h"

static void addresses_are_read_as_people_write_them(void)
{
	static const struct {
		const char *text, *host;
		unsigned port;
		const char *prefix;
		bool is_local;
	} good[] = {
		{"ws://127.0.0.1:8765", "127.0.0.1", 8765, "", true},
		{"  http://localhost:9000/ ", "localhost", 9000, "", true},
		{"WS://studio.local", "studio.local", 8765, "", false},
		{"192.168.1.5", "192.168.1.5", 8765, "", false},
		{"studio:80", "studio", 80, "", false},
		{"ws://[::1]:7000/v1/stream", "::1", 7000, "", true},
		{"ws://[fe80::2]", "fe80::2", 8765, "", false},
		{"ws://a/voice/v1/stream", "a", 8765, "/voice", false},
	};
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		struct url url;
		CHECK_EQUAL(url_read(&url, good[i].text), URL_GOOD);
		CHECK(!strcmp(url.host, good[i].host));
		CHECK_EQUAL(url.port, good[i].port);
		CHECK(!strcmp(url.prefix, good[i].prefix));
		CHECK_EQUAL(url.is_local, good[i].is_local);
	}
}

static void what_is_no_address_is_refused(void)
{
	static const struct {
		const char *text;
		enum url_verdict verdict;
	} bad[] = {
		{"", URL_EMPTY},           {"   ", URL_EMPTY},          {"wss://a", URL_ENCRYPTED},
		{"HTTPS://a", URL_ENCRYPTED}, {"ws://", URL_BAD},       {"ws://:80", URL_BAD},
		{"ws://a:", URL_BAD},      {"ws://a:0", URL_BAD},       {"ws://a:70000", URL_BAD},
		{"ws://a b", URL_BAD},     {"ws://a\r\nX: y", URL_BAD}, {"ws://me@a", URL_BAD},
		{"ws://[::1", URL_BAD},    {"ws://[::1]x", URL_BAD},    {"ftp://a/b:c", URL_BAD},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct url url;
		CHECK_EQUAL(url_read(&url, bad[i].text), bad[i].verdict);
	}
}

int main(void)
{
	addresses_are_read_as_people_write_them();
	what_is_no_address_is_refused();
	return 0;
}
