"""Processor time in microseconds of an augmentation of 224 x 224 here and in PIL, one thread each, alternating.

  operations_bench.py PROGRAM [--rounds 5]       PROGRAM: operations_bench
"""
import argparse
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np
from PIL import Image, ImageFilter
from timm.data import auto_augment as timm

OPTIONS = {"resample": Image.BICUBIC, "fillcolor": (124, 116, 104)}
OPERATIONS = {  # with the arguments of operations_bench.cpp
    "AutoContrast": timm.auto_contrast, "Equalize": timm.equalize, "Invert": timm.invert,
    "Posterize": lambda i: timm.posterize(i, 1), "Solarize": lambda i: timm.solarize(i, 26),
    "SolarizeAdd": lambda i: timm.solarize_add(i, 99), "Color": lambda i: timm.color(i, 1.81),
    "Contrast": lambda i: timm.contrast(i, 1.81), "Brightness": lambda i: timm.brightness(i, 1.81),
    "Sharpness": lambda i: timm.sharpness(i, 1.81), "Rotate": lambda i: timm.rotate(i, 27.0, **OPTIONS),
    "ShearX": lambda i: timm.shear_x(i, 0.27, **OPTIONS), "ShearY": lambda i: timm.shear_y(i, 0.27, **OPTIONS),
    "TranslateX": lambda i: timm.translate_x_rel(i, 0.405, **OPTIONS),
    "TranslateY": lambda i: timm.translate_y_rel(i, 0.405, **OPTIONS),
    "GaussianBlur": lambda i: i.filter(ImageFilter.GaussianBlur(1.05)),
    "Grayscale": lambda i: i.convert("L").convert("RGB")}
POLICY = timm.rand_augment_transform("rand-m9-mstd0.5-inc1",
                                     {"img_mean": OPTIONS["fillcolor"], "interpolation": Image.BICUBIC})


def microseconds(work, image, times):
    began = time.process_time()
    for _ in range(times):
        work(image)
    return (time.process_time() - began) / times * 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    y, x = np.mgrid[0:224, 0:224]
    planes = [127 + 90 * np.sin(x / 37 + c) * np.cos(y / 23) for c in range(3)]
    noise = np.random.default_rng(1).normal(0, 10, (224, 224, 3))
    picture = np.clip(np.stack(planes, -1) + noise, 0, 255).astype(np.uint8)
    image = Image.fromarray(picture)
    ours, theirs = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "picture"
        file.write_bytes(picture.tobytes())
        for _ in range(options.rounds):
            output = subprocess.run([options.program, file, "300"], check=True, capture_output=True, text=True).stdout
            for line in output.splitlines():
                name, value = line.split()
                ours.setdefault(name, []).append(float(value))
            for name, work in OPERATIONS.items():
                theirs.setdefault(name, []).append(microseconds(work, image, 20))
            theirs.setdefault("policy", []).append(microseconds(POLICY, image, 1000))
    median = statistics.median
    print("| operation | this, us | PIL, us | ratio |\n|---|---|---|---|")
    for name, values in ours.items():
        if name in theirs:
            print(f"| {name} | {median(values):.1f} | {median(theirs[name]):.0f} | "
                  f"{median(theirs[name]) / median(values):.1f} |")
    drawn = [name for name in OPERATIONS if name not in ("GaussianBlur", "Grayscale")]
    means = [sum(median(side[name]) for name in drawn) / len(drawn) for side in (ours, theirs)]
    print(f"| mean of RandAugment's 15 | {means[0]:.1f} | {means[1]:.0f} | {means[1] / means[0]:.1f} |")


if __name__ == "__main__":
    main()
