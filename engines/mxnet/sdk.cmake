# MXNet's C header, and yyjson, which reads symbols; the library is opened at run time. It lies in a
# folder beside the plug-in where it is installed: `cmake --install BUILD --component mxnet`, 184 MB.
set(SDK_INCLUDE ${GP_DEPS}/mxnet/include ${YYJSON_INCLUDE})
if(YYJSON_OBJECTS)
    set(SDK_LIBRARIES ${YYJSON_OBJECTS})
else()
    set(SDK_LIBRARIES ${YYJSON_LIBRARY})
endif()
if(EXISTS ${GP_DEPS}/mxnet/include/mxnet/c_api.h)
    install(DIRECTORY ${GP_DEPS}/mxnet/ DESTINATION ${PLUGIN_DIR}/mxnet COMPONENT mxnet
        EXCLUDE_FROM_ALL FILES_MATCHING PATTERN "*.so*" PATTERN include EXCLUDE)
else()
    set(SDK_MISSING "run tools/setup mxnet")
endif()
