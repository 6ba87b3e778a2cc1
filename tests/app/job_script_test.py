"""How jobs/train.sbatch ends under a hail of signals, outside a cluster: never without saying how its ranks ended. Its
ranks are a program that ends with the code it is asked for. Full count: MASKEDKD_SCRIPT_HAILS=90, a
code; 25 November 2026, 2 cores: 360 hails, none silent.
"""
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HAILS = int(os.environ.get('MASKEDKD_SCRIPT_HAILS', 3))
RANK = '''#!/usr/bin/env bash
trap '' USR1
touch {folder}/started
sleep 0.0$((RANDOM % 9 + 1))
exit {code}
'''
SAID = {0: 'finished', 2: 'ended with code 2: not to be started again', 85: 'stopped early',
        93: 'not to be started again: see above'}
LOST = {138, 143}  # mpiexec dies of a signal while it ends, and bash may forget its code: killed, as the script sees it


class JobScript(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory(prefix='maskedkd-job-script-')
        self.addCleanup(place.cleanup)
        self.folder = pathlib.Path(place.name)
        (self.folder / 'bin').mkdir()
        self.program = self.folder / 'bin/maskedkd_train'
        self.site = self.folder / 'site.sh'
        self.site.write_text((ROOT / 'env/site.sh').read_text().replace('site_ranks_per_node=2', 'site_ranks_per_node=1')
                             .replace('site_build=build', f'site_build={self.folder}'))

    def run_script(self, *command):
        environment = {key: value for key, value in os.environ.items() if not key.startswith('SLURM_')}
        script = subprocess.Popen(['bash', *command], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, env={**environment, 'MASKEDKD_SITE': str(self.site)})
        self.addCleanup(script.kill)
        return script

    def ended(self, code, pause=None):
        """The script and what it said; pause: between signals until its end, in seconds, None: no signals."""
        self.program.write_text(RANK.format(folder=self.folder, code=code))
        self.program.chmod(0o755)
        started = self.folder / 'started'
        started.unlink(missing_ok=True)
        script = self.run_script('jobs/train.sbatch', '--output-dir', self.folder / 'run')
        while pause and script.poll() is None:
            if started.exists():
                script.send_signal(signal.SIGUSR1)
            time.sleep(pause)
        return script, script.communicate(timeout=60)[0]

    def test_ends_with_the_code_of_its_ranks(self):
        for code, words in SAID.items():
            script, said = self.ended(code)
            self.assertEqual(script.returncode, code, said)
            self.assertIn(words, said)

    def test_reads_a_long_recipe(self):
        recipe = self.folder / 'long.conf'
        recipe.write_text(f'data_path = {self.folder}/mine\noutput-dir = {self.folder}/run\n' + '# a comment\n' * 100000)
        self.program.write_text('#!/usr/bin/env bash\nprintf "<%s>" "$@"\n')
        self.program.chmod(0o755)
        said = self.run_script('jobs/train.sbatch', recipe).communicate(timeout=60)[0]
        self.assertIn(f'<--config><{recipe}>', said)
        self.assertNotIn('<--data-path>', said)  # it would win over the recipe's
        self.assertNotIn('<--output-dir>', said)

    # A trap whose kill found no ranks any more ended the script at once and silently (set -e).
    def test_a_hail_of_signals(self):
        lost = 0
        for code, words in SAID.items():
            for hail in range(HAILS):
                script, said = self.ended(code, pause=(0.0005, 0.02, 0.1)[hail % 3])
                if script.returncode in LOST:
                    lost += 1
                    words_now = 'killed (code'
                else:
                    self.assertEqual(script.returncode, code, said)
                    words_now = words
                self.assertIn(words_now, said)
        print(f'{HAILS * len(SAID)} hails, the code was lost in {lost}')


if __name__ == '__main__':
    unittest.main(verbosity=2)
