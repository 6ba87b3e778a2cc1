# maskedkd_module(NAME SOURCES a.cpp ... LINKS maskedkd_base ...): the static library of a module; LINKS lists every
# module that it includes.
function(maskedkd_module name)
  cmake_parse_arguments(module "" "" "SOURCES;LINKS" ${ARGN})
  add_library(maskedkd_${name} STATIC ${module_SOURCES})
  target_include_directories(maskedkd_${name} PUBLIC ${CMAKE_SOURCE_DIR}/include)
  target_link_libraries(maskedkd_${name} PUBLIC ${module_LINKS})
  maskedkd_warnings(maskedkd_${name})
  maskedkd_use_precompiled_headers(maskedkd_${name} ${module_LINKS})
endfunction()

# maskedkd_program(NAME SOURCES a.cpp ... LINKS ...): a program in build/bin.
function(maskedkd_program name)
  cmake_parse_arguments(program "" "" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} ${program_SOURCES})
  target_link_libraries(${name} PRIVATE ${program_LINKS})
  maskedkd_warnings(${name})
  maskedkd_use_precompiled_headers(${name} ${program_LINKS})
endfunction()

function(maskedkd_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
                         -Wnon-virtual-dtor -Woverloaded-virtual)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # GCC 12 falsely reports overlaps in assignments of short texts to std::string (GCC bug 105651), and with
    # precompiled headers also accesses outside of an array.
    target_compile_options(${target} PRIVATE -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow
                           -Wno-stringop-overread)
  endif()
  if(MASKEDKD_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()
