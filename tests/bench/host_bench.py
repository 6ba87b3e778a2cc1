#!/usr/bin/env python3
"""Processor time of the host for each micro-batch, on the null device (tests/null_device/README.md), where kernels cost nothing:
DeiT-Tiny from DeiT3-Small with the default recipe. Beside it the calls for each micro-batch, as budget_test.py counts them.

    host_bench.py [--micro-batch 128] [--micro-batches 24] [FLAGS of maskedkd_train, such as --deterministic false]

Programs come from MASKEDKD_BUILD (build/tests).
"""
import argparse
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'null_device'))
from budget_test import COUNTED  # noqa: E402
from harness import Place, mistakes, training  # noqa: E402

STOPPED = 85
PER_STEP = 8   # micro-batches of a step, as in the published run
WARM = 2       # steps that are left out


def samples(path, micro_batches):
    """For each micro-batch of the last `micro_batches`: processor time of the threads that run the step, and of all others that
    call the device, in ms."""
    lines = [line.split('\t')[1:] for line in path.read_text().splitlines()]
    main = min(int(thread.split()[0]) for thread in lines[-1])
    own, others = [], []
    for line in lines:
        threads = [(int(number), int(ns), name) for number, ns, name in (thread.split(' ', 2) for thread in line)]
        own.append(sum(ns for number, ns, name in threads if number == main or name.startswith('pt_autograd')) / 1e6)
        others.append(sum(ns for _, ns, _ in threads) / 1e6 - own[-1])
    def differences(values):  # a step copies nothing large to the device but the staged micro-batches
        marks = values[-micro_batches - 1:]
        return [after - before for before, after in zip(marks, marks[1:])]
    return differences(own), differences(others)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--micro-batch', type=int, default=128)
    parser.add_argument('--micro-batches', type=int, default=24)
    options, flags = parser.parse_known_args()
    place = Place()
    steps = -(-options.micro_batches // PER_STEP)
    data = place.pack('data', images=PER_STEP * options.micro_batch * (WARM + steps + 1))  # no epoch ends
    run = place.path / 'teacher'
    place.run(training(data, run, '--model', 'deit3_small_patch16_224', '--stop-after-steps', 1, '--batch-size', 8))
    teacher = max((run / 'checkpoints').glob('step-*'))

    def train(steps):
        result = place.run(training(
            data, place.path / f'run-{steps}', '--model', 'deit_tiny_patch16_224', '--teacher-path', teacher, '--precision',
            'bf16', '--distillation-type', 'soft', '--micro-batch', options.micro_batch, '--batch-size',
            PER_STEP * options.micro_batch, '--repeats', 3, '--epochs', 300, '--stop-after-steps', steps, *flags),
            timeout=1800, LARGEST_COPY_KIB=256, DIGESTS='', TIMES=place.path / f'times-{steps}')
        if result.code != STOPPED or mistakes(result):
            sys.exit(result.output)
        return result

    warm, last = train(WARM), train(WARM + steps)
    own, others = samples(place.path / f'times-{WARM + steps}.0', steps * PER_STEP)
    print(f'micro-batches of {options.micro_batch}, {" ".join(flags) or "default flags"}: {len(own)} measured')
    print(f'{"per micro-batch":46s} {"min":>10s} {"median":>10s}')
    print(f'{"processor time of the step, ms":46s} {min(own):10.2f} {statistics.median(own):10.2f}')
    print(f'{"of other threads that call the device, ms":46s} {min(others):10.2f} {statistics.median(others):10.2f}')
    before, after = warm.counts(), last.counts()
    print(f'{"calls":46s} {"":10s} {"mean":>10s}')
    for name, calls in COUNTED.items():
        each = sum(after[call] - before[call] for call in calls) / (steps * PER_STEP)
        print(f'{name:46s} {"":10s} {each:10.2f}')
    place.close()


if __name__ == '__main__':
    main()
