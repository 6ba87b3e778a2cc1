// Compares check_image_file() with the decoders, on valid files of every kind and on damaged ones.
#include "maskedkd/codecs/file_check.hpp"

#include "maskedkd/base/error.hpp"
#include "maskedkd/codecs/image.hpp"
#include "maskedkd/io/posix.hpp"
#include "reference.hpp"

#include <cstdlib>
#include <random>

namespace maskedkd::testing {
namespace {

using Bytes = std::vector<std::uint8_t>;

struct NamedFile {
  std::string name;
  Bytes bytes;
};

std::vector<NamedFile> files() {
  std::vector<NamedFile> all;
  for (const char* folder : {"decode", "odd"}) {
    for (const auto& entry : std::filesystem::directory_iterator(reference_path(folder))) {
      const std::string text = read_text_file(entry.path());
      all.push_back({entry.path().filename(), {text.begin(), text.end()}});
    }
  }
  std::sort(all.begin(), all.end(), [](const NamedFile& a, const NamedFile& b) { return a.name < b.name; });
  return all;
}

template <typename Function>
bool throws_error(const Function& function) {
  try {
    function();
  } catch (const Error&) {
    return true;
  }
  return false;
}

// Checks the contract for any bytes. Returns whether the check was certain.
bool expect_agreement(const Bytes& bytes, const std::string& what) {
  ImageFileFacts facts;
  try {
    facts = check_image_file(bytes);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_TRUE(throws_error([&] { decode_image(bytes); })) << what << " is decoded, but: " << error.what();
    return false;
  }
  if (facts.certain) {
    RecordShape shape;
    EXPECT_FALSE(throws_error([&] { shape = read_image_shape(bytes); }))
        << what << ": certain, but its header is refused";
    EXPECT_EQ(facts.shape, shape) << what;
    if (facts.format == ImageFileFacts::Format::jpeg) {  // packed without decoding
      const Record record{bytes, 0, shape};
      EXPECT_FALSE(throws_error([&] { decode_record(record, RecordEncoding::file, OnDamage::decode_as_pil); }))
          << what << ": certain, but training can't decode it";
    }
  }
  return facts.certain;
}

TEST(FileCheck, ValidFilesGiveTheirFacts) {
  int num_files = 0;
  for (const auto& [name, bytes] : files()) {
    if (name.starts_with("damaged_")) {
      continue;
    }
    ++num_files;
    ImageFileFacts facts;
    ASSERT_NO_THROW(facts = check_image_file(bytes)) << name;
    EXPECT_EQ(facts.shape, read_image_shape(bytes)) << name;
    if (!name.starts_with("whole_warned_of")) {
      EXPECT_TRUE(facts.certain) << name;
    }
    const bool png = bytes[0] == 0x89;
    EXPECT_EQ(facts.format, png ? ImageFileFacts::Format::png : ImageFileFacts::Format::jpeg) << name;
    if (!name.starts_with("photograph")) {
      EXPECT_EQ(facts.progressive, !png && name.find("progressive") != std::string::npos) << name;
      EXPECT_EQ(facts.four_inks, name.starts_with("cmyk") || name.starts_with("ycck")) << name;
      EXPECT_EQ(facts.interlaced, name.find("interlaced") != std::string::npos) << name;
    }
    const auto orientation = name.find("orientation");
    EXPECT_EQ(facts.orientation, orientation == std::string::npos ? 1 : name[orientation + 11] - '0') << name;
    if (name.starts_with("gray16") || name.find("depth16") != std::string::npos) {
      EXPECT_EQ(facts.bits, 16) << name;
    }
  }
  EXPECT_GE(num_files, 300);
}

TEST(FileCheck, TheOtherFormatsThatPilWritesAreNamed) {
  int num_formats = 0;
  for (const auto& entry : std::filesystem::directory_iterator(reference_path("foreign"))) {
    const std::string text = read_text_file(entry.path()), name = entry.path().stem();
    try {
      check_image_file(Bytes(text.begin(), text.end()));
      ADD_FAILURE() << name << " is taken for a JPEG or PNG";
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_TRUE(message.starts_with("neither JPEG nor PNG but " + name)) << message;
    }
    ++num_formats;
  }
  EXPECT_GE(num_formats, 13);
}

TEST(FileCheck, AFileThatIsCutOffIsNeverCertain) {
  int num_cuts = 0;
  for (const auto& [name, bytes] : files()) {
    if (name.starts_with("damaged_") || bytes.size() > 20000 || name.starts_with("bytes_after_end") ||
        name.find("two_images") != std::string::npos || name.find("bytes_after") != std::string::npos) {
      continue;
    }
    for (std::size_t length = 0; length < bytes.size(); length += 1 + length / 16) {
      const Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length));
      EXPECT_TRUE(throws_error([&] { check_image_file(cut); })) << name << " cut at " << length;
      ++num_cuts;
    }
  }
  EXPECT_GE(num_cuts, 10000);
}

TEST(FileCheck, ResultsForMutatedFilesAgreeWithTheDecoders) {
  const char* setting = std::getenv("MASKEDKD_MUTATIONS");
  const int num_mutations = setting != nullptr ? std::atoi(setting) : 15000;
  std::vector<NamedFile> sources;
  for (auto& file : files()) {
    if (file.bytes.size() < 6000) {
      sources.push_back(std::move(file));
    }
  }
  std::mt19937_64 random(5);
  const auto below = [&](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
  int num_certain = 0;
  for (int i = 0; i < num_mutations; ++i) {
    const NamedFile& source = sources[below(sources.size())];
    Bytes bytes = source.bytes;
    const std::size_t changes = 1 + below(4);
    for (std::size_t change = 0; change < changes && bytes.size() > 4; ++change) {
      const std::size_t at = below(2) == 0 ? below(std::min<std::size_t>(bytes.size(), 700)) : below(bytes.size());
      const auto where = bytes.begin() + static_cast<std::ptrdiff_t>(at);
      switch (below(5)) {
        case 0:
          bytes[at] ^= static_cast<std::uint8_t>(1u << below(8));
          break;
        case 1:
          bytes[at] = static_cast<std::uint8_t>(random());
          break;
        case 2:
          bytes.erase(where, where + static_cast<std::ptrdiff_t>(std::min(bytes.size() - at, 1 + below(100))));
          break;
        case 3:
          bytes.insert(where, 1 + below(20), static_cast<std::uint8_t>(below(2) == 0 ? 0xFF : random()));
          break;
        default: {
          const Bytes part(bytes.begin() + static_cast<std::ptrdiff_t>(below(bytes.size())), bytes.end());
          bytes.insert(where, part.begin(), part.begin() + static_cast<std::ptrdiff_t>(below(part.size() + 1)));
        }
      }
    }
    num_certain += expect_agreement(bytes, source.name + ", mutation " + std::to_string(i)) ? 1 : 0;
  }
  EXPECT_GT(num_certain, num_mutations / 50);
  std::printf("%d of %d mutated files keep a whole structure\n", num_certain, num_mutations);
}

TEST(FileCheck, ResultsForDamagedFilesAgreeWithTheDecoders) {
  int num_damaged = 0, num_seen = 0;
  for (const auto& [name, bytes] : files()) {
    if (name.starts_with("damaged_")) {
      ++num_damaged;
      num_seen += expect_agreement(bytes, name) ? 0 : 1;
    }
  }
  EXPECT_GE(num_damaged, 700);
  std::printf("%d of %d damaged files are seen without decoding\n", num_seen, num_damaged);
}

TEST(FileCheck, ForeignBytesAreRefused) {
  for (const std::string text : {"", "G", "GIF89a", "\xFF\xD8", "\xFF\xD8\xFF", "\x89PNG\r\n\x1a\n", "BM....."}) {
    EXPECT_THROW(check_image_file(Bytes(text.begin(), text.end())), Error);
  }
}

}  // namespace
}  // namespace maskedkd::testing
