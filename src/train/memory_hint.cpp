#include "maskedkd/train/memory_hint.hpp"

#include "maskedkd/checkpoint/checkpoint.hpp"
#include "maskedkd/checkpoint/run_layout.hpp"

namespace maskedkd {

std::int64_t smaller_micro_batch(const TrainOptions& options) {
  const auto fits = [&](std::int64_t size) {
    return options.global_batch % size == 0 && (!options.mixing.enabled() || size % 2 == 0);
  };
  std::int64_t size = options.micro_batch / 2;
  while (size > 0 && !fits(size)) {
    --size;
  }
  return size;
}

std::string memory_hint(const TrainOptions& options) {
  const std::int64_t smaller = smaller_micro_batch(options);
  const std::string evaluation =
      !options.eval_data_path.empty() && options.eval_batch > options.micro_batch ? "a smaller --eval-batch, " : "";
  const std::string graph = options.cuda_graph ? "--cuda-graph false, " : "";
  if (!list_checkpoints(options.output_dir / kCheckpointsFolder).empty()) {
    const std::string other =
        smaller > 0 ? fmt::format(", or another --output-dir with --micro-batch {}", smaller) : "";
    return fmt::format("the run keeps its --micro-batch of {}: take {}{}a GPU that no other program uses{}",
                       options.micro_batch, evaluation, graph, other);
  }
  if (smaller == 0) {
    return fmt::format("take {}{}a smaller model, or a GPU with more memory", evaluation, graph);
  }
  return fmt::format("take {}--micro-batch {} instead of {}, with {} of the memory for a micro-batch",
                     evaluation.empty() ? "" : "a smaller --eval-batch, or ", smaller, options.micro_batch,
                     smaller * 2 == options.micro_batch ? "about half" : "less than half");
}

}  // namespace maskedkd
