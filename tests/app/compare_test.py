"""jobs/compare.sh without a cluster: its table, interruptions, and input that it refuses. Figures are compared with NumPy.
MASKEDKD_COMPARE_KILLS sets the number of interruptions.
"""
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
import unittest
import xml.etree.ElementTree

import numpy

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/cluster'))
import harness  # noqa: E402
from harness import BUILD, run  # noqa: E402

KILLS = harness.count('MASKEDKD_COMPARE_KILLS', 5)


def contents(folder):
    """Digests of all files except those of the lease and the results, and the times of their last changes."""
    results = ('accuracy.svg', 'table.txt', 'times.txt')
    return {path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in folder.rglob('*')
            if path.is_file() and '.lease' not in path.parts and path.name not in results}


class Compare(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory(prefix='maskedkd-compare-')
        cls.addClassCleanup(holder.cleanup)
        cls.work = harness.Work(types.SimpleNamespace(place=pathlib.Path(holder.name)), ranks_per_node=2, nodes=1)
        cls.place = cls.work.place
        for name in ('train', 'val'):
            cls.work.pack(f'packed/{name}')
        cls.work.train_teacher()
        cls.recipe = cls.place / 'small.conf'
        # What a recipe says of masks and seeds must not reach the arms.
        cls.recipe.write_text(harness.recipe_text(cls.work.student('--epochs', 2)) +
                              'keep = 0.3  # ours\nmask_criterion = random\nseed = 9\n')

    def compare(self, *words, code=0):
        done = run('jobs/compare.sh', *words, check=False, timeout=300)
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout

    def start(self, folder, *words):
        return subprocess.Popen(['jobs/compare.sh', '--folder', folder, *words, self.recipe], cwd=ROOT, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    @classmethod
    def whole(cls):
        """A comparison of all arms with two seeds, computed once."""
        folder = cls.place / 'runs/compare-small'
        if not (folder / 'table.txt').exists():
            cls.output = run('jobs/compare.sh', '--seeds=3,8', cls.recipe, timeout=300).stdout
        return folder

    @staticmethod
    def log(run_folder):
        return [json.loads(line) for line in (run_folder / 'log.txt').read_text().splitlines()]

    def test_the_table_is_that_of_the_logs(self):
        folder = self.whole()
        patches = {'none': None, 'whole': 16, 'keep75': 12, 'keep50': 8, 'keep25': 4, 'random50': 8, 'lowest50': 8}
        accuracies = {}
        for arm, kept in patches.items():
            logs = [self.log(folder / f'{arm}-{seed}') for seed in (3, 8)]
            self.assertEqual([log[-1].get('kept_patches') for log in logs], [kept] * 2)
            self.assertTrue(all(len(log) == 2 for log in logs))
            accuracies[arm] = [log[-1]['test_acc1'] for log in logs]
        criteria = {}
        for arm in patches:
            state = json.loads(next((folder / f'{arm}-8/checkpoints').glob('*/state.json')).read_text())
            criteria[arm] = (state['options']['seed'], state['options'].get('mask-criterion'))
        self.assertEqual({seed for seed, _ in criteria.values()}, {'8'})
        self.assertEqual([criteria[arm][1] for arm in ('whole', 'keep75', 'keep25', 'random50', 'lowest50')],
                         ['all', 'student', 'student', 'random', 'lowest'])
        self.compare('--table', '--seeds', '3,8', self.recipe)  # other tests may have printed that of one seed
        rows = (folder / 'table.txt').read_text().splitlines()[1:]
        self.assertEqual(len(rows), 7)
        for (arm, kept), row in zip(patches.items(), rows):
            cells = re.split(r' {2,}', row)
            values = accuracies[arm]
            self.assertEqual(cells[1], f'{numpy.mean(values):.2f} +- {numpy.std(values, ddof=1):.2f}', row)
            self.assertEqual(cells[2:4], ['2', f'{kept} of 16' if kept else '-'], row)
            if arm != 'none':
                gains = numpy.subtract(values, accuracies['none'])
                error = numpy.std(gains, ddof=1) / numpy.sqrt(2)
                self.assertEqual(cells[4], f'{numpy.mean(gains):+.2f} +- {error:.2f}', row)
        rates = {arm: numpy.median([line['images_per_second'] for seed in (3, 8)
                                    for line in self.log(folder / f'{arm}-{seed}')]) for arm in patches}
        for arm, row in zip(patches, (folder / 'times.txt').read_text().splitlines()[1:]):
            cells = re.split(r' {2,}', row)
            self.assertEqual(cells[1:3], [f'{rates[arm]:.0f}', f'{rates["none"] / rates[arm]:.2f}'], row)
        picture = xml.etree.ElementTree.parse(folder / 'accuracy.svg')
        texts = [text.text for text in picture.iter('{http://www.w3.org/2000/svg}text')]
        self.assertEqual(set(texts) & {'no teacher', 'masked, 50 %', 'lowest 50 %'},
                         {'no teacher', 'masked, 50 %', 'lowest 50 %'})
        self.assertIn((folder / 'table.txt').read_text() + '\n' + (folder / 'times.txt').read_text(), self.output)

    def test_a_second_call_changes_nothing(self):
        folder = self.whole()
        before = contents(folder)
        output = self.compare('--seeds', '3,8', self.recipe)
        self.assertEqual(contents(folder), before)
        self.assertIn((folder / 'table.txt').read_text(), output)
        self.assertEqual(self.compare('--table', '--seeds', '3,8', self.recipe), output)

    def test_interrupted_at_random_moments_gives_the_same_table(self):
        self.whole()
        choose = random.Random(os.environ.get('MASKEDKD_COMPARE_SEED', 5))
        arms = ['--arms', 'none,whole,keep50', '--seeds', '3,8']
        expected = self.place / 'undisturbed'
        began = time.time()
        self.compare('--folder', expected, *arms, self.recipe)
        length = time.time() - began
        folder = self.place / 'interrupted'
        for i in range(KILLS):
            script = self.start(folder, *arms)
            try:
                script.wait(choose.uniform(0, length * 2 / KILLS))
            except subprocess.TimeoutExpired:
                pass
            if i % 2 == 0:  # as a machine that loses its power; the folder is in the command lines of all processes
                subprocess.run(['pkill', '-KILL', '-f', folder], check=False)
                script.wait(30)
            else:
                script.send_signal(choose.choice([signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]))
                output = script.communicate(timeout=60)[0]
                self.assertIn(script.returncode, (0, 85, -2, -10, -15), output)
            script.stdout.close()
        self.compare('--folder', folder, *arms, self.recipe)
        self.assertEqual((folder / 'table.txt').read_bytes(), (expected / 'table.txt').read_bytes())
        for path in expected.glob('*/log.txt'):
            self.assertEqual(*(harness.log_without_times(place / path.parent.name) for place in (expected, folder)))

    def test_a_second_script_in_a_folder_waits_for_the_first(self):
        folder = self.place / 'twice'
        first = self.start(folder, '--arms=none', '--seeds=1')
        harness.wait_for('its run', (folder / 'none-1').exists, 30)
        second = self.start(folder, '--arms=none', '--seeds=1')
        outputs = [script.communicate(timeout=120)[0] for script in (first, second)]
        self.assertEqual([first.returncode, second.returncode], [0, 0], outputs)
        self.assertIn('waiting for another jobs/compare.sh', outputs[1])
        self.assertNotIn('run 1 of 1', outputs[1])

    def test_one_seed_has_no_deviation(self):
        self.whole()
        output = self.compare('--table', '--seeds', '3', self.recipe)
        self.assertNotIn('+-', output)
        self.assertRegex(output, r'no teacher +\d+\.\d\d +1 +- +-\n')

    def test_a_failed_arm_is_named_and_the_others_stand(self):
        folder = self.place / 'failed'
        folder.mkdir()
        (folder / 'keep25-1').write_text('not a folder')
        command = ('--folder', folder, '--arms', 'none,keep25,keep50', '--seeds', '1', self.recipe)
        output = self.compare(*command, code=1)
        self.assertRegex(output, 'masked, 25 %, seed 1: failed with exit code [12]\n')
        self.assertIn(f'failed: {folder}/keep25-1', output)
        self.assertRegex(output, r'no teacher +\d+\.\d\d')
        self.assertRegex(output, r'masked, 50 % +\d+\.\d\d')
        (folder / 'keep25-1').unlink()
        self.assertRegex(self.compare(*command), r'masked, 25 % +\d+\.\d\d')

    def test_a_teacher_of_other_classes_is_refused_by_name(self):
        teacher = self.place / 'other'
        if not teacher.exists():
            run(BUILD / 'bin/maskedkd_pack', *self.work.write_images(), '--class-names', 'cat,dog,cow,hen',
                '--output-dir', self.place / 'animals')
            run(BUILD / 'bin/maskedkd_train', *self.work.common, '--data-path', self.place / 'animals', '--output-dir',
                teacher, '--distillation-type', 'none', '--epochs', 1, '--width', 8, '--depth', 1, '--heads', 1)
        output = self.compare('--folder', self.place / 'strange', '--arms', 'none,whole', '--seeds', '1', self.recipe,
                              '--teacher-path', teacher, code=1)
        self.assertRegex(output, 'error .*classes')
        self.assertLess(output.index('error '), output.index('none-1'), 'the teacher was refused after a training')
        self.assertIn('whole teacher, seed 1: failed with exit code 2', output)
        self.assertRegex(output, r'no teacher +\d+\.\d\d')

    def test_wrong_calls_are_refused_in_a_line(self):
        alone = self.place / 'alone'
        (alone / 'train').mkdir(parents=True, exist_ok=True)
        shutil.copy(self.place / 'packed/train/index.json', alone / 'train')
        nothing = self.place / 'nothing.conf'
        nothing.write_text('epochs = 1\n')
        for words, expected in (
                ((self.recipe, '--data-path', alone), f'{alone} has no packed set val; give --eval-data-path'),
                ((self.recipe, '--data-path', self.place / 'packed/train'), 'has no packed set val'),
                ((self.recipe, f'--data-path={self.place}/missing'), 'missing does not exist'),
                ((nothing,), 'names no teacher: give --teacher-path'),
                ((self.recipe, '--distillation-type=none'), 'a comparison needs a teacher'),
                ((self.recipe, '--teacher-path', '"a b"'), '--teacher-path "a b": write it without quotes and spaces'),
                (('no-such',), "no recipe is called 'no-such'"),
                (('--arms', 'none,keep60', self.recipe), "there is no 'keep60'; there are: none,whole,keep75"),
                (('--arms=', self.recipe), '--arms has no value'),
                (('--arms',), '--arms has no value'),
                (('--seeds', '1,x', self.recipe), "--seeds: 'x' is not a whole number"),
                (('--seeds', '1,,2', self.recipe), "--seeds: '' is not a whole number"),
                (('--seeds', '1,2,1', self.recipe), '--seeds has a value twice: 1,2,1'),
                (('--epochs', '3', self.recipe), 'unknown option --epochs'),
                ((self.recipe, '--keep', '0.3'), '--keep is chosen by the comparison'),
                ((self.recipe, '--mask_criterion=all'), '--mask-criterion is chosen by the comparison')):
            output = self.compare('--folder', self.place / 'never', *words, code=2)
            self.assertEqual(output.count('\n'), 1, output)
            self.assertIn(expected, output)
        self.assertFalse((self.place / 'never').exists())
        output = self.compare('--folder', self.recipe / 'below', self.recipe, code=2)
        self.assertRegex(output, f"^the folder of the runs can't be created: .*{self.recipe}.*\n$")
        self.assertIn('there is no comparison in', self.compare('--table', '--folder', self.place / 'never', self.recipe,
                                                                code=1))

    def test_other_options_in_the_same_folder_are_refused(self):
        folder = self.whole()
        before = contents(folder)
        for more in (('--epochs', '3'), ('--distillation-alpha', '0.9')):
            output = self.compare('--seeds', '3,8', self.recipe, *more, code=2)
            self.assertRegex(output, f'holds runs of other options .*{more[0]} {more[1]}.*: give this comparison another')
        self.assertEqual(contents(folder), before)


if __name__ == '__main__':
    unittest.main(verbosity=2)
