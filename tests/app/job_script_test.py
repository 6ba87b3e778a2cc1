"""How jobs/train.sbatch ends, outside a cluster, when it gets many signals: it always logs how its ranks ended. The ranks are a
program that exits with a given code. MASKEDKD_SCRIPT_SIGNALS sets the number of trials for each code.
"""
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRIALS = int(os.environ.get('MASKEDKD_SCRIPT_SIGNALS', 3))
RANK = '''#!/usr/bin/env bash
trap '' USR1
touch {folder}/started
sleep 0.0$((RANDOM % 9 + 1))
exit {code}
'''
MESSAGES = {0: 'finished', 2: 'ended with code 2: not restarted', 85: 'stopped early',
        93: 'not restarted: see the error above'}
LOST = {138, 143}  # the code of mpiexec may be lost if a signal arrives while it ends


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

    def run_script(self, *command, **more):
        environment = {key: value for key, value in os.environ.items() if not key.startswith('SLURM_')}
        script = subprocess.Popen(['bash', *command], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, env={**environment, 'MASKEDKD_SITE': str(self.site), **more})
        self.addCleanup(script.kill)
        return script

    def ended(self, code, pause=None):
        """Returns the script and its output; pause: seconds between signals until it ends, None: no signals."""
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
        for code, words in MESSAGES.items():
            script, output = self.ended(code)
            self.assertEqual(script.returncode, code, output)
            self.assertIn(words, output)

    def test_reads_a_long_recipe(self):
        recipe = self.folder / 'long.conf'
        recipe.write_text(f'data_path = {self.folder}/mine\noutput-dir = {self.folder}/run\n' + '# a comment\n' * 100000)
        self.program.write_text('#!/usr/bin/env bash\nprintf "<%s>" "$@"\n')
        self.program.chmod(0o755)
        output = self.run_script('jobs/train.sbatch', recipe).communicate(timeout=60)[0]
        self.assertIn(f'<--config><{recipe}>', output)
        self.assertNotIn('<--data-path>', output)  # it would override the recipe's
        self.assertNotIn('<--output-dir>', output)

    def test_device_is_cuda_where_the_site_has_gpus(self):
        self.program.write_text('#!/usr/bin/env bash\nprintf "<%s>" "$@"\n')
        self.program.chmod(0o755)
        plain = self.site.read_text()
        recipe = self.folder / 'cpu.conf'
        recipe.write_text('device = cpu\n')
        train = ['jobs/train.sbatch', '--output-dir', self.folder / 'run']
        cases = ((0, train, False), (4, train, True), (4, [*train, '--device', 'cpu'], False),
                 (4, [*train, '--device=auto'], False), (4, ['jobs/train.sbatch', recipe], False),
                 (4, ['jobs/evaluate.sbatch', '--weights', 'w'], True),
                 (4, ['jobs/evaluate.sbatch', '--weights', 'w', '--data-path', 'x', '--device', 'cpu'], False))
        (self.folder / 'bin/maskedkd_evaluate').symlink_to(self.program)
        for gpus, command, expected in cases:
            self.site.write_text(plain.replace('site_gpus_per_node=0', f'site_gpus_per_node={gpus}'))
            output = self.run_script(*command).communicate(timeout=60)[0]
            self.assertEqual('<--device><cuda>' in output, expected, (gpus, command, output))

    # Settings of Slurm's output for this user must not change the end of the job that the ranks get.
    def test_exports_the_end_of_the_job_whatever_the_users_time_format(self):
        tools = self.folder / 'tools'
        tools.mkdir()
        end = int(time.time()) + 7200
        # Like Slurm 22.05: dates in the user's format and zone; filters and formats of the environment.
        (tools / 'squeue').write_text(f"""#!/bin/bash
for name in SQUEUE_FORMAT SQUEUE_STATES SQUEUE_USERS SQUEUE_PARTITION; do [ -z "${{!name:-}}" ] || exit 0; done
case ${{SLURM_TIME_FORMAT:-standard}} in
  standard) date --date=@{end} +%FT%T ;;
  relative) echo "Tomorr 12:34" ;;
  *) date --date=@{end} "+$SLURM_TIME_FORMAT" ;;
esac
""")
        (tools / 'scontrol').write_text('#!/bin/bash\necho "JobId=7 JobState=RUNNING Reason=None Restarts=0"\n')
        (tools / 'srun').write_text('#!/bin/bash\necho "end=$MASKEDKD_JOB_END"\n')
        for tool in tools.iterdir():
            tool.chmod(0o755)
        self.program.write_text(RANK)
        self.program.chmod(0o755)
        for more in ({}, {'SLURM_TIME_FORMAT': 'relative'}, {'SLURM_TIME_FORMAT': '%d.%m.%y'}, {'TZ': 'Asia/Tokyo'},
                     {'SQUEUE_FORMAT': '%i', 'SQUEUE_STATES': 'PENDING', 'SQUEUE_USERS': 'nobody'},
                     {'SLURM_JOB_END_TIME': '1000'}):
            script = self.run_script('jobs/train.sbatch', '--output-dir', self.folder / 'run', SLURM_JOB_ID='7',
                                     PATH=f'{tools}:{os.environ["PATH"]}', **more)
            self.assertIn(f'end={end}\n', script.communicate(timeout=60)[0], more)
        (tools / 'squeue').write_text('#!/bin/bash\nexit 1\n')
        script = self.run_script('jobs/train.sbatch', '--output-dir', self.folder / 'run', SLURM_JOB_ID='7',
                                 PATH=f'{tools}:{os.environ["PATH"]}', SLURM_JOB_END_TIME=str(end))
        self.assertIn(f'end={end}\n', script.communicate(timeout=60)[0])

    def test_help_goes_to_standard_output_and_is_no_error(self):
        for name in ('submit', 'interactive', 'status'):
            done = subprocess.run(['bash', f'jobs/{name}.sh', '--help'], cwd=ROOT, text=True, capture_output=True)
            self.assertEqual((done.returncode, done.stderr), (0, ''))
            self.assertIn(f'jobs/{name}.sh [', done.stdout)
            wrong = subprocess.run(['bash', f'jobs/{name}.sh', '--no-such-flag'], cwd=ROOT, text=True, capture_output=True)
            self.assertEqual((wrong.returncode, wrong.stdout), (2, ''))

    def test_an_unknown_sweep_is_refused_before_it_is_submitted(self):
        script = self.run_script('jobs/submit.sh', '--dry-run', '--array=0-1', 'sweep', 'no-such')
        output = script.communicate(timeout=60)[0]
        self.assertEqual(script.returncode, 2, output)
        self.assertEqual(output, "no sweep is called 'no-such'; there are: keep seeds \n")

    def test_an_interactive_job_runs_by_mpiexec_if_slurm_is_installed_but_not_set_up(self):
        tools = self.folder / 'tools'
        tools.mkdir()
        (tools / 'salloc').write_text('#!/bin/bash\necho "salloc was called"\n')
        (tools / 'scontrol').write_text('#!/bin/bash\necho "scontrol: fatal: Could not establish a configuration source" >&2\n'
                                        'exit 1\n')
        for tool in tools.iterdir():
            tool.chmod(0o755)
        self.program.write_text('#!/bin/bash\necho "trained"\n')
        self.program.chmod(0o755)
        script = self.run_script('jobs/interactive.sh', 'train', '--output-dir', self.folder / 'run',
                                 PATH=f'{tools}:{os.environ["PATH"]}')
        output = script.communicate(timeout=60)[0]
        self.assertEqual(script.returncode, 0, output)
        self.assertIn('trained', output)
        self.assertNotIn('salloc', output)

    # A trap whose kill found no ranks once ended the script silently (set -e).
    def test_logs_how_its_ranks_ended_despite_many_signals(self):
        lost = 0
        for code, words in MESSAGES.items():
            for trial in range(TRIALS):
                script, output = self.ended(code, pause=(0.0005, 0.02, 0.1)[trial % 3])
                if script.returncode in LOST:
                    lost += 1
                    words_now = 'killed (code'
                else:
                    self.assertEqual(script.returncode, code, output)
                    words_now = words
                self.assertIn(words_now, output)
        print(f'{TRIALS * len(MESSAGES)} trials, the code was lost in {lost}')


if __name__ == '__main__':
    unittest.main(verbosity=2)
