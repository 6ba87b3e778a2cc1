"""The null device itself: small programs that do right and wrong things (runtime_program.cpp, graph_program.cpp). Expected
codes are those of CUDA's documentation (cudaError_t), not of the library."""
import re
import unittest

from harness import BUILD, Place, mistakes

INVALID_VALUE, OUT_OF_MEMORY, INVALID_CONFIGURATION, INSUFFICIENT_DRIVER, INVALID_HANDLE = 1, 2, 9, 35, 400
NO_DEVICE, NOT_SUPPORTED, UNSUPPORTED, INVALIDATED = 100, 801, 900, 901
UNJOINED, ISOLATION, CAPTURED_EVENT, WRONG_THREAD = 904, 905, 907, 908
HANGS, KILLS = -1, -2


class Library(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Place()
        cls.addClassCleanup(cls.place.close)

    def run_program(self, scenario, code=0, timeout=20, **variables):
        result = self.place.run([BUILD / 'null_device/runtime_program', scenario], timeout=timeout, **variables)
        self.assertEqual(result.code, code, result.output)
        return result

    def assert_codes(self, result, *expected):
        """expected: (what, code) in the order of the calls."""
        found = [(what, int(code)) for what, code in re.findall(r'^([a-z ]\w[\w ]*): (\d+)$', result.output, re.MULTILINE)]
        self.assertEqual(found, list(expected), result.output)

    def assert_mistakes(self, result, *patterns):
        found = mistakes(result)
        self.assertEqual(len(found), len(patterns), result.output)
        for line, pattern in zip(found, patterns):
            self.assertRegex(line, pattern)
        self.assertEqual(result.counts()['mistake'], len(patterns))

    def test_a_launch_on_a_stream_of_another_device(self):
        result = self.run_program('wrong_device', devices=2)
        self.assert_codes(result, ('launch', INVALID_HANDLE))
        self.assert_mistakes(result, 'a stream of device 1.* device 0 is current')

    def test_a_grid_without_blocks(self):
        result = self.run_program('bad_grid')
        self.assert_codes(result, ('launch', INVALID_CONFIGURATION), ('last error', INVALID_CONFIGURATION),
                          ('last error again', 0))
        self.assert_mistakes(result, r'grid \(0, 1, 1\)')

    def test_accesses_outside_of_an_allocation(self):
        result = self.run_program('out_of_bounds')
        self.assert_codes(result, ('copy', INVALID_VALUE), ('memset', INVALID_VALUE))
        self.assert_mistakes(result, 'copy of 4096 bytes outside', 'memset of 4096 bytes outside')

    def test_memory_freed_twice(self):
        result = self.run_program('double_free')
        self.assert_codes(result, ('free', 0), ('free again', INVALID_VALUE))
        self.assert_mistakes(result, 'not an allocation')

    def test_the_host_cannot_access_memory_of_the_device(self):
        result = self.run_program('host_access', code=128 + 11)
        self.assertRegex(result.output, r'HOST ACCESS TO DEVICE MEMORY at 0x\w+ of device 0\n(.*\n)*.*runtime_program\+')

    def test_memory_is_limited(self):
        result = self.run_program('out_of_memory', GIB=1)
        self.assert_codes(result, ('too much', OUT_OF_MEMORY), ('half', 0))
        self.assertIn('free: 512 MiB of 1024 MiB', result.output)

    def test_what_is_not_implemented_says_its_name(self):
        result = self.run_program('not_implemented')
        self.assert_mistakes(result, 'cudaMallocArray is not implemented')
        self.assertIn(f'cudaMallocArray: {NOT_SUPPORTED}', result.output)

    def test_devices_and_drivers(self):
        result = self.run_program('devices', devices=3, NAMES='A,B')
        self.assertEqual(re.findall(r'^\d: .*', result.output, re.MULTILINE), ['0: A 0', '1: B 1', '2: B 2'])
        self.assert_codes(self.run_program('devices', DRIVER=12040), ('count', INSUFFICIENT_DRIVER))
        visible = ['env', 'CUDA_VISIBLE_DEVICES=2,GPU-00a1,7,0', BUILD / 'null_device/runtime_program', 'devices']
        self.assertEqual(re.findall(r'^\d: .* (\d)$', self.place.run(visible, devices=3).output, re.MULTILINE), ['2', '0'])
        visible[1] = 'CUDA_VISIBLE_DEVICES='
        self.assert_codes(self.place.run(visible), ('count', NO_DEVICE))

    def test_a_graph_is_executed_when_it_is_replayed(self):
        self.assert_mistakes(self.run_program('replay'))
        counts = self.run_program('replay').counts()
        self.assertEqual((counts['graph_launch'], counts['captured'], counts['launch']), (3, 5, 0))

    def test_rules_of_captures(self):
        for scenario, codes, pattern in (
                ('wait_in_capture', (('synchronize', UNSUPPORTED), ('launch', INVALIDATED), ('end', INVALIDATED)),
                 'cudaStreamSynchronize during a capture'),
                ('pageable_in_capture', (('copy', UNSUPPORTED), ('end', INVALIDATED)), 'pageable'),
                ('unjoined', (('end', UNJOINED),), 'joined'),
                ('isolation', (('wait', ISOLATION), ('end', INVALIDATED)), 'outside of it'),
                ('captured_event', (('query', CAPTURED_EVENT), ('end', INVALIDATED)), 'cudaEventQuery')):
            with self.subTest(scenario):
                result = self.run_program(scenario)
                self.assert_codes(result, *codes)
                self.assert_mistakes(result, pattern)
        self.assert_codes(self.run_program('wrong_thread'), ('end', WRONG_THREAD), ('end', 0))

    def test_allocations_in_captures_by_mode(self):
        refused, allowed = [UNSUPPORTED, INVALIDATED], [0, 0]
        result = self.run_program('allocation_in_capture')
        codes = [int(code) for code in re.findall(r': (\d+)$', result.output, re.MULTILINE)]
        self.assertEqual(codes, [*refused, *refused,   # global: another thread, own thread
                                 *allowed, *refused,   # thread-local
                                 *allowed, *allowed,   # relaxed
                                 *allowed],            # global, where the thread has exchanged its mode
                         result.output)

    def test_graphs_of_libtorch(self):
        result = self.place.run([BUILD / 'null_device/graph_program'])
        self.assertEqual(result.code, 0, result.output)
        self.assertEqual(len(result.lines('^captured and replayed$')), 1, result.output)
        self.assertEqual(len(result.lines('^refused: CUDA error: operation not permitted when stream is capturing')), 1,
                         result.output)
        counts = result.counts()
        self.assertEqual(counts['graph_launch'], 3)
        self.assertGreater(counts['captured'], 10)

    def test_faults(self):
        result = self.run_program('pipeline', code=2, FAULT='event_sync:2:214')
        self.assertRegex(result.output, 'FAULT event_sync number 2 -> 214\n')
        self.assertIn('cudaEventSynchronize(sent[slot]): 214', result.output)
        self.run_program('pipeline', FAULT='event_sync:2:214@1')  # of another rank
        self.assertEqual(self.run_program('bad_grid', FAULT='launch:1:719').code, 0)  # is refused before
        self.run_program('replay', code=124, timeout=1, FAULT=f'sync:1:{HANGS}')
        self.run_program('replay', code=137, FAULT=f'graph_launch:2:{KILLS}')


if __name__ == '__main__':
    unittest.main(verbosity=2)
