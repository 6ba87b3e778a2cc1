// Other files that are given as weights by mistake: one line names the format, and the hint says what to do.
#include "maskedkd/base/error.hpp"
#include "maskedkd/io/safetensors.hpp"
#include "support/process.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <functional>

namespace maskedkd {
namespace {

using namespace std::string_literals;
using testing::TemporaryDirectory;

struct Refusal {
  std::string message;
  std::string hint;
};

class ForeignFiles : public ::testing::Test {
 protected:
  // Checks that both ways of reading give the same line, which names the file.
  Refusal refusal(const std::filesystem::path& path, ExitCode code = ExitCode::usage) {
    const std::vector<std::function<void()>> ways = {[&] { read_safetensors(path); },
                                                     [&] { read_safetensors_header(path); }};
    std::vector<Refusal> all;
    for (const auto& way : ways) {
      try {
        way();
        ADD_FAILURE() << path << " was read";
        return {};
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), code) << error.what();
        all.push_back({error.what(), error.hint()});
      }
    }
    EXPECT_EQ(all[0].message, all[1].message);
    EXPECT_EQ(all[0].hint, all[1].hint);
    EXPECT_EQ((all[0].message + all[0].hint).find('\n'), std::string::npos) << all[0].message;
    EXPECT_NE(all[0].message.find(path.string()), std::string::npos) << all[0].message;
    return all[0];
  }
  Refusal refusal_of(const std::string& name, const std::string& bytes) {
    std::ofstream(directory_.path() / name, std::ios::binary) << bytes;
    return refusal(directory_.path() / name);
  }
  std::string called(const std::string& name, const std::string& what) {
    return (directory_.path() / name).string() + " is " + what + ", not a safetensors file";
  }
  std::string conversion(const std::string& in, const std::string& out) {
    return "convert it: python3 preprocess/pth_to_safetensors.py " + (directory_.path() / in).string() + " " +
           (directory_.path() / out).string();
  }

  TemporaryDirectory directory_;
};

// The command can be pasted into a shell for any file name, which a shell checks.
TEST_F(ForeignFiles, TheCommandQuotesAnyFileName) {
  const std::string name = "it's my $(weights) & \"more\".pth";
  const std::string hint = refusal_of(name, "PK\x03\x04 and so on, as a zip archive").hint;
  const std::string command = hint.substr(hint.find("python3 preprocess/"));
  const auto shell = maskedkd::testing::run_process({"bash", "-c", "set -- " + command + "; printf '%s|' $# \"$3\""});
  EXPECT_EQ(shell.output, "4|" + (directory_.path() / name).string() + "|") << command;
}

std::string sound_file() {
  const std::string header = R"({"head.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})";
  const std::uint64_t length = header.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  return file + header + std::string(24, '\7');
}

// Files of torch.save: the current format (a zip), the one before 1.6, and Python's pickle at each protocol.
TEST_F(ForeignFiles, APyTorchPickleGivesTheCommandThatConvertsIt) {
  const std::string script =
      "import pickle, sys, torch\n"
      "folder = sys.argv[1]\n"
      "weights = {'head.weight': torch.ones(3, 2)}\n"
      "torch.save(weights, folder + '/zip.pth')\n"
      "torch.save(weights, folder + '/old.pt', _use_new_zipfile_serialization=False)\n"
      "torch.save({'model': weights}, folder + '/renamed.safetensors')\n"
      "for protocol in range(2, 6):\n"
      "  pickle.dump({'a': 1}, open(f'{folder}/pickle{protocol}', 'wb'), protocol)\n";
  const auto python = testing::run_process({MASKEDKD_PYTHON, "-c", script, directory_.path().string()});
  ASSERT_EQ(python.exit_code, 0) << python.output;
  for (const std::string name :
       {"zip.pth", "old.pt", "renamed.safetensors", "pickle2", "pickle3", "pickle4", "pickle5"}) {
    EXPECT_EQ(refusal(directory_.path() / name).message, called(name, "a PyTorch pickle"));
  }
  EXPECT_EQ(refusal(directory_.path() / "zip.pth").hint, conversion("zip.pth", "zip.safetensors"));
  EXPECT_EQ(refusal(directory_.path() / "pickle4").hint, conversion("pickle4", "pickle4.safetensors"));
  // A file can't be converted to itself.
  EXPECT_EQ(refusal(directory_.path() / "renamed.safetensors").hint,
            conversion("renamed.safetensors", "renamed.converted.safetensors"));
}

TEST_F(ForeignFiles, AFileWithANameOfPicklesIsTakenForOne) {
  for (const std::string name : {"a.pth", "a.pt", "a.bin", "a.ckpt"}) {
    EXPECT_EQ(refusal_of(name, "0123456789abcdef").message, called(name, "a PyTorch pickle"));
  }
  // The content decides before the name.
  const auto path = directory_.path() / "weights.bin";
  std::ofstream(path, std::ios::binary) << sound_file();
  EXPECT_EQ(read_safetensors(path).tensors.at("head.weight").sizes(), at::IntArrayRef({2, 3}));
  EXPECT_EQ(refusal_of("page.pth", "<html>").message.find("pickle"), std::string::npos);
  EXPECT_EQ(refusal_of("short.pth", sound_file().substr(0, 90)).message.find("pickle"), std::string::npos);
}

TEST_F(ForeignFiles, ASavedWebPageIsNamed) {
  const std::string what = called("w.safetensors", "a web page (HTML or XML) that was saved under this name");
  for (const std::string& page :
       {"<!DOCTYPE html><html>"s, "\n\n  <html lang=en>"s, "\xef\xbb\xbf<?xml version='1.0'?>"s, "<"s,
        "\r\n\t<Error><Code>AccessDenied</Code></Error>"s}) {
    const Refusal answer = refusal_of("w.safetensors", page);
    EXPECT_EQ(answer.message, what);
    EXPECT_NE(answer.hint.find("again"), std::string::npos) << answer.hint;
  }
}

TEST_F(ForeignFiles, OtherFormatsAreNamed) {
  const std::string rest(100, '\1');
  EXPECT_EQ(refusal_of("a.gz", "\x1f\x8b\x08\0\0\0"s + rest).message, called("a.gz", "a gzip archive"));
  EXPECT_EQ(refusal_of("a.h5", "\x89HDF\r\n\x1a\n" + rest).message, called("a.h5", "an HDF5 file"));
  EXPECT_EQ(refusal_of("a.png", "\x89PNG\r\n\x1a\n" + rest).message, called("a.png", "a PNG image"));
  EXPECT_EQ(refusal_of("a.jpg", "\xff\xd8\xff\xe0" + rest).message, called("a.jpg", "a JPEG image"));
  EXPECT_EQ(refusal_of("a.bin", "GGUF" + rest).message, called("a.bin", "a GGUF file"));
  EXPECT_EQ(refusal_of("a.npy", "\x93NUMPY\1" + rest).message, called("a.npy", "a NumPy array"));
  EXPECT_EQ(refusal_of("a.onnx", "\x08\x07\x12" + rest).message, called("a.onnx", "an ONNX file"));
  EXPECT_EQ(refusal_of("a.msgpack", "\x81\xa6" + rest).message, called("a.msgpack", "a Flax file"));
  // numpy.savez(file, cls=...) writes a local header, then the array's name with .npy.
  const std::string header = "PK\3\4\x2d\0\0\0\0\0\0\0\x21\0"s + std::string(12, '\xff') + "\x07\0\0\0"s;
  for (const char* name : {"a.npz", "a.safetensors", "a.pth"}) {
    EXPECT_EQ(refusal_of(name, header + "cls.npy" + rest).message,
              called(name, "a NumPy archive (.npz), as JAX weights are published"));
  }
  const Refusal pointer =
      refusal_of("a.safetensors",
                 "version https://git-lfs.github.com/spec/v1\noid "
                 "sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n");
  EXPECT_EQ(pointer.message, called("a.safetensors", "a Git LFS pointer"));
  EXPECT_NE(pointer.hint.find("git lfs pull"), std::string::npos) << pointer.hint;
}

TEST_F(ForeignFiles, AnEmptyFileIsCalledEmpty) {
  EXPECT_NE(refusal_of("a.safetensors", "").message.find("it is empty"), std::string::npos);
  EXPECT_NE(refusal_of("a.pth", "").message.find("it is empty"), std::string::npos);
}

TEST_F(ForeignFiles, ATruncatedFileReportsHowManyBytesAreMissing) {
  const std::string file = sound_file();
  for (const std::size_t missing : {1, 10, 24}) {
    const Refusal answer = refusal_of("a.safetensors", file.substr(0, file.size() - missing));
    EXPECT_NE(answer.message.find("'head.weight'"), std::string::npos) << answer.message;
    EXPECT_NE(
        answer.message.find(missing == 1 ? ": 1 byte is missing" : fmt::format(": {} bytes are missing", missing)),
        std::string::npos)
        << answer.message;
    EXPECT_NE(answer.hint.find("still being written or copied?"), std::string::npos) << answer.hint;
  }
  // Truncated within its header.
  const Refusal answer = refusal_of("a.safetensors", file.substr(0, file.size() - 24 - 5));
  EXPECT_NE(answer.message.find(": 5 bytes are missing"), std::string::npos) << answer.message;
  EXPECT_NE(answer.hint.find("still being written or copied?"), std::string::npos) << answer.hint;
}

TEST_F(ForeignFiles, AFolderAndAMissingFileAreNamed) {
  EXPECT_EQ(refusal(directory_.path()).message, directory_.path().string() + " is not a file");
  EXPECT_NE(refusal(directory_.path() / "missing", ExitCode::failure).message.find("No such file"), std::string::npos);
}

TEST_F(ForeignFiles, AnUnreadableFileIsNamed) {
  const auto path = directory_.path() / "secret.safetensors";
  std::ofstream(path, std::ios::binary) << sound_file();
  ASSERT_EQ(chmod(path.c_str(), 0), 0);
  const bool root = geteuid() == 0;  // root may read everything: become nobody for a moment
  if (root) {
    ASSERT_EQ(seteuid(65534), 0);
  }
  const Refusal answer = refusal(path, ExitCode::failure);
  if (root) {
    ASSERT_EQ(seteuid(0), 0);
  }
  EXPECT_NE(answer.message.find("Permission denied"), std::string::npos) << answer.message;
  EXPECT_NE(answer.hint.find("permissions"), std::string::npos) << answer.hint;
}

}  // namespace
}  // namespace maskedkd
