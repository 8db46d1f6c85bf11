# OpenVINO's C headers; its library is opened at run time.
if(EXISTS ${GP_DEPS}/openvino/include/openvino/c/openvino.h)
    set(SDK_INCLUDE ${GP_DEPS}/openvino/include)
else()
    set(SDK_MISSING "run tools/setup openvino")
endif()
