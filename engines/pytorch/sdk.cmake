# The C++ headers and libraries of a libtorch: that of .deps, or with -DGP_TORCH=DIR one of the
# user's, as PyTorch gives it out. The plug-in is linked, for C++ has no table to open by name: it
# finds the libraries where they lie in a build, and beside itself where it is installed.
# `cmake --install BUILD --component pytorch` brings them there: 450 MB, so not by default.
set(GP_TORCH ${GP_DEPS}/pytorch CACHE PATH "libtorch: the folder with its include/ and lib/")
if(EXISTS ${GP_TORCH}/include/torch/csrc/jit/api/module.h AND EXISTS ${GP_TORCH}/lib/libc10.so)
    set(SDK_INCLUDE ${GP_TORCH}/include ${GP_TORCH}/include/torch/csrc/api/include)
    # libtorch.so has nothing in it, but packages of AOTInductor ask for it by name
    set(SDK_LIBRARIES ${GP_TORCH}/lib/libtorch_cpu.so ${GP_TORCH}/lib/libc10.so
        -Wl,--no-as-needed ${GP_TORCH}/lib/libtorch.so -Wl,--as-needed)
    install(DIRECTORY ${GP_TORCH}/lib/ DESTINATION ${PLUGIN_DIR}/pytorch COMPONENT pytorch
        EXCLUDE_FROM_ALL FILES_MATCHING PATTERN "*.so*")
else()
    set(SDK_MISSING "run tools/setup pytorch, or set GP_TORCH")
endif()
