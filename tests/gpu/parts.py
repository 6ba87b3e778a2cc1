"""The parts of run.py. Each gets the place of the programs and a function that runs a command, and returns rows of the
table: (name, result, detail). A result is ok, skipped, FAILED or a figure."""

import json
import pathlib
import re
import shutil
import sys

import small_run

TESTS = pathlib.Path(__file__).resolve().parent.parent


def machine(place, run):
    import torch

    cuda = torch.cuda.is_available()
    if place.device == "cuda" and not cuda:
        raise RuntimeError("torch finds no GPU")
    name = torch.cuda.get_device_name() if cuda else "no GPU"
    if shutil.which("nvidia-smi"):
        name += ", driver " + run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]).split()[0]
    return [("machine", "ok", f"{name}, torch {torch.__version__}")]


def tested(place, name, output):
    """The row of a program of GoogleTest."""
    passed = re.search(r"\[  PASSED  \] (\d+) test", output)
    skipped = len(re.findall(r"\[  SKIPPED \] .* \(", output))
    number = int(passed.group(1)) if passed else 0
    without_tests = "FAILED" if place.device == "cuda" else "skipped"
    return name, "ok" if number else without_tests, f"{number} passed, {skipped} skipped"


def nccl(place, run):
    return [tested(place, "NCCL, one rank", run([place.program("comm_nccl_communicator_test")]))]


def augment(place, run):
    return [tested(place, "augmentation against the CPU", run([place.program("kernels_augment_on_gpu_test")]))]


def prepare(place, run):
    return [tested(place, "a batch prepared on the GPU", run([place.program("kernels_prepare_on_gpu_test")]))]


def add_norm(place, run):
    return [tested(place, "residual sums and norms against the CPU", run([place.program("kernels_add_norm_on_gpu_test")]))]


def steps(place, run):
    reference = place.work / "reference"
    if place.device == "cuda":
        run([sys.executable, TESTS / "train/reference.py", reference, "cuda"])
    output = run([place.program("train_steps_test"), "--gtest_filter=OnGpu/*"], {"MASKEDKD_GPU_REFERENCE": str(reference)})
    return [tested(place, "five steps against PyTorch", output)]


def resumed(place, run):
    """20 steps in one go, and killed with SIGKILL between step 5 and the end, and continued: the same bits."""
    data = small_run.pack(place, run)
    whole = small_run.train(place, run, data, "whole")
    small_run.train(place, run, data, "killed", kill_after_steps=5)
    continued = small_run.train(place, run, data, "killed")
    if not re.search(r"resuming from .*: epoch", continued):
        raise RuntimeError("the killed run did not resume")
    small_run.require_equal(place, "whole", "killed")
    return [("killed and resumed, bits", "ok", small_run.describe(whole))]


def graph(place, run):
    """The same 20 steps from a CUDA graph and launched one by one: the same bits."""
    if "--cuda-graph" not in run([place.program("maskedkd_train"), "--help"]):
        return [("CUDA graph against eager, bits", "skipped", "this maskedkd_train has no --cuda-graph")]
    if place.device == "cpu":
        return [("CUDA graph against eager, bits", "skipped", "there is no GPU")]
    data = small_run.pack(place, run)
    for name in ("true", "false"):
        small_run.train(place, run, data, f"graph-{name}", ["--cuda-graph", name])
    small_run.require_equal(place, "graph-true", "graph-false")
    return [("CUDA graph against eager, bits", "ok", "20 steps")]


def bench(place, run):
    """The step beside the official one and beside torch.compile, each in a run of its own, as one may fail."""
    cuda = place.device == "cuda"
    size = ["--batch", "128", "--steps", "20", "--rounds", "3"] if cuda else \
        ["--batch", "4", "--steps", "1", "--rounds", "1", "--threads", "1"]
    rows = []
    # Many CPUs only emulate bf16.
    pairs = (("bf16", "official"), ("fp32", "official"), ("bf16", "compiled")) if cuda else (("fp32", "official"),)
    for precision, side in pairs:
        try:
            output = run([sys.executable, TESTS / "bench/step_bench.py", place.program("step_bench"), "--device",
                          place.device, "--precisions", precision, "--sides", f"this,{side}", *size])
        except (RuntimeError, TimeoutError) as error:
            rows.append((f"step in {precision}, {side}", "FAILED", str(error)))
            continue
        for line in output.splitlines():
            fields = line.split()
            if fields and fields[0] == precision:
                detail = "this program" if fields[1] == "this" else f"this program is {fields[3]} times as fast"
                rows.append((f"step in {precision}, {fields[1]}", f"{fields[2]} img/s", detail))
    return rows


def profile(place, run):
    """One micro-batch in LibTorch's profiler: time on the device and on the host, and where it goes."""
    trace = place.work / "trace.json"
    weights = place.work / "weights"
    weights.mkdir(exist_ok=True)
    run([sys.executable, TESTS / "bench/step_bench.py", "--weights", weights])
    precision, batch, threads = ("bf16", "128", "4") if place.device == "cuda" else ("fp32", "2", "1")
    run([place.program("step_bench"), weights, precision, batch, "98", threads, place.device, trace])
    events = [event for event in json.loads(trace.read_text())["traceEvents"] if event.get("ph") == "X"]
    on_device = [event for event in events if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
    shown = on_device or [event for event in events if event.get("cat") == "cpu_op"]
    launches = sum(event.get("name", "").startswith(("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch"))
                   for event in events)
    totals = {}
    for event in shown:
        totals[event["name"]] = totals.get(event["name"], 0) + event["dur"]
    busy = sum(event["dur"] for event in shown)
    span = max((e["ts"] + e["dur"] for e in events), default=0) - min((e["ts"] for e in events), default=0)
    rows = [("profile of a micro-batch", f"{busy / 1e3:.2f} ms", f"{len(shown)} {'kernels and copies' if on_device else 'operators'}"
             f" in {span / 1e3:.2f} ms, {launches} launches")]
    for name, duration in sorted(totals.items(), key=lambda item: -item[1])[:8]:
        rows.append((f"  {name[:32]}", f"{duration / 1e3:.3f} ms", f"{100 * duration / max(busy, 1e-9):.0f} %"))
    return rows


# Name -> function, time limit in seconds.
PARTS = {"machine": (machine, 20), "nccl": (nccl, 40), "augment": (augment, 40), "prepare": (prepare, 40), "add_norm": (add_norm, 40),
         "steps": (steps, 90), "resumed": (resumed, 80), "graph": (graph, 50), "bench": (bench, 240), "profile": (profile, 40)}
