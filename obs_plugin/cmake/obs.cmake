# obs_headers: the headers of libobs, without the library. What the plugin uses of it is found in the
# program that loads the plugin: so one binary fits every libobs, whatever its file is called. Windows
# has no such thing; there, OBS_IMPORT_LIBRARY names the import library of obs.dll.
find_path(OBS_HEADERS obs-module.h PATH_SUFFIXES obs libobs)
if(NOT OBS_HEADERS)
  message(FATAL_ERROR
    "The headers of libobs are missing. Debian, Ubuntu: apt-get install libobs-dev. Elsewhere: "
    "-DOBS_HEADERS=/path/to/obs-studio/libobs, or -DWITH_OBS=OFF for the tests that need none.")
endif()
add_library(obs_headers INTERFACE)
target_include_directories(obs_headers SYSTEM INTERFACE ${OBS_HEADERS})
if(CMAKE_CROSSCOMPILING) # the headers include SIMDe, which Debian keeps among the host's own
  find_path(SIMDE_HEADERS simde/x86/sse2.h HINTS ${OBS_HEADERS}/.. NO_CMAKE_FIND_ROOT_PATH)
  if(SIMDE_HEADERS)
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/include)
    file(CREATE_LINK ${SIMDE_HEADERS}/simde ${CMAKE_BINARY_DIR}/include/simde SYMBOLIC)
    target_include_directories(obs_headers SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/include)
  endif()
endif()
if(WIN32)
  if(NOT OBS_IMPORT_LIBRARY AND MINGW)
    find_program(DLLTOOL NAMES ${CMAKE_DLLTOOL} x86_64-w64-mingw32-dlltool dlltool REQUIRED)
    set(OBS_IMPORT_LIBRARY ${CMAKE_BINARY_DIR}/libobs.dll.a)
    add_custom_command(OUTPUT ${OBS_IMPORT_LIBRARY}
      COMMAND ${DLLTOOL} -d ${CMAKE_CURRENT_LIST_DIR}/obs.def -l ${OBS_IMPORT_LIBRARY}
      DEPENDS ${CMAKE_CURRENT_LIST_DIR}/obs.def)
    add_custom_target(obs_import DEPENDS ${OBS_IMPORT_LIBRARY})
    add_dependencies(obs_headers obs_import)
    target_link_options(obs_headers INTERFACE -static)
  endif()
  target_link_libraries(obs_headers INTERFACE ${OBS_IMPORT_LIBRARY})
elseif(APPLE)
  target_link_options(obs_headers INTERFACE -undefined dynamic_lookup)
endif()
