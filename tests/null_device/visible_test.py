"""GPUs that can't be used as a run asks for them: each is refused on all ranks within seconds, in one line with the reason."""
import unittest

from harness import Place, mistakes, training

USAGE, STOPPED = 2, 85


class VisibleDevices(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Place()
        cls.data = cls.place.pack('data')

    @classmethod
    def tearDownClass(cls):
        cls.place.close()

    def start(self, visible=None, ranks=2, devices=2, name='refused', *more):
        command = training(self.data, self.place.path / name, *more)
        if visible is not None:
            command = ['env', f'CUDA_VISIBLE_DEVICES={visible}', *command]
        return self.place.run(command, ranks=ranks, devices=devices)

    def refused(self, reason, *arguments):
        result = self.start(*arguments)
        self.assertEqual(result.code, USAGE, result.output)
        self.assertEqual(len(result.lines(' error ')), 1, result.output)
        self.assertRegex(result.output, reason)
        self.assertLess(result.seconds, 60)
        self.assertFalse((self.place.path / 'refused').exists())

    def test_two_ranks_on_one_gpu(self):
        self.refused(r'ranks 0 and 1 would share one GPU of .* \(rank 0 sees 1, rank 1 sees 1\); start one rank a GPU', None, 2, 1)
        self.refused('ranks 0 and 1 would share one GPU', '1')

    def test_more_ranks_than_gpus(self):
        self.refused(r'more ranks than GPUs on .* \(rank 0 sees 2, rank 1 sees 2, rank 2 sees 2\); start one rank', None, 3, 2)

    def test_no_gpu_is_visible(self):
        self.refused("--device cuda, but the ranks see no GPU: CUDA_VISIBLE_DEVICES='' hides every GPU", '')
        for missing in ('7', 'GPU-ffffffff', 'MIG-1', 'NoDevFiles'):
            self.refused(f"CUDA_VISIBLE_DEVICES='{missing}' names no GPU", missing)

    def test_a_list_that_ends_with_a_missing_gpu(self):
        self.refused("CUDA_VISIBLE_DEVICES='0,7': '7' is not a GPU of this node", '0,7')
        self.refused("CUDA_VISIBLE_DEVICES='1,GPU-ffffffff': 'GPU-ffffffff' is not", '1,GPU-ffffffff', 1)

    def test_a_gpu_that_disappears_between_two_starts(self):
        first = self.start(None, 2, 2, 'run', '--stop-after-steps', '1')
        second = self.start(None, 1, 1, 'run', '--stop-after-steps', '1')
        for result in (first, second):
            self.assertEqual(result.code, STOPPED, result.output)
            self.assertEqual(mistakes(result), [])
        self.assertRegex(first.output, r'2 ranks on 2 x ')
        self.assertRegex(second.output, r'the GPUs change from 2 x .* to 1 x ')
        self.assertRegex(second.output, r'resuming from .*: epoch 1, step 1 of 2')


if __name__ == '__main__':
    unittest.main(verbosity=2)
