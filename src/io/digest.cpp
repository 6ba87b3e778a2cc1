#include "maskedkd/io/digest.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"

#include <openssl/evp.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <vector>

namespace maskedkd {
namespace {

void check(int result) {
  if (result != 1) {
    throw Error("OpenSSL could not compute SHA-256");
  }
}

}  // namespace

struct Sha256::Context {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> evp{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  check(context_->evp != nullptr ? EVP_DigestInit_ex(context_->evp.get(), EVP_sha256(), nullptr) : 0);
}

Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::uint8_t> bytes) {
  check(EVP_DigestUpdate(context_->evp.get(), bytes.data(), bytes.size()));
}

std::string Sha256::hex_digest() {
  std::array<unsigned char, 32> digest{};
  check(EVP_DigestFinal_ex(context_->evp.get(), digest.data(), nullptr));
  std::string text;
  for (const unsigned char byte : digest) {
    text += fmt::format("{:02x}", byte);
  }
  return text;
}

std::string sha256_of_file(const std::filesystem::path& path) {
  const FileDescriptor file = open_for_reading(path);
  const std::uint64_t size = file_size_bytes(file, path);
  std::vector<std::uint8_t> buffer(std::min<std::uint64_t>(size, std::uint64_t{1} << 20));
  Sha256 digest;
  for (std::uint64_t offset = 0; offset < size; offset += buffer.size()) {
    const std::span<std::uint8_t> piece(buffer.data(), std::min<std::uint64_t>(buffer.size(), size - offset));
    read_exactly(file, offset, piece, path);
    digest.update(piece);
  }
  return digest.hex_digest();
}

std::string sha256_of_text(std::string_view text) {
  Sha256 digest;
  digest.update({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  return digest.hex_digest();
}

std::uint32_t crc32_of(std::span<const std::uint8_t> bytes) noexcept {
  return static_cast<std::uint32_t>(crc32_z(0, bytes.data(), bytes.size()));
}

}  // namespace maskedkd
