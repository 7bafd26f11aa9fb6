# Where OBS looks for plugins of a user: cmake --install build --prefix DIR makes DIR/timbral.
if(APPLE)
  set_target_properties(${PROJECT_NAME} PROPERTIES BUNDLE ON BUNDLE_EXTENSION plugin
    MACOSX_BUNDLE_GUI_IDENTIFIER org.timbral.obs MACOSX_BUNDLE_BUNDLE_VERSION ${PROJECT_VERSION})
  install(TARGETS ${PROJECT_NAME} LIBRARY DESTINATION .)
  install(DIRECTORY data/ DESTINATION ${PROJECT_NAME}.plugin/Contents/Resources)
  install(FILES LICENSE DESTINATION ${PROJECT_NAME}.plugin/Contents/Resources)
else()
  install(TARGETS ${PROJECT_NAME} RUNTIME DESTINATION ${PROJECT_NAME}/bin/64bit LIBRARY DESTINATION ${PROJECT_NAME}/bin/64bit)
  install(DIRECTORY data DESTINATION ${PROJECT_NAME})
  install(FILES LICENSE DESTINATION ${PROJECT_NAME}/data)
endif()
