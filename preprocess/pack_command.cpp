#include "preprocess/pack_command.hpp"

#include "maskedkd/base/enum_names.hpp"
#include "maskedkd/base/error.hpp"
#include "maskedkd/cli/options.hpp"
#include "maskedkd/comm/mpi_session.hpp"
#include "maskedkd/comm/threads.hpp"
#include "preprocess/idx.hpp"
#include "preprocess/image_folder.hpp"
#include "preprocess/packer.hpp"
#include "preprocess/shared_work.hpp"

#include <cstdio>
#include <memory>
#include <sstream>

namespace maskedkd {
namespace {

enum class SourceKind { image_folder, idx };

struct PackCommand {
  SourceKind kind = SourceKind::image_folder;
  std::filesystem::path data_path, images, labels;
  ClassOptions classes;
  std::string class_names;
  PackOptions pack;

  void bind(CommandLine& line);
  void check(const CommandLine& line) const;
  std::unique_ptr<ImageSource> open(const MpiSession& session) const;
};

template <typename Choice>
std::function<void(const std::string&)> choose(const char* flag, EnumNames<Choice, 2> choices, Choice& chosen) {
  return [flag, choices, &chosen](const std::string& text) { chosen = parse_name(choices, text, flag); };
}

void PackCommand::bind(CommandLine& line) {
  line.group("Source")
      .option(
          "source imagefolder|idx", "imagefolder", "imagefolder (DIR/class/image.jpg) or idx (the files of MNIST)",
          choose<SourceKind>("--source", {{{"imagefolder", SourceKind::image_folder}, {"idx", SourceKind::idx}}}, kind))
      .option("data-path", data_path, "imagefolder: the folder of class folders")
      .option("class-map", classes.class_map,
              "imagefolder: file of lines FOLDER CLASS NAME, which defines the names and the order of the classes")
      .option("merge-classes", classes.merge, "imagefolder: folders with the same name in --class-map are one class")
      .option("class-order text|natural", "text",
              "imagefolder: how class names are sorted: text (as torchvision: 1, 10, 2) or natural (1, 2, 10)",
              choose<ClassOrder>("--class-order", {{{"text", ClassOrder::text}, {"natural", ClassOrder::natural}}},
                                 classes.order))
      .option("labels-file", classes.labels_file,
              "imagefolder: file of lines PATH LABEL, for a folder without class folders (ImageNet's val)")
      .option("images", images, "idx: file of images, plain or .gz")
      .option("labels", labels, "idx: file of labels, plain or .gz")
      .option("class-names NAME,NAME", class_names, "idx: names of the classes, separated by commas; else 0, 1, ...")
      .group("Records")
      .option("decoded", pack.records.decoded, "store pixels instead of JPEG and PNG files: several times the size")
      .option("resize", pack.records.resize,
              "pixels of the shorter edge, bicubic as in PIL; smaller images keep their size; 0: files stay unchanged")
      .option("quality", pack.records.quality, "quality of the JPEG that a resized image becomes, 1..100")
      .option(
          "check structure|decode", "structure",
          "how files are checked: structure (markers, chunks, checksums; PNG and doubtful files are decoded) or decode "
          "(all are decoded)",
          choose<FileCheck>("--check", kFileChecks, pack.records.check))
      .option("on-broken fatal|skip", "fatal",
              "what to do about an image that can't be decoded or read: fatal (end the packing) or skip (name it and "
              "leave it out)",
              choose<bool>("--on-broken", {{{"fatal", false}, {"skip", true}}}, pack.skip_broken))
      .group("Shards")
      .option("output-dir", pack.output_dir, "folder for the shards")
      .option("shard-size SIZE", "256MiB", "bytes of the records in a shard: 256MiB, 1GiB, ...",
              [this](const std::string& text) { pack.plan.shard_bytes = parse_size(text); })
      .option("records-per-shard N", "", "images in a shard, instead of --shard-size",
              [this](const std::string& text) {
                std::size_t used = 0;
                try {
                  pack.plan.records_per_shard = std::stoll(text, &used);
                } catch (const std::out_of_range&) {
                  throw usage_error(fmt::format("--records-per-shard: '{}' is out of range", text));
                } catch (const std::invalid_argument&) {
                }
                if (used != text.size() || used == 0) {
                  throw usage_error(fmt::format("--records-per-shard: '{}' is not a whole number", text));
                }
                if (pack.plan.records_per_shard < 1) {
                  throw usage_error(fmt::format("--records-per-shard {} is outside 1..10,000,000", text));
                }
              })
      .option("shuffle", pack.plan.shuffle, "mix the classes; without it the order of the source is kept")
      .option("seed", pack.plan.seed, "seed of the shuffled order")
      .option("threads", pack.threads,
              "threads of each rank, each of which writes one shard at a time; 0: one per core")
      .required("output-dir");
}

bool lies_inside(const std::filesystem::path& inner, const std::filesystem::path& outer) {
  const auto below =
      std::filesystem::weakly_canonical(inner).lexically_relative(std::filesystem::weakly_canonical(outer));
  return !outer.empty() && !below.empty() && *below.begin() != "..";
}

void PackCommand::check(const CommandLine& line) const {
  const bool is_idx = kind == SourceKind::idx;
  for (const char* flag : {"images", "labels", "class-names"}) {
    if (!is_idx && line.given(flag)) {
      throw usage_error(fmt::format("--{} belongs to --source idx", flag));
    }
  }
  for (const char* flag : {"data-path", "class-map", "class-order", "merge-classes", "labels-file", "decoded", "resize",
                           "quality", "check"}) {
    if (is_idx && line.given(flag)) {
      throw usage_error(fmt::format("--{} belongs to --source imagefolder", flag),
                        "--source idx reads --images and --labels");
    }
  }
  if (line.given("class-order") && line.given("class-map")) {
    throw usage_error("--class-map already defines the order of the classes", "remove --class-order");
  }
  if (line.given("records-per-shard") && line.given("shard-size")) {
    throw usage_error("--records-per-shard and --shard-size exclude each other", "give one of them");
  }
  if (line.given("quality") && (pack.records.resize == 0 || pack.records.decoded)) {
    throw usage_error("--quality applies only to resized JPEG images",
                      pack.records.decoded ? "--decoded stores pixels" : "give --resize too");
  }
  if (!is_idx && lies_inside(pack.output_dir, data_path)) {
    throw usage_error(
        fmt::format("--output-dir {} lies inside --data-path {}", pack.output_dir.string(), data_path.string()),
        "the shards would be taken for a class: choose a folder outside of it");
  }
}

std::unique_ptr<ImageSource> PackCommand::open(const MpiSession& session) const {
  if (kind == SourceKind::image_folder) {
    if (data_path.empty()) {
      throw usage_error("--data-path is missing", "name the folder of class folders");
    }
    return std::make_unique<ImageFolder>(ImageFolder::scan(data_path, classes, peers_of(session)));
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

std::string summary_line(const PackSummary& summary) {
  std::string text = fmt::format("{} images of {} classes in {} shards, {}", summary.num_images, summary.num_classes,
                                 summary.num_shards, size_text(static_cast<double>(summary.size_bytes)));
  if (summary.already_packed) {
    return text + ": packed already, nothing to do (maskedkd_pack verify checks every byte)";
  }
  text += fmt::format(", {:.2f} s, {:.0f} images/s, {}/s", summary.seconds,
                      static_cast<double>(summary.num_images) / summary.seconds,
                      size_text(static_cast<double>(summary.size_bytes) / summary.seconds));
  if (summary.num_shards_kept > 0) {
    text += fmt::format(", {} shards kept from before", summary.num_shards_kept);
  }
  if (summary.num_broken > 0) {
    text += fmt::format(", {} broken images left out", summary.num_broken);
  }
  std::string odd;
  for (const auto& [name, count] : summary.odd) {
    odd += fmt::format("{} {} {}", odd.empty() ? "\n  among them" : ",", count, name);
  }
  return text + odd;
}

}  // namespace

int run_pack_command(const MpiSession& session, int argc, const char* const* argv) {
  PackCommand command;
  command.pack.threads = 0;
  CommandLine line(
      "maskedkd_pack pack",
      "Packs images once into sharded, checksummed HDF5 files that maskedkd_train streams. An interrupted packing is "
      "continued by the same command. The word pack may be omitted.",
      "srun -n 64 maskedkd_pack --data-path imagenet/train --output-dir packed/train");
  command.bind(line);
  if (!line.parse(argc, argv)) {
    if (session.rank() == 0) {
      std::fputs(line.help().c_str(), stdout);
    }
    return 0;
  }
  command.check(line);
  command.classes.skip_unreadable = command.pack.skip_broken;
  if (command.kind == SourceKind::idx) {
    command.pack.records.decoded = true;
  }
  const int cores = cores_for_rank(session);
  command.pack.threads = command.pack.threads == 0 ? cores : command.pack.threads;
  command.pack.validate();
  const std::unique_ptr<ImageSource> source = command.open(session);
  const PackSummary summary = pack(session, *source, command.pack);
  if (session.rank() == 0) {
    fmt::print("{} {}\n", command.pack.output_dir.string(), summary_line(summary));
  }
  return 0;
}

}  // namespace maskedkd
