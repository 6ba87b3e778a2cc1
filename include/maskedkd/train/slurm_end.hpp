// Asks Slurm when the running job will end: a suspension or a new time limit changes it.
#pragma once

#include <chrono>
#include <future>
#include <optional>
#include <string>

namespace maskedkd {

// Runs squeue in another thread, without the user's settings for squeue and dates, and kills it after `timeout`. The
// answer: seconds since 1970; infinity: the job has no time limit; nullopt: unknown. job_id: SLURM_JOB_ID.
std::future<std::optional<double>> ask_slurm_for_end(const std::string& job_id,
                                                     std::chrono::seconds timeout = std::chrono::seconds(60));

}  // namespace maskedkd
