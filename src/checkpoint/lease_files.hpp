// The files of a lease. Internal to this module.
#pragma once

#include "maskedkd/checkpoint/lease.hpp"

#include <optional>
#include <string>
#include <vector>

namespace maskedkd {

inline constexpr const char* kLeaseFolder = ".lease";
inline constexpr const char* kOwnerName = "owner.json";
inline constexpr const char* kBeatName = "beat";

struct LeaseRecord {
  LeaseOwner owner;
  LeaseNote note;
  bool released = false;
  std::string run_folder;  // as folder_identity has it
};

// The folder's inode number, which a copy of the folder does not share.
std::string folder_identity(const std::filesystem::path& folder);

std::string lease_record_text(const LeaseRecord& record);
// nullopt: missing, or damaged by a power cut. Throws Error where it can't be read.
std::optional<LeaseRecord> read_lease_record(const std::filesystem::path& folder);

std::string generation_name(std::int64_t generation);
std::optional<std::int64_t> generation_of_name(const std::string& name);
// The temporary name of a folder that is to become that generation's, unique for each process; and the generation in
// such a name, nullopt where it is not one.
std::string claim_name(std::int64_t generation);
std::optional<std::int64_t> claimed_generation(const std::string& name);
// Names in the folder of all leases. Throws Error where it can't be read: treating it as empty would not be safe.
std::vector<std::string> names_of_leases(const std::filesystem::path& leases);
std::int64_t newest_generation(const std::filesystem::path& leases);  // 0: none; throws Error

// In place and of constant length, so that it works on a full disk. Throws Error where the folder is gone.
void write_beat(const std::filesystem::path& folder, std::int64_t beats);
// nullopt: there is none. Throws Error where it can't be read.
std::optional<std::string> read_beat(const std::filesystem::path& folder);

}  // namespace maskedkd
