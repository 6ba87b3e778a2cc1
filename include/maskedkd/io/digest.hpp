// Checksums: SHA-256 (OpenSSL) of whole files, CRC-32 (that of zlib) of each record of a shard.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace maskedkd {

// The digest of everything that update() is given, as 64 lower-case hexadecimal digits.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void update(std::span<const std::uint8_t> bytes);
  std::string hex_digest();  // call once, after the last update()

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string sha256_of_file(const std::filesystem::path& path);
std::string sha256_of_text(std::string_view text);
std::uint32_t crc32_of(std::span<const std::uint8_t> bytes) noexcept;

}  // namespace maskedkd
