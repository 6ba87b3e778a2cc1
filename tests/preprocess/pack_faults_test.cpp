// Errors while the real program packs, and unusual files.
#include "maskedkd/io/posix.hpp"
#include "maskedkd/shards/shard_reader.hpp"
#include "pack_program.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>
#include <sys/mount.h>

#include <fstream>
#include <set>

namespace maskedkd::testing {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> packing_plain(const fs::path& out, const std::string& per_shard = "5") {
  return {"--data-path", reference_path("plain").string(), "--output-dir", out.string(), "--records-per-shard",
          per_shard};
}

// PIL makes the files and decides which of them can be read.
TEST(PackFaults, OddFilesArePackedAsPilReadsThemAndBrokenOnesNamed) {
  const TemporaryDirectory folder;
  const std::string odd = (folder.path() / "odd").string(), out = (folder.path() / "out").string();
  const ProcessResult made = run_process(
      {MASKEDKD_PYTHON, "-c",
       "import sys, os, io, numpy as np, PIL.Image as I\n"
       "root = sys.argv[1] + '/a b'; os.makedirs(root)\n"
       "r = np.random.default_rng(3)\n"
       "image = I.fromarray(r.integers(0, 256, (40, 30, 3), dtype=np.uint8))\n"
       "image.save(root + '/plain.jpg'); image.convert('L').save(root + '/gray.jpg')\n"
       "image.convert('CMYK').save(root + '/inks.jpg'); image.save(root + '/really png.JPEG', 'PNG')\n"
       "image.save(root + '/really jpeg.png', 'JPEG'); image.save(root + '/progressive.jpg', progressive=True)\n"
       "I.fromarray(r.integers(0, 65536, (20, 20), dtype=np.uint16)).save(root + '/deep.png')\n"
       "exif = I.Exif(); exif[0x112] = 6; image.save(root + '/größe\\n6.jpg', exif=exif)\n"
       "whole = open(root + '/plain.jpg', 'rb').read()\n"
       "png = open(root + '/really png.JPEG', 'rb').read()\n"
       "def put(name, content): open(root + '/' + name, 'wb').write(content)\n"
       "put('zz cut.jpg', whole[:-200]); put('zz empty.jpg', b''); put('zz head.jpg', whole[:30])\n"
       "put('zz no end.png', png[:-30]); put('zz text.png', b'GIF89a nothing'); put('zz zeros.jpg', bytes(5000))\n"
       "flipped = bytearray(png); flipped[200] ^= 1; put('zz flipped.png', bytes(flipped))\n",
       odd});
  ASSERT_EQ(made.exit_code, 0) << made.output;
  for (const char* check : {"structure", "decode"}) {
    const ProcessResult result =
        run_pack(2, {"--data-path", odd, "--output-dir", out, "--on-broken", "skip", "--check", check});
    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_NE(result.output.find("8 images of 1 classes"), std::string::npos) << result.output;
    EXPECT_NE(result.output.find("7 broken images left out"), std::string::npos) << result.output;
    for (const char* name :
         {"cut.jpg", "empty.jpg", "head.jpg", "no end.png", "text.png", "zeros.jpg", "flipped.png"}) {
      EXPECT_NE(result.output.find(std::string("zz ") + name + ": "), std::string::npos) << name << result.output;
    }
    EXPECT_NE(result.output.find("among them 1 16-bit, 1 cmyk, 2 gray, 2 misnamed, 1 rotated"), std::string::npos)
        << result.output;
    EXPECT_EQ(ShardSet(out).num_records(), 8);
    fs::remove_all(out);
  }
}

TEST(PackFaults, ABrokenFileOfAnyNameGivesOneCleanLine) {
  const TemporaryDirectory folder;
  const fs::path root = folder.path() / "in";
  fs::create_directories(root / "a");
  fs::copy_file(reference_path("plain") / "class 1" / "001.jpg", root / "a" / "x.jpg");
  std::ofstream(root / "a" / "k\nl\x1b[31m.jpg") << "no image";
  for (const char* broken : {"fatal", "skip"}) {
    const ProcessResult result = run_pack(
        0, {"--data-path", root.string(), "--output-dir", (folder.path() / "out").string(), "--on-broken", broken});
    EXPECT_NE(result.output.find("k?l?[31m.jpg"), std::string::npos) << result.output;
    EXPECT_EQ(result.output.find("[31m.jpg"), result.output.find("k?l?") + 4) << result.output;
    EXPECT_EQ(result.output.find("\x1b[31m.jpg"), std::string::npos) << result.output;
  }
}

// A JPEG that was truncated and closed again, and a PNG of valid chunks with half of its rows: the structure check
// can't find these.
TEST(PackFaults, ImagesThatOnlyDecodingFindsBrokenCanBeRemovedLater) {
  const TemporaryDirectory folder;
  const std::string in = (folder.path() / "in").string(), out = (folder.path() / "out").string();
  const ProcessResult made = run_process(
      {MASKEDKD_PYTHON, "-c",
       "import sys, os, struct, zlib, numpy as np, PIL.Image as I\n"
       "root = sys.argv[1] + '/a'; os.makedirs(root)\n"
       "r = np.random.default_rng(3)\n"
       "for i in range(12):\n"
       "    I.fromarray(r.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(f'{root}/{i:02}.jpg')\n"
       "whole = open(root + '/05.jpg', 'rb').read()\n"
       "open(root + '/05.jpg', 'wb').write(whole[:-400] + b'\\xff\\xd9')\n"
       "def chunk(kind, data):\n"
       "    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))\n"
       "png = (b'\\x89PNG\\r\\n\\x1a\\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 8, 8, 8, 0, 0, 0, 0)) +\n"
       "       chunk(b'IDAT', zlib.compress(bytes(9 * 4))) + chunk(b'IEND', b''))\n"
       "open(root + '/half.png', 'wb').write(png)\n",
       in});
  ASSERT_EQ(made.exit_code, 0) << made.output;
  const auto packing = [&](const std::string& check) {
    const ProcessResult result = run_pack(2, {"--data-path", in, "--output-dir", out, "--records-per-shard", "4",
                                              "--shuffle", "false", "--on-broken", "skip", "--check", check});
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result.output;
  };
  const std::string first = packing("structure");
  EXPECT_NE(first.find("half.png"), std::string::npos) << first;
  EXPECT_NE(first.find("12 images of 1 classes"), std::string::npos) << first;
  EXPECT_EQ(run_pack(2, {"verify", out}).exit_code, 0);
  const ProcessResult verified = run_pack(2, {"verify", "--decode", out});
  EXPECT_EQ(verified.exit_code, 1) << verified.output;
  EXPECT_NE(verified.output.find("shard-00001.h5, record 1, class 'a', a/05.jpg: can't be decoded ("),
            std::string::npos)
      << verified.output;
  EXPECT_NE(verified.output.find("1 problems in 1 shards"), std::string::npos) << verified.output;
  const auto before = digests_of(out);

  const std::string second = packing("decode");
  EXPECT_NE(second.find("left out " + in + "/a/05.jpg"), std::string::npos) << second;
  EXPECT_NE(second.find("11 images of 1 classes"), std::string::npos) << second;
  const auto after = digests_of(out);
  EXPECT_EQ(after.at("shard-00000.h5"), before.at("shard-00000.h5"));
  EXPECT_EQ(after.at("shard-00002.h5"), before.at("shard-00002.h5"));
  EXPECT_EQ(run_pack(2, {"verify", "--decode", out}).exit_code, 0);
  for (const char* check : {"decode", "structure"}) {
    const std::string again = packing(check);
    EXPECT_NE(again.find("packed already, nothing to do"), std::string::npos) << again;
  }
  EXPECT_EQ(digests_of(out), after);
  fs::remove_all(out);
  packing("decode");
  EXPECT_EQ(digests_of(out), after) << "as if it had been decoded at once";
}

TEST(PackFaults, FilesOutsideOfClassFoldersAreReportedOnce) {
  const TemporaryDirectory folder;
  const fs::path images = folder.path() / "images";
  fs::copy(reference_path("plain"), images, fs::copy_options::recursive);
  std::ofstream(images / "stray.jpg") << "no class";
  for (const int ranks : {0, 2}) {
    const ProcessResult result = run_pack(
        ranks, {"--data-path", images.string(), "--output-dir", (folder.path() / std::to_string(ranks)).string()});
    EXPECT_EQ(result.exit_code, 0) << result.output;
    const std::string line = "left out 1 files outside of class folders, the first of them ";
    const std::size_t first = result.output.find(line);
    EXPECT_NE(first, std::string::npos) << result.output;
    EXPECT_EQ(result.output.find(line, first + 1), std::string::npos) << "once, not by every rank";
  }
}

TEST(PackFaults, NamesOfAllKindsArePacked) {
  const TemporaryDirectory folder;
  const ProcessResult result = run_pack(3, {"--data-path", reference_path("nasty").string(), "--output-dir",
                                            folder.path().string(), "--shard-size", "4KiB", "--shuffle", "false"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  std::set<std::string> names;
  for (const ShardIndexEntry& entry : read_shard_index(folder.path()).shards) {
    const RecordNames of_shard = read_record_names(folder.path() / entry.name, entry.num_records);
    for (std::size_t i = 0; i < of_shard.size(); ++i) {
      const std::string name(of_shard[i]);
      EXPECT_TRUE(fs::is_regular_file(reference_path("nasty") / name)) << name;
      names.insert(name);
    }
  }
  EXPECT_EQ(static_cast<std::int64_t>(names.size()), ShardSet(folder.path()).num_records());
  for (const char* name : {"b/new\nline.jpg", "日本/😀.jpg", "b/a b.png", "b/sub x/1.png"}) {
    EXPECT_EQ(names.count(name), 1u) << name;
  }
}

// Only root can mount a file system. A limit on file sizes (as in tests/shards/shard_writer_test.cpp) can't replace it,
// because MPI could not start.
TEST(PackFaults, AFullDiskGivesOneLineAndTheNextStartContinues) {
  const TemporaryDirectory folder;
  const fs::path whole = folder.path() / "whole", out = folder.path() / "out";
  ASSERT_EQ(run_pack(0, packing_plain(whole, "20")).exit_code, 0);
  fs::create_directories(out);
  if (mount("tmpfs", out.c_str(), "tmpfs", 0, "size=100k") != 0) {
    GTEST_SKIP() << "no file system can be mounted here";
  }
  // One thread, so that the first shards are complete; several threads might have completed none when the disk is full.
  std::vector<std::string> one_thread = packing_plain(out, "20");
  one_thread.insert(one_thread.end(), {"--threads", "1"});
  const ProcessResult full = run_pack(0, one_thread);
  EXPECT_EQ(full.exit_code, 1) << full.output;
  // Whether a shard or the note beside it does not fit depends on how the file system counts.
  EXPECT_NE(full.output.find("can't write " + (out / "").string()), std::string::npos) << full.output;
  EXPECT_NE(full.output.find("No space left on device; free some space"), std::string::npos) << full.output;
  EXPECT_FALSE(fs::exists(out / "index.json"));
  EXPECT_TRUE(fs::exists(out / "shard-00000.h5"));
  EXPECT_EQ(mount("tmpfs", out.c_str(), "tmpfs", MS_REMOUNT, "size=16m"), 0);
  const ProcessResult on = run_pack(2, packing_plain(out, "20"));
  EXPECT_EQ(on.exit_code, 0) << on.output;
  EXPECT_NE(on.output.find(" shards kept from before"), std::string::npos) << on.output;
  EXPECT_EQ(digests_of(out), digests_of(whole));
  umount(out.c_str());
}

TEST(PackFaults, LeftoversAreSweptAndADamagedRecordIsPackedAgain) {
  const TemporaryDirectory folder;
  const fs::path& out = folder.path();
  const fs::path half = out / ".tmp-shard-00001.h5-4711.1.0badcafe.00000001";
  std::ofstream(half) << "half";
  fs::last_write_time(half, fs::file_time_type::clock::now() - std::chrono::hours(2));
  std::ofstream(out / ".packed-shard-00002.json") << "{\"set_id\": \"another\"}";
  std::ofstream(out / ".packed-shard-00003.json") << "no JSON";
  std::ofstream(out / "shard-00002.h5") << "another packing's";
  std::ofstream(out / "shard-00003.h5") << "no HDF5";
  std::ofstream(out / "shard-00099.h5") << "of a larger set";
  ASSERT_EQ(run_pack(2, packing_plain(out)).exit_code, 0);
  const auto expected = digests_of(out);
  EXPECT_EQ(expected.size(), 14u) << "13 shards and an index";
  // A flipped bit of a record, which opening does not notice, beside a lost shard, which it does.
  const ShardIndex index = read_shard_index(out);
  const auto at = static_cast<std::streamoff>(index.shards[4].bytes_offset + 50);
  {
    std::fstream file(out / "shard-00004.h5", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file.put(file.peek() == 'x' ? 'y' : 'x');
  }
  fs::remove(out / "shard-00007.h5");
  const ProcessResult mended = run_pack(2, packing_plain(out));
  ASSERT_EQ(mended.exit_code, 0) << mended.output;
  EXPECT_NE(mended.output.find("11 shards kept from before"), std::string::npos) << mended.output;
  EXPECT_EQ(digests_of(out), expected);
}

TEST(PackFaults, ForeignShardsAreRefusedAndKept) {
  for (const char* name : {"shard-00002.h5", "shard-00099.h5"}) {
    const TemporaryDirectory folder;
    const fs::path file = folder.path() / name;
    std::ofstream(file) << "not from here";
    const ProcessResult refused = run_pack(2, packing_plain(folder.path()));
    EXPECT_EQ(refused.exit_code, 2) << refused.output;
    EXPECT_NE(refused.output.find("contains " + std::string(name) + ", which no interrupted packing left there"),
              std::string::npos)
        << refused.output;
    EXPECT_EQ(read_text_file(file), "not from here");
    EXPECT_FALSE(fs::exists(folder.path() / ".packing")) << "a second start would take it for its own";
    EXPECT_EQ(run_pack(0, packing_plain(folder.path())).exit_code, 2);
    EXPECT_EQ(read_text_file(file), "not from here");
    fs::rename(file, folder.path() / "moved away.h5");
    EXPECT_EQ(run_pack(0, packing_plain(folder.path())).exit_code, 0);
    EXPECT_EQ(read_text_file(folder.path() / "moved away.h5"), "not from here");
  }
}

TEST(PackFaults, OnlyLeftoversOfAnInterruptedPackingAreSwept) {
  const TemporaryDirectory folder;
  const fs::path larger = folder.path() / "shard-00099.h5", named = folder.path() / "shard-train.h5";
  write_file_atomically(folder.path() / ".packing", "0123");
  std::ofstream(larger) << "of a larger set";
  std::ofstream(named) << "not from here";
  const ProcessResult packed = run_pack(0, packing_plain(folder.path()));
  ASSERT_EQ(packed.exit_code, 0) << packed.output;
  EXPECT_FALSE(fs::exists(larger));
  EXPECT_EQ(read_text_file(named), "not from here");
  // A repaired set has the shards of its index; another shard beside them was added later.
  std::ofstream(larger) << "not from here";
  fs::remove(folder.path() / "shard-00003.h5");
  const ProcessResult mended = run_pack(0, packing_plain(folder.path()));
  ASSERT_EQ(mended.exit_code, 0) << mended.output;
  EXPECT_EQ(read_text_file(larger), "not from here");
}

TEST(PackFaults, ThreadsDoNotChangeTheSetAndSeedsDo) {
  const TemporaryDirectory folder;
  const auto packed = [&](const std::string& name, std::vector<std::string> more) {
    std::vector<std::string> arguments = packing_plain(folder.path() / name);
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = run_pack(0, arguments);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return digests_of(folder.path() / name);
  };
  const auto one = packed("one", {"--threads", "1"});
  EXPECT_EQ(packed("four", {"--threads", "4"}), one);
  EXPECT_NE(packed("seed", {"--seed", "1"}), one);
  EXPECT_NE(packed("ordered", {"--shuffle", "false"}), one);
}

}  // namespace
}  // namespace maskedkd::testing
