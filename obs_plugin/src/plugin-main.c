/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <obs-module.h>

#include "net.h"
#include "plugin.h"

/* As OBS_DECLARE_MODULE does it, but with the version of the oldest OBS that this runs on: newer
 * ones refuse modules that say they were built for something newer than themselves. */
static obs_module_t *this_module;

MODULE_EXPORT void obs_module_set_pointer(obs_module_t *module);
void obs_module_set_pointer(obs_module_t *module)
{
	this_module = module;
}

obs_module_t *obs_current_module(void)
{
	return this_module;
}

MODULE_EXPORT uint32_t obs_module_ver(void);
uint32_t obs_module_ver(void)
{
	return MAKE_SEMANTIC_VERSION(28, 0, 0);
}

OBS_MODULE_USE_DEFAULT_LOCALE("timbral", "en-US")
OBS_MODULE_AUTHOR("the timbral founders")

MODULE_EXPORT const char *obs_module_name(void)
{
	return "timbral";
}

MODULE_EXPORT const char *obs_module_description(void)
{
	return obs_module_text("Description");
}

bool obs_module_load(void)
{
	if (!net_start())
		return false;
	filter_register();
	LOG(LOG_INFO, "version %s", TIMBRAL_VERSION);
	return true;
}

void obs_module_unload(void)
{
	net_end();
}
