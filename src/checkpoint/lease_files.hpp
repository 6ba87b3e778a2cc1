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

// What a copy of the folder does not share, on whichever machine it is seen: its number in the file system.
std::string folder_identity(const std::filesystem::path& folder);

std::string lease_record_text(const LeaseRecord& record);
// nullopt: missing, or damaged as a power cut leaves it. Throws Error where it can't be read.
std::optional<LeaseRecord> read_lease_record(const std::filesystem::path& folder);

std::string generation_name(std::int64_t generation);
std::optional<std::int64_t> generation_of_name(const std::string& name);
// Of the folder that is to become that generation's, another one each time; nullopt: not such a folder.
std::string claim_name(std::int64_t generation);
std::optional<std::int64_t> claimed_generation(const std::string& name);
// Names in the folder of all leases. Throws Error where it can't be read: to take it for empty would be no fence.
std::vector<std::string> names_of_leases(const std::filesystem::path& leases);
std::int64_t newest_generation(const std::filesystem::path& leases);  // 0: none; throws Error

// In place, of constant length: needs no room on a full disk. Throws Error where the folder is gone.
void write_beat(const std::filesystem::path& folder, std::int64_t beats);
// nullopt: there is none. Throws Error where it can't be read.
std::optional<std::string> read_beat(const std::filesystem::path& folder);

}  // namespace maskedkd
