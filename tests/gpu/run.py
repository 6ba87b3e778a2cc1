#!/usr/bin/env python3
"""Everything that needs a GPU, in one command and in less than eight minutes: the tests labelled gpu, a killed and resumed
run, CUDA graphs against eager launches, the training step beside PyTorch's, a profile of it. Prints one table.

    tests/gpu/run.py BUNDLE [--device cuda|cpu] [--parts NAME,...] [--seconds 470]

BUNDLE: what env/bundle.sh has made (a .tar.xz or its unpacked folder), or a build folder. The Python that runs this has
torch, timm and safetensors. The table and each part's output are also written to the folder $OUT, if it is set. A part
that fails or reaches its time limit does not stop the others; the exit code is 1 if one failed.
--device cpu rehearses: tests for a GPU skip, the rest runs on the CPU, in small."""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import parts

HERE = pathlib.Path(__file__).resolve().parent


class Place:
    """Where the programs are, where files may be written, and the device."""

    def __init__(self, given, work, device):
        self.work, self.device = work, device
        if given.is_file():
            subprocess.run(["tar", "-C", work, "-xf", given], check=True)
            given = work / "maskedkd-bundle"
        self.root = given.resolve()

    def program(self, name):
        for folder in ("bin", "tests", "bench"):
            path = self.root / folder / name
            if os.access(path, os.X_OK):
                return str(path)
        raise FileNotFoundError(f"{name} is not in {self.root}")


class Runner:
    """Runs commands of a part with one time limit for all of them."""

    def __init__(self, name, seconds, out):
        self.end, self.log = time.monotonic() + seconds, open(out / f"{name}.log", "w", encoding="utf-8")

    def __call__(self, command, environment=None, check=True):
        """The output; throws CalledProcessError or TimeoutExpired, and leaves no process behind."""
        self.log.write(f"$ {' '.join(map(str, command))}\n")
        self.log.flush()
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   errors="replace", start_new_session=True, env=os.environ | (environment or {}))
        try:
            output, _ = process.communicate(timeout=max(1, self.end - time.monotonic()))
        except subprocess.TimeoutExpired as late:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise TimeoutError(f"time limit in {pathlib.Path(str(command[0])).name}; {last_line(output)}") from late
        finally:
            self.log.write(output if "output" in locals() else "")
            self.log.flush()
        if check and process.returncode != 0:
            raise RuntimeError(f"exit code {process.returncode}: {last_line(output)}")
        return output


def last_line(output):
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1][:160] if lines else "no output"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=pathlib.Path, nargs="?", default=HERE.parent.parent)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--parts", default=",".join(parts.PARTS))
    parser.add_argument("--seconds", type=float, default=470)
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    work = pathlib.Path(tempfile.mkdtemp(prefix="maskedkd-gpu-"))
    out = pathlib.Path(os.environ.get("OUT") or work / "out")
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    try:
        place = Place(options.bundle, work, options.device)
        for name in options.parts.split(","):
            part, limit = parts.PARTS[name]
            began = time.monotonic()
            limit = min(limit, end - began)
            try:
                if limit < 5:
                    raise TimeoutError("no time left")
                found = part(place, Runner(name, limit, out))
            except Exception as error:  # one part's failure must not cost the others
                found = [(name, "FAILED", str(error))]
            rows += [(part_name, result, f"{detail}") for part_name, result, detail in found]
            rows[-1] = (*rows[-1][:2], f"{rows[-1][2]} [{time.monotonic() - began:.0f} s]")
            for row in rows[len(rows) - len(found):]:
                print(f"{row[0]:34} {row[1]:14} {row[2]}", flush=True)
    finally:
        (out / "table.txt").write_text("".join(f"{a:34} {b:14} {c}\n" for a, b, c in rows), encoding="utf-8")
        shutil.rmtree(work, ignore_errors=True)
    return 1 if any(result == "FAILED" for _, result, _ in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
