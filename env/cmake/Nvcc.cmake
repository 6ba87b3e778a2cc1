# nvcc for the kernels in src/kernels: used if LibTorch has CUDA and nvcc has the same major version.
#   MASKEDKD_WITH_NVCC             whether it is used; everything else builds without it
#   maskedkd_cuda_sources(MODULE SOURCES a.cu ...)   adds CUDA sources to a module; their headers are C++17 without LibTorch

set(MASKEDKD_WITH_NVCC OFF)
if(MASKEDKD_WITH_CUDA)
  find_program(MASKEDKD_NVCC nvcc PATHS $ENV{CUDA_HOME} $ENV{CUDA_PATH} /usr/local/cuda PATH_SUFFIXES bin)
  if(MASKEDKD_NVCC AND NOT DEFINED ENV{CUDACXX})
    set(ENV{CUDACXX} ${MASKEDKD_NVCC})
  endif()
  include(CheckLanguage)
  check_language(CUDA)
endif()
if(CMAKE_CUDA_COMPILER)
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 90 CACHE STRING "GPUs; newer ones translate the last when they start")
  endif()
  set(CMAKE_CUDA_RUNTIME_LIBRARY None)  # the one of LibTorch is linked
  enable_language(CUDA)
  string(REGEX MATCH "^[0-9]+" maskedkd_nvcc_major "${CMAKE_CUDA_COMPILER_VERSION}")
  get_filename_component(maskedkd_cudart "${MASKEDKD_CUDART}" REALPATH)
  if(maskedkd_cudart MATCHES "cudart\\.so\\.${maskedkd_nvcc_major}([.]|$)")
    set(MASKEDKD_WITH_NVCC ON)
  endif()
endif()
message(STATUS "Kernels for GPUs: ${MASKEDKD_WITH_NVCC} (nvcc: ${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION})")

function(maskedkd_cuda_sources module)
  cmake_parse_arguments(cuda "" "" "SOURCES" ${ARGN})
  set(target maskedkd_${module}_cuda)
  add_library(${target} STATIC ${cuda_SOURCES})
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/include)
  set_target_properties(${target} PROPERTIES CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON)
  # A product and a sum stay two roundings, as on the CPU.
  target_compile_options(${target} PRIVATE -fmad=false $<$<BOOL:${MASKEDKD_WERROR}>:-Werror=all-warnings>)
  target_link_libraries(${target} PUBLIC ${MASKEDKD_CUDART})
  target_link_libraries(maskedkd_${module} PUBLIC ${target})
endfunction()
