"""The gain of a second rank: the same training (DeiT-Tiny from DeiT3-Small that sees 98 of 196 patches) on one and on two
ranks with one thread each, alternating. Images a second of log.txt, which include data, steps and gradient exchange.

  ranks_bench.py BIN_DIR [--rounds 3] [--micro-batch 16] [--steps 4] [--precision bf16]
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

import numpy
import PIL.Image
import timm
from safetensors.torch import save_file


def make_photographs(folder, count):
    random = numpy.random.default_rng(0)
    for label in range(2):
        (folder / str(label)).mkdir(parents=True)
    for i in range(count):
        coarse = PIL.Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=numpy.uint8))
        coarse.resize((500, 375), PIL.Image.BICUBIC).save(folder / str(i % 2) / f"{i}.jpg", quality=95)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--precision", default="bf16")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        batch = 2 * options.micro_batch
        make_photographs(folder / "photographs", batch * options.steps)
        subprocess.run([options.bin / "maskedkd_pack", "--data-path", folder / "photographs", "--output-dir", folder / "packed"],
                       check=True, stdout=subprocess.DEVNULL)
        save_file(timm.create_model("deit3_small_patch16_224", num_classes=2).state_dict(), folder / "teacher.safetensors")

        def images_per_second(ranks):
            shutil.rmtree(folder / "run", ignore_errors=True)
            subprocess.run(["mpiexec", "-n", str(ranks), options.bin / "maskedkd_train", "--data-path", folder / "packed",
                            "--output-dir", folder / "run", "--teacher-model", "deit3_small", "--teacher-path",
                            folder / "teacher.safetensors", "--batch-size", str(batch), "--micro-batch",
                            str(options.micro_batch), "--repeats", "1", "--epochs", "2", "--threads", "1", "--workers", "1",
                            "--precision", options.precision], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            # The first epoch is a warm-up.
            return json.loads((folder / "run" / "log.txt").read_text().splitlines()[-1])["images_per_second"]

        speeds = {1: [], 2: []}
        for _ in range(options.rounds):
            for ranks in speeds:
                speeds[ranks].append(images_per_second(ranks))
        print(f"{options.precision}, batch {batch} in micro-batches of {options.micro_batch}; median of {options.rounds} rounds in turns")
        one, two = (statistics.median(speeds[ranks]) for ranks in (1, 2))
        print(f"1 rank x 1 thread   {one:6.2f} img/s")
        print(f"2 ranks x 1 thread  {two:6.2f} img/s   {two / one:.2f} x"
              f"   (rounds: {', '.join(f'{b / a:.2f}' for a, b in zip(speeds[1], speeds[2]))})")


if __name__ == "__main__":
    os.environ.setdefault("OMPI_MCA_hwloc_base_binding_policy", "none")
    main()
