/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifdef _WIN32
#include <windows.h> /* before OBS's headers, which rename intrinsics */
#else
#define _GNU_SOURCE /* RTLD_DEFAULT */
#include <dlfcn.h>
#endif
#include "filter.h"

#include <stdlib.h>
#include <string.h>
#include <util/config-file.h>
#include <util/pipe.h>

/* A function of the program that we are in, which older or other ones may not have. */
typedef void (*function)(void);

static function find(const char *library, const char *name)
{
	function found = NULL;
#ifdef _WIN32
	HMODULE module = GetModuleHandleA(library);
	if (module)
		found = (function)(void *)GetProcAddress(module, name);
#else
	UNUSED_PARAMETER(library);
	*(void **)&found = dlsym(RTLD_DEFAULT, name);
#endif
	return found;
}

typedef bool (*get_audio_info2)(struct obs_audio_info2 *info);
typedef config_t *(*get_config)(void);

bool host_is_low_latency(void)
{
	get_audio_info2 ask = (get_audio_info2)find("obs.dll", "obs_get_audio_info2"); /* from 31.1 on */
	struct obs_audio_info2 info = {0};
	if (ask && ask(&info))
		return info.fixed_buffering;
	get_config config = (get_config)find("obs-frontend-api.dll", "obs_frontend_get_user_config"); /* from 31 on */
	if (!config)
		config = (get_config)find("obs-frontend-api.dll", "obs_frontend_get_global_config");
	config_t *found = config ? config() : NULL;
	return found && config_get_bool(found, "Audio", "LowLatencyAudioBuffering");
}

/* A shell that reads to the end, whatever comes of it: a program that is missing, or gives up, would
 * otherwise end this one by SIGPIPE. */
#define TAKE_ALL "text=$(cat); exec >/dev/null 2>&1; printf %s \"$text\" | "

static bool pipe_to(const char *command, const char *text)
{
	os_process_pipe_t *pipe = os_process_pipe_create(command, "w");
	if (!pipe)
		return false;
	size_t size = strlen(text);
	bool is_taken = os_process_pipe_write(pipe, (const uint8_t *)text, size) == size;
	return os_process_pipe_destroy(pipe) == 0 && is_taken;
}

bool host_copy(const char *text)
{
#if defined(_WIN32)
	return pipe_to("clip", text);
#elif defined(__APPLE__)
	return pipe_to(TAKE_ALL "pbcopy", text);
#else
	if (getenv("WAYLAND_DISPLAY") && pipe_to(TAKE_ALL "wl-copy", text))
		return true;
	return pipe_to(TAKE_ALL "xclip -selection clipboard", text) || pipe_to(TAKE_ALL "xsel -ib", text);
#endif
}
