// Other files in a folder of images, classes without images, and the order of classes. The order is compared with `sort
// -V` of coreutils, the list of classes with torchvision's.
#include "maskedkd/base/error.hpp"
#include "pack_program.hpp"
#include "preprocess/class_order.hpp"
#include "preprocess/image_folder.hpp"
#include "support/temporary_directory.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

class LeftOutOfASet : public ::testing::Test {
 protected:
  void image(const std::string& name) {
    fs::create_directories((root_ / name).parent_path());
    fs::copy_file(reference_path("plain") / "class 1" / "001.jpg", root_ / name);
  }
  void write(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
  }
  ProcessResult pack(std::vector<std::string> more = {}, int ranks = 0) {
    std::vector<std::string> arguments = {"--data-path",  root_.string(),
                                          "--threads",    "1",
                                          "--output-dir", (place_.path() / ("set" + std::to_string(++sets_))).string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_pack(ranks, arguments);
  }
  void expect_printed(const ProcessResult& result, const std::string& part, int exit_code = 0) {
    EXPECT_EQ(result.exit_code, exit_code) << result.output;
    EXPECT_NE(result.output.find(part), std::string::npos) << "'" << result.output << "' instead of " << part;
  }
  static std::string refusal(const fs::path& root, const ClassOptions& classes) {
    try {
      ImageFolder::scan(root, classes);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  TemporaryDirectory place_;
  fs::path root_ = place_.path() / "in";
  int sets_ = 0;
};

TEST_F(LeftOutOfASet, KnownFoldersAndFilesAreNoDataOnAnyLevel) {
  const std::string apple_double("\0\5\x16\7\0\2\0\0Mac OS X", 16);
  for (const char* name : {"a/x.jpg", "b/x.jpg", ".ipynb_checkpoints/x.jpg", "__MACOSX/a/x.jpg", ".Trash-1000/x.jpg",
                           "System Volume Information/x.jpg", "a/@eaDir/x.jpg/THUMB.jpg", "a/.thumbnails/x.jpg",
                           "b/deep/.git/x.jpg", "b/.AppleDouble/x.jpg", "a/._photo.jpg"}) {
    image(name);  // the last one is a photograph despite its name
  }
  fs::create_directories(root_ / "lost+found");
  write(root_ / "a" / "._x.jpg", apple_double);
  write(root_ / "b" / "._x.jpg", apple_double);
  write(root_ / ".DS_Store", "x");
  write(root_ / "a" / "Thumbs.db", "x");
  for (const int ranks : {0, 2}) {
    const ProcessResult result = pack({}, ranks);
    expect_printed(result, " 3 images of 2 classes");
    expect_printed(result,
                   "1 .AppleDouble, 1 .DS_Store, 1 .Trash-*, 2 ._* (AppleDouble), 1 .git, 1 .ipynb_checkpoints, "
                   "1 .thumbnails, 1 @eaDir, 1 System Volume Information, 1 Thumbs.db, 1 __MACOSX, 1 lost+found");
  }
  write(place_.path() / "map.txt", "a\nb\n.git\n");
  image(".git/x.jpg");
  expect_printed(pack({"--class-map", (place_.path() / "map.txt").string()}), " 4 images of 3 classes");
}

TEST_F(LeftOutOfASet, UnreadableFilesObeyOnBroken) {
  image("a/x.jpg");
  fs::create_symlink("nowhere", root_ / "a" / "link.jpg");
  expect_printed(
      pack(),
      "link.jpg can't be read: it is a dangling link; make it readable, or pack with --on-broken skip, which "
      "leaves it out",
      1);
  expect_printed(pack({"--on-broken", "skip"}, 2), " 1 images of 1 classes");
  fs::remove(root_ / "a" / "link.jpg");
  ASSERT_EQ(::mkfifo((root_ / "a" / "pipe.png").c_str(), 0600), 0);
  expect_printed(pack(), "pipe.png can't be read: it is neither a file nor a folder", 1);
  const ProcessResult result = pack({"--on-broken", "skip"});
  expect_printed(result, "pipe.png: it is neither a file nor a folder");
  expect_printed(result, " 1 images of 1 classes");
}

// Root may read everything, so the user nobody packs.
TEST_F(LeftOutOfASet, FilesAndFoldersOfOthersObeyOnBrokenToo) {
  for (const char* name : {"a/x.jpg", "a/secret.jpg", "a/locked/x.jpg"}) {
    image(name);
  }
  const fs::path out = place_.path() / "out";
  fs::create_directories(out);
  fs::permissions(out, fs::perms::all);
  fs::permissions(place_.path(), fs::perms::owner_all | fs::perms::others_exec | fs::perms::others_read);
  fs::permissions(root_ / "a" / "secret.jpg", fs::perms::none);
  fs::permissions(root_ / "a" / "locked", fs::perms::none);
  const auto pack_as_nobody = [&](const std::vector<std::string>& more) {
    std::vector<std::string> command;
    if (geteuid() == 0) {
      command = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
    }
    command.insert(command.end(), {"env", "HOME=" + out.string(), "TMPDIR=" + out.string()});
    for (const std::string& word : pack_command(0, {"--data-path", root_.string(), "--threads", "1", "--output-dir",
                                                    (out / std::to_string(++sets_)).string()})) {
      command.push_back(word);
    }
    command.insert(command.end(), more.begin(), more.end());
    return run_process(command);
  };
  expect_printed(pack_as_nobody({}), "locked can't be read: Permission denied", 1);
  const ProcessResult result = pack_as_nobody({"--on-broken", "skip"});
  expect_printed(result, "left out " + (root_ / "a" / "locked").string() + ": Permission denied");
  expect_printed(result, "secret.jpg: Permission denied");
  expect_printed(result, " 1 images of 1 classes");
  fs::permissions(root_ / "a" / "locked", fs::perms::all);
  expect_printed(pack_as_nobody({}), "secret.jpg can't be read: Permission denied", 1);
}

TEST_F(LeftOutOfASet, ClassesOfTheMapMayHaveNoImages) {
  image("a/x.jpg");
  fs::create_directories(root_ / "c");
  write(place_.path() / "map.txt", "a\nb\nc\n");
  const ProcessResult result = pack({"--class-map", (place_.path() / "map.txt").string()}, 2);
  expect_printed(result, " 1 images of 3 classes");
  expect_printed(result, "2 of 3 classes have no images here: 'b', 'c'");
  expect_printed(pack(), "c contains no images", 2);
}

TEST_F(LeftOutOfASet, NaturalOrderIsThatOfSortV) {
  const std::vector<std::string> names = {"class10",
                                          "class2",
                                          "class1",
                                          "class01",
                                          "class001",
                                          "a9b10",
                                          "a9b9",
                                          "a10b1",
                                          "x",
                                          "x0",
                                          "x00",
                                          "x9",
                                          "x10",
                                          "10",
                                          "9",
                                          "09",
                                          "100",
                                          "0",
                                          "n1440764",
                                          "n02012849",
                                          "99999999999999999999999",
                                          "100000000000000000000000"};
  std::string text;
  for (const std::string& name : names) {
    text += name + "\n";
  }
  write(place_.path() / "names", text);
  const ProcessResult sorted = run_process({"env", "LC_ALL=C", "sort", "-V", (place_.path() / "names").string()});
  ASSERT_EQ(sorted.exit_code, 0);
  std::vector<std::string> expected, found = names;
  std::istringstream lines(sorted.output);
  for (std::string line; std::getline(lines, line);) {
    expected.push_back(line);
  }
  sort_class_names(found, ClassOrder::natural);
  EXPECT_EQ(found, expected);
}

TEST_F(LeftOutOfASet, AnOrderOfNumbersThatDiffersFromTorchvisionsIsReported) {
  for (const char* name : {"0", "1", "2", "9"}) {
    image(std::string(name) + "/x.jpg");
  }
  EXPECT_EQ(pack().output.find("order"), std::string::npos) << "both orders are the same";
  image("10/x.jpg");
  expect_printed(pack({}, 2), "class 2 is '10', not '2'; --class-order natural or a --class-map changes that");
  EXPECT_EQ(ImageFolder::scan(root_).class_names(), (std::vector<std::string>{"0", "1", "10", "2", "9"}));
  ClassOptions natural;
  natural.order = ClassOrder::natural;
  EXPECT_EQ(ImageFolder::scan(root_, natural).class_names(), (std::vector<std::string>{"0", "1", "2", "9", "10"}));
  EXPECT_NE(ImageFolder::scan(root_, natural).identity(), ImageFolder::scan(root_).identity());
  expect_printed(pack({"--class-order", "natural"}), "class 2 is '2'; in torchvision's ImageFolder it is '10'");
  write(place_.path() / "map.txt", "a\n");
  expect_printed(pack({"--class-order", "natural", "--class-map", (place_.path() / "map.txt").string()}),
                 "--class-map already defines the order of the classes", 2);
}

TEST_F(LeftOutOfASet, ListsOfLabelsInSeveralFormatsAreReadOrRefused) {
  for (const char* name : {"v_1.JPEG", "v_2.JPEG", "v_3.JPEG"}) {
    image(name);
  }
  const fs::path list = place_.path() / "labels.txt", map = place_.path() / "map.txt";
  ClassOptions options;
  options.labels_file = list;
  const auto error_for = [&](const std::string& text, const ClassOptions& classes) {
    write(list, text);
    return refusal(root_, classes);
  };
  const auto pack_list = [&](const std::string& text) {
    write(list, text);
    return pack({"--labels-file", list.string()});
  };
  // Labels that count from 1, and images that are not listed.
  expect_printed(pack_list("\xEF\xBB\xBFv_1.JPEG 1\r\nv_2.JPEG 2\r\n"), "no file has label 0, the smallest is 1");
  expect_printed(pack_list("v_1.JPEG 0\nv_2.JPEG 1\n"), "left out 1 images that " + list.string() + " does not list");
  expect_printed(pack_list("v_1.JPEG 0\nv_2.JPEG 3\n"), "2 of 4 classes have no images here: '1', '2'");
  expect_printed(pack_list("v_1.JPEG 0\nv_8.JPEG 1\nv_9.JPEG 1\n"), "lists 2 files that do not exist", 2);
  // The format of Kaggle.
  const std::string header = "ImageId,PredictionString\n";
  write(list, header + "v_3,n02 1 2 3 4 n02 5 6 7 8 \nv_1,n01 1 2 3 4\n");
  const ImageFolder solution = ImageFolder::scan(root_, options);
  EXPECT_EQ(solution.class_names(), (std::vector<std::string>{"n01", "n02"}));
  EXPECT_EQ(solution.name(0), "v_3.JPEG");
  EXPECT_EQ(solution.read(0, {}).record.label, 1);
  write(map, "n02 goldfish\nn01 tench\n");
  ClassOptions mapped = options;
  mapped.class_map = map;
  EXPECT_EQ(ImageFolder::scan(root_, mapped).read(0, {}).record.label, 0);
  EXPECT_NE(error_for(header + "v_3,n02 1 2 3 4 n01 5 6 7 8\n", options).find(":2: objects of two classes"),
            std::string::npos);
  EXPECT_NE(error_for(header + "v_7,n02 1 2 3 4\n", options).find(":2: "), std::string::npos);
  EXPECT_NE(error_for(header + "v_1,n02 1 2 3\n", options).find(":2: expected objects"), std::string::npos);
  // The format of the development kit, lists with commas, and labels without paths.
  EXPECT_NE(error_for("490\n361\n171\n", options).find(":1: a number without a path"), std::string::npos);
  EXPECT_NE(error_for("v_1.JPEG,0\n", options).find(":1: a comma instead of a tab or a blank"), std::string::npos);
  EXPECT_NE(error_for("n01751748\n", options).find(":1: a path or a label is missing"), std::string::npos);
  EXPECT_NE(error_for("v_1.JPEG 0\n./v_1.JPEG 1\n", options).find("is listed twice"), std::string::npos);
  EXPECT_NE(error_for(std::string("v\0_\0001\0\n\0", 8), options).find("is text in UTF-16LE"), std::string::npos);
}

}  // namespace
}  // namespace maskedkd::testing
