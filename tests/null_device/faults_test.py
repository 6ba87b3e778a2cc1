"""Faults of the device at every kind of call: the run ends with one line that names rank, GPU and call; with 85 where another
start may do, with 1 and a hint where memory is short; never with an abort, and never with a checkpoint from garbage: what was
saved verifies, and a start on a healthy device finishes the run.

MASKEDKD_NULL_DEVICE_FAULTS: number of faults of each kind, chosen at random (by MASKEDKD_NULL_DEVICE_SEED), or all.
"""
import dataclasses
import os
import random
import re
import unittest

from harness import Place, mistakes, training

SAMPLE = os.environ.get('MASKEDKD_NULL_DEVICE_FAULTS', '1')
SEED = os.environ.get('MASKEDKD_NULL_DEVICE_SEED', '1')
MOST_OF_A_CALL = 12  # where all are tried: places of one kind of call, spread over the run
RESTART, MEMORY = 85, 1
HANGS, KILLS, ASYNCHRONOUS = -1, -2, 1000
BROKEN = {214: 'uncorrectable ECC error', 220: 'uncorrectable NVLink error', 719: 'unspecified launch failure',
          700: 'an illegal memory access'}
CALLS = ('launch', 'graph_launch', 'product', 'h2d', 'd2h', 'd2d', 'memset', 'stream_sync', 'event_sync', 'event_query',
         'event_record', 'stream_wait', 'malloc', 'host_alloc')
OUT_OF_MEMORY = 2
HANG_TIMEOUT = 3  # seconds, where a rank hangs


@dataclasses.dataclass(frozen=True)
class Fault:
    call: str
    code: int
    expected: int    # exit code
    line: str        # of the error
    ranks: int = 1
    garbage: str = ''
    nth: int = 0     # of its calls; 0: any
    also: str = ''   # another fault, of the form of NULL_DEVICE_FAULT

    def plan(self, nth, rank):
        return f'{self.call}:{nth}:{self.code}@{rank}' + (f',{self.also}' if self.also else '')


GPU_FAILED = r'error .*GPU 0.* failed( at .*)?: .*'
FAULTS = {
    'broken': [Fault(call, code, RESTART, GPU_FAILED + (text if call != 'product' else ''))
               for call in CALLS for code, text in BROKEN.items()],
    'pinned memory': [Fault('host_alloc', OUT_OF_MEMORY, MEMORY, r'error .*out of memory.*pinned memory of the host.*fewer workers')],
    'cuBLAS': [Fault('cublas_create', 1, RESTART, GPU_FAILED + 'CUBLAS_STATUS_NOT_INITIALIZED'),
               Fault('cublas_create', 3, MEMORY, 'CUBLAS_STATUS_ALLOC_FAILED.*--micro-batch')],
    'busy': [Fault('malloc', 46, RESTART, GPU_FAILED + 'busy or unavailable')],
    'NCCL': [Fault('nccl', code, RESTART, r'error .*(ncclAllReduce|ncclSend|ncclRecv|ncclBroadcast|NCCL).*', ranks=2)
             for code in (1, 2, 6, ASYNCHRONOUS + 6)],
    # The first wait for an event is that for the results of a step; others are of the thread that saves.
    'hung wait': [Fault('stream_sync', HANGS, RESTART, r'error (\[rank 0\] )?rank 0.* has hung for .* s: '),
                  Fault('event_sync', HANGS, RESTART, r'error (\[rank 0\] )?rank 0.* has hung for .* s: ', nth=1)],
    'hung rank': [Fault('launch', HANGS, RESTART, r'error (\[rank \d\] )?rank 1.* has hung for .* s: ', ranks=2)],
    'slow abort': [Fault('launch', HANGS, RESTART, r'error (\[rank \d\] )?rank 1.* has hung for .* s: ', ranks=2,
                         also=f'nccl_abort:1:{HANGS}')],
    # A link fails: both ranks wait for the device, and wake with garbage when the watchdog aborts NCCL, which takes long.
    'stalled NCCL': [Fault('stall', 1, RESTART, r'error (\[rank \d\] )?rank [01].* has hung for .* s: ', ranks=2,
                           also=f'nccl_abort:1:{HANGS}', garbage=garbage) for garbage in ('nan', '0.5')],
    'dead rank': [Fault('launch', KILLS, 128 + 9, 'FAULT', ranks=2)],  # the launcher's code
}


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Place()
        cls.addClassCleanup(cls.place.close)
        cls.data = cls.place.pack('data')
        cls.random = random.Random(SEED)
        cls.num_runs = 0
        cls.healthy = {ranks: cls.run_once('healthy', ranks) for ranks in (1, 2)}
        for result in cls.healthy.values():
            assert result.code == 0, result.output

    @classmethod
    def run_once(cls, name, ranks=1, *more, **variables):
        command = training(cls.data, cls.place.path / f'{name}-{ranks}', '--eval-data-path', cls.data, '--precision', 'bf16',
                           '--checkpoint-steps', 1, '--keep-checkpoints', 1, *more)
        return cls.place.run(command, ranks, timeout=90, **variables)

    def occurrences(self, fault, rank):
        counts = self.healthy[fault.ranks].counts(rank)
        if fault.call == 'stall':
            return counts['nccl'] // 2  # a send and a receive are one operation
        names = [name for name in counts if name == fault.call or name.split('_')[0] == fault.call and
                 fault.call in ('h2d', 'd2h')]
        return sum(counts[name] for name in names)

    def chosen(self, faults):
        """(fault, which of its calls, rank)"""
        for fault in faults if SAMPLE == 'all' else self.random.sample(faults, min(int(SAMPLE), len(faults))):
            rank = fault.ranks - 1
            last = self.occurrences(fault, rank)
            self.assertGreater(last, 0, f'no {fault.call} in a run without faults')
            places = [fault.nth] if fault.nth else range(1, last + 1)
            for nth in self.random.sample(places, min(MOST_OF_A_CALL if SAMPLE == 'all' else 1, len(places))):
                yield fault, nth, rank

    def check(self, fault, nth, rank):
        type(self).num_runs += 1
        name = f'run-{self.num_runs}'
        hangs = ('--hang-timeout', HANG_TIMEOUT) if fault.code == HANGS or fault.call == 'stall' else ()
        result = self.run_once(name, fault.ranks, *hangs, FAULT=fault.plan(nth, rank), GARBAGE=fault.garbage)
        self.assertIn('FAULT', result.output)
        if result.code == 0 and (fault.call == 'event_query' or
                                 (fault.call == 'host_alloc' and result.lines('warning no .* memory can be pinned'))):
            return  # LibTorch asks whether pinned memory is free, and does without; checkpoints are copied without it
        self.check_end(result, fault.expected, fault.line, errors=0 if fault.code == KILLS else 1)
        for step in re.findall(r'step (\d+): updating weights', result.output):
            saved = [path.name[:len('step-000000000')] for path in (self.place.path / f'{name}-{fault.ranks}/checkpoints').glob('step-*')]
            self.assertLessEqual(max(saved, default=''), f'step-{int(step):09}', result.output)
        self.resume(name, fault.ranks)

    def check_end(self, result, code, line, errors=1):
        self.assertEqual(result.code, code, result.output)
        self.assertEqual(len(result.lines(r'^\d\d:\d\d:\d\d error ')), errors, result.output)
        self.assertRegex(result.output, line)
        self.assertEqual(mistakes(result), [], result.output)

    def resume(self, name, ranks=1):
        resumed = self.run_once(name, ranks)
        self.assertEqual(resumed.code, 0, resumed.output)
        self.assertEqual(resumed.lines('damaged|corrupt|does not verify'), [], resumed.output)

    def test_short_memory(self):
        """A GPU with less memory than the run needs: the line says how much was requested and is free, and what would fit."""
        peak = self.healthy[1].counts()['peak_bytes']
        for i in range(1 if SAMPLE != 'all' else 8):
            with self.subTest(i):
                gib = self.random.uniform(0.05, 0.95) * peak / 2**30
                result = self.run_once(f'short-{i}', GIB=gib)
                self.check_end(result, MEMORY, r'error CUDA out of memory. Tried to allocate [\d.]+ MiB. GPU 0 has a total '
                               r'capacity of [\d.]+ MiB of which [\d.]+ MiB is free.*; .*take (a smaller --eval-batch, or )?--micro-batch 4 instead of 8')
                self.resume(f'short-{i}')

    def check_all(self, kind):
        for fault, nth, rank in self.chosen(FAULTS[kind]):
            with self.subTest(fault.plan(nth, rank)):
                self.check(fault, nth, rank)


def test_of(kind):
    return lambda self: self.check_all(kind)


for each in FAULTS:
    setattr(Faults, 'test_' + each.replace(' ', '_'), test_of(each))


if __name__ == '__main__':
    unittest.main(verbosity=2)
