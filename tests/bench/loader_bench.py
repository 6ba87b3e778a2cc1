"""The loader beside PIL, torchvision, timm and torch's DataLoader: the same JPEGs (windows of photographs, 500 x 375, quality
95 to 98, half of them 4:2:0), the same number of workers, alternating. Images a second of normalised float32 batches on the CPU,
or with --bytes of bytes, which a device would normalise (the other side always normalises).

  loader_bench.py BUILD_DIR [--rounds 5] [--workers 2] [--photographs FOLDER] [--images 1200] [--bytes]
                  [--cases recipe,repeats,...]

recipe: crop, flip, RandAugment, erasing. repeats: the same with each image three times in a row, as repeated augmentation deals
them to the eight micro-batches of a step; locality: --repeat-locality. crop: decode, random crop, resize. evaluation: resize to
256, centre crop. resized, decoded: the recipe on shards packed with --resize 256, beside the loader itself on the full JPEGs.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy
import PIL.Image
import timm.data
import torch
from torchvision import datasets, transforms

BATCH, WARM_UP = 128, 6


def make_photographs(source, folder, count):
    random = numpy.random.default_rng(0)
    paths = sorted(source.glob("*.jpg"))
    if not paths:
        raise SystemExit(f"no photographs in {source}: env/install.sh tests brings them")
    pictures = [PIL.Image.open(path).convert("RGB") for path in paths]
    for label in "ab":
        (folder / label).mkdir(parents=True)
    for i in range(count):
        picture = pictures[i % len(pictures)]
        width = min(int(random.integers(700, 1600)), picture.width, picture.height * 4 // 3)
        height = width * 3 // 4
        left, top = random.integers(0, picture.width - width + 1), random.integers(0, picture.height - height + 1)
        small = picture.crop((left, top, left + width, top + height)).resize((500, 375), PIL.Image.BICUBIC)
        small.save(folder / "ab"[i % 2] / f"{i:05}.jpg", quality=int(random.integers(95, 99)), subsampling=2 * int(random.integers(2)))


def python_transform(case):
    if case == "evaluation":
        return timm.data.create_transform(224, is_training=False, crop_pct=0.875, interpolation="bicubic")
    if case == "crop":
        return transforms.Compose([transforms.RandomResizedCrop(224, interpolation=transforms.InterpolationMode.BICUBIC),
                                   transforms.ToTensor(),
                                   transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    return timm.data.create_transform(224, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic",
                                      re_prob=0.25, re_mode="pixel", re_count=1)


def python_rate(folder, case, workers, batches):
    torch.set_num_threads(1)
    data = datasets.ImageFolder(folder, python_transform(case))
    order = torch.randperm(len(data)).tolist()
    order = (order * ((batches + WARM_UP) * BATCH // len(order) + 1))[:(batches + WARM_UP) * BATCH]
    loader = torch.utils.data.DataLoader(data, BATCH, sampler=order, num_workers=workers)
    began = None
    for number, _ in enumerate(loader, 1):
        if number == WARM_UP:
            began = time.perf_counter()
    return batches * BATCH / (time.perf_counter() - began)


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--bytes", action="store_true")
    parser.add_argument("--photographs", type=pathlib.Path, default=pathlib.Path("/usr/share/backgrounds/mate/nature"))
    parser.add_argument("--cases", default="recipe,repeats,locality,crop,evaluation,resized,decoded")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        make_photographs(options.photographs, place / "jpegs", options.images)
        size = sum(path.stat().st_size for path in place.rglob("*.jpg")) / options.images
        for packed, flags in {"full": [], "resized": ["--resize", "256", "--quality", "95"],
                              "decoded": ["--resize", "256", "--decoded"]}.items():
            subprocess.run([options.build / "bin/maskedkd_pack", "--data-path", place / "jpegs", "--output-dir",
                            place / packed, *flags], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def own_rate(packed, case, *flags, batches=24):
            run = subprocess.run([options.build / "bench/loader_bench", place / packed, "--case", case, "--workers",
                                  str(options.workers), "--batches", str(batches), *([] if options.bytes else ["--normalise"]), *flags],
                                 check=True, capture_output=True, text=True)
            return json.loads(run.stdout)["images_per_second"]

        dealt = ["--micro-batches", "8", "--prefetch", "12", "--open-together", "8"]
        sides = {
            "recipe": (lambda: own_rate("full", "recipe"), lambda: python_rate(place / "jpegs", "recipe", options.workers, 8)),
            "repeats": (lambda: own_rate("full", "repeats", *dealt, batches=48),
                        lambda: python_rate(place / "jpegs", "recipe", options.workers, 8)),
            "locality": (lambda: own_rate("full", "repeats", "--locality", batches=48),
                         lambda: python_rate(place / "jpegs", "recipe", options.workers, 8)),
            "crop": (lambda: own_rate("full", "crop"), lambda: python_rate(place / "jpegs", "crop", options.workers, 12)),
            "evaluation": (lambda: own_rate("full", "evaluation"),
                           lambda: python_rate(place / "jpegs", "evaluation", options.workers, 8)),
            "resized": (lambda: own_rate("resized", "recipe"), lambda: own_rate("full", "recipe")),
            "decoded": (lambda: own_rate("decoded", "recipe"), lambda: own_rate("full", "recipe")),
        }
        print(f"{options.workers} workers, batches of {BATCH}, {options.images} JPEGs of {size / 1000:.0f} kB on average; "
              f"median of {options.rounds} rounds in turns")
        for case in options.cases.split(","):
            rates = [[side() for side in sides[case]] for _ in range(options.rounds)]
            own, other = (statistics.median(side) for side in zip(*rates))
            ratios = [a / b for a, b in rates]
            print(f"{case:11} {own:7.0f} img/s   beside {other:7.0f}   {statistics.median(ratios):5.2f} x   "
                  f"(rounds {', '.join(f'{ratio:.2f}' for ratio in ratios)})", flush=True)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
