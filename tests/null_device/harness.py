"""Shared by the tests on the null device: programs on it, what it reports, and small sets and runs.

Programs come from MASKEDKD_BUILD (a build folder).
"""
import collections
import dataclasses
import json
import os
import pathlib
import random
import re
import struct
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('MASKEDKD_BUILD', ROOT / 'build/tests')).resolve()
LIBRARIES = f'{BUILD}/null_device/libcuda.so.1:{BUILD}/null_device/libnvidia-ml.so.1'
MPI = {'OMPI_ALLOW_RUN_AS_ROOT': '1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1', 'OMPI_MCA_rmaps_base_oversubscribe': '1',
       'OMPI_MCA_hwloc_base_binding_policy': 'none', 'OMPI_MCA_mpi_yield_when_idle': '1', 'OMP_NUM_THREADS': '1'}
ALONE = {'OMPI_MCA_ess_singleton_isolated': '1'}  # one rank without a launcher


def count(name, default):
    return int(os.environ.get(name, default))


@dataclasses.dataclass
class Result:
    code: int  # as a shell gives it: 128 + signal
    output: str
    seconds: float
    reports: pathlib.Path  # folder of what the null device wrote

    def counts(self, rank=0):
        return collections.Counter(json.loads((self.reports / f'counts.{rank}').read_text()))

    def digests(self, rank=0):
        """(size, digest), as they were executed and sorted: of each large pinned copy to the device, and of copies of so many
        bytes on it."""
        lines = [line.split() for line in (self.reports / f'digests.{rank}').read_text().splitlines()]
        uploads = sorted((size, digest) for call, _, size, digest in lines if call == 'h2d_pinned')
        sizes = {size for size, _ in uploads}
        return uploads, sorted((size, digest) for call, _, size, digest in lines if call == 'd2d' and size in sizes)

    def lines(self, pattern):
        return [line for line in self.output.splitlines() if re.search(pattern, line)]


class Place:
    """A temporary folder with the sets and runs of a test."""

    def __init__(self):
        self._holder = tempfile.TemporaryDirectory(prefix='maskedkd-null-device-')
        self.path = pathlib.Path(self._holder.name)
        self._runs = 0

    def close(self):
        self._holder.cleanup()

    def pack(self, name, images=64, size=16, seed=7):
        """A packed set of noise of four classes."""
        place = self.path / name
        if place.exists():
            return place
        noise = random.Random(seed)
        source, labels = self.path / f'{name}.images', self.path / f'{name}.labels'
        source.write_bytes(struct.pack('>IIII', 0x803, images, size, size) + noise.randbytes(images * size * size))
        labels.write_bytes(struct.pack('>II', 0x801, images) + bytes(i % 4 for i in range(images)))
        done = subprocess.run([BUILD / 'bin/maskedkd_pack', '--source', 'idx', '--images', source, '--labels', labels,
                               '--output-dir', place, '--records-per-shard', '50'], capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)
        return place

    def run(self, command, ranks=1, timeout=120, devices=None, **variables):
        """Runs a command on the null device. variables: NULL_DEVICE_* without that prefix."""
        self._runs += 1
        reports = self.path / f'reports-{self._runs}'
        reports.mkdir()
        own = {'COUNTS': reports / 'counts', 'DIGESTS': reports / 'digests', 'DEVICES': devices or ranks, **variables}
        words = ['env', f'LD_PRELOAD={LIBRARIES}', *(f'NULL_DEVICE_{name}={value}' for name, value in own.items())]
        words += [str(word) for word in command]
        environment = {**os.environ, **MPI}
        if ranks > 1:
            words = ['mpiexec', '--quiet', '-n', str(ranks), *words]
        else:
            environment.update(ALONE)
        began = time.monotonic()
        # Ends launcher and ranks at the time limit: `timeout` kills its process group.
        done = subprocess.run(['timeout', '--kill-after=5', str(timeout), *words], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors='replace', env=environment)
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return Result(code, done.stdout, time.monotonic() - began, reports)


def training(data, output, *more):
    """The command line of a small training: 16 patches, steps of four micro-batches of eight, two steps an epoch of 64.
    more: other flags and values; a --model has its own sizes.
    """
    sizes = {'--model': 'vit', '--input-size': 16, '--patch-size': 4, '--width': 8, '--depth': 1, '--heads': 2}
    flags = {'--data-path': data, '--output-dir': output, **({} if '--model' in more else sizes), '--batch-size': 32,
             '--micro-batch': 8, '--repeats': 1, '--epochs': 2, '--warmup-epochs': 1, '--precision': 'fp32', '--threads': 1, '--workers': 1,
             '--device': 'cuda', '--checkpoint-minutes': 0, '--distillation-type': 'none'}
    extra = [str(word) for word in more]
    words = [BUILD / 'bin/maskedkd_train']
    for flag, value in flags.items():
        if flag not in extra:
            words += [flag, value]
    return words + extra


def mistakes(result):
    """Lines that no run may have."""
    return result.lines(r'MISTAKE|HOST ACCESS|not implemented')


def contexts(result):
    """(rank, device) of each context that was created."""
    return sorted(tuple(map(int, found)) for found in
                  re.findall(r'null_device\[(\d+)\] context on device (\d+)', result.output))
