#include "preprocess/image_folder.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "pack_program.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

void expect_listed_as(const ImageFolder& folder, const fs::path& root, const nlohmann::json& expected) {
  EXPECT_EQ(folder.class_names(), expected.at("classes").get<std::vector<std::string>>());
  std::vector<std::string> files, expected_files;
  std::vector<std::int64_t> labels, expected_labels;
  for (std::int64_t i = 0; i < folder.size(); ++i) {
    files.push_back(fs::path(folder.describe(i)).lexically_relative(root).string());
    labels.push_back(folder.read(i, RecordEncoding::file).label);
  }
  for (const auto& file : expected.at("files")) {
    expected_files.push_back(file.at(0).get<std::string>());
    expected_labels.push_back(file.at(1).get<std::int64_t>());
  }
  EXPECT_EQ(files, expected_files);
  EXPECT_EQ(labels, expected_labels);
}

TEST(ImageFolder, ClassesAndFilesComeInTorchvisionsOrder) {
  for (const std::string name : {"nasty", "plain"}) {
    const fs::path root = reference_path(name);
    const auto expected = nlohmann::json::parse(read_text_file(reference_path(name + ".json")));
    ASSERT_GT(expected.at("files").size(), 30u);
    const ImageFolder folder = ImageFolder::scan(root);
    expect_listed_as(folder, root, expected);
    const ImageFolder told(root, folder.serialise());
    expect_listed_as(told, root, expected);
    EXPECT_EQ(told.identity(), folder.identity());
  }
}

TEST(ImageFolder, FilesGoThroughUnchangedAndRawPixelsArePils) {
  const fs::path root = reference_path("plain");
  const ImageFolder folder = ImageFolder::scan(root);
  const auto pixels = read_safetensors(reference_path("plain.safetensors")).tensors;
  for (std::int64_t i = 0; i < folder.size(); ++i) {
    const Record file = folder.read(i, RecordEncoding::file);
    const std::string text = read_text_file(folder.describe(i));
    EXPECT_EQ(file.bytes, std::vector<std::uint8_t>(text.begin(), text.end()));
    const Record raw = folder.read(i, RecordEncoding::raw);
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

TEST(ImageFolder, AnotherFolderIsAnotherIdentity) {
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

TEST(ImageFolder, WhatIsNoTreeOfImagesIsRefusedByName) {
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
  EXPECT_NE(refusal(root).find("holds no class folders"), std::string::npos);
  fs::create_directories(root / "bee");
  EXPECT_NE(refusal(root).find("bee holds no images"), std::string::npos);
  std::ofstream(root / "bee" / "notes.txt") << "x";
  EXPECT_NE(refusal(root).find("bee holds no images"), std::string::npos);
  std::ofstream(root / "bee" / "x.jpg") << "x";
  EXPECT_EQ(refusal(root), "");
  fs::create_symlink("nowhere", root / "bee" / "dangling.jpg");
  EXPECT_NE(refusal(root).find("dangling.jpg"), std::string::npos);
  fs::remove(root / "bee" / "dangling.jpg");
  fs::create_directory_symlink(".", root / "bee" / "circle");
  EXPECT_NE(refusal(root).find("can't list"), std::string::npos);
  fs::remove(root / "bee" / "circle");
  fs::create_directories(root / "bad\xFFname");
  EXPECT_NE(refusal(root).find("not UTF-8"), std::string::npos);
}

TEST(ImageFolder, BrokenImagesAreToldFromUnreadableOnes) {
  const ImageFolder folder = ImageFolder::scan(reference_path("broken"));
  int num_broken = 0;
  for (std::int64_t i = 0; i < folder.size(); ++i) {
    try {
      folder.read(i, RecordEncoding::file);
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
    gone.read(0, RecordEncoding::file);
    FAIL();
  } catch (const BrokenImage&) {
    FAIL() << "a missing file was taken for a broken image";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("x.jpg"), std::string::npos);
  }
}

}  // namespace
}  // namespace maskedkd::testing
