#include "preprocess/not_data.hpp"

#include <array>
#include <fstream>
#include <set>

namespace maskedkd {
namespace {

bool is_all(std::string_view text, std::string_view allowed) {
  return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

bool is_apple_double(const std::filesystem::path& path) {
  constexpr std::array<char, 4> kMagic = {0x00, 0x05, 0x16, 0x07};
  std::error_code unreachable;
  if (!std::filesystem::is_regular_file(path, unreachable)) {
    return false;
  }
  std::array<char, 4> start{};
  std::ifstream file(path, std::ios::binary);
  return file.read(start.data(), start.size()) && start == kMagic;
}

}  // namespace

std::string kind_of_folder_without_data(std::string_view name) {
  static const std::set<std::string_view> kNames = {".ipynb_checkpoints",
                                                    "__pycache__",
                                                    ".git",
                                                    ".svn",
                                                    ".hg",
                                                    ".dvc",
                                                    ".idea",
                                                    ".vscode",  // programs
                                                    "lost+found",
                                                    ".snapshot",
                                                    ".snapshots",
                                                    ".zfs",
                                                    ".glusterfs",  // file systems
                                                    "@eaDir",
                                                    "@tmp",
                                                    "#recycle",
                                                    "#snapshot",
                                                    ".@__thumb",
                                                    "@Recycle",
                                                    "@Recently-Snapshot",  // network storage
                                                    "__MACOSX",
                                                    ".AppleDouble",
                                                    ".AppleDB",
                                                    ".AppleDesktop",
                                                    ".Spotlight-V100",
                                                    ".fseventsd",
                                                    ".Trashes",
                                                    ".TemporaryItems",
                                                    ".DocumentRevisions-V100",  // macOS
                                                    "$RECYCLE.BIN",
                                                    "$Recycle.Bin",
                                                    "RECYCLER",
                                                    "System Volume Information",  // Windows
                                                    ".Trash",
                                                    ".thumbnails",
                                                    ".dropbox.cache",
                                                    ".stfolder",
                                                    ".stversions"};  // desktops
  constexpr std::string_view kTrash = ".Trash-";
  if (name.starts_with(kTrash) && is_all(name.substr(kTrash.size()), "0123456789")) {
    return ".Trash-*";
  }
  return kNames.count(name) != 0 ? std::string(name) : std::string();
}

std::string kind_of_file_without_data(const std::filesystem::path& path) {
  static const std::set<std::string_view> kNames = {
      ".DS_Store",  "Thumbs.db", "thumbs.db",  "ehthumbs.db", "Desktop.ini",    "desktop.ini", ".directory",
      ".localized", "Icon\r",    ".gitignore", ".gitkeep",    ".gitattributes", ".apdisk",     ".metadata_never_index"};
  const std::string name = path.filename().string();
  if (name.starts_with(".nfs") && is_all(std::string_view(name).substr(4), "0123456789abcdefABCDEF")) {
    return ".nfs*";
  }
  if (name == "Icon\r") {
    return "Icon";
  }
  if (name.starts_with("._") && is_apple_double(path)) {
    return "._* (AppleDouble)";
  }
  return kNames.count(name) != 0 ? name : std::string();
}

}  // namespace maskedkd
