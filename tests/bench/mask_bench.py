"""The time of a training step with a masked teacher beside one with the whole teacher and one without, by maskedkd_train
itself, and the ratio that the floating-point operations predict. The three train in turns.

    mask_bench.py BUILD_FOLDER PACKED_SET RECIPE [--rounds 5] [--epochs 2] [--ranks 2] [--keep 0.5]

RECIPE: of students and teachers of own sizes (jobs/recipes/fashion_mnist.conf). The first epoch of each run is not
counted where there are more."""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

from safetensors import safe_open


def forward_operations(sizes, patches):
    """Floating-point operations of one image: 24 w^2 a token and block for its matrix products, 4 T w for its attention
    to T tokens (class token included), 2 * 3 p^2 w a patch for the embedding."""
    width, tokens = sizes["width"], patches + 1
    blocks = sizes["depth"] * tokens * (24 * width ** 2 + 4 * tokens * width)
    return blocks + patches * 6 * sizes["patch_size"] ** 2 * width


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("packed")
    parser.add_argument("recipe", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--keep", default="0.5")
    options = parser.parse_args()
    lines = options.recipe.read_text().splitlines()
    recipe = [line for line in lines if not line.startswith(("teacher-path", "epochs"))]
    teacher = next(line.split("=")[1].strip() for line in lines if line.startswith("teacher-path"))
    arms = {"none": ["--distillation-type", "none"], "whole": ["--teacher-path", teacher, "--mask-criterion", "all"],
            "masked": ["--teacher-path", teacher, "--keep", options.keep]}
    times = {arm: [] for arm in arms}  # seconds an image
    kept = {}
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        (place / "recipe.conf").write_text("\n".join(recipe) + "\n")
        for i in range(options.rounds):
            for arm, flags in arms.items():
                run = place / f"{arm}-{i}"
                subprocess.run(["mpiexec", "--quiet", "-n", str(options.ranks), options.build / "bin/maskedkd_train",
                                "--config", place / "recipe.conf", "--data-path", options.packed, "--output-dir", run,
                                "--device", "cpu", "--epochs", str(options.epochs), *flags], check=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                lines = [json.loads(line) for line in (run / "log.txt").read_text().splitlines()]
                counted = lines[1:] or lines
                times[arm].append(statistics.median(1 / line["images_per_second"] for line in counted))
                kept[arm] = lines[-1].get("kept_patches")
            print(f"round {i + 1}: " + ", ".join(f"{arm} {1 / times[arm][-1]:.0f} images/s" for arm in arms), flush=True)
        student = json.loads(next((run / "checkpoints").glob("*/state.json")).read_text())["model"]
    with safe_open(teacher, "numpy") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}
    taught = {"width": shapes["norm.weight"][0], "patch_size": shapes["patch_embed.proj.weight"][-1],
              "depth": len({name.split(".")[1] for name in shapes if name.startswith("blocks.")})}
    learning = 3 * forward_operations(student, (student["input_size"] // student["patch_size"]) ** 2)
    operations = {arm: learning + (forward_operations(taught, kept[arm]) if kept[arm] else 0) for arm in arms}
    for arm, base in (("masked", "whole"), ("whole", "none"), ("masked", "none")):
        ratios = [a / b for a, b in zip(times[arm], times[base])]
        print(f"{arm} / {base}: time {statistics.median(ratios):.2f} ({min(ratios):.2f} .. {max(ratios):.2f}), "
              f"operations {operations[arm] / operations[base]:.2f}")


main()
