"""Reads files of the C++ code with Python's libraries; ends with a message and exit code 1 if something differs.

  read_back.py safetensors FILE EXPECTED.json    every tensor's dtype, shape and bytes, and the metadata
  read_back.py accept FOLDER                     every *.safetensors in it must load
  read_back.py hdf5 FILE                         the file that hdf5_test.cpp writes
"""

import hashlib
import json
import pathlib
import sys


def check_safetensors(path, expected_path):
    import safetensors
    import torch

    dtypes = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
              torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}
    expected = json.loads(pathlib.Path(expected_path).read_text())
    with safetensors.safe_open(path, framework="pt") as file:
        assert sorted(file.keys()) == sorted(expected["tensors"]), "names differ"
        assert (file.metadata() or {}) == expected["metadata"], f"metadata {file.metadata()}"
        for name, what in expected["tensors"].items():
            tensor = file.get_tensor(name)
            assert dtypes[tensor.dtype] == what["dtype"], f"{name}: {tensor.dtype}"
            assert list(tensor.shape) == what["shape"], f"{name}: {tensor.shape}"
            data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            assert hashlib.sha256(data).hexdigest() == what["sha256"], f"{name}: other bytes"
    print(f"{len(expected['tensors'])} tensors equal")


def check_accepted(folder):
    import safetensors

    files = sorted(pathlib.Path(folder).glob("*.safetensors"))
    for path in files:
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                for name in file.keys():
                    file.get_slice(name).get_shape()
        except Exception as error:
            sys.exit(f"{path.name} is refused by Python: {error}: {path.read_bytes()[:600]!r}")
    print(f"{len(files)} files accepted")


def check_hdf5(path):
    import h5py
    import numpy

    with h5py.File(path, "r") as file, open(path, "rb") as raw:
        for name in ("uint8", "int32", "uint32", "int64", "uint64"):
            dataset = file[name]
            expected = (numpy.arange(24, dtype=numpy.int64) * 1000003 % 251).reshape(4, 3, 2)
            assert dataset.dtype == numpy.dtype(name) and dataset.chunks is None, f"{name}: {dataset.dtype}"
            assert numpy.array_equal(dataset[()], expected), f"{name}: {dataset[()]}"
            raw.seek(dataset.id.get_offset())
            assert raw.read(dataset.nbytes) == expected.astype(name).tobytes(), f"{name}: not where it says"
        assert file["empty"].shape == (0, 3) and file["empty"].dtype == numpy.int64
        assert file.attrs["number"] == -(1 << 40) and file.attrs["text"] == "Bügeleisen"
        assert list(file.attrs["numbers"]) == [0, -1, 1 << 62]
        assert list(file.attrs["texts"]) == ["T-shirt/top", "", "größer"]
        assert len(file.attrs["many"]) == 21841 and file.attrs["many"][21840] == "class 21840"
    print("equal")


if __name__ == "__main__":
    {"safetensors": check_safetensors, "accept": check_accepted, "hdf5": check_hdf5}[sys.argv[1]](*sys.argv[2:])
