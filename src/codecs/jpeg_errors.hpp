// The error handling of libjpeg, which calls back. A callback must not throw through C frames, which are not compiled
// for exceptions: an error jumps to the function that set the mark, and skips only frames without destructors.
#pragma once

// jpeglib.h needs size_t and FILE before it.
#include <cstdio>

#include <jpeglib.h>
// jerror.h needs jpeglib.h before it.
#include <jerror.h>

#include <array>
#include <csetjmp>

namespace maskedkd {

struct JpegErrors {
  jpeg_error_mgr manager;
  std::jmp_buf mark;
  std::array<char, JMSG_LENGTH_MAX> message;  // of the error, or of the first damage that was ignored
  bool decodes_damage;                        // continues after damage, as PIL does
};

inline void fail_jpeg(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  info->err->format_message(info, errors->message.data());
  std::longjmp(errors->mark, 1);
}

// Classes of libjpeg's warnings. PIL ignores every warning, except where the file ends too early.
enum class JpegWarning {
  harmless,   // every pixel is as it was stored
  damage,     // a part of the image is lost: libjpeg replaces it by gray or other colours
  truncation  // the file ends within the image
};

// The only list of libjpeg's warnings (JWRN_* of jerror.h). A code that is not listed counts as damage.
inline JpegWarning kind_of_warning(int code) {
  switch (code) {
    case JWRN_ADOBE_XFORM:        // an unknown colour transform: YCbCr or YCCK is assumed, as PIL does
    case JWRN_BOGUS_PROGRESSION:  // a progressive scan that is repeated or out of order
    case JWRN_EXTRANEOUS_DATA:    // bytes between complete data and the next marker
    case JWRN_JFIF_MAJOR:         // an unknown version of JFIF, which does not affect pixels
    case JWRN_NOT_SEQUENTIAL:     // scan parameters that sequential files do not use
    case JWRN_TOO_MUCH_DATA:      // the caller asks for more rows than there are
#if defined(LIBJPEG_TURBO_VERSION_NUMBER) && LIBJPEG_TURBO_VERSION_NUMBER >= 2000000
    case JWRN_BOGUS_ICC:  // a colour profile that is not used
#endif
      return JpegWarning::harmless;
    case JWRN_JPEG_EOF:
      return JpegWarning::truncation;
    case JWRN_ARITH_BAD_CODE:
    case JWRN_HIT_MARKER:  // a scan's data end before its last block
    case JWRN_HUFF_BAD_CODE:
    case JWRN_MUST_RESYNC:  // another marker stands where a restart marker must
    default:
      return JpegWarning::damage;
  }
}

}  // namespace maskedkd
