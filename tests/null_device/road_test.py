"""The whole road through maskedkd_train and maskedkd_evaluate on the null device, in all configurations: no access of the host to
the device's memory, no mistake, no call on another device than the rank's own, and one context for each rank.
"""
import json
import unittest

import h5py

from harness import BUILD, Place, contexts, count, mistakes, training

RANKS = count('MASKEDKD_NULL_DEVICE_RANKS', 12)  # of test_many_ranks
STOPPED, DIVERGED = 85, 93  # another start goes on; ends the same way
SMALL_STUDENT = ('--width', 24, '--depth', 2, '--heads', 2)


class Road(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Place()
        cls.addClassCleanup(cls.place.close)
        cls.data = cls.place.pack('data')
        cls.num_runs = 0
        cls.teacher = cls.trained('teacher', '--width', 16, '--patch-drop', 0.5)
        cls.coarse_teacher = cls.trained('coarse-teacher', '--patch-size', 8)

    @classmethod
    def trained(cls, name, *flags):
        result = cls.place.run(training(cls.data, cls.place.path / name, '--epochs', 1, *flags))
        assert result.code == 0 and not mistakes(result), result.output
        return cls.place.path / name

    def check(self, result, ranks=1, code=0):
        self.assertEqual(result.code, code, result.output)
        self.assertEqual(mistakes(result), [], result.output)
        self.assertEqual(contexts(result), [(rank, rank) for rank in range(ranks)], result.output)
        return result

    def train(self, *flags, ranks=1, code=0, name=None, **variables):
        type(self).num_runs += 1
        self.output = self.place.path / (name or f'run-{self.num_runs}')
        command = training(self.data, self.output, '--eval-data-path', self.data, *flags)
        return self.check(self.place.run(command, ranks, **variables), ranks, code)

    def distil(self, *flags, teacher=None, kind='soft', **more):
        sizes = () if '--model' in flags else SMALL_STUDENT
        return self.train('--teacher-path', teacher or self.teacher, '--distillation-type', kind, *sizes, *flags, **more)

    def evaluate(self, weights, *flags, ranks=1):
        return self.check(self.place.run([BUILD / 'bin/maskedkd_evaluate', '--data-path', self.data, '--weights', weights,
                                          '--device', 'cuda', '--threads', 1, '--workers', 1, *flags], ranks), ranks)

    def log(self):
        return [json.loads(line) for line in (self.output / 'log.txt').read_text().splitlines()]

    def test_fp32_with_an_average_and_evaluation(self):
        self.distil('--model-ema-decay', 0.9, '--checkpoint-steps', 1, '--aa', 'none', '--three-augment')
        self.assertEqual(len(self.log()), 2)
        self.evaluate(self.output, '--ema', '--masks', self.output / 'masks.png')

    def test_bf16_augmented_on_the_gpu(self):
        result = self.distil('--precision', 'bf16', '--augment-on', 'gpu', '--erasing', 0.9, '--erasing-count', 2,
                             '--mixup-mode', 'elem', '--clip-grad', 1)
        self.assertGreater(result.counts()['launch'] + result.counts()['captured'], 100)
        self.evaluate(self.output)

    def test_fp16_with_an_overflow(self):
        """Results of the first step that the host reads, one after the other not finite: the losses of the micro-batches, then
        the norm. The loss scale, which the device decides, reads as 0 here: there is no smaller one, and the run ends.
        """
        for index in range(5):
            command = training(self.data, self.place.path / f'overflow-{index}', '--precision', 'fp16', '--epochs', 1)
            result = self.place.run(command, SCALAR=f'1:inf:{index}')
            self.assertEqual(mistakes(result), [], result.output)
            self.assertEqual(result.code, DIVERGED, result.output)
            found = f'the loss of micro-batch {index} in step 0' if index < 4 else 'the gradient of step 0'
            self.assertEqual(len(result.lines(f'error {found} ')), 1, result.output)
        self.distil('--precision', 'fp16', '--clip-grad', 1)
        self.evaluate(self.output, '--precision', 'fp16')

    def test_a_graph_that_is_refused(self):
        """Said once; the run goes on without graphs."""
        command = training(self.data, self.place.path / 'refused', '--precision', 'bf16', '--epochs', 2)
        result = self.place.run(command, FAULT='capture:1:900')
        self.assertEqual(mistakes(result), [], result.output)
        self.assertEqual(result.code, 0, result.output)
        self.assertEqual(len(result.lines('warning the work of a micro-batch is started call by call')), 1, result.output)
        self.assertEqual(result.counts()['graph_launch'], 0)
        recorded = self.place.run(training(self.data, self.place.path / 'recorded', '--precision', 'bf16', '--epochs', 2))
        self.assertGreater(recorded.counts()['graph_launch'], 0)

    def test_many_ranks(self):
        """Start, steps, checkpoints, evaluation and resumption of more ranks than this machine has cores."""
        data = self.place.pack('many', images=16 * RANKS)
        for epochs in (1, 2):
            command = training(data, self.place.path / 'many-ranks', '--eval-data-path', data, '--batch-size', 8 * RANKS,
                               '--epochs', epochs)
            result = self.place.run(command, RANKS, timeout=600)
            self.assertEqual(result.code, 0, result.output)
            self.assertEqual(mistakes(result), [], result.output)
            self.assertEqual(contexts(result), [(rank, rank) for rank in range(RANKS)])

    def test_a_damaged_record_that_is_read_ahead(self):
        """The run ends after the same step, with the same checkpoint, as on a CPU."""
        data = self.place.pack('damaged')
        path = sorted(data.glob('shard-*.h5'))[0]
        with h5py.File(path, 'r') as shard:
            first = shard['bytes'].id.get_offset() + int(shard['offsets'][4])  # of a record that comes in a later step
        with open(path, 'r+b') as shard:  # HDF5 would change more than this byte
            shard.seek(first)
            byte = shard.read(1)[0]
            shard.seek(first)
            shard.write(bytes([byte ^ 1]))
        saved = {}
        for device in ('cpu', 'cuda'):
            run = self.place.path / f'damaged-{device}'
            for attempt in range(3):
                result = self.place.run(training(data, run, '--device', device, '--epochs', 3, '--checkpoint-steps', 1,
                                                 '--keep-checkpoints', 99))
                self.assertEqual(result.code, 1, result.output)
                self.assertRegex(result.output, r'error .*shard-0+\.h5.*record')
                self.assertEqual(mistakes(result), [], result.output)
            saved[device] = sorted(path.name for path in (run / 'checkpoints').glob('step-*'))
        self.assertNotEqual(saved['cpu'], [])
        self.assertEqual(saved['cuda'], saved['cpu'])

    def test_not_deterministic(self):
        self.distil('--precision', 'bf16', '--deterministic', 'false', '--mask-criterion', 'lowest', kind='hard')
        self.train('--precision', 'fp16', '--deterministic', 'false', ranks=2)

    def test_criteria_and_grids(self):
        for criterion in ('random', 'teacher', 'all'):
            with self.subTest(criterion):
                self.distil('--precision', 'bf16', '--mask-criterion', criterion, '--epochs', 1)
        self.distil('--keep', 2, '--mask-criterion', 'student', '--epochs', 1, '--keep-schedule', 'linear', '--keep-start', 4,
                    '--distilled', teacher=self.coarse_teacher)

    def test_cait_and_its_student(self):
        self.train('--model', 'cait_xxs24_224', '--precision', 'bf16', '--batch-size', 8, '--micro-batch', 4,
                   '--stop-after-steps', 2, code=STOPPED)
        self.distil('--model', 'deit_tiny_distilled_patch16_224', '--precision', 'bf16', '--batch-size', 8, '--micro-batch', 4,
                    '--stop-after-steps', 2, teacher=self.output, code=STOPPED)

    def test_mae(self):
        self.train('--model', 'mae_vit_base_patch16', '--precision', 'bf16', '--batch-size', 2, '--micro-batch', 2,
                   '--stop-after-steps', 4, code=STOPPED)

    def test_ranks_stop_and_resume(self):
        flags = ('--precision', 'bf16', '--model-ema-decay', 0.9, '--checkpoint-steps', 1)
        for ranks in (2, 3):
            name = f'on-{ranks}'
            batch = ('--batch-size', 8 * ranks)
            result = self.distil(*flags, *batch, '--stop-after-steps', 2, ranks=ranks, name=name, code=STOPPED)
            self.assertGreater(min(result.counts(rank)['nccl'] for rank in range(ranks)), 0)
            self.distil(*flags, *batch, ranks=1 if ranks == 3 else 2, name=name)
            self.assertEqual([line['epoch'] for line in self.log()], [0, 1])
        self.evaluate(self.output, ranks=2)


if __name__ == '__main__':
    unittest.main(verbosity=2)
