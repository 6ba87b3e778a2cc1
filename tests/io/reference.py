"""Files written by Python's libraries: safetensors of every dtype (random bits, including NaNs with payloads, infinities and
subnormals) with the SHA-256 of each tensor's bytes, and an HDF5 file of h5py."""

import hashlib
import json
import pathlib
import sys

import h5py
import numpy
import safetensors.torch
import torch

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool,
}
SHAPES = [[], [1], [0], [7], [3, 5], [2, 3, 4], [4, 0, 2], [1, 1, 1, 1, 9], [129, 33]]


def random_tensor(generator, dtype, shape):
    count = int(numpy.prod(shape, dtype=numpy.int64)) * dtype.itemsize
    top = 2 if dtype is torch.bool else 256
    data = generator.integers(0, top, count, dtype=numpy.uint8).tobytes()
    flat = torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)
    return flat.reshape(shape), hashlib.sha256(data).hexdigest()


def write_safetensors(folder):
    for number in range(4):
        generator = numpy.random.default_rng(number)
        tensors, expected = {}, {}
        for name, dtype in DTYPES.items():
            for index, shape in enumerate(SHAPES):
                key = f"blocks.{index}.{name} \"ü\\/\t" if number else f"blocks.{index}.{name}"
                tensors[key], digest = random_tensor(generator, dtype, shape)
                expected[key] = {"dtype": name, "shape": shape, "sha256": digest}
        metadata = {"format": "pt", "für": "a \"quoted\" line\nand another"} if number % 2 else None
        safetensors.torch.save_file(tensors, folder / f"all-{number}.safetensors", metadata=metadata)
        (folder / f"all-{number}.json").write_text(json.dumps({"tensors": expected, "metadata": metadata or {}}))


def write_hdf5(folder):
    with h5py.File(folder / "h5py.h5", "w") as file:
        for dtype in ("uint8", "int32", "uint32", "int64", "uint64"):
            values = numpy.arange(60, dtype=numpy.int64) * 7919 - (0 if dtype[0] == "u" else 100000)
            file[dtype] = (values % 256 if dtype == "uint8" else values).astype(dtype).reshape(3, 4, 5)
        file["float32"] = numpy.ones(4, numpy.float32)
        file["big_endian"] = numpy.ones(4, ">i4")
        file.create_dataset("chunked", data=numpy.arange(1000, dtype=numpy.int64), chunks=(100,), compression="gzip")
        file["empty"] = numpy.zeros((0, 3), numpy.int64)
        file.attrs["number"] = numpy.int64(-5)
        file.attrs["small"] = numpy.int8(-7)
        file.attrs["text"] = "Bügeleisen"
        file.attrs["numbers"] = numpy.array([1, 2, 1 << 40], numpy.int64)
        file.attrs["texts"] = ["a", "", "Hemd/Bluse"]


if __name__ == "__main__":
    write_safetensors(pathlib.Path(sys.argv[1]))
    write_hdf5(pathlib.Path(sys.argv[1]))
