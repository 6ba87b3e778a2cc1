// Asks Slurm when a job will end, while the job goes on: the end moves when the job is suspended and resumed, or given
// another limit.
#pragma once

#include <chrono>
#include <future>
#include <optional>
#include <string>

namespace maskedkd {

// Runs squeue by a thread of its own, without the user's settings for squeue and for dates. The answer: seconds since
// 1970; infinity where the job has no time limit; nullopt where squeue did not say it, also within the patience, after
// which it is killed. Nothing has to wait for the answer. job_id: SLURM_JOB_ID.
std::future<std::optional<double>> ask_slurm_for_end(const std::string& job_id,
                                                     std::chrono::seconds patience = std::chrono::seconds(60));

}  // namespace maskedkd
