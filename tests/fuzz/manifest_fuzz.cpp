// Fuzzes a checkpoint's manifest.json: an input is its text. It must be refused by an Error of one line, or list only
// files that can lie beside it. Its SHA-256, which no fuzzer can find, is a fixed word here. See README.md.
#include "checkpoint/manifest.hpp"
#include "expect.hpp"

namespace maskedkd {
namespace {

std::string any_digest(std::string_view /*text*/) { return "sealed"; }

void check(const Manifest& manifest) {
  fuzz::expect(manifest.step >= 0, "steps count from 0");
  fuzz::expect(manifest.files.count("state.json") == 1, "the state is listed");
  for (const auto& [name, file] : manifest.files) {
    const std::filesystem::path path = std::filesystem::path("folder") / name;
    fuzz::expect(path.parent_path() == "folder" && path.filename() == name && path.lexically_normal() == path,
                 "a file lies in the folder");
    fuzz::expect(name.find('\0') == std::string::npos, "a name is a name for the system too");
    fuzz::expect(file.size_bytes <= INT64_MAX, "a size is one that a file can have");
    fuzz::expect(file.sha256.size() == 64 && file.sha256.find_first_not_of("0123456789abcdef") == std::string::npos,
                 "a SHA-256 is one");
  }
}

bool same(const Manifest& a, const Manifest& b) {
  return a.step == b.step && a.evaluated == b.evaluated &&
         std::equal(a.files.begin(), a.files.end(), b.files.begin(), b.files.end(), [](const auto& x, const auto& y) {
           return x.first == y.first && x.second.size_bytes == y.second.size_bytes &&
                  x.second.sha256 == y.second.sha256;
         });
}

}  // namespace
}  // namespace maskedkd

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t count) {
  using namespace maskedkd;
  const std::string text(reinterpret_cast<const char*>(bytes), count);
  fuzz::refused_in_one_line([&] {
    const Manifest manifest = parse_manifest(text, "folder", any_digest);
    check(manifest);
    const std::string written = manifest_text(manifest, any_digest);
    const Manifest again = parse_manifest(written, "folder", any_digest);
    fuzz::expect(same(manifest, again) && manifest_text(again, any_digest) == written, "written and read as the same");
  });
  return 0;
}
