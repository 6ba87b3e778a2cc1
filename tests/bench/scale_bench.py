"""What a run costs each rank at its start, a step, a save and an evaluation, by counting: files of the run and its data
that are opened and bytes read from them (strace), MPI messages and bytes sent (Open MPI's monitoring component). A small
model on 1, 2, 4 and 8 ranks. Counts don't depend on the machine, so that they can be continued to a thousand ranks.

  scale_bench.py BIN_DIR [--ranks 1 2 4 8] [--shards 16]
"""

import argparse
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile

import numpy

COLUMNS = ["shards opened", "files opened", "bytes read", "messages", "bytes sent"]
IMAGES, BATCH, MICRO_BATCH = 512, 64, 8


def write_idx(path, array):
    path.write_bytes(struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes())


def pack(binaries, folder, images, shards):
    random = numpy.random.default_rng(0)
    write_idx(folder / "images", random.integers(0, 256, (images, 16, 16), dtype=numpy.uint8))
    write_idx(folder / "labels", (numpy.arange(images) % 4).astype(numpy.uint8))
    subprocess.run([binaries / "maskedkd_pack", "--source", "idx", "--images", folder / "images", "--labels", folder / "labels",
                    "--output-dir", folder / "set", "--records-per-shard", str(images // shards)], check=True, stdout=subprocess.DEVNULL)
    return folder / "set"


def counts_of(traces, messages, ranks, folder):
    """[ranks, columns]"""
    counts = numpy.zeros((ranks, len(COLUMNS)))
    for rank in range(ranks):
        for line in (traces / str(rank)).open(errors="replace"):
            opened = re.search(r'openat\(.*"([^"]*)", O_[A-Z]*.* = (\d+)', line)
            read = re.search(rf"p?read(?:64)?\(\d+<({re.escape(str(folder))}[^>]*)>.* = (\d+)$", line)
            if opened and opened[1].startswith(str(folder)):
                counts[rank, 0 if re.search(r"/shard-\d+\.h5$", opened[1]) else 1] += 1
            elif read:
                counts[rank, 2] += int(read[2])
        for size, number in re.findall(r"^[EI]\t\d+\t\d+\t(\d+) bytes\t(\d+) msgs", (messages.parent / f"{messages.name}.{rank}.prof").read_text(), re.M):
            counts[rank, 3:] += int(number), int(size)
    return counts


def run(binaries, folder, ranks, train_set, output, flags):
    traces = folder / "traces"
    shutil.rmtree(traces, ignore_errors=True)
    traces.mkdir()
    for old in folder.glob("messages.*"):
        old.unlink()
    command = ["mpiexec", "-n", str(ranks), "--mca", "pml_monitoring_enable", "2", "--mca", "pml_monitoring_enable_output", "3", "--mca",
               "pml_monitoring_filename", folder / "messages", "bash", "-c",
               f'exec strace -f -y -s 0 --seccomp-bpf -e trace=openat,read,pread64 -o {traces}/$OMPI_COMM_WORLD_RANK "$@"', "bash",
               binaries / "maskedkd_train", "--data-path", train_set, "--output-dir", output, "--model", "vit", "--input-size", "16",
               "--patch-size", "4", "--width", "24", "--depth", "3", "--heads", "2", "--batch-size", str(BATCH), "--micro-batch",
               str(MICRO_BATCH), "--repeats", "1", "--precision", "fp32", "--threads", "1", "--workers", "1", "--device", "cpu",
               "--distillation-type", "none", "--checkpoint-minutes", "0", "--keep-checkpoints", "99", *flags]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ended.returncode not in (0, 85):
        raise SystemExit(ended.stdout)
    return counts_of(traces, folder / "messages", ranks, folder), len(list((output / "checkpoints").glob("step-*")))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--shards", type=int, default=16)
    options = parser.parse_args()
    binaries = options.bin.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name).resolve()
        for set_name in ("train", "val"):
            (folder / set_name).mkdir()
        train_set = pack(binaries, folder / "train", IMAGES, options.shards)
        eval_set = pack(binaries, folder / "val", IMAGES // 2, options.shards // 2)
        print(f"{options.shards} shards of {IMAGES} images, {options.shards // 2} of the evaluation; largest rank, and all ranks together")
        print("| ranks | |", " | ".join(COLUMNS), "|\n|---|---|" + "---|" * len(COLUMNS))
        for ranks in options.ranks:
            def counts(output, *flags):
                return run(binaries, folder, ranks, train_set, folder / f"{output}-{ranks}", flags)

            one, _ = counts("one", "--epochs", "9", "--stop-after-steps", "1")
            seven, few = counts("seven", "--epochs", "9", "--stop-after-steps", "7")
            saving, many = counts("saving", "--epochs", "9", "--stop-after-steps", "7", "--checkpoint-steps", "1")
            resumed, _ = counts("one", "--epochs", "9", "--stop-after-steps", "1")
            epoch, epoch_saves = counts("epoch", "--epochs", "1")
            evaluated, evaluated_saves = counts("evaluated", "--epochs", "1", "--eval-data-path", eval_set, "--eval-batch", "8")
            starting_eval, _ = counts("evaluated-one", "--epochs", "9", "--stop-after-steps", "1", "--eval-data-path", eval_set)
            step = (seven - one) / 6
            save = (saving - seven) / (many - few)
            phases = {"start": one - step - save, "start, resumed": resumed - step - save, "step": step, "save": save,
                      "evaluation": evaluated - epoch - (starting_eval - one) - save * (evaluated_saves - epoch_saves)}
            for phase, values in phases.items():
                cells = [f"{most:.0f}, {total:.0f}" for most, total in zip(values.max(axis=0), values.sum(axis=0))]
                print(f"| {ranks} | {phase} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    for variable, value in {"OMPI_MCA_hwloc_base_binding_policy": "none", "OMPI_MCA_rmaps_base_oversubscribe": "1"}.items():
        os.environ.setdefault(variable, value)
    main()
