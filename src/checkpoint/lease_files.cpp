#include "lease_files.hpp"

#include "maskedkd/base/environment.hpp"
#include "maskedkd/io/posix.hpp"
#include "maskedkd/io/unfinished.hpp"

#include <sys/stat.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>

namespace maskedkd {
namespace {

namespace fs = std::filesystem;

constexpr int kDigits = 9;
constexpr std::string_view kClaimPrefix = ".new-";
constexpr std::uint64_t kLargestRecordBytes = std::uint64_t{1} << 16;

}  // namespace

LeaseOwner this_process(std::string program) {
  LeaseOwner owner;
  static_cast<ProcessIdentity&>(owner) = this_process_identity();
  owner.program = std::move(program);
  owner.job = environment_variable("SLURM_JOB_ID");
  owner.restarts = std::atoll(environment_variable("SLURM_RESTART_COUNT").c_str());
  return owner;
}

std::string LeaseOwner::describe() const {
  return fmt::format("{} on {}, process {}{}", program, host, process, job.empty() ? "" : ", job " + job);
}

std::string lease_record_text(const LeaseRecord& record) {
  const nlohmann::ordered_json json = {
      {"program", record.owner.program},
      {"host", record.owner.host},
      {"boot", record.owner.boot},
      {"process", record.owner.process},
      {"process_started", record.owner.process_started},
      {"job", record.owner.job},
      {"restarts", record.owner.restarts},
      {"released", record.released},
      {"run_folder", record.run_folder},
      {"ended", record.note.ended},
      {"began_with", record.note.resumed_from},
      {"starts_in_vain", record.note.restarts_without_checkpoint},
  };
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::optional<LeaseRecord> read_lease_record(const fs::path& folder) {
  const std::optional<std::string> text = read_text_file_if_exists(folder / kOwnerName, kLargestRecordBytes);
  try {
    const auto json = nlohmann::json::parse(text.value_or(""));
    LeaseRecord record;
    json.at("program").get_to(record.owner.program);
    json.at("host").get_to(record.owner.host);
    json.at("boot").get_to(record.owner.boot);
    json.at("process").get_to(record.owner.process);
    json.at("process_started").get_to(record.owner.process_started);
    json.at("job").get_to(record.owner.job);
    json.at("restarts").get_to(record.owner.restarts);
    json.at("released").get_to(record.released);
    json.at("run_folder").get_to(record.run_folder);
    json.at("ended").get_to(record.note.ended);
    json.at("began_with").get_to(record.note.resumed_from);
    json.at("starts_in_vain").get_to(record.note.restarts_without_checkpoint);
    return record;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

std::string folder_identity(const fs::path& folder) {
  struct stat status {};
  return ::stat(folder.c_str(), &status) == 0 ? std::to_string(status.st_ino) : "";
}

std::string generation_name(std::int64_t generation) { return fmt::format("{:0{}}", generation, kDigits); }

std::optional<std::int64_t> generation_of_name(const std::string& name) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size() || number < 1 || generation_name(number) != name) {
    return std::nullopt;
  }
  return number;
}

std::string claim_name(std::int64_t generation) {
  return fmt::format("{}{}-{}", kClaimPrefix, generation_name(generation), writer_tag());
}

std::optional<std::int64_t> claimed_generation(const std::string& name) {
  return name.starts_with(kClaimPrefix) ? generation_of_name(name.substr(kClaimPrefix.size(), kDigits)) : std::nullopt;
}

std::vector<std::string> names_of_leases(const fs::path& leases) {
  try {
    return list_directory(leases);
  } catch (const FileError& error) {
    if (error.reason() != ENOENT) {
      throw;
    }
    return {};
  }
}

std::int64_t newest_generation(const fs::path& leases) {
  std::int64_t newest = 0;
  for (const std::string& name : names_of_leases(leases)) {
    newest = std::max(newest, generation_of_name(name).value_or(0));
  }
  return newest;
}

void write_beat(const fs::path& folder, std::int64_t beats) {
  const fs::path path = folder / kBeatName;
  const FileDescriptor file = open_for_update(path);
  const std::string text = fmt::format("{:020}\n", beats);
  write_at(file, 0, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, path);
}

std::optional<std::string> read_beat(const fs::path& folder) {
  return read_text_file_if_exists(folder / kBeatName, kLargestRecordBytes);
}

}  // namespace maskedkd
