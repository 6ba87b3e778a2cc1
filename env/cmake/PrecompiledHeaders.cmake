# Parsing the headers of LibTorch, fmt, spdlog and nlohmann-json takes three quarters of the time of a build. They are
# parsed once: for the modules that use LibTorch, and for those that do not. A file still includes what it uses.
set(MASKEDKD_COMMON_HEADERS <algorithm> <array> <chrono> <filesystem> <fstream> <functional> <memory> <mutex> <optional>
    <set> <span> <string> <thread> <vector> <fmt/format.h> <fmt/ranges.h> <spdlog/spdlog.h> <nlohmann/json.hpp>)

file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/precompiled_headers.cpp CONTENT "")
add_library(maskedkd_common_headers STATIC ${CMAKE_BINARY_DIR}/precompiled_headers.cpp)
target_link_libraries(maskedkd_common_headers PRIVATE fmt::fmt spdlog::spdlog nlohmann_json::nlohmann_json
                      Threads::Threads)
maskedkd_warnings(maskedkd_common_headers)
target_precompile_headers(maskedkd_common_headers PRIVATE ${MASKEDKD_COMMON_HEADERS})

add_library(maskedkd_torch_headers STATIC ${CMAKE_BINARY_DIR}/precompiled_headers.cpp)
target_link_libraries(maskedkd_torch_headers PRIVATE maskedkd_torch fmt::fmt spdlog::spdlog
                      nlohmann_json::nlohmann_json Threads::Threads)
maskedkd_warnings(maskedkd_torch_headers)
set_target_properties(maskedkd_torch PROPERTIES MASKEDKD_USES_TORCH TRUE)
target_precompile_headers(maskedkd_torch_headers PRIVATE ${MASKEDKD_COMMON_HEADERS} <ATen/core/Tensor.h>
                          <ATen/TensorOperators.h> <ATen/Parallel.h>)

# maskedkd_use_precompiled_headers(TARGET LINKS...): those of LibTorch if something that TARGET links uses LibTorch.
function(maskedkd_use_precompiled_headers target)
  set(headers maskedkd_common_headers)
  foreach(link ${ARGN})
    set(uses_torch FALSE)
    if(TARGET ${link})
      get_target_property(uses_torch ${link} MASKEDKD_USES_TORCH)
    endif()
    if(uses_torch)
      set(headers maskedkd_torch_headers)
      set_target_properties(${target} PROPERTIES MASKEDKD_USES_TORCH TRUE)
    endif()
  endforeach()
  target_precompile_headers(${target} REUSE_FROM ${headers})
endfunction()
