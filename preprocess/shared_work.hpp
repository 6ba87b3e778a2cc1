// How a command of many ranks waits for work that each rank does without the others.
#pragma once

#include "maskedkd/shards/shard.hpp"
#include "preprocess/peers.hpp"

#include <chrono>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

namespace maskedkd {

class MpiSession;

Peers peers_of(const MpiSession& session);

// Collective: read_shard_index() on rank 0, and its result on every rank.
ShardIndex read_shared_index(const Peers& peers, const std::filesystem::path& directory);

struct SharedWork {
  // Waits for this rank's part, no longer than `timeout`, and returns whether it has ended. Throws what its threads
  // threw.
  std::function<bool(std::chrono::milliseconds timeout)> wait;
  std::function<std::vector<double>()> counts;             // of this rank so far; as many numbers on every rank
  std::function<void(std::span<const double> sums)> show;  // on rank 0: shows the sums of the counts over all ranks
};

// Collective. Returns on rank 0 when the work of all ranks has ended, on the others when their own has.
void wait_and_show(const MpiSession& session, const SharedWork& work);

}  // namespace maskedkd
