# SPDX-License-Identifier: GPL-2.0-or-later
# vz_bpf_object(NAME HEADERS FILE…): NAME.bpf.c -> NAME.bpf.o -> NAME.skel.h in the binary directory. Nothing of the
# running kernel goes into it: the one object fits every kernel with type information.
find_program(VZ_BPF_CLANG NAMES clang clang-19 clang-17 clang-16 clang-15 clang-14)
find_program(VZ_BPFTOOL bpftool HINTS /usr/sbin /sbin)
if(NOT VZ_BPF_CLANG OR NOT VZ_BPFTOOL)
  message(FATAL_ERROR "The BPF programs need clang and bpftool (packages clang, bpftool): scripts/setup --only build; "
                      "-DVZ_BPF=OFF builds without VSwap latency, sysinfo and --vm_overcommit on stock kernels")
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
  set(VZ_BPF_ARCH x86)
else()
  message(FATAL_ERROR "The BPF programs read system call registers of x86-64 only, not of ${CMAKE_SYSTEM_PROCESSOR}; "
                      "configure with -DVZ_BPF=OFF")
endif()

function(vz_bpf_object name)
  cmake_parse_arguments(arg "" "" "HEADERS" ${ARGN})
  set(source ${CMAKE_CURRENT_SOURCE_DIR}/${name}.bpf.c)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.bpf.o)
  set(skeleton ${CMAKE_CURRENT_BINARY_DIR}/${name}.skel.h)
  list(TRANSFORM arg_HEADERS PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  # -g: type information, which CO-RE works on. v3 has the atomic operations that return a value.
  add_custom_command(OUTPUT ${object}
    COMMAND ${VZ_BPF_CLANG} -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror
            -D__TARGET_ARCH_${VZ_BPF_ARCH} -I${CMAKE_CURRENT_SOURCE_DIR} -ffile-prefix-map=${PROJECT_SOURCE_DIR}/=
            -c ${source} -o ${object}
    DEPENDS ${source} ${arg_HEADERS} VERBATIM)
  # to a file of its own first: a failed bpftool must not leave half a header that looks new
  add_custom_command(OUTPUT ${skeleton}
    COMMAND sh -c "\"$1\" gen skeleton \"$2\" name \"$3\" >\"$4.new\" && mv \"$4.new\" \"$4\"" skeleton
            ${VZ_BPFTOOL} ${object} ${name} ${skeleton}
    DEPENDS ${object} VERBATIM)
endfunction()
