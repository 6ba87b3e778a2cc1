"""Short trainings for parts.py, which compares their bits."""

import hashlib
import os
import random
import re
import signal
import struct
import subprocess
import time


def write_idx(path, sizes, data):
    path.write_bytes(struct.pack(f">I{len(sizes)}I", 0x0800 + len(sizes), *sizes) + data)


def pack(place, run, images=640, edge=28):
    """A packed set of images in ten classes, each a bright square in a place of its own under noise."""
    packed = place.work / "packed"
    if packed.exists():
        return packed
    raw, source = place.work / "raw", random.Random(1)
    raw.mkdir()
    labels = bytes(i % 10 for i in range(images))
    pixels = bytearray(source.randbytes(images * edge * edge))
    for image, label in enumerate(labels):
        top, left = 14 * (label // 5), 5 * (label % 5)
        for row in range(top, top + 9):
            begin = (image * edge + row) * edge + left
            pixels[begin:begin + 5] = b"\xff" * 5
    write_idx(raw / "images", (images, edge, edge), bytes(pixels))
    write_idx(raw / "labels", (images,), labels)
    run([place.program("maskedkd_pack"), "--source", "idx", "--images", raw / "images", "--labels", raw / "labels", "--output-dir",
         packed])
    return packed


def command(place, data, name, more):
    """20 steps of two micro-batches, without a teacher. One worker makes them slow enough to be killed midway."""
    small = place.device == "cpu"
    return [place.program("maskedkd_train"), "--data-path", data, "--output-dir", place.work / "runs" / name,
            "--device", place.device, "--precision", "bf16", "--repeats", "1", "--distillation-type", "none",
            "--batch-size", "64", "--micro-batch", "32", "--workers", "1", "--epochs", "2", "--warmup-epochs", "1", "--input-size",
            "32" if small else "224", "--checkpoint-steps", "5", "--model", "vit" if small else "deit_tiny_patch16_224",
            *(["--patch-size", "8", "--width", "48", "--depth", "2", "--heads", "3"] if small else []), *more]


def train(place, run, data, name, more=(), kill_after_steps=0):
    """The output. kill_after_steps: kills it as soon as it has a checkpoint of that many steps or more."""
    arguments = list(map(str, command(place, data, name, more)))
    if not kill_after_steps:
        return run(arguments)
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    checkpoints = place.work / "runs" / name / "checkpoints"
    while process.poll() is None and time.monotonic() < run.end:
        names = [path.name for path in checkpoints.glob("step-*")] if checkpoints.exists() else []
        if any(int(re.search(r"\d+", each).group()) >= kill_after_steps for each in names):
            break
        time.sleep(0.02)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the run ended with {process.returncode} before it was killed")
    return ""


def final_weights(place, name):
    run = place.work / "runs" / name / "checkpoints"
    newest = sorted(path for path in run.iterdir() if path.is_dir() and not path.is_symlink())[-1]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in newest.glob("*.safetensors")}


def require_equal(place, first, second):
    one, other = final_weights(place, first), final_weights(place, second)
    different = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    if different or not one:
        raise RuntimeError(f"the bits of {first} and {second} differ: {', '.join(different) or 'nothing was written'}")


def describe(output):
    lines = re.findall(r"epoch \d+: .*", output)
    return lines[-1] if lines else "20 steps"
