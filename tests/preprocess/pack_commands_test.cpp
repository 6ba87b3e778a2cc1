// Compares the commands info and extract, and re-encoded records, with PIL and h5py.
#include "maskedkd/io/posix.hpp"
#include "maskedkd/shards/shard_reader.hpp"
#include "pack_program.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

ProcessResult python(const std::string& program, const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {MASKEDKD_PYTHON, "-c", program};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run_process(command);
}

TEST(PackCommands, DoNotLoadLibTorch) {
  const ProcessResult result = run_process({"ldd", std::string(MASKEDKD_BIN_DIR) + "/maskedkd_pack"});
  EXPECT_NE(result.output.find("libhdf5"), std::string::npos) << result.output;
  for (const char* library : {"libtorch", "libc10", "libcuda"}) {
    EXPECT_EQ(result.output.find(library), std::string::npos) << result.output;
  }
}

TEST(PackCommands, InfoAgreesWithH5py) {
  const TemporaryDirectory folder;
  const std::string set = (folder.path() / "set").string();
  ASSERT_EQ(run_pack(0, {"pack", "--data-path", reference_path("plain").string(), "--output-dir", set, "--shard-size",
                         "20KiB"})
                .exit_code,
            0);
  const ProcessResult shown = run_pack(0, {"info", set, "--json"});
  ASSERT_EQ(shown.exit_code, 0) << shown.output;
  const auto info = nlohmann::json::parse(shown.output);
  const ProcessResult seen = python(
      "import h5py, glob, json, sys, os\n"
      "files = sorted(glob.glob(sys.argv[1] + '/*.h5'))\n"
      "n = total = size = gray = 0\n"
      "counts = {}\n"
      "for path in files:\n"
      "    with h5py.File(path) as f:\n"
      "        n += len(f['labels']); total += f['bytes'].size; size += os.path.getsize(path)\n"
      "        gray += int((f['shapes'][:, 2] == 1).sum())\n"
      "        assert f['bytes'].size <= 20 << 10\n"
      "        for name, count in zip(f.attrs['class_names'], f.attrs['class_counts']): counts[name] = "
      "counts.get(name, 0) + int(count)\n"
      "print(json.dumps([n, total, size, gray, len(files), counts]))",
      {set});
  ASSERT_EQ(seen.exit_code, 0) << seen.output;
  const auto expected = nlohmann::json::parse(seen.output);
  EXPECT_EQ(info["images"], expected[0]);
  EXPECT_EQ(info["record_bytes"], expected[1]);
  EXPECT_EQ(info["size_bytes"], expected[2]);
  EXPECT_EQ(info["one_channel"], expected[3]);
  EXPECT_EQ(info["odd"]["gray"], expected[3]);
  EXPECT_EQ(info["shards"], expected[4]);
  EXPECT_EQ(info["named"], 61);
  for (const auto& one : info["classes"]) {
    EXPECT_EQ(one["images"], expected[5][one["name"].get<std::string>()]);
  }
  for (const char* histogram : {"record_bytes_histogram", "shorter_edge_histogram"}) {
    std::int64_t total = 0;
    for (const auto& bar : info[histogram]) {
      total += bar["count"].get<std::int64_t>();
    }
    EXPECT_EQ(total, 61);
  }
  const ProcessResult text = run_pack(0, {"info", set});
  EXPECT_NE(text.output.find("61 images of 4 classes in "), std::string::npos) << text.output;
  EXPECT_NE(text.output.find("####"), std::string::npos) << text.output;
}

TEST(PackCommands, ExtractWritesTheOriginalFileOrThePixelsAsPng) {
  const TemporaryDirectory folder;
  const std::string files = (folder.path() / "files").string(), pixels = (folder.path() / "pixels").string();
  const std::string plain = reference_path("plain").string();
  ASSERT_EQ(run_pack(2, {"--data-path", plain, "--output-dir", files, "--records-per-shard", "8"}).exit_code, 0);
  ASSERT_EQ(run_pack(2, {"--data-path", plain, "--output-dir", pixels, "--decoded", "--seed", "5"}).exit_code, 0);
  for (const int index : {0, 7, 8, 60}) {
    const std::string out = (folder.path() / "x.jpg").string();
    const ProcessResult result = run_pack(0, {"extract", files, "--index", std::to_string(index), "--output", out});
    ASSERT_EQ(result.exit_code, 0) << result.output;
    const std::size_t at = result.output.rfind("', ") + 3;
    const std::string name = result.output.substr(at, result.output.find('\n', at) - at);
    EXPECT_EQ(read_text_file(out), read_text_file(fs::path(plain) / name)) << result.output;
    const char* format = fs::path(name).extension() == ".png" ? ": PNG of " : ": JPEG of ";
    EXPECT_NE(result.output.find(format), std::string::npos) << result.output;

    const std::string png = (folder.path() / "x.png").string();
    const ProcessResult raw = run_pack(0, {"extract", pixels, "--index", std::to_string(index), "--output", png});
    ASSERT_EQ(raw.exit_code, 0) << raw.output;
    const std::size_t from = raw.output.rfind("', ") + 3;
    const ProcessResult same = python(
        "import sys, numpy as np, PIL.Image as I\n"
        "a, b = (np.asarray(I.open(p).convert('RGB')).astype(int) for p in sys.argv[1:])\n"
        "assert I.open(sys.argv[1]).format == 'PNG' and abs(a - b).max() <= 2, abs(a - b).max()\n",
        {png, plain + "/" + raw.output.substr(from, raw.output.find('\n', from) - from)});
    EXPECT_EQ(same.exit_code, 0) << same.output;
  }
  const ProcessResult beyond = run_pack(0, {"extract", files, "--index", "61", "--output", "/nowhere"});
  EXPECT_EQ(beyond.exit_code, 2) << beyond.output;
  EXPECT_NE(beyond.output.find("--index 61: the set has records 0 to 60"), std::string::npos) << beyond.output;
  const ProcessResult none = run_pack(0, {"info", plain});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_NE(none.output.find("has no index.json"), std::string::npos) << none.output;
}

// The sources are PNG, so that only resizing and the new JPEG are compared: the bytes equal those of a script with PIL.
TEST(PackCommands, ResizedImagesEqualTheFilesThatPilSaves) {
  const TemporaryDirectory folder;
  const std::string set = (folder.path() / "set").string();
  const ProcessResult result = run_pack(2, {"--data-path", reference_path("plain").string(), "--output-dir", set,
                                            "--resize", "9", "--quality", "80", "--shard-size", "3KiB"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const ProcessResult same = python(
      "import h5py, glob, io, sys, PIL.Image as I\n"
      "n = 0\n"
      "for path in sorted(glob.glob(sys.argv[1] + '/*.h5')):\n"
      "    with h5py.File(path) as f:\n"
      "        o, b = f['offsets'][:], f['bytes'][:]\n"
      "        names = f['name_bytes'][:].tobytes(); ends = f['name_offsets'][:]\n"
      "        for i in range(len(o) - 1):\n"
      "            name = names[ends[i]:ends[i + 1]].decode()\n"
      "            image = I.open(sys.argv[2] + '/' + name).convert('RGB')\n"
      "            w, h = image.size\n"
      "            if min(w, h) > 9:\n"
      "                image = image.resize((9, int(9 * h / w)) if w <= h else (int(9 * w / h), 9), I.BICUBIC)\n"
      "            got = b[o[i]:o[i + 1]].tobytes()\n"
      "            assert I.open(io.BytesIO(got)).size == image.size == (f['shapes'][i, 1], f['shapes'][i, 0]), name\n"
      "            if name.endswith('.png'):\n"
      "                out = io.BytesIO(); image.save(out, 'JPEG', quality=80)\n"
      "                assert out.getvalue() == got, name\n"
      "                n += 1\n"
      "print(n)",
      {set, reference_path("plain").string()});
  EXPECT_EQ(same.output, "21\n");
}

}  // namespace
}  // namespace maskedkd::testing
