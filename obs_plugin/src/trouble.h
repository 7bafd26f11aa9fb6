/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Why there is no conversion. Each has a text "Trouble.<number>" in data/locale. */
enum trouble {
	TROUBLE_NONE = 1,
	TROUBLE_ADDRESS = 2,   /* no address that can be read */
	TROUBLE_ENCRYPTED = 3, /* wss:// */
	TROUBLE_RATE = 4,      /* OBS runs at a rate that the protocol does not have */
	TROUBLE_UNKNOWN = 5,   /* no such host */
	TROUBLE_AWAY = 6,      /* nothing answers there */
	TROUBLE_STRANGER = 7,  /* what answers is no timbral server */
	TROUBLE_LOADING = 8,   /* not ready yet */
	TROUBLE_TOKEN = 9,     /* the token is missing or wrong */
	TROUBLE_BUSY = 10,     /* all streams are in use */
	TROUBLE_VOICE = 11,    /* no such voice */
	TROUBLE_REFUSED = 12,  /* the server said why */
	TROUBLE_LOST = 13,     /* the connection ended */
	TROUBLE_SILENT = 14,   /* connected, and no word for seconds */
	TROUBLE_GARBLED = 15,  /* what it says is not the protocol */
	TROUBLE_MEMORY = 16,
};
