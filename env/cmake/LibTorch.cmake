# LibTorch as an imported target; find_package(Torch) is not used, as it requires a CUDA toolkit even for CPU builds.
#   maskedkd_torch   headers and CPU libraries; with CUDA also its GPU libraries and the CUDA runtime
#   maskedkd_nccl    NCCL, where MASKEDKD_WITH_CUDA is true

if(NOT LIBTORCH_ROOT)
  execute_process(COMMAND bash -c "source '${CMAKE_SOURCE_DIR}/env/paths.sh' && libtorch_root"
                  OUTPUT_VARIABLE LIBTORCH_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
# A change of LIBTORCH_ROOT repeats the search: headers and libraries must come from one LibTorch.
if(NOT LIBTORCH_ROOT STREQUAL MASKEDKD_LIBTORCH_FOUND_IN)
  foreach(part TORCH_CPU C10 TORCH_CUDA C10_CUDA CUDA_INCLUDE CUDART NCCL_INCLUDE NCCL)
    unset(MASKEDKD_${part} CACHE)
  endforeach()
  set(MASKEDKD_LIBTORCH_FOUND_IN ${LIBTORCH_ROOT} CACHE INTERNAL "")
endif()
find_library(MASKEDKD_TORCH_CPU torch_cpu PATHS ${LIBTORCH_ROOT}/lib NO_DEFAULT_PATH)
find_library(MASKEDKD_C10 c10 PATHS ${LIBTORCH_ROOT}/lib NO_DEFAULT_PATH)
if(NOT MASKEDKD_TORCH_CPU OR NOT MASKEDKD_C10)
  message(FATAL_ERROR "LibTorch was not found in '${LIBTORCH_ROOT}'. Install the pinned version with env/install.sh, or name "
                      "another (>= 2.5) with -DLIBTORCH_ROOT=/path/to/libtorch")
endif()
foreach(header headeronly/version.h csrc/api/include/torch/version.h)
  if(EXISTS ${LIBTORCH_ROOT}/include/torch/${header} AND NOT maskedkd_torch_version)
    file(STRINGS ${LIBTORCH_ROOT}/include/torch/${header} maskedkd_torch_version REGEX "define TORCH_VERSION_M[AI][JN]OR ")
    string(REGEX REPLACE "[^0-9;]" "" maskedkd_torch_version "${maskedkd_torch_version}")
    string(REPLACE ";" "." maskedkd_torch_version "${maskedkd_torch_version}")
  endif()
endforeach()
if(maskedkd_torch_version AND maskedkd_torch_version VERSION_LESS 2.5)
  message(FATAL_ERROR "LibTorch ${maskedkd_torch_version} in '${LIBTORCH_ROOT}' is too old: 2.5 or newer is needed")
endif()

# CUDA and NCCL come from the wheels beside LibTorch if it was installed as a wheel, else from the toolkit.
file(GLOB maskedkd_wheel_includes ${LIBTORCH_ROOT}/../nvidia/cu*/include ${LIBTORCH_ROOT}/../nvidia/cuda_runtime/include)
file(GLOB maskedkd_wheel_libraries ${LIBTORCH_ROOT}/../nvidia/cu*/lib ${LIBTORCH_ROOT}/../nvidia/cuda_runtime/lib)
set(maskedkd_toolkits $ENV{CUDA_HOME} $ENV{CUDA_PATH} /usr/local/cuda)
find_library(MASKEDKD_TORCH_CUDA torch_cuda PATHS ${LIBTORCH_ROOT}/lib NO_DEFAULT_PATH)
find_library(MASKEDKD_C10_CUDA c10_cuda PATHS ${LIBTORCH_ROOT}/lib NO_DEFAULT_PATH)
find_path(MASKEDKD_CUDA_INCLUDE cuda_runtime.h PATHS ${maskedkd_wheel_includes} ${maskedkd_toolkits}
          PATH_SUFFIXES include NO_DEFAULT_PATH)
find_library(MASKEDKD_CUDART NAMES libcudart.so.13 libcudart.so.12 cudart
             PATHS ${maskedkd_wheel_libraries} ${maskedkd_toolkits} PATH_SUFFIXES lib64 lib NO_DEFAULT_PATH)
find_path(MASKEDKD_NCCL_INCLUDE nccl.h PATHS ${LIBTORCH_ROOT}/../nvidia/nccl ${maskedkd_toolkits} $ENV{NCCL_HOME} /usr
          PATH_SUFFIXES include NO_DEFAULT_PATH)
find_library(MASKEDKD_NCCL NAMES libnccl.so.2 nccl
             PATHS ${LIBTORCH_ROOT}/../nvidia/nccl ${maskedkd_toolkits} $ENV{NCCL_HOME} /usr
             PATH_SUFFIXES lib lib64 lib/x86_64-linux-gnu NO_DEFAULT_PATH)

set(MASKEDKD_WITH_CUDA OFF)
if(NOT MASKEDKD_CUDA STREQUAL "OFF")
  set(maskedkd_missing "")
  foreach(part TORCH_CUDA C10_CUDA CUDA_INCLUDE CUDART NCCL_INCLUDE NCCL)
    if(NOT MASKEDKD_${part})
      list(APPEND maskedkd_missing ${part})
    endif()
  endforeach()
  if(NOT maskedkd_missing)
    set(MASKEDKD_WITH_CUDA ON)
  elseif(MASKEDKD_CUDA STREQUAL "ON")
    message(FATAL_ERROR "MASKEDKD_CUDA=ON, but missing: ${maskedkd_missing}. Install the CUDA build of LibTorch "
                        "(env/install.sh) or set CUDA_HOME and NCCL_HOME")
  endif()
endif()

add_library(maskedkd_torch INTERFACE)
# LibTorch contains an fmt, which must come after the system's fmt, the one that spdlog needs.
target_compile_options(maskedkd_torch INTERFACE "SHELL:-idirafter ${LIBTORCH_ROOT}/include"
                       "SHELL:-idirafter ${LIBTORCH_ROOT}/include/torch/csrc/api/include")
# Otherwise <ATen/TensorOperators.h> includes the declarations of every operator.
target_compile_definitions(maskedkd_torch INTERFACE AT_PER_OPERATOR_HEADERS)
# A program with the property WITHOUT_LIBTORCH links modules that use tensors but not LibTorch, and starts half a second
# sooner. It must not call anything that needs LibTorch, which would be an undefined symbol.
set(maskedkd_tensors "$<NOT:$<BOOL:$<TARGET_PROPERTY:WITHOUT_LIBTORCH>>>")
target_link_libraries(maskedkd_torch INTERFACE "$<${maskedkd_tensors}:${MASKEDKD_TORCH_CPU};${MASKEDKD_C10}>"
                      Threads::Threads)
if(MASKEDKD_WITH_CUDA)
  target_include_directories(maskedkd_torch SYSTEM INTERFACE ${MASKEDKD_CUDA_INCLUDE})
  # No symbol of torch_cuda is referenced: it registers its kernels when it is loaded.
  target_link_libraries(maskedkd_torch INTERFACE
    "$<${maskedkd_tensors}:-Wl,--push-state,--no-as-needed;${MASKEDKD_TORCH_CUDA};${MASKEDKD_C10_CUDA};-Wl,--pop-state;${MASKEDKD_CUDART}>")
  target_compile_definitions(maskedkd_torch INTERFACE MASKEDKD_WITH_CUDA=1)
  add_library(maskedkd_nccl INTERFACE)
  target_include_directories(maskedkd_nccl SYSTEM INTERFACE ${MASKEDKD_NCCL_INCLUDE} ${MASKEDKD_CUDA_INCLUDE})
  target_link_libraries(maskedkd_nccl INTERFACE "$<${maskedkd_tensors}:${MASKEDKD_NCCL}>")
endif()
message(STATUS "LibTorch ${maskedkd_torch_version} in ${LIBTORCH_ROOT}, CUDA and NCCL: ${MASKEDKD_WITH_CUDA}")
