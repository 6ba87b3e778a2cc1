"""Random schedules: work of streams is done as late, and in as strange an order, as streams and events allow.

Injected errors of small programs are seen in their bytes, right programs are clean; the trainer's input is the same in every
schedule. MASKEDKD_NULL_DEVICE_SCHEDULES is the number of schedules of each small program; the trainer has a tenth of it.
"""
import concurrent.futures
import hashlib
import unittest

from harness import BUILD, Place, count, mistakes, training

SCHEDULES = count('MASKEDKD_NULL_DEVICE_SCHEDULES', 20)
WRONG_BYTES = 3
# Scenarios of runtime_program.cpp, and the part of the schedules in which an error must be seen.
RIGHT = ('pipeline', 'overwritten_after_waits', 'reused_after_events', 'replays_with_waits', 'replay', 'pageable',
         'host_function')
WRONG = ('pipeline_without_order', 'pipeline_without_wait', 'overwritten', 'reused', 'replays')
SEEN = 0.9


class Schedules(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Place()
        cls.addClassCleanup(cls.place.close)

    def codes(self, scenario):
        def run(seed):
            return self.place.run([BUILD / 'null_device/runtime_program', scenario], timeout=60, SCHEDULE=seed)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return [result.code for result in pool.map(run, range(SCHEDULES))]

    def test_right_programs_are_clean(self):
        for scenario in RIGHT:
            with self.subTest(scenario):
                self.assertEqual(set(self.codes(scenario)), {0})

    def test_errors_are_seen(self):
        for scenario in WRONG:
            with self.subTest(scenario):
                codes = self.codes(scenario)
                self.assertEqual(set(codes) - {0, WRONG_BYTES}, set())
                seen = codes.count(WRONG_BYTES) / len(codes)
                print(f'{scenario}: seen in {100 * seen:.1f} % of {len(codes)} schedules')
                self.assertGreaterEqual(seen, SEEN)
                # At once, nothing is wrong: the errors are such that a fast device hides.
                self.assertEqual(self.place.run([BUILD / 'null_device/runtime_program', scenario]).code, 0)

    def test_gradients_are_summed_beside_the_backward_pass(self):
        for ranks in (2, 3):
            for seed in range(SCHEDULES):
                with self.subTest(ranks=ranks, seed=seed):
                    result = self.place.run([BUILD / 'null_device/gradient_sum_program'], ranks, SCHEDULE=seed)
                    self.assertEqual(result.code, 0, result.output)
                    self.assertEqual(mistakes(result), [], result.output)

    def train(self, name, ranks=1, **variables):
        data = self.place.pack('data', images=128)  # four steps an epoch: some are recorded, some replayed
        result = self.place.run(training(data, self.place.path / name, '--eval-data-path', data, '--epochs', 2, '--depth', 6,
                                         '--checkpoint-steps', 3, '--keep-checkpoints', 99, '--precision', 'bf16'), ranks,
                                DIGEST_KIB=2, **variables)
        self.assertEqual(result.code, 0, result.output)
        self.assertEqual(mistakes(result), [], result.output)
        for rank in range(ranks):
            self.assertGreater(result.counts(rank)['graph_launch'], 0)
        # Which checkpoints there are depends on how long the one before took.
        weights = {hashlib.sha256(path.read_bytes()).hexdigest()
                   for path in (self.place.path / name / 'checkpoints').glob('step-*/model.safetensors')}
        return [result.digests(rank) for rank in range(ranks)], weights

    def test_the_trainer_has_the_same_input_and_checkpoints_in_every_schedule(self):
        for ranks in (1, 2):
            expected = self.train(f'at-once-{ranks}', ranks)
            digests, weights = expected
            uploads = {digest for uploads, _ in digests for digest in uploads}
            on_device = {digest for _, copies in digests for digest in copies}
            self.assertGreaterEqual(len(uploads), 32)  # the images of 8 steps of 4 micro-batches
            self.assertLessEqual(on_device, uploads)   # into the memory that the recorded work reads
            self.assertGreaterEqual(len(on_device), 32)
            self.assertEqual(len(weights), 1)  # nothing is computed: those of the start
            for seed in range(max(6, SCHEDULES // 10)):
                with self.subTest(ranks=ranks, seed=seed):
                    self.assertEqual(self.train(f'late-{ranks}-{seed}', ranks, SCHEDULE=seed), expected)


if __name__ == '__main__':
    unittest.main(verbosity=2)
