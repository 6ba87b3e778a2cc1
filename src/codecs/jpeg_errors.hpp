// libjpeg reports through C callbacks. They must not throw through C frames that were not compiled for it, so an error
// jumps back to the one function that set the mark; everything it skips is plain data.
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
  std::array<char, JMSG_LENGTH_MAX> message;  // of the error, or of the first damage that was decoded past
  bool decodes_damage;                        // past damage, as PIL does
};

inline void fail_jpeg(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  info->err->format_message(info, errors->message.data());
  std::longjmp(errors->mark, 1);
}

// What libjpeg warns of. PIL decodes past every warning, except where the file ends too early.
enum class JpegWarning {
  harmless,   // every pixel is as it was stored
  damage,     // a part of the picture is lost: libjpeg puts gray or other colours there
  truncation  // the file ends within the picture
};

// The one list of libjpeg's warnings (JWRN_* of jerror.h). A code that it does not name counts as damage.
inline JpegWarning kind_of_warning(int code) {
  switch (code) {
    case JWRN_ADOBE_XFORM:        // an unknown colour transform: YCbCr or YCCK is assumed, as PIL does
    case JWRN_BOGUS_PROGRESSION:  // a progressive scan that comes again, or out of turn
    case JWRN_EXTRANEOUS_DATA:    // bytes between what is complete and the next marker
    case JWRN_JFIF_MAJOR:         // an unknown version of JFIF, which says nothing of pixels
    case JWRN_NOT_SEQUENTIAL:     // scan parameters that a sequential file does not use
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
