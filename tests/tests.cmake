# Registers the tests: one program and one ctest entry for each tests/{unit,golden}/test_*.c,
# one entry for each folder of Python tests, in tests/e2e for each file. The label tsan marks what
# is worth running (and quick) under ThreadSanitizer. Tests find things by the environment set here.
# A TIMEOUT is for what hangs: it is far more than a test takes on a machine with other work.
set(environment GP_SOURCE_DIR=${CMAKE_SOURCE_DIR} GP_BUILD_DIR=${CMAKE_BINARY_DIR}
    GP_BIN=${CMAKE_BINARY_DIR}/bin/graphpipe GP_SANITIZE=${GP_SANITIZE}
    "TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/tsan.supp report_thread_leaks=0")

# plug-ins that misbehave on purpose: lib/graphpipe-test/graphpipe-engine-<file>.so
file(GLOB engines CONFIGURE_DEPENDS tests/engines/*.c)
foreach(source ${engines})
    cmake_path(GET source STEM name)
    gp_plugin(${name} lib/graphpipe-test ${source})
endforeach()

# what tests load before libc, to count: lib/graphpipe-test/<file>.so; sanitizers stand there too
if(NOT GP_SANITIZE)
    file(GLOB sources CONFIGURE_DEPENDS tests/preload/*.c)
    foreach(source ${sources})
        cmake_path(GET source STEM name)
        add_library(preload-${name} MODULE ${source})
        target_link_libraries(preload-${name} PRIVATE gp_options)
        target_compile_options(preload-${name} PRIVATE -fvisibility=default
            -fno-builtin)
        set_target_properties(preload-${name} PROPERTIES PREFIX "" OUTPUT_NAME ${name}
            LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/graphpipe-test)
    endforeach()
endif()

# a stand-in for CUDA's driver
add_library(driver MODULE tests/driver/libcuda.c)
target_link_libraries(driver PRIVATE gp_options)
set_target_properties(driver PROPERTIES PREFIX "" OUTPUT_NAME libcuda SUFFIX .so.1
    C_VISIBILITY_PRESET default
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/graphpipe-test/driver)

# a plug-in as release 0.1 built it, for tests/unit/test_engine_abi.c
gp_plugin(abi_0_1 lib/graphpipe-test tests/abi/engine_0_1.c)

# gp_test_program(<name> <sources and objects>...): sees src/ and the third parties
function(gp_test_program name)
    add_executable(${name} ${ARGN} ${LLHTTP_OBJECTS} ${YYJSON_OBJECTS} ${LMDB_OBJECTS}
        ${BLAKE3_OBJECTS})
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src)
    target_include_directories(${name} SYSTEM PRIVATE ${CURL_INCLUDE})
    target_link_libraries(${name} PRIVATE gp_options gp_llhttp gp_yyjson gp_lmdb gp_blake3
        ${CMAKE_DL_LIBS})
    set_target_properties(${name} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endfunction()

file(GLOB sources CONFIGURE_DEPENDS tests/unit/test_*.c tests/golden/test_*.c)
find_library(CMOCKA cmocka)
if(sources AND NOT CMOCKA)
    set(sources "")
    add_test(NAME c_tests COMMAND ${CMAKE_COMMAND} -E echo
        "SKIPPED [1] tests: cmocka is missing: tools/setup test")
    set_tests_properties(c_tests PROPERTIES SKIP_REGULAR_EXPRESSION "^SKIPPED")
endif()
# what several C tests share is in the other files of tests/unit
file(GLOB shared CONFIGURE_DEPENDS tests/unit/*.c)
list(FILTER shared EXCLUDE REGEX "/test_[^/]*$")
if(sources AND shared)
    add_library(gp_tests_shared OBJECT ${shared})
    target_include_directories(gp_tests_shared PRIVATE ${CMAKE_SOURCE_DIR}/src)
    target_include_directories(gp_tests_shared SYSTEM PRIVATE ${CURL_INCLUDE})
    target_link_libraries(gp_tests_shared PRIVATE gp_options gp_llhttp)
    set(shared $<TARGET_OBJECTS:gp_tests_shared>)
endif()

# Calls that fail, for tests/fault and for those of tests/unit whose memory runs out. The linker puts
# the functions of fault.c before those that it wraps, so that the product has no hook for it.
file(GLOB fault CONFIGURE_DEPENDS tests/fault/*.c)
list(FILTER fault EXCLUDE REGEX "/test_[^/]*$")
if(sources)
    add_library(gp_tests_fault OBJECT ${fault})
    target_include_directories(gp_tests_fault PRIVATE ${CMAKE_SOURCE_DIR}/src
        ${CMAKE_SOURCE_DIR}/tests/unit)
    target_link_libraries(gp_tests_fault PRIVATE gp_options gp_llhttp)
    set(fault $<TARGET_OBJECTS:gp_tests_fault>)
endif()
set(wrapped mem_alloc mem_zalloc mem_array mem_resize mem_strdup mem_free gp_arena_alloc
    aligned_alloc free mmap munmap madvise memfd_create read write recv readv sendmsg accept4
    epoll_ctl epoll_wait epoll_create1 eventfd timerfd_create socket bind listen connect poll
    open pthread_create inotify_init1 inotify_add_watch clock_now_ns)
list(TRANSFORM wrapped PREPEND -Wl,--wrap=)

foreach(source ${sources})
    cmake_path(GET source STEM name)
    string(REGEX REPLACE ".*/([a-z]+)/[^/]*$" "\\1" folder ${source})
    gp_test_program(${name} ${source} ${shared} ${gp_core} ${gp_server})
    target_link_libraries(${name} PRIVATE ${CMOCKA})
    target_link_options(${name} PRIVATE -Wl,--wrap=clock_now_ns) # turned_clock.c
    if(name STREQUAL test_interleavings)
        target_link_options(${name} PRIVATE -Wl,--wrap=pthread_mutex_lock)
    elseif(name STREQUAL test_client_resolve)
        target_link_options(${name} PRIVATE -Wl,--wrap=getaddrinfo -Wl,--wrap=freeaddrinfo)
    elseif(name MATCHES "^test_(client_link|supervisor_start)$")
        target_link_options(${name} PRIVATE -Wl,--wrap=poll)
    elseif(name STREQUAL test_store)
        target_link_options(${name} PRIVATE -Wl,--wrap=time)
    elseif(name STREQUAL test_cached_waits)
        target_link_options(${name} PRIVATE -Wl,--wrap=flights_join)
    elseif(name STREQUAL test_store_folder)
        target_link_options(${name} PRIVATE -Wl,--wrap=fstatfs)
    elseif(name STREQUAL test_store_lock)
        target_link_options(${name} PRIVATE
            -Wl,--wrap=fcntl,--wrap=nanosleep,--wrap=pthread_cond_timedwait)
    elseif(name STREQUAL test_shortage)
        target_link_options(${name} PRIVATE -Wl,--wrap=mem_zalloc,--wrap=gp_arena_alloc)
    endif()
    if(name MATCHES "memory")
        target_sources(${name} PRIVATE ${fault})
        target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/fault)
        target_link_options(${name} PRIVATE ${wrapped})
    endif()
    add_test(NAME ${name} COMMAND ${name})
    set(labels ${folder} tsan)
    if(name MATCHES "onnx|refusals") # frameworks that are not instrumented
        set(labels ${folder})
    endif()
    set_tests_properties(${name} PROPERTIES TIMEOUT 300 LABELS "${labels}"
        ENVIRONMENT "${environment}")
endforeach()

# tests/fault
file(GLOB sources CONFIGURE_DEPENDS tests/fault/test_*.c)
if(NOT CMOCKA OR NOT gp_server)
    set(sources "")
endif()
foreach(source ${sources})
    cmake_path(GET source STEM name)
    gp_test_program(${name} ${source} ${fault} ${shared} ${gp_core} ${gp_server})
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
    target_link_libraries(${name} PRIVATE ${CMOCKA})
    target_link_options(${name} PRIVATE ${wrapped})
    add_test(NAME ${name} COMMAND ${name})
    set(labels fault tsan)
    if(name MATCHES "request|load") # minutes there, on the paths of other tests
        set(labels fault)
    endif()
    set_tests_properties(${name} PROPERTIES TIMEOUT 600 LABELS "${labels}"
        ENVIRONMENT "${environment}")
endforeach()

# tests/copies: bytes that are copied. The program exports memcpy and its kin, so that plug-ins call
# those of copies.c too; sanitizers have their own.
if(CMOCKA AND gp_server AND NOT GP_SANITIZE)
    file(GLOB sources CONFIGURE_DEPENDS tests/copies/*.c)
    gp_test_program(test_copies ${sources} ${gp_core} ${gp_server})
    target_link_libraries(test_copies PRIVATE ${CMOCKA})
    set_target_properties(test_copies PROPERTIES ENABLE_EXPORTS ON)
    add_test(NAME test_copies COMMAND test_copies)
    set_tests_properties(test_copies PROPERTIES TIMEOUT 300 LABELS copies
        ENVIRONMENT "${environment}")
endif()

# what the Python tests of tests/golden have messages decoded and encoded with
if(gp_core)
    gp_test_program(golden_codec tests/golden/codec.c ${gp_core})
endif()

# gp_pytest(<name> <folder or file> <labels> [options of pytest]...)
function(gp_pytest name what labels)
    add_test(NAME ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
        COMMAND ${GP_DEPS}/venv/bin/python -B -m pytest -q -rs -p no:cacheprovider --timeout 300
            -o "markers=tsan: also run under ThreadSanitizer" ${ARGN} ${what})
    set_tests_properties(${name} PROPERTIES TIMEOUT 1800 LABELS "${labels}"
        ENVIRONMENT "${environment}")
endfunction()

gp_pytest(golden_python tests/golden golden)
file(GLOB sources CONFIGURE_DEPENDS tests/e2e/test_*.py)
foreach(source ${sources})
    cmake_path(GET source STEM name)
    string(REGEX REPLACE "^test" e2e name ${name})
    gp_pytest(${name} ${source} e2e)
endforeach()
if(GP_SANITIZE MATCHES thread)
    gp_pytest(e2e_tsan tests/e2e tsan -m tsan)
endif()

# the clients in other languages; under sanitizers one of them asks the server for all
gp_pytest(clients_python clients/python/tests clients)
if(NOT GP_SANITIZE)
    gp_pytest(clients_go clients/go/tests clients)
    add_test(NAME clients_java COMMAND ${CMAKE_SOURCE_DIR}/clients/java/test.sh)
    set_tests_properties(clients_java PROPERTIES TIMEOUT 1200 LABELS clients
        SKIP_REGULAR_EXPRESSION "^SKIPPED" ENVIRONMENT "${environment}")

    file(GLOB sources CONFIGURE_DEPENDS clients/js/tests/*.test.js)
    find_program(NODE node)
    set(node_version v0)
    if(NODE)
        execute_process(COMMAND ${NODE} --version OUTPUT_VARIABLE node_version
            OUTPUT_STRIP_TRAILING_WHITESPACE)
    endif()
    string(SUBSTRING ${node_version} 1 -1 node_version)
    if(node_version VERSION_LESS 20)
        add_test(NAME clients_js COMMAND ${CMAKE_COMMAND} -E echo
            "SKIPPED [1] clients/js: Node 20 or newer is missing: tools/setup js")
        set_tests_properties(clients_js PROPERTIES SKIP_REGULAR_EXPRESSION "^SKIPPED")
    else()
        add_test(NAME clients_js WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
            COMMAND ${NODE} --test --test-reporter=tap ${sources})
    endif()
    set_tests_properties(clients_js PROPERTIES TIMEOUT 1800 LABELS clients
        ENVIRONMENT "${environment}")
endif()

# the models that the onnx package brings, asked through libgraphpipe.so, which a Python that is not
# instrumented can load in plain builds only
if(NOT GP_SANITIZE)
    add_test(NAME conformance WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
        COMMAND ${GP_DEPS}/venv/bin/python -B tests/conformance/conformance.py)
    set_tests_properties(conformance PROPERTIES TIMEOUT 1800 LABELS conformance
        ENVIRONMENT "${environment}" PROCESSORS 2)
endif()

# Fuzz targets: replay_NAME runs the corpus, what earlier findings left in golden/reject, and
# the vectors, under any compiler; in the preset fuzz there is also fuzz_NAME, libFuzzer's. The
# arena, the client's buffers and its connection are those of tests/fuzz.
set(names message http npy literal client redis)
if(NOT gp_core OR NOT gp_cli)
    set(names "")
else()
    add_library(gp_fuzz OBJECT tests/fuzz/fuzz.c tests/fuzz/exact_memory.c
        tests/fuzz/scripted_link.c)
    target_include_directories(gp_fuzz PRIVATE ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(gp_fuzz PRIVATE gp_options)
endif()
foreach(name ${names})
    set(parts tests/fuzz/fuzz_${name}.c $<TARGET_OBJECTS:gp_fuzz>
        $<FILTER:${gp_core},EXCLUDE,/\(arena|buffers|link\)\\.c\\.o$>
        $<FILTER:${gp_cli},INCLUDE,/\(npy[a-z_]*|literal|tensor_text\)\\.c\\.o$>)
    if(name STREQUAL redis)
        list(APPEND parts $<FILTER:${gp_server},INCLUDE,/redis[a-z_]*\\.c\\.o$>)
    endif()
    gp_test_program(replay_${name} tests/fuzz/replay.c ${parts})
    add_test(NAME fuzz_replay_${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}/tests
        COMMAND replay_${name} fuzz/corpus/${name} golden/reject golden/vectors)
    set_tests_properties(fuzz_replay_${name} PROPERTIES TIMEOUT 600 LABELS fuzz
        ENVIRONMENT "${environment}")
    if(GP_SANITIZE MATCHES fuzzer)
        gp_test_program(fuzz_${name} ${parts})
        target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
        list(APPEND fuzzers fuzz_${name})
    endif()
endforeach()
if(fuzzers)
    add_custom_target(fuzzers DEPENDS ${fuzzers})
endif()

# the examples of the headers and of the documents
gp_pytest(docs_examples tests/docs docs)

# Clients of every kind for a while, then quiet: 15 s, and two minutes where CI=true is set.
if(GP_SANITIZE MATCHES thread)
    set(soak soak_tsan --preset tsan --engine echo --seconds 10)
elseif(GP_SANITIZE)
    set(soak soak --preset asan --seconds 20)
else()
    set(soak soak --preset release)
endif()
list(POP_FRONT soak name)
add_test(NAME ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
    COMMAND ${GP_DEPS}/venv/bin/python -B tests/soak/soak.py ${soak})
set_tests_properties(${name} PROPERTIES TIMEOUT 1200 RUN_SERIAL TRUE LABELS "soak;tsan"
    ENVIRONMENT "${environment}")
