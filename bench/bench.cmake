# What the benchmarks (bench/run) are made of: a program for each bench/*.c, and plug-ins that
# do nothing but cost nothing.
file(GLOB sources CONFIGURE_DEPENDS bench/*.c)
foreach(source ${sources})
    cmake_path(GET source STEM name)
    add_executable(bench-${name} ${source})
    target_link_libraries(bench-${name} PRIVATE gp_options libgraphpipe-STATIC gp_llhttp
        ${CMAKE_DL_LIBS} m)
    target_include_directories(bench-${name} PRIVATE engines/onnx)
    set_target_properties(bench-${name} PROPERTIES OUTPUT_NAME ${name}
        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
endforeach()
file(GLOB engines CONFIGURE_DEPENDS bench/engines/*.c)
foreach(source ${engines})
    cmake_path(GET source STEM name)
    gp_plugin(${name} lib/graphpipe-bench ${source})
endforeach()
