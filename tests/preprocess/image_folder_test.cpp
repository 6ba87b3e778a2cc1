#include "preprocess/image_folder.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "pack_program.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <array>
#include <barrier>
#include <fstream>
#include <optional>
#include <thread>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

void expect_listed_as(const ImageFolder& folder, const fs::path& root, const nlohmann::json& expected) {
  EXPECT_EQ(folder.class_names(), expected.at("classes").get<std::vector<std::string>>());
  std::vector<std::string> files, expected_files;
  std::vector<std::int64_t> labels, expected_labels;
  for (std::int64_t i = 0; i < folder.size(); ++i) {
    files.push_back(folder.name(i));
    EXPECT_TRUE(fs::is_regular_file(root / files.back())) << files.back();
    labels.push_back(folder.read(i, {}).record.label);
  }
  for (const auto& file : expected.at("files")) {
    expected_files.push_back(file.at(0).get<std::string>());
    expected_labels.push_back(file.at(1).get<std::int64_t>());
  }
  EXPECT_EQ(files, expected_files);
  EXPECT_EQ(labels, expected_labels);
}

// Runs ranks as threads, each of which waits for the messages of all.
std::vector<ImageFolder> scan_together(const fs::path& root, const ClassOptions& classes, int ranks) {
  std::barrier meeting(ranks);
  std::vector<std::string> texts(static_cast<std::size_t>(ranks));
  std::vector<std::optional<ImageFolder>> found(texts.size());
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      const Peers peers{rank, ranks, [&, rank](const std::string& text) {
                          texts[static_cast<std::size_t>(rank)] = text;
                          meeting.arrive_and_wait();
                          std::vector<std::string> all = texts;
                          meeting.arrive_and_wait();
                          return all;
                        }};
      found[static_cast<std::size_t>(rank)] = ImageFolder::scan(root, classes, peers);
    });
  }
  std::vector<ImageFolder> folders;
  for (std::size_t rank = 0; rank < texts.size(); ++rank) {
    threads[rank].join();
    folders.push_back(*found[rank]);
  }
  return folders;
}

TEST(ImageFolder, TheDifferenceOfAFolderToANameInTheMapIsExplained) {
  const TemporaryDirectory place;
  const fs::path image = reference_path("plain") / "class 1" / "001.jpg";
  const fs::path map = place.path() / "map.txt";
  const std::vector<std::array<std::string, 3>> cases = {
      // name in the map, folder, message
      {"caf\u00e9", "cafe\u0301", "the same text in another Unicode normalisation (U+0065 U+0301 instead of U+00E9)"},
      {"Tabby", "tabby", "'tabby' instead of 'Tabby', the same text but for upper and lower case"},
      {"n01", "n02", "add a line for it"}};
  for (const auto& [line, folder, explanation] : cases) {
    const fs::path root = place.path() / ("images of " + folder);
    fs::create_directories(root / folder);
    fs::copy_file(image, root / folder / "1.jpg");
    write_file_atomically(map, line + "\tname\n");
    try {
      ImageFolder::scan(root, {map, {}});
      ADD_FAILURE() << folder << " was taken for " << line;
    } catch (const Error& error) {
      EXPECT_NE(error.hint().find(explanation), std::string::npos) << error.hint();
    }
  }
}

TEST(ImageFolder, ClassesAndFilesComeInTorchvisionsOrder) {
  for (const std::string name : {"nasty", "plain"}) {
    const fs::path root = reference_path(name);
    const auto expected = nlohmann::json::parse(read_text_file(reference_path(name + ".json")));
    ASSERT_GT(expected.at("files").size(), 30u);
    const ImageFolder folder = ImageFolder::scan(root);
    expect_listed_as(folder, root, expected);
    // Ranks that share the folders list the same files.
    for (const int ranks : {2, 3, 7}) {
      for (const ImageFolder& listed : scan_together(root, {}, ranks)) {
        expect_listed_as(listed, root, expected);
        EXPECT_EQ(listed.identity(), folder.identity());
      }
    }
  }
}

TEST(ImageFolder, FilesAreUnchangedAndRawPixelsEqualPils) {
  const fs::path root = reference_path("plain");
  const ImageFolder folder = ImageFolder::scan(root);
  const auto pixels = read_safetensors(reference_path("plain.safetensors")).tensors;
  RecordOptions decoded;
  decoded.decoded = true;
  for (std::int64_t i = 0; i < folder.size(); ++i) {
    const Record file = folder.read(i, {}).record;
    const std::string text = read_text_file(folder.describe(i));
    EXPECT_EQ(file.bytes, std::vector<std::uint8_t>(text.begin(), text.end()));
    const Record raw = folder.read(i, decoded).record;
    const at::Tensor& expected = pixels.at(std::to_string(i));
    EXPECT_EQ(raw.shape, (RecordShape{static_cast<int>(expected.size(0)), static_cast<int>(expected.size(1)), 3}));
    ASSERT_EQ(static_cast<std::int64_t>(raw.bytes.size()), expected.numel());
    int largest = 0;
    for (std::size_t k = 0; k < raw.bytes.size(); ++k) {
      largest = std::max(largest, std::abs(int{raw.bytes[k]} - int{expected.const_data_ptr<std::uint8_t>()[k]}));
    }
    EXPECT_LE(largest, folder.describe(i).ends_with(".png") ? 0 : 2) << folder.describe(i);
    EXPECT_EQ(file.shape.height, raw.shape.height);
    EXPECT_EQ(file.shape.width, raw.shape.width);
  }
}

TEST(ImageFolder, AnotherFolderHasAnotherIdentity) {
  const TemporaryDirectory folder;
  fs::create_directories(folder.path() / "a");
  const auto write = [&](const std::string& name, const std::string& text) {
    std::ofstream(folder.path() / "a" / name) << text;
  };
  write("1.jpg", "x");
  const std::string one = ImageFolder::scan(folder.path()).identity();
  EXPECT_EQ(ImageFolder::scan(folder.path()).identity(), one);
  write("1.jpg", "xx");
  const std::string longer = ImageFolder::scan(folder.path()).identity();
  EXPECT_NE(longer, one);
  write("2.jpg", "x");
  const std::string two = ImageFolder::scan(folder.path()).identity();
  EXPECT_NE(two, longer);
  fs::rename(folder.path() / "a", folder.path() / "b");
  EXPECT_NE(ImageFolder::scan(folder.path()).identity(), two);
}

TEST(ImageFolder, OtherFoldersAreRefusedByName) {
  const TemporaryDirectory folder;
  const auto refusal = [](const fs::path& path) {
    try {
      ImageFolder::scan(path);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const fs::path root = folder.path() / "tree";
  EXPECT_NE(refusal(root).find("tree is not a folder"), std::string::npos);
  fs::create_directories(root);
  EXPECT_NE(refusal(root).find("contains no class folders"), std::string::npos);
  fs::create_directories(root / "bee");
  EXPECT_NE(refusal(root).find("bee contains no images"), std::string::npos);
  std::ofstream(root / "bee" / "notes.txt") << "x";
  EXPECT_NE(refusal(root).find("bee contains no images"), std::string::npos);
  for (const char* name : {"a.webp", "b.WebP", "c.tif"}) {
    std::ofstream(root / "bee" / name) << "x";
  }
  EXPECT_NE(refusal(root).find("bee contains 1 .tif file, 2 .webp files, but no JPEG or PNG files"), std::string::npos);
  std::ofstream(root / "bee" / "x.jpg") << "x";
  EXPECT_EQ(refusal(root), "");
  fs::create_symlink("nowhere", root / "bee" / "dangling.jpg");
  EXPECT_NE(refusal(root).find("dangling.jpg"), std::string::npos);
  fs::remove(root / "bee" / "dangling.jpg");
  fs::create_directory_symlink(".", root / "bee" / "circle");
  EXPECT_NE(refusal(root).find("bee/circle leads back to a folder that contains it"), std::string::npos);
  fs::remove(root / "bee" / "circle");
  fs::create_directories(root / "bee" / "deep");
  fs::create_directory_symlink(folder.path(), root / "bee" / "deep" / "up");  // to the parent of the root
  EXPECT_NE(refusal(root).find("deep/up leads back"), std::string::npos);
  fs::remove(root / "bee" / "deep" / "up");
  fs::create_directory_symlink("../bee", root / "wasp");  // a second path to a folder, but no circle
  EXPECT_EQ(refusal(root), "");
  fs::remove(root / "wasp");
  for (const char* set : {"train", "val"}) {
    fs::create_directories(folder.path() / "sets" / set / "bee");
    std::ofstream(folder.path() / "sets" / set / "bee" / "x.jpg") << "x";
  }
  EXPECT_NE(refusal(folder.path() / "sets").find("sets contains sets (train, val), not classes"), std::string::npos);
  std::ofstream(folder.path() / "sets" / "val" / "x.jpg") << "x";
  EXPECT_EQ(refusal(folder.path() / "sets"), "") << "two classes that bear these names";
  fs::create_directories(root / "bad\xFFname");
  EXPECT_NE(refusal(root).find("not UTF-8"), std::string::npos);
}

TEST(ImageFolder, BrokenImagesAreDistinguishedFromUnreadableFiles) {
  const ImageFolder folder = ImageFolder::scan(reference_path("broken"));
  int num_broken = 0;
  for (std::int64_t i = 0; i < folder.size(); ++i) {
    try {
      folder.read(i, {});
    } catch (const BrokenImage&) {
      ++num_broken;
    }
  }
  EXPECT_EQ(num_broken, 3);
  const TemporaryDirectory place;
  fs::create_directories(place.path() / "a");
  std::ofstream(place.path() / "a" / "x.jpg") << "x";
  const ImageFolder gone = ImageFolder::scan(place.path());
  fs::remove(place.path() / "a" / "x.jpg");
  try {
    gone.read(0, {});
    FAIL();
  } catch (const BrokenImage&) {
    FAIL() << "a missing file was taken for a broken image";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("x.jpg"), std::string::npos);
  }
}

TEST(ImageFolder, AFileThatChangedAfterItWasListedIsNoBrokenImage) {
  const TemporaryDirectory place;
  fs::create_directories(place.path() / "a");
  fs::copy_file(reference_path("plain") / "class 1" / "001.jpg", place.path() / "a" / "x.jpg");
  const ImageFolder folder = ImageFolder::scan(place.path());
  const std::uintmax_t size = fs::file_size(place.path() / "a" / "x.jpg");
  EXPECT_NO_THROW(folder.read(0, {}));
  for (const std::uintmax_t now : {size - 1, size + 1, std::uintmax_t{0}}) {
    fs::resize_file(place.path() / "a" / "x.jpg", now);
    try {
      folder.read(0, {});
      FAIL() << now;
    } catch (const BrokenImage&) {
      FAIL() << "it would be left out, and the next start would not find it so";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what())
                    .find(fmt::format("x.jpg was changed while it was packed: it had {} bytes and "
                                      "has {} now",
                                      size, now)),
                std::string::npos)
          << error.what();
    }
  }
}

// The layout of ImageNet's val: a flat folder and a file of labels.
TEST(ImageFolder, LabelsComeFromAFileAndClassesFromAMap) {
  const TemporaryDirectory place;
  const fs::path root = place.path() / "val", labels = place.path() / "labels.txt", map = place.path() / "map.txt";
  fs::create_directories(root / "more");
  const std::vector<std::string> names = {"b.JPEG", "a b.JPEG", "more/c.png", "d.jpg"};
  for (const std::string& name : names) {
    std::ofstream(root / name) << std::string(name.size(), 'x');
  }
  const auto write = [](const fs::path& path, const std::string& text) { std::ofstream(path) << text; };
  write(labels, "b.JPEG 2\na b.JPEG 0\r\n\nmore/c.png\t2\nd.jpg 1");
  for (const ImageFolder& folder : scan_together(root, {{}, labels}, 3)) {
    EXPECT_EQ(folder.class_names(), (std::vector<std::string>{"0", "1", "2"}));
    ASSERT_EQ(folder.size(), 4);
    for (std::int64_t i = 0; i < 4; ++i) {
      EXPECT_EQ(folder.name(i), names[static_cast<std::size_t>(i)]) << "in the order of the file";
      EXPECT_EQ(folder.size_bytes(i), names[static_cast<std::size_t>(i)].size());
    }
  }
  // The classes are those of the folders of a training set.
  write(map, "n02 goldfish, Carassius auratus\nn01\ttench\nn03\n");
  write(labels, "b.JPEG n01\na b.JPEG n02\nd.jpg tench\nmore/c.png 2\n");
  const ImageFolder mapped = ImageFolder::scan(root, {map, labels});
  EXPECT_EQ(mapped.class_names(), (std::vector<std::string>{"goldfish, Carassius auratus", "tench", "n03"}));
  const fs::path train = place.path() / "train";
  for (const char* folder : {"n01", "n03"}) {
    fs::create_directories(train / folder);
    fs::copy_file(reference_path("plain") / "class 1" / "001.jpg", train / folder / "x.jpg");
  }
  const ImageFolder subset = ImageFolder::scan(train, {map, {}});
  EXPECT_EQ(subset.class_names(), mapped.class_names());
  EXPECT_EQ(subset.read(0, {}).record.label, 1);
  EXPECT_EQ(subset.read(1, {}).record.label, 2);
  fs::rename(train / "n01", train / "n07");
  const auto refusal = [&](const fs::path& data, const ClassOptions& classes) {
    try {
      ImageFolder::scan(data, classes);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      return std::string(error.what());
    }
    return std::string();
  };
  const auto expect_refused = [&](const std::string& text, const std::string& message) {
    write(labels, text);
    const std::string error_text = refusal(root, {{}, labels});
    EXPECT_NE(error_text.find(message), std::string::npos) << "'" << error_text << "' instead of " << message;
  };
  EXPECT_NE(refusal(train, {map, {}}).find("map.txt does not name the class folder"), std::string::npos);
  expect_refused("b.JPEG 0\n\nd.jpg x\n", "labels.txt:3: the label 'x' is not the number of a class");
  expect_refused("b.JPEG 0\nd.jpg -1\n", "labels.txt:2: the label '-1'");
  expect_refused("b.JPEG 0\nd.jpg 99999999999\n", "labels.txt:2: the label '99999999999'");
  expect_refused("b.JPEG 0\nb.JPEG 1\n", "labels.txt:2: 'b.JPEG' is listed twice");
  expect_refused("b.JPEG 0\nd.jpg\n", "labels.txt:2: a path or a label is missing");
  for (const char* outside : {"/etc/x.jpg", "../x.jpg", "more/../../x.jpg", "more/.."}) {
    expect_refused(fmt::format("b.JPEG 0\n{} 1\n", outside),
                   fmt::format("labels.txt:2: '{}' does not lie below --data-path", outside));
  }
  expect_refused("\t1\n", "labels.txt:1: a path is missing");
  expect_refused("\n\n", "labels.txt lists no files");
  expect_refused("b.JPEG 0\ne.jpg 1\n", "e.jpg: No such file");
  write(map, "n01 tench\nn02 goldfish\nn01 again\n");
  EXPECT_NE(refusal(root, {map, labels}).find("map.txt:3: the folder 'n01' is listed twice"), std::string::npos);
  // ImageNet has two classes of this name: a bird and a machine.
  write(map, "n02 crane\nn03 tench\nn31 crane\nn32 wall\n");
  write(labels, "b.JPEG n32\nd.jpg n31\n");
  EXPECT_NE(refusal(root, {map, labels}).find("map.txt:3: the class name 'crane' is used for two folders"),
            std::string::npos);
  const ImageFolder merged = ImageFolder::scan(root, {map, labels, /*merge=*/true});
  EXPECT_EQ(merged.class_names(), (std::vector<std::string>{"crane", "tench", "wall"}));
  write(map, "n01 tench\nn02 goldfish\n");
  write(labels, "b.JPEG n01\nd.jpg whale\n");
  EXPECT_NE(refusal(root, {map, labels}).find("labels.txt:2: 'whale' is not a class of the map"), std::string::npos);
}

TEST(ImageFolder, AClassOfManyFilesIsListedInLinearTime) {
  const char* setting = std::getenv("MASKEDKD_FILES");
  const int num_files = setting != nullptr ? std::atoi(setting) : 20000;
  const TemporaryDirectory place;
  fs::create_directories(place.path() / "only");
  for (int i = 0; i < num_files; ++i) {
    std::ofstream(place.path() / "only" / fmt::format("{:07}.JPEG", i * 7919LL % num_files)) << "x";
  }
  const auto started = std::chrono::steady_clock::now();
  const ImageFolder folder = ImageFolder::scan(place.path());
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  std::printf("%d files of one class listed in %.2f s\n", num_files, seconds);
  ASSERT_EQ(folder.size(), num_files);
  for (std::int64_t i = 0; i < num_files; ++i) {
    ASSERT_EQ(folder.name(i), fmt::format("only/{:07}.JPEG", i));
  }
  EXPECT_LT(seconds, 1.0 + num_files * 20e-6);
}

}  // namespace
}  // namespace maskedkd::testing
