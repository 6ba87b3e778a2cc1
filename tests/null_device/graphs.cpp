// Graphs that were captured: their executables, and how one is executed.
#include "capture.hpp"
#include "devices.hpp"
#include "trace.hpp"

#include <algorithm>
#include <set>

namespace maskedkd::null_device {
namespace {

struct Executable {
  std::shared_ptr<const Graph> graph;  // without kernels
  std::size_t num_nodes = 0;           // with them
  Position last;                       // the end of the execution before: executions of one graph follow one another
};

// The nodes that do something, each after those that it followed, directly or by way of kernels.
std::shared_ptr<const Graph> without_kernels(const Graph& graph) {
  auto kept = std::make_shared<Graph>();
  std::vector<std::set<std::size_t>> before(graph.nodes.size());  // for each node, nodes of `kept`
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const std::size_t node : graph.nodes[i].after) {
      before[i].insert(before[node].begin(), before[node].end());
    }
    if (graph.nodes[i].work) {
      kept->nodes.push_back({graph.nodes[i].work, {before[i].begin(), before[i].end()}});
      before[i] = {kept->nodes.size() - 1};
    }
  }
  return kept;
}

// One execution of a graph: nodes in an order that their dependencies allow, which a random schedule chooses.
Step execution_of(const std::shared_ptr<const Graph>& graph) {
  struct Execution {
    std::shared_ptr<const Graph> graph;
    std::vector<Step> steps;
    std::vector<bool> done;
    std::size_t num_done = 0;
  };
  auto run = std::make_shared<Execution>();
  run->graph = graph;
  for (const Node& node : graph->nodes) {
    run->steps.push_back(node.work());
  }
  run->done.resize(graph->nodes.size());
  return [run] {
    const std::size_t count = run->steps.size();
    const std::size_t first = scheduler().late && count > 0 ? scheduler().random() % count : 0;
    bool progress = false;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t at = (first + i) % count;
      const auto& after = run->graph->nodes[at].after;
      if (run->done[at] ||
          !std::all_of(after.begin(), after.end(), [&](std::size_t node) { return run->done[node]; })) {
        continue;
      }
      const Progress step = run->steps[at]();
      progress |= step != Progress::blocked;
      if (step == Progress::finished) {
        run->done[at] = true;
        ++run->num_done;
      }
      if (step == Progress::advanced || (step == Progress::finished && scheduler().late)) {
        break;  // another stream may be next
      }
    }
    return run->num_done == count ? Progress::finished : progress ? Progress::advanced : Progress::blocked;
  };
}

}  // namespace
}  // namespace maskedkd::null_device

using namespace maskedkd::null_device;

NULL_DEVICE_EXPORT cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  *count = reinterpret_cast<const Graph*>(graph)->nodes.size();
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                                    unsigned long long) {
  const auto& captured = *reinterpret_cast<const Graph*>(graph);
  auto* made = new Executable{without_kernels(captured), captured.nodes.size(), {}};
  *executable = reinterpret_cast<cudaGraphExec_t>(made);
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph,
                                                             unsigned long long flags) {
  return cudaGraphInstantiate(executable, graph, flags);
}
NULL_DEVICE_EXPORT cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }
NULL_DEVICE_EXPORT cudaError_t cudaGraphLaunch(cudaGraphExec_t handle, cudaStream_t stream_handle) {
  touch_context("cudaGraphLaunch");
  auto* executable = reinterpret_cast<Executable*>(handle);
  const StreamState state = state_of(stream_handle);
  if (const int code =
          record(Call::graph_launch,
                 {.size = executable->num_nodes, .device = state.stream->device, .stream = state.stream.get()})) {
    return result(code);
  }
  if (state.stream->device != current_device()) {
    mistake("a graph on a stream of device %d while device %d is current", state.stream->device, current_device());
    return result(cudaErrorInvalidResourceHandle);
  }
  if (state.capturing) {
    return result(refuse_in_capture_of(state.stream, "cudaGraphLaunch"));
  }
  Scheduler& s = scheduler();
  const std::lock_guard lock(s.mutex);
  if (const Position last = executable->last; !last.reached()) {
    s.append(
        state.stream, [last] { return last.reached() ? Progress::finished : Progress::blocked; }, last);
  }
  s.submit(state.stream, execution_of(executable->graph));
  executable->last = end_of(state.stream);
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete reinterpret_cast<Graph*>(graph);
  return cudaSuccess;
}
NULL_DEVICE_EXPORT cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete reinterpret_cast<Executable*>(executable);
  return cudaSuccess;
}
