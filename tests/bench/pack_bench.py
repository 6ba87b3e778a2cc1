"""Packing and verifying beside the disk, the processor's SHA-256, and Python scripts that do the same; all on two cores,
alternating, from the page cache.

  pack_bench.py BIN_DIR [--images 6000] [--links 0] [--rounds 5] [--folder FOLDER]

--links 3: each image occurs four times, by links in further classes: four times as much to pack and to verify.
"""

import argparse
import concurrent.futures
import hashlib
import io
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time
import zlib

import h5py
import numpy
import PIL.Image

PHOTOGRAPHS = pathlib.Path("/usr/share/backgrounds/mate/nature")  # Debian's mate-backgrounds
CLASSES = 20


def make_images(task):
    """JPEGs of ImageNet's usual sizes: windows of photographs if the machine has some, else blurred noise."""
    folder, begin, end = task
    random = numpy.random.default_rng(begin)
    photographs = [PIL.Image.open(path).convert("RGB") for path in sorted(PHOTOGRAPHS.glob("*.jpg"))]
    for i in range(begin, end):
        width, height = [(500, 375), (375, 500), (500, 333), (400, 300), (640, 480)][random.integers(5)]
        if photographs:
            photograph = photographs[random.integers(len(photographs))]
            scale = random.uniform(1, 1.5)
            w, h = int(width * scale), int(height * scale)
            left, top = random.integers(photograph.width - w), random.integers(photograph.height - h)
            image = photograph.resize((width, height), PIL.Image.BICUBIC, (left, top, left + w, top + h))
        else:
            coarse = PIL.Image.fromarray(random.integers(0, 256, (height // 4, width // 4, 3), dtype=numpy.uint8))
            image = coarse.resize((width, height), PIL.Image.BICUBIC)
        # Noise, without which the files would have a third of ImageNet's 110 kB.
        grainy = numpy.asarray(image, numpy.int16) + random.integers(-14, 15, (height, width, 1))
        image = PIL.Image.fromarray(grainy.clip(0, 255).astype(numpy.uint8))
        image.save(folder / f"class {i % CLASSES:02}" / f"{i:07}.JPEG", quality=95)


def link_images(folder, times):
    for name in sorted(entry.name for entry in folder.iterdir()):
        for number in range(times):
            copy = folder / f"{name} {number}"
            copy.mkdir()
            for path in (folder / name).iterdir():
                (copy / path.name).symlink_to(path)


def list_images(folder):
    classes = sorted(entry.name for entry in folder.iterdir())
    return [(path, label) for label, name in enumerate(classes) for path in sorted((folder / name).iterdir())]


def h5py_shard(task):
    """A script that a user might write: the same datasets and checksums; PIL reads each header (or decodes the file)."""
    images, path, decode = task
    records, offsets, labels, checksums, shapes = [], [0], [], [], []
    for image, label in images:
        content = image.read_bytes()
        opened = PIL.Image.open(io.BytesIO(content))
        if decode:
            opened.load()
        records.append(numpy.frombuffer(content, numpy.uint8))
        offsets.append(offsets[-1] + len(content))
        labels.append(label)
        checksums.append(zlib.crc32(content))
        shapes.append((opened.height, opened.width, len(opened.getbands())))
    with h5py.File(path, "w") as file:
        file["bytes"] = numpy.concatenate(records)
        file["offsets"] = numpy.array(offsets, numpy.uint64)
        file["labels"] = numpy.array(labels, numpy.int64)
        file["checksums"] = numpy.array(checksums, numpy.uint32)
        file["shapes"] = numpy.array(shapes, numpy.int32)
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
    hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def pillow_resized(path):
    image = PIL.Image.open(path).convert("RGB")
    scale = 256 / min(image.size)
    size = (256, int(image.height * scale)) if image.width <= image.height else (int(image.width * scale), 256)
    out = io.BytesIO()
    image.resize(size, PIL.Image.BICUBIC).save(out, "JPEG", quality=95)
    return out.getvalue()


def pillow_shard(task):
    images, path = task
    with open(path, "wb") as file:
        for image, _ in images:
            file.write(pillow_resized(image))
        file.flush()
        os.fsync(file.fileno())


def sha_rate(seconds):
    piece, done, digest = os.urandom(1 << 18), 0, hashlib.sha256()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for _ in range(64):
            digest.update(piece)
        done += 64 * len(piece)
    return done / seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--links", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=pathlib.Path)
    options = parser.parse_args()
    os.environ.update(OMPI_MCA_hwloc_base_binding_policy="none", OMP_NUM_THREADS="1")

    with tempfile.TemporaryDirectory(dir=options.folder) as name, concurrent.futures.ProcessPoolExecutor(2) as two:
        folder = pathlib.Path(name)
        source = folder / "images"
        for i in range(CLASSES):
            (source / f"class {i:02}").mkdir(parents=True)
        steps = numpy.linspace(0, options.images, 21, dtype=int)
        list(two.map(make_images, [(source, begin, end) for begin, end in zip(steps, steps[1:])]))
        link_images(source, options.links)
        images = list_images(source)
        total = sum(path.stat().st_size for path, _ in images)
        print(f"{len(images)} images, {total / 1e6:.0f} MB, {total / len(images) / 1e3:.0f} kB each")
        halves = [images[::2], images[1::2]]
        chunks = [images[i::8] for i in range(8)]
        for i, half in enumerate(halves):
            (folder / f"half{i}").write_bytes(b"".join(path.read_bytes() for path, _ in half))

        def pack(*extra, ranks=2, shard_size="32MiB"):  # many shards a rank, as large sets have
            out = folder / "packed"
            shutil.rmtree(out, ignore_errors=True)
            command = [options.bin / "maskedkd_pack", "--data-path", source, "--output-dir", out, "--shard-size", shard_size, *extra]
            result = subprocess.run((["mpiexec", "-n", str(ranks)] if ranks > 1 else []) + command, check=True,
                                    capture_output=True, text=True)
            text = [line for line in result.stdout.splitlines() if " images of " in line][-1]
            return float(text.split(" s, ")[0].split(", ")[-1])  # of the packing, without MPI's start

        def verify():
            text = subprocess.run(["mpiexec", "-n", "2", options.bin / "maskedkd_pack", "verify", folder / "packed"], check=True,
                                  capture_output=True, text=True).stdout
            return float(text.split(" s, ")[0].split(", ")[-1])

        def timed(work):
            begin = time.perf_counter()
            work()
            return time.perf_counter() - begin

        def dd(inputs):
            running = [subprocess.Popen(["dd", f"if={path}", f"of={path}.copy", "bs=1M", "conv=fsync"], stderr=subprocess.DEVNULL)
                       for path in inputs]
            for process in running:
                assert process.wait() == 0

        def scripts(work, parts, pool):
            if pool:
                list(two.map(work, parts))
            else:
                for part in parts:
                    work(part)

        halves_paths = [folder / "half0", folder / "half1"]
        shards = lambda decode: [(chunk, str(folder / f"user{i}.h5"), decode) for i, chunk in enumerate(chunks)]
        resized = [(chunk, str(folder / f"user{i}.jpgs")) for i, chunk in enumerate(chunks)]
        ways = {
            "dd, two at once": lambda: timed(lambda: dd(halves_paths)),
            "pack, 2 ranks": lambda: pack(),
            "verify, 2 ranks": verify,
            "pack, 1 rank, 2 threads": lambda: pack("--threads", "2", ranks=1),
            "pack --check decode": lambda: pack("--check", "decode"),
            "h5py script, headers": lambda: timed(lambda: scripts(h5py_shard, shards(False), False)),
            "h5py script, headers, 2 processes": lambda: timed(lambda: scripts(h5py_shard, shards(False), True)),
            "h5py script, decodes": lambda: timed(lambda: scripts(h5py_shard, shards(True), False)),
            "h5py script, decodes, 2 processes": lambda: timed(lambda: scripts(h5py_shard, shards(True), True)),
            "pack --resize 256": lambda: pack("--resize", "256", shard_size="8MiB"),
            "Pillow script, 256, 2 processes": lambda: timed(lambda: scripts(pillow_shard, resized, True)),
        }
        seconds = {way: [] for way in ways}
        sha = []
        for _ in range(options.rounds):
            for way, work in ways.items():
                os.sync()
                seconds[way].append(work())
            sha.append(sum(two.map(sha_rate, [0.5, 0.5])))
        median = {way: statistics.median(values) for way, values in seconds.items()}
        for way, value in median.items():
            print(f"{way:36} {value:7.2f} s  {total / value / 1e6:7.0f} MB/s  {len(images) / value:7.0f} images/s")
        print(f"{'SHA-256, two processes':36} {'':9}  {statistics.median(sha) / 1e6:7.0f} MB/s")

        def ratio(text, slow, fast):
            values = sorted(a / b for a, b in zip(slow, fast))
            print(f"{text:60} {statistics.median(values):5.2f}  ({values[0]:.2f} .. {values[-1]:.2f})")

        packing = seconds["pack, 2 ranks"]
        ratio("pack over dd", seconds["dd, two at once"], packing)
        ratio("verify over SHA-256", [total / rate for rate in sha], seconds["verify, 2 ranks"])
        for way in ways:
            if way.startswith("h5py"):
                ratio(f"pack over {way}", seconds[way], packing)
        ratio("pack --resize 256 over Pillow", seconds["Pillow script, 256, 2 processes"], seconds["pack --resize 256"])


if __name__ == "__main__":
    main()
