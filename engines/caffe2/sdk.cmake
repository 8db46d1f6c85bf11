# The plug-in is linked with yyjson, which reads value_inputs.json, and not with Caffe2: that is for the
# bridge, which the plug-in opens at run time (bridge/bridge.h). Caffe2's libraries lie in a folder
# beside both where they are installed: `cmake --install BUILD --component caffe2`, 294 MB.
set(SDK_INCLUDE ${YYJSON_INCLUDE})
if(YYJSON_OBJECTS)
    set(SDK_LIBRARIES ${YYJSON_OBJECTS})
else()
    set(SDK_LIBRARIES ${YYJSON_LIBRARY})
endif()
if(EXISTS ${GP_DEPS}/caffe2/include/ATen/core/blob.h AND EXISTS ${GP_DEPS}/caffe2/lib/libc10.so)
    enable_language(CXX)
    add_library(graphpipe-caffe2-bridge MODULE ${folder}/bridge/bridge.cc)
    target_include_directories(graphpipe-caffe2-bridge SYSTEM PRIVATE ${GP_DEPS}/caffe2/include)
    target_link_libraries(graphpipe-caffe2-bridge PRIVATE gp_options
        ${GP_DEPS}/caffe2/lib/libtorch_cpu.so ${GP_DEPS}/caffe2/lib/libc10.so)
    set_target_properties(graphpipe-caffe2-bridge PROPERTIES PREFIX "" INSTALL_RPATH "$ORIGIN/caffe2/lib"
        LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/${PLUGIN_DIR})
    install(TARGETS graphpipe-caffe2-bridge DESTINATION ${PLUGIN_DIR})
    install(DIRECTORY ${GP_DEPS}/caffe2/lib DESTINATION ${PLUGIN_DIR}/caffe2 COMPONENT caffe2
        EXCLUDE_FROM_ALL FILES_MATCHING PATTERN "*.so*")
else()
    set(SDK_MISSING "run tools/setup caffe2")
endif()
