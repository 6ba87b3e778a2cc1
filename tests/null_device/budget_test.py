"""Calls of the host for each micro-batch, each step and each checkpoint, of the published pair (DeiT-Tiny from DeiT3-Small) with
its recipe, after warm-up. A change that needs more calls than the table allows fails.

No markers are needed: runs of different numbers of steps, and of micro-batches in a step, are subtracted.
"""
import unittest

from harness import Place, mistakes, training

# What is counted: calls of trace.hpp.
COUNTED = {
    'launches': ('launch',),
    'products': ('product',),
    'graph launches': ('graph_launch',),
    'pinned copies to the device': ('h2d_pinned',),
    'pageable copies to the device': ('h2d_pageable',),
    'pinned copies to the host': ('d2h_pinned',),
    'pageable copies to the host': ('d2h_pageable',),
    'copies on the device': ('d2d', 'p2p'),
    'memsets': ('memset',),
    'copies that wait': ('blocking_copy',),
    'waits': ('stream_sync', 'device_sync', 'event_sync'),
    'allocations': ('malloc', 'free'),
    'allocations of pinned memory': ('host_alloc', 'host_free'),
    'products with CUBLAS_WORKSPACE_CONFIG': ('config_product',),
}
# The most that is allowed: (for each micro-batch, for each step). What is not named here must be 0.
LIMITS = {
    'recorded': {
        'launches': (1, 25),
        'graph launches': (1, 0),
        'pinned copies to the device': (1.5, 1),   # the next one's may have begun
        'pinned copies to the host': (0, 1),
        'copies on the device': (3, 0),
        'waits': (0, 1),                         # for the results of the previous step
        'allocations of pinned memory': (0.5, 1),  # as far as the loader was ahead
    },
    'direct': {
        'launches': (360, 25),
        'products': (211, 0),
        'pinned copies to the device': (1.5, 1),
        'pinned copies to the host': (0, 1),
        'copies on the device': (11, 0),
        'memsets': (46, 0),
        'waits': (0, 1),
        'allocations of pinned memory': (0.5, 1),
    },
    'direct, not deterministic': {
        'launches': (295, 25),
        'products': (244, 0),
        'pinned copies to the device': (1.5, 1),
        'pinned copies to the host': (0, 1),
        'copies on the device': (11, 0),
        'memsets': (46, 0),
        'waits': (0, 1),
        'allocations of pinned memory': (0.5, 1),
    },
}
FLAGS = {
    'recorded': (),
    'direct': ('--cuda-graph', 'false'),
    'direct, not deterministic': ('--cuda-graph', 'false', '--deterministic', 'false'),
}
# For each checkpoint that is saved.
CHECKPOINT = {'pinned copies to the device': 1, 'allocations of pinned memory': 1,  # as far as the loader was ahead
              'copies on the device': 4, 'pinned copies to the host': 1,
              'waits': 1}  # of the thread that writes it

MICRO_BATCH = 8
WARM, LAST = 4, 10   # steps after which the counts are taken
FEW, MANY = 2, 4     # micro-batches of a step
SLACK = 1e-6


class Budget(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Place()
        cls.addClassCleanup(cls.place.close)
        cls.data = cls.place.pack('data', images=512)
        run = cls.place.path / 'teacher'
        done = cls.place.run(training(cls.data, run, '--model', 'deit3_small_patch16_224',
                                      '--stop-after-steps', 1, '--batch-size', 8))
        cls.teacher = max((run / 'checkpoints').glob('step-*'), default=None)
        assert cls.teacher is not None, done.output
        cls.runs = 0

    def counts(self, steps, micro_batches, *flags):
        type(self).runs += 1
        output = self.place.path / f'run-{self.runs}'
        result = self.place.run(training(
            self.data, output, '--model', 'deit_tiny_patch16_224', '--teacher-path', self.teacher, '--precision', 'bf16',
            '--distillation-type', 'soft', '--micro-batch', MICRO_BATCH, '--batch-size', MICRO_BATCH * micro_batches,
            '--stop-after-steps', steps, '--seed', 3, *flags), LARGEST_COPY_KIB=256)
        self.assertEqual(result.code, 85, result.output)  # another start goes on
        self.assertEqual(mistakes(result), [], result.output)
        counted = result.counts()
        return {name: sum(counted[call] for call in calls) for name, calls in COUNTED.items()}

    def for_each(self, *flags):
        """{name: (for each micro-batch, for each step)}"""
        def per_step(micro_batches):
            warm, last = (self.counts(steps, micro_batches, *flags) for steps in (WARM, LAST))
            return {name: (last[name] - warm[name]) / (LAST - WARM) for name in COUNTED}
        few, many = per_step(FEW), per_step(MANY)
        slope = {name: (many[name] - few[name]) / (MANY - FEW) for name in COUNTED}
        return {name: (slope[name], few[name] - FEW * slope[name]) for name in COUNTED}

    def test_of_micro_batches_and_steps(self):
        for kind, limits in LIMITS.items():
            found = self.for_each(*FLAGS[kind])
            print(f'\n{kind:40s} each micro-batch (limit)     each step (limit)')
            for name, (micro_batch, step) in found.items():
                most, most_step = limits.get(name, (0, 0))
                print(f'{name:40s} {micro_batch:16.2f} ({most:5}) {step:17.2f} ({most_step:5})')
            for name, (micro_batch, step) in found.items():
                most, most_step = limits.get(name, (0, 0))
                with self.subTest(f'{kind}: {name}'):
                    self.assertLessEqual(micro_batch, most + SLACK)
                    # Of a whole step, so that a call that moves from one column to the other is none more.
                    self.assertLessEqual(FEW * micro_batch + step, FEW * most + most_step + SLACK)

    def test_of_a_checkpoint(self):
        without, saved = self.counts(LAST, FEW), self.counts(LAST, FEW, '--checkpoint-steps', LAST - WARM)  # one more
        print()
        for name in COUNTED:
            each = saved[name] - without[name]
            print(f'{name:40s} {each:16} each checkpoint ({CHECKPOINT.get(name, 0)})')
            with self.subTest(name):
                self.assertLessEqual(each, CHECKPOINT.get(name, 0))


if __name__ == '__main__':
    unittest.main(verbosity=2)
