"""From the bytes of JPEG files to a model's input, beside PIL and torchvision, on one core, alternating.

python decode_bench.py PROGRAM [--rounds N] [--images N] [--clock cpu|wall]
"""
import argparse
import io
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

PHOTOGRAPHS = pathlib.Path("/usr/share/backgrounds/mate/nature")
PAIRED = ["decode", "train", "evaluate"]
ALONE = ["region", "portable", "avx2", "avx512", "check"]


def serve(folder, passes, mode):
    """Prints the same as decode_bench.cpp, for PIL and torchvision."""
    import numpy as np
    import torch
    from PIL import Image
    from torchvision import transforms
    from torchvision.transforms import functional

    torch.set_num_threads(1)
    bicubic = transforms.InterpolationMode.BICUBIC
    folder = pathlib.Path(folder)
    boxes = [[int(word) for word in line.split()] for line in (folder / "boxes.txt").read_text().splitlines()]
    files = [(folder / f"{i:03}.jpg").read_bytes() for i in range(len(boxes))]
    evaluation = transforms.Compose([transforms.Resize(256, interpolation=bicubic), transforms.CenterCrop(224)])

    def work(file, box):
        image = Image.open(io.BytesIO(file)).convert("RGB")
        if mode == "train":
            return functional.resized_crop(image, *box, [224, 224], bicubic)
        return evaluation(image) if mode == "evaluate" else image

    checksum = sum(int(np.asarray(work(*sample)).sum(dtype=np.uint64)) for sample in zip(files, boxes))
    begin, processor = time.perf_counter(), time.process_time()
    for _ in range(int(passes)):
        for sample in zip(files, boxes):
            work(*sample)
    scale = 1e6 / len(files) / int(passes)
    print(f"{(time.process_time() - processor) * scale:.3f} {(time.perf_counter() - begin) * scale:.3f} {checksum} "
          f"{sum(map(len, files)) / len(files):.0f}")


def make_files(folder, num_images):
    """Random windows of photographs at ImageNet's most frequent size, and a box of RandomResizedCrop of each."""
    import torch
    from PIL import Image
    from torchvision import transforms

    random.seed(1)
    torch.manual_seed(1)
    photographs = [Image.open(path).convert("RGB") for path in sorted(PHOTOGRAPHS.glob("*.jpg"))]
    boxes = []
    for i in range(num_images):
        photograph = random.choice(photographs)
        scale = random.uniform(1, min(photograph.width / 500, photograph.height / 375))
        width, height = int(500 * scale), int(375 * scale)
        left, top = random.randint(0, photograph.width - width), random.randint(0, photograph.height - height)
        window = photograph.crop((left, top, left + width, top + height)).resize((500, 375), Image.BICUBIC)
        window.save(folder / f"{i:03}.jpg", quality=random.randint(95, 98), subsampling=random.choice([0, 2]))
        boxes.append(transforms.RandomResizedCrop.get_params(window, [0.08, 1], [3 / 4, 4 / 3]))
    (folder / "boxes.txt").write_text("".join(" ".join(map(str, box)) + "\n" for box in boxes))


def measure(options):
    with tempfile.TemporaryDirectory() as folder:
        make_files(pathlib.Path(folder), options.images)
        sides = {"this": [options.program], "PIL": [sys.executable, __file__, "--serve"]}

        def run(side, mode, passes):
            done = subprocess.run([*sides[side], folder, str(passes), mode], check=True, capture_output=True, text=True)
            processor, wall, checksum, size = done.stdout.split()
            return float(processor if options.clock == "cpu" else wall), int(checksum), float(size)

        size = run("this", "check", 1)[2]
        print(f"{options.images} JPEGs of 500 x 375, {size / 1000:.1f} kB; one core, {options.clock} time, microseconds an "
              f"image; median of {options.rounds} rounds in turns")
        for mode in PAIRED:
            rounds = [{side: run(side, mode, 3) for side in sides} for _ in range(options.rounds)]
            sums = {round_[side][1] for round_ in rounds for side in sides}
            assert len(sums) == 1, f"{mode}: other pixels: {sums}"
            middle = {side: statistics.median(round_[side][0] for round_ in rounds) for side in sides}
            ratio = statistics.median(round_["PIL"][0] / round_["this"][0] for round_ in rounds)
            print(f"{mode:10}{middle['this']:10.1f}{middle['PIL']:10.1f}{ratio:8.2f} x   same pixels", flush=True)
        for mode in ALONE:
            middle = statistics.median(run("this", mode, 200 if mode == "check" else 3)[0] for _ in range(options.rounds))
            rate = f"   {size / middle / 1000:.1f} GB/s" if mode == "check" else ""
            print(f"{mode:10}{middle:10.1f}{rate}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        parser = argparse.ArgumentParser()
        parser.add_argument("program")
        parser.add_argument("--rounds", type=int, default=7)
        parser.add_argument("--images", type=int, default=200)
        parser.add_argument("--clock", choices=("wall", "cpu"), default="cpu")
        measure(parser.parse_args())
