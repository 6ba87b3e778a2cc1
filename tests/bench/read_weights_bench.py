"""Reading a large weights file, beside Python's safetensors.torch.load_file, alternating.

  read_weights_bench.py PROGRAM [--model deit3_large_patch16_224] [--rounds 9] [--threads 1] [--clock wall|cpu]
                        [--how open,sum,model]
       makes the model's file with random values in a temporary folder, measures, prints a table
  read_weights_bench.py --serve open|sum|model FILE MODEL         does the same as read_weights_bench.cpp

Each reading is a process that has loaded its libraries before its clock starts: open (opens every tensor), sum (and reads
every byte), model (builds the model and loads the weights; in Python timm.create_model and load_state_dict). Memory is the
largest resident size (VmHWM), including libraries. The file comes from the page cache."""

import argparse
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time


def peak_resident_bytes():
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1])


def serve(how, file, model_name):
    import timm
    import torch
    from safetensors.torch import load_file

    torch.ones(1 << 16).sum().item()
    before, begin, processor = peak_resident_bytes(), time.perf_counter(), time.process_time()
    if how == "model":
        model = timm.create_model(model_name)
        model.load_state_dict(load_file(file))
        checksum = sum(parameter.numel() for parameter in model.parameters())
    else:
        weights = load_file(file)
        checksum = sum(tensor.sum().item() for tensor in weights.values()) if how == "sum" else len(weights)
        del weights  # releasing the memory is timed on both sides
    print(f"{time.perf_counter() - begin:.6f} {time.process_time() - processor:.6f} {before} {peak_resident_bytes()} {checksum:.9g}")


def make_file(model_name, file):
    import timm
    from safetensors.torch import save_file

    weights = timm.create_model(model_name).state_dict()
    save_file({name: tensor.normal_() for name, tensor in weights.items()}, file, {"format": "pt"})


def measure(options):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "weights.safetensors"
        subprocess.run([sys.executable, __file__, "--make", options.model, file], check=True)
        size = file.stat().st_size
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        sides = {"this": [options.program], "Python": [sys.executable, __file__, "--serve"]}

        def read(side, how):
            done = subprocess.run([*sides[side], how, file, options.model], check=True, capture_output=True, text=True,
                                  env=environment)
            wall, processor, *rest = [float(word) for word in done.stdout.split()]
            return [processor if options.clock == "cpu" else wall, *rest]

        print(f"{options.model}: {size / 1e6:.0f} MB from the page cache, {options.threads} threads; median of "
              f"{options.rounds} rounds in turns, {options.clock} time; memory: largest resident, over the file's size")
        print(f"{'':8}{'seconds':>24}{'ratio':>9}{'all memory':>24}{'without libraries':>24}")
        print(f"{'':8}{'this':>12}{'Python':>12}{'':9}{'this':>12}{'Python':>12}{'this':>12}{'Python':>12}")
        for how in options.how.split(","):
            for side in sides:
                read(side, how)  # warm
            rounds = [{side: read(side, how) for side in sides} for _ in range(options.rounds)]
            checksums = [round_[side][3] for round_ in rounds for side in sides]
            assert all(math.isclose(checksum, checksums[0], rel_tol=1e-6) for checksum in checksums), checksums
            middle = {side: [statistics.median(round_[side][i] for round_ in rounds) for i in range(3)] for side in sides}
            ratio = statistics.median(round_["Python"][0] / round_["this"][0] for round_ in rounds)
            print(f"{how:8}" + "".join(f"{middle[side][0]:12.4f}" for side in sides) + f"{ratio:7.2f} x"
                  + "".join(f"{middle[side][2] / size:12.3f}" for side in sides)
                  + "".join(f"{(middle[side][2] - middle[side][1]) / size:12.3f}" for side in sides), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    elif sys.argv[1:2] == ["--make"]:
        make_file(*sys.argv[2:])
    else:
        parser = argparse.ArgumentParser()
        parser.add_argument("program")
        parser.add_argument("--model", default="deit3_large_patch16_224")
        parser.add_argument("--rounds", type=int, default=9)
        parser.add_argument("--threads", type=int, default=1)
        parser.add_argument("--how", default="open,sum,model")
        # cpu, with one thread, is less affected by other processes on the machine
        parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
        measure(parser.parse_args())
