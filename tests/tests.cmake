# Registers the tests: one program and one ctest entry for each tests/{unit,golden}/test_*.c,
# one entry for each folder of Python tests. The label tsan marks what is worth running (and
# quick) under ThreadSanitizer. Tests find things by the environment set here.
set(environment GP_SOURCE_DIR=${CMAKE_SOURCE_DIR} GP_BUILD_DIR=${CMAKE_BINARY_DIR}
    GP_BIN=${CMAKE_BINARY_DIR}/bin/graphpipe GP_SANITIZE=${GP_SANITIZE}
    TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/tsan.supp)

# plug-ins that misbehave on purpose: lib/graphpipe-test/graphpipe-engine-<file>.so
file(GLOB engines CONFIGURE_DEPENDS tests/engines/*.c)
foreach(source ${engines})
    cmake_path(GET source STEM name)
    gp_plugin(${name} lib/graphpipe-test ${source})
endforeach()

# gp_test_program(<name> <sources and objects>...): sees src/ and llhttp
function(gp_test_program name)
    add_executable(${name} ${ARGN} ${LLHTTP_OBJECTS})
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(${name} PRIVATE gp_options gp_llhttp ${CMAKE_DL_LIBS})
    set_target_properties(${name} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endfunction()

file(GLOB sources CONFIGURE_DEPENDS tests/unit/test_*.c tests/golden/test_*.c)
find_library(CMOCKA cmocka)
if(sources AND NOT CMOCKA)
    message(STATUS "cmocka is missing (tools/setup test): the C tests are left out")
    set(sources "")
endif()
# what several C tests share is in the other files of tests/unit
file(GLOB shared CONFIGURE_DEPENDS tests/unit/*.c)
list(FILTER shared EXCLUDE REGEX "/test_[^/]*$")
if(sources AND shared)
    add_library(gp_tests_shared OBJECT ${shared})
    target_include_directories(gp_tests_shared PRIVATE ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(gp_tests_shared PRIVATE gp_options)
    set(shared $<TARGET_OBJECTS:gp_tests_shared>)
endif()

foreach(source ${sources})
    cmake_path(GET source STEM name)
    string(REGEX REPLACE ".*/([a-z]+)/[^/]*$" "\\1" folder ${source})
    gp_test_program(${name} ${source} ${shared} ${gp_core} ${gp_server})
    target_link_libraries(${name} PRIVATE ${CMOCKA})
    add_test(NAME ${name} COMMAND ${name})
    set(labels ${folder} tsan)
    if(name MATCHES onnx) # a framework that is not instrumented
        set(labels ${folder})
    endif()
    set_tests_properties(${name} PROPERTIES TIMEOUT 30 LABELS "${labels}"
        ENVIRONMENT "${environment}")
endforeach()

# what the Python tests of tests/golden have messages decoded and encoded with
if(gp_core)
    gp_test_program(golden_codec tests/golden/codec.c ${gp_core})
endif()

# gp_pytest(<name> <folder> <timeout> <labels> [options of pytest]...)
function(gp_pytest name folder timeout labels)
    file(GLOB python CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/test_*.py)
    if(python)
        add_test(NAME ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
            COMMAND ${GP_DEPS}/venv/bin/python -B -m pytest -q -p no:cacheprovider --timeout 60
                -o "markers=tsan: also run under ThreadSanitizer" ${ARGN} ${folder})
        set_tests_properties(${name} PROPERTIES TIMEOUT ${timeout} LABELS "${labels}"
            ENVIRONMENT "${environment}" SKIP_RETURN_CODE 5)
    endif()
endfunction()

gp_pytest(golden_python tests/golden 120 golden)
gp_pytest(e2e tests/e2e 600 e2e)
if(GP_SANITIZE MATCHES thread)
    gp_pytest(e2e_tsan tests/e2e 600 tsan -m tsan)
endif()
