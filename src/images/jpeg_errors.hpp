// libjpeg reports through C callbacks. They must not throw through C frames that were not compiled for it, so an error
// jumps back to the one function that set the mark; everything it skips is plain data.
#pragma once

// jpeglib.h needs size_t and FILE before it.
#include <cstdio>

#include <jpeglib.h>

#include <array>
#include <csetjmp>

namespace maskedkd {

struct JpegErrors {
  jpeg_error_mgr manager;
  std::jmp_buf mark;
  std::array<char, JMSG_LENGTH_MAX> message;
};

inline void fail_jpeg(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  info->err->format_message(info, errors->message.data());
  std::longjmp(errors->mark, 1);
}

}  // namespace maskedkd
