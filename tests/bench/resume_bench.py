"""How long a run takes to end when its job is stopped, and to resume: DeiT-Base learns from DeiT-Tiny, so that the state is
large. A round starts maskedkd_train (the first one anew, the others from the checkpoint of the round before), lets it take
some steps, sends SIGUSR1 at a random moment and waits for its end. Times are those of the terminal output.

  resume_bench.py BIN_DIR FOLDER [--rounds 5] [--ranks 1] [--student deit_base_patch16_224] [--batch 4]

FOLDER: on the file system to be measured; it is created, and the written files are removed.
"""

import argparse
import json
import os
import pathlib
import pty
import random
import re
import shutil
import signal
import statistics
import subprocess
import time

import timm
from ranks_bench import make_photographs
from safetensors.torch import save_file

REQUEUE = 85


class Screen:
    """The terminal output of a program, with the time of each piece."""

    def __init__(self, command):
        self.began = time.monotonic()
        self.terminal, inside = pty.openpty()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=inside)
        os.close(inside)
        self.text = ""

    def read(self):
        try:
            piece = os.read(self.terminal, 65536).decode(errors="replace")
        except OSError:  # the program has closed the terminal
            piece = ""
        self.text += piece
        return piece

    def when(self, pattern):
        """Seconds from the start until the pattern occurs in the output from now on."""
        self.text = ""
        while not re.search(pattern, self.text):
            if not self.read():
                raise SystemExit(f"ended with {self.process.wait()}: {self.text}")
        return time.monotonic() - self.began

    def end(self):
        while self.read():
            pass
        os.close(self.terminal)
        return self.process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--student", default="deit_base_patch16_224")
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    folder, run = options.folder, options.folder / "run"
    folder.mkdir(parents=True)
    try:
        make_photographs(folder / "photographs", 64 * options.batch)
        subprocess.run([options.bin / "maskedkd_pack", "--data-path", folder / "photographs", "--output-dir",
                        folder / "packed"], check=True, stdout=subprocess.DEVNULL)
        save_file(timm.create_model("deit_tiny_patch16_224", num_classes=2).state_dict(), folder / "teacher.safetensors")
        command = ["mpiexec", "-n", str(options.ranks)] if options.ranks > 1 else []
        command += [options.bin / "maskedkd_train", "--data-path", folder / "packed", "--output-dir", run, "--model",
                    options.student, "--teacher-model", "deit_tiny_patch16_224", "--teacher-path", folder / "teacher.safetensors",
                    "--batch-size", str(options.batch), "--micro-batch", str(options.batch // options.ranks), "--repeats",
                    "1", "--epochs", "100", "--threads", "1", "--workers", "1", "--precision", "bf16"]
        steps, begins, firsts, notices, megabytes = [], [], [], [], 0
        for i in range(options.rounds + 1):
            screen = Screen(command)
            begin = screen.when(r"img/s")  # drawn when the first step begins
            first = screen.when(r"loss \d")
            later = [first] + [screen.when(r"loss \d") for _ in range(3)]
            steps += [b - a for a, b in zip(later, later[1:])]
            time.sleep(random.uniform(0, statistics.median(steps)))
            sent = time.monotonic()
            screen.process.send_signal(signal.SIGUSR1)
            code = screen.end()
            if code != REQUEUE:
                raise SystemExit(f"ended with {code}")
            notices.append(time.monotonic() - sent)
            last = json.loads((run / "status.json").read_text())["last_checkpoint"]
            megabytes = sum(file.stat().st_size for file in (run / "checkpoints" / last).iterdir()) / 1e6
            if i > 0:
                begins.append(begin)
                firsts.append(first)
        print(f"{options.student}, {options.ranks} rank(s), checkpoint of {megabytes:.0f} MB; {options.rounds} rounds; median, longest")
        for what, values in [("a step", steps), ("start until the first step begins", begins),
                             ("start until the first step is done", firsts), ("notice until the program has ended", notices)]:
            print(f"{what:36} {statistics.median(values):6.2f} s {max(values):6.2f} s")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    os.environ.setdefault("OMPI_MCA_hwloc_base_binding_policy", "none")
    main()
