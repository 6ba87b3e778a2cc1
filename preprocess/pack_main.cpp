// maskedkd_pack: images into shards.
#include "maskedkd/base/error.hpp"
#include "maskedkd/cli/options.hpp"
#include "maskedkd/cli/run_main.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "preprocess/idx.hpp"
#include "preprocess/image_folder.hpp"
#include "preprocess/packer.hpp"

#include <cstdio>
#include <memory>
#include <sstream>

namespace maskedkd {
namespace {

enum class SourceKind { image_folder, idx };

struct PackCommand {
  SourceKind kind = SourceKind::image_folder;
  std::filesystem::path data_path, images, labels;
  std::string class_names;
  std::string store;
  PackOptions pack;

  std::unique_ptr<ImageSource> open(const MpiSession& session) const;
};

std::unique_ptr<ImageSource> PackCommand::open(const MpiSession& session) const {
  if (kind == SourceKind::image_folder) {
    if (data_path.empty()) {
      throw usage_error("--data-path is missing", "name the folder of class folders");
    }
    const std::string list = session.broadcast(session.rank() == 0 ? ImageFolder::scan(data_path).serialise() : "");
    return std::make_unique<ImageFolder>(data_path, list);
  }
  if (images.empty() || labels.empty()) {
    throw usage_error("--images and --labels are both needed with --source idx");
  }
  std::vector<std::string> names;
  std::stringstream text(class_names);
  for (std::string name; std::getline(text, name, ',');) {
    names.push_back(name);
  }
  return std::make_unique<IdxImages>(images, labels, names);
}

bool lies_inside(const std::filesystem::path& inner, const std::filesystem::path& outer) {
  const auto below =
      std::filesystem::weakly_canonical(inner).lexically_relative(std::filesystem::weakly_canonical(outer));
  return !outer.empty() && !below.empty() && *below.begin() != "..";
}

int run(const MpiSession& session, int argc, char** argv) {
  PackCommand command;
  CommandLine line(
      "maskedkd_pack",
      "Packs images once into sharded, checksummed HDF5 files that maskedkd_train streams. Interrupted, it goes "
      "on where it was when it is started again with the same options.",
      "mpiexec -n 4 maskedkd_pack --data-path imagenet/train --output-dir packed/train");
  line.group("Source")
      .option("source", "imagefolder", "imagefolder (DIR/class/image.jpg) or idx (the files of MNIST)",
              [&](const std::string& text) {
                if (text != "imagefolder" && text != "idx") {
                  throw usage_error(fmt::format("--source: '{}' is unknown", text), "choose from imagefolder, idx");
                }
                command.kind = text == "idx" ? SourceKind::idx : SourceKind::image_folder;
              })
      .option("data-path", command.data_path, "imagefolder: the folder of class folders")
      .option("images", command.images, "idx: file of images, plain or .gz")
      .option("labels", command.labels, "idx: file of labels, plain or .gz")
      .option("class-names", command.class_names, "idx: names of the classes, separated by commas; else 0, 1, ...")
      .group("Shards")
      .option("output-dir", command.pack.output_dir, "folder for the shards")
      .option("store", command.store, "file: JPEG and PNG bytes unchanged; raw: decoded pixels. Default: file, idx raw")
      .option("records-per-shard", command.pack.records_per_shard,
              "images a shard; a rank holds one shard in memory (2048 ImageNet photographs: 225 MB)")
      .option("on-broken", "fatal",
              "what an image does that can't be decoded: fatal (ends the packing) or skip (is named and left out)",
              [&](const std::string& text) {
                if (text != "fatal" && text != "skip") {
                  throw usage_error(fmt::format("--on-broken: '{}' is unknown", text), "choose from fatal, skip");
                }
                command.pack.skip_broken = text == "skip";
              })
      .required("output-dir");
  if (!line.parse(argc, argv)) {
    if (session.rank() == 0) {
      std::fputs(line.help().c_str(), stdout);
    }
    return 0;
  }
  const bool is_idx = command.kind == SourceKind::idx;
  command.pack.store = command.store.empty() ? (is_idx ? RecordEncoding::raw : RecordEncoding::file)
                                             : parse_record_encoding(command.store);
  if (is_idx && command.pack.store == RecordEncoding::file) {
    throw usage_error("--store file: IDX holds pixels, not files", "leave --store out");
  }
  for (const char* flag : {"images", "labels", "class-names"}) {
    if (!is_idx && line.given(flag)) {
      throw usage_error(fmt::format("--{} belongs to --source idx", flag));
    }
  }
  if (is_idx && line.given("data-path")) {
    throw usage_error("--data-path belongs to --source imagefolder", "--source idx reads --images and --labels");
  }
  if (!is_idx && lies_inside(command.pack.output_dir, command.data_path)) {
    throw usage_error(fmt::format("--output-dir {} lies inside --data-path {}", command.pack.output_dir.string(),
                                  command.data_path.string()),
                      "the shards would be taken for a class: choose a folder outside");
  }
  command.pack.validate();
  const std::unique_ptr<ImageSource> source = command.open(session);
  const PackSummary summary = pack(session, *source, command.pack);
  if (session.rank() == 0) {
    fmt::print(
        "{} {} images of {} classes in {} shards, {:.1f} MB{}\n", command.pack.output_dir.string(), summary.num_images,
        summary.num_classes, summary.num_shards, static_cast<double>(summary.size_bytes) / 1e6,
        summary.was_there
            ? ": packed already, nothing to do"
            : fmt::format(
                  ", {:.2f} s, {:.0f} images/s{}{}", summary.seconds,
                  static_cast<double>(summary.num_images) / summary.seconds,
                  summary.num_shards_kept > 0 ? fmt::format(", {} shards kept from before", summary.num_shards_kept)
                                              : "",
                  summary.num_broken > 0 ? fmt::format(", {} broken images left out", summary.num_broken) : ""));
  }
  return 0;
}

}  // namespace
}  // namespace maskedkd

int main(int argc, char** argv) { return maskedkd::run_main(argc, argv, maskedkd::run); }
