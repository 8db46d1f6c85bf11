# the C headers; the libraries are opened when a model is
set(SDK_INCLUDE ${GP_DEPS}/tensorflow/include)
if(NOT EXISTS ${SDK_INCLUDE}/tensorflow/c/c_api.h)
    set(SDK_MISSING "run tools/setup tensorflow")
endif()
