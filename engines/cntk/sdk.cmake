# CNTK has no headers in any package: its types are in ck.h, and the library is opened at run time. It
# lies in a folder beside the plug-in where it is installed: `cmake --install BUILD --component cntk`.
install(DIRECTORY ${GP_DEPS}/cntk/ DESTINATION ${PLUGIN_DIR}/cntk COMPONENT cntk EXCLUDE_FROM_ALL
    OPTIONAL FILES_MATCHING PATTERN "*.so*")
