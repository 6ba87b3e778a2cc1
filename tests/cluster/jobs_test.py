"""Undisturbed jobs of the job scripts: pack, train, evaluate, a sweep, an interactive job, the output of status.sh; and mistakes
when a job is submitted.
"""
import json
import os
import re
import subprocess
import sys
import time
import unittest

import harness
from harness import BUILD, ROOT, newest_step, run, wait_for

EPOCHS = 6  # 8 steps each


def bytes_below(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('[!.]*')
            if path.is_file()}


def jobs_in_queue():
    return run('squeue', '--noheader').stdout.split()


class Jobs(harness.ClusterTest):
    @classmethod
    def setUpClass(cls):
        cls.work = harness.Work(cluster)
        cls.place = cls.work.place
        cls.images = [str(word) for word in cls.work.write_images()]
        packing = [cls.pack_job(name) for name in ('train', 'val')]
        for job in packing:
            assert job.wait_until_ended(60) == 0, job.output()
        cls.work.train_teacher()
        cls.recipe = cls.place / 'small.conf'
        cls.recipe.write_text(harness.recipe_text(cls.work.student('--epochs', EPOCHS)))

    @classmethod
    def pack_job(cls, name):
        log = cls.place / f'pack-{name}.log'
        return harness.Job('jobs/submit.sh', f'--output={log}', 'pack', *cls.images, '--output-dir',
                           cls.place / 'packed' / name, log=log)

    def batch(self, name, *words, **environment):
        """Calls sbatch from another folder than the repository."""
        log = self.place / f'{name}.log'
        return harness.Job('env', f'--chdir={self.place}', *(f'{key}={value}' for key, value in environment.items()),
                           'sbatch', f'--output={log}', '--nodes=2', '--ntasks-per-node=1', *words, log=log)

    def test_packing_on_two_nodes_gives_the_bytes_of_one_process(self):
        run(BUILD / 'bin/maskedkd_pack', *self.images, '--output-dir', self.place / 'alone')
        self.assertEqual(bytes_below(self.place / 'alone'), bytes_below(self.place / 'packed/train'))
        self.assertEqual(self.pack_job('train').wait_until_ended(60), 0, 'packed already')

    def test_a_run_and_its_evaluation_equal_those_without_slurm(self):
        job = self.batch('small', ROOT / 'jobs/train.sbatch', self.recipe, SBATCH_PARTITION='urgent')
        self.assertEqual(job.wait_until_ended(120), 0, job.output())
        self.assertEqual(job.fields()['Partition'], 'urgent')
        self.assertEqual(job.fields()['NumTasks'], '2')
        self.assert_same_run(self.work.undisturbed('--epochs', str(EPOCHS)), self.work.folder('small'))

        figures = {}
        flags = ['--weights', self.work.folder('small'), '--device', 'cpu', '--output']
        job = self.batch('evaluate', ROOT / 'jobs/evaluate.sbatch', *flags, self.place / 'job.json')
        self.assertEqual(job.wait_until_ended(60), 0, job.output())
        run(BUILD / 'bin/maskedkd_evaluate', '--data-path', self.place / 'packed/val', *flags, self.place / 'alone.json')
        for name in ('job', 'alone'):
            figures[name] = json.loads((self.place / f'{name}.json').read_text())
            del figures[name]['images_per_second']
        self.assertEqual(figures['job']['num_images'], 256)
        self.assertAlmostEqual(figures['job'].pop('test_loss'), figures['alone'].pop('test_loss'), 5)
        self.assertEqual(figures['job'], figures['alone'])

    # The number of an array's last job is also the array's: a query with it returns all jobs of the array.
    def test_runs_of_a_sweep_are_requeued_and_finish(self):
        runs = {0: ['--seed', '1', '--epochs', '40'], 2: ['--keep', '4', '--epochs', '40']}
        sweep = self.place / 'pair.txt'
        sweep.write_text(f'# two runs and a mistake\n\n{" ".join(runs[0])}\n--seed x\n{" ".join(runs[2])}\n')
        common = self.place / 'common.conf'
        common.write_text(harness.recipe_text(self.work.student()))

        def submit(array):
            log = self.place / 'sweep-%a.log'
            return harness.Job('jobs/submit.sh', f'--output={log}', f'--array={array}', '--nodes=1',
                               '--ntasks-per-node=2', 'sweep', sweep, common, log=log)

        def element(index):
            text = run('scontrol', 'show', 'job', '--oneliner', f'{job.number}_{index}', check=False).stdout
            return dict(re.findall(r'(\w+)=(\S*)', text))
        job = submit('0-2')
        for index in runs:
            folder = self.work.folder('pair') / str(index)
            wait_for(f'a checkpoint of {index}', lambda: newest_step(folder) >= 20, 90)
            run('scancel', '--signal=USR1', f'{job.number}_{index}')
        wait_for('all ends', lambda: [element(index).get('JobState') for index in range(3)] ==
                 ['COMPLETED', 'FAILED', 'COMPLETED'], 180)
        logs = '\n'.join((self.place / f'sweep-{index}.log').read_text() for index in range(3))
        self.assertEqual([element(index)['Restarts'] for index in range(3)], ['1', '0', '1'], logs)
        for index, flags in runs.items():
            self.assert_same_run(self.work.undisturbed(*flags), self.work.folder('pair') / str(index))

        beyond = submit('7')
        self.assertEqual(beyond.wait_until_ended(60), 2)
        self.assertIn('has 3 runs: --array=0-2', (self.place / 'sweep-7.log').read_text())

    def test_a_comparison_as_an_array_has_the_table_of_one_without_slurm(self):
        recipe = self.place / 'compared.conf'
        recipe.write_text(harness.recipe_text(self.work.student('--epochs', 2)))
        words = ['--arms', 'none,keep50', '--seeds', '1,4']
        folders = [self.place / 'compared' / name for name in ('alone', 'array')]
        environment = {key: value for key, value in os.environ.items() if key != 'SLURM_CONF'}
        run('jobs/compare.sh', *words, '--folder', folders[0], recipe, timeout=300, env=environment)
        log = self.place / 'compare-%a.log'
        submitted = run('jobs/compare.sh', *words, '--folder', folders[1], '--submit', f'--output={log}', '--nodes=1',
                        recipe).stdout
        number = re.search(r'Submitted batch job (\d+)', submitted)[1]
        wait_for('the array to end', lambda: number not in run('squeue', '--noheader', '--array', '--format=%F').stdout, 180)
        tables = [run('jobs/compare.sh', '--table', *words, '--folder', folder, recipe).stdout for folder in folders]
        logs = '\n'.join(path.read_text() for path in self.place.glob('compare-*.log'))
        self.assertEqual(tables[0].split('\n\n')[0], tables[1].split('\n\n')[0], logs)
        self.assertEqual(tables[0].count(' of 16'), 0)  # without the arm that sees all, only the number is known
        self.assertRegex(tables[0], r'masked, 50 % .* 2 +8 ')

    def test_an_interactive_job_gives_the_same_run_and_is_not_requeued(self):
        done = run('jobs/interactive.sh', 'train', self.recipe, '--output-dir', self.work.folder('interactive'),
                   timeout=120)
        self.assertIn('Granted job allocation', done.stdout)
        self.assert_same_run(self.work.undisturbed('--epochs', str(EPOCHS)), self.work.folder('interactive'))
        stopped = run('jobs/interactive.sh', '--partition=urgent', 'train', self.recipe, '--stop-after-steps', '8',
                      '--output-dir', self.work.folder('halfway'), check=False, timeout=120)
        self.assertEqual(stopped.returncode, 85, stopped.stdout)
        time.sleep(7)
        self.assertEqual(jobs_in_queue(), [])
        mistake = run('jobs/interactive.sh', 'train', self.recipe, '--lr', 'x', check=False)
        self.assertEqual(mistake.returncode, 2, mistake.stdout)

    def test_a_dry_run_prints_the_sites_settings_and_submits_nothing(self):
        before = jobs_in_queue()
        line = run('jobs/submit.sh', '--dry-run', '--time=5', 'train', 'try', '--keep', '0.25').stdout
        self.assertEqual(line.split(), ['sbatch', '--nodes=2', '--ntasks-per-node=1', '--cpus-per-task=1', '--time=5',
                                        'jobs/train.sbatch', 'try', '--keep', '0.25'])
        self.assertEqual(jobs_in_queue(), before)
        for name, words in {'gpu-cluster': ['--partition=preemptible', '--account=vision', '--gpus-per-node=8'],
                            'cpu-cluster': ['--partition=compute', '--nodes=4', '--cpus-per-task=16'],
                            'laptop': ['--nodes=1']}.items():
            line = run('bash', '-c', 'module() { :; }; export -f module; jobs/submit.sh --dry-run train try',
                       env={**os.environ, 'MASKEDKD_SITE': f'env/site-examples/{name}.sh'}).stdout
            for word in words:
                self.assertIn(word, line.split())

    def test_empty_settings_of_a_site_leave_the_clusters_defaults(self):
        site = self.place / 'empty.sh'
        names = ('site_nodes', 'site_ranks_per_node', 'site_gpus_per_node', 'site_cpus_per_rank', 'site_partition')
        site.write_text(self.work.site.read_text() + ''.join(f'{name}=\n' for name in names))
        line = run('jobs/submit.sh', '--dry-run', 'train', 'try', env={**os.environ, 'MASKEDKD_SITE': str(site)}).stdout
        self.assertEqual(line.split(), ['sbatch', 'jobs/train.sbatch', 'try'])

    def test_mistakes_are_reported_before_a_job_waits_in_the_queue(self):
        before = jobs_in_queue()
        for words, expected in ((['train', 'no-such'], "no recipe is called 'no-such'"),
                            (['--export=NONE', 'train', 'try'], 'would not see MASKEDKD_SITE'),
                            (['sweep', 'keep', 'deit_tiny'], 'needs --array'),
                            (['train', '--dry-run', 'try'], 'submit.sh [--dry-run]')):
            done = run('jobs/submit.sh', *words, check=False)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn(expected, done.stdout)
        done = run('jobs/submit.sh', 'train', 'try', check=False,
                   env={**os.environ, 'MASKEDKD_SITE': 'no/site.sh'})
        self.assertEqual(done.returncode, 2)
        self.assertIn('no/site.sh is not a file', done.stdout)
        self.assertEqual(jobs_in_queue(), before)

    def test_a_controller_that_does_not_answer_is_reported(self):
        silent = self.place / 'silent'
        silent.mkdir()
        (silent / 'scontrol').write_text('#!/bin/sh\nexit 1\n')
        (silent / 'scontrol').chmod(0o755)
        environment = {**os.environ, 'PATH': f'{silent}:{os.environ["PATH"]}'}
        for job in ('pack', 'train', 'evaluate', 'sweep'):  # when the job starts, the repository is still found
            copy = silent / 'slurm_script'
            copy.write_bytes((ROOT / f'jobs/{job}.sbatch').read_bytes())
            done = run('bash', copy, check=False,
                       env={**environment, 'SLURM_JOB_ID': '77', 'SLURM_SUBMIT_DIR': str(ROOT), 'MASKEDKD_SITE': 'no-site'})
            self.assertIn(f'no-site is not a file (MASKEDKD_SITE, relative to {ROOT})', done.stdout, job)
        for script in ('submit.sh', 'interactive.sh'):
            done = run(f'jobs/{script}', 'train', 'try', check=False, env=environment)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn('does not answer', done.stdout)

    def test_recipes_are_read_by_the_program(self):
        missing = self.place / 'no-such-data'
        for recipe in sorted((ROOT / 'jobs/recipes').glob('*.conf')):
            teacher = [] if 'distillation-type = none' in recipe.read_text() else ['--teacher-path', missing]
            done = run(BUILD / 'bin/maskedkd_train', '--config', recipe, '--data-path', missing, *teacher,
                       '--output-dir', self.place / 'never', '--device', 'cpu', check=False)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn('no-such-data', done.stdout, recipe)

    def test_status_shows_running_and_broken_runs(self):
        runs = self.place / 'shown'
        now = int(time.time())
        whole = {'state': 'running', 'step': 123, 'steps': 1000, 'epoch': 3, 'epochs': 10, 'restarts': 2,
                 'generation': 3, 'images_per_second': 100.0, 'last_checkpoint': 'step-000000120',
                 'last_checkpoint_time': now - 70, 'time': now, 'eta_s': 900, 'host': 'n1', 'job': '17'}
        texts = {'a-live': json.dumps(whole), 'b-compact': json.dumps(whole, separators=(',', ':')),
                 'c-lines': json.dumps({**whole, 'state': 'finished'}, indent=2), 'd-empty': '', 'e-none': '{}',
                 'f-half': json.dumps(whole)[:40], 'g-silent': json.dumps({**whole, 'time': now - 7300}),
                 'h-other': json.dumps({**whole, 'eta_s': None, 'last_checkpoint_time': 'x', 'time': now + 0.5})}
        for name, text in texts.items():
            (runs / name).mkdir(parents=True)
            (runs / name / 'status.json').write_text(text)
        site = self.place / 'shown.sh'
        site.write_text(self.work.site.read_text() + f'site_runs={runs}\n')
        environment = {**os.environ, 'MASKEDKD_SITE': str(site)}
        lines = run('jobs/status.sh', env=environment).stdout.splitlines()[1:]
        self.assertEqual([line.split()[0] for line in lines], list(texts))
        live = lines[0].split()
        self.assertEqual(live[1:6], ['running', '123/1000', '3/10', '2', '100.0'])
        self.assertRegex(lines[0], r'step-000000120 \(1m 1\ds\) +15m 00s$')
        self.assertEqual(live[1:7], lines[1].split()[1:7])
        self.assertIn('finished', lines[2])
        self.assertTrue(all('no status' in line for line in lines[3:5]), lines)
        self.assertRegex(lines[6], r'silent 2h 01m')
        one = run('jobs/status.sh', runs / 'a-live', env=environment).stdout.splitlines()
        self.assertEqual(len(one), 2)
        self.assertEqual(run('jobs/status.sh', 'a-live', env=environment).stdout.splitlines()[1].split()[0], 'a-live')
        none = run('jobs/status.sh', 'no-such', check=False, env=environment)
        self.assertEqual((none.returncode, none.stdout.strip()), (2, 'there is no run no-such'))
        watching = subprocess.Popen([ROOT / 'jobs/status.sh', '--watch', '1'], env=environment, cwd=ROOT, text=True,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        time.sleep(3.5)
        watching.terminate()
        self.assertGreaterEqual(watching.communicate()[0].count('a-live'), 2)
        for flag in (['--watch'], ['--watch', 'x'], ['--no-such-flag']):
            self.assertEqual(run('jobs/status.sh', *flag, check=False, env=environment).returncode, 2)

    def train_alone(self, *launcher, folder, more=()):
        return run(*launcher, BUILD / 'bin/maskedkd_train', '--config', self.recipe, '--data-path',
                   self.place / 'packed', '--output-dir', self.work.folder(folder), *more, check=False)

    def test_srun_without_pmix_is_refused_in_a_line(self):
        done = self.train_alone('srun', '--mpi=none', '--ntasks=2', folder='no-pmi')
        lines = [line for line in done.stdout.splitlines() if not line.startswith('srun: ')]
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertEqual(len(lines), 2, lines)  # one line per task, as the tasks are not connected
        for line in lines:
            self.assertRegex(line, 'Slurm started 2 tasks, but no PMI connects them; start with srun --mpi=pmix')
        self.assertFalse(self.work.folder('no-pmi').exists())

    def test_mpiexec_in_a_job_logs_a_warning_about_srun(self):
        done = self.train_alone('salloc', '--nodes=1', '--ntasks=2', 'mpiexec', '--quiet', '-n', '2',
                                folder='by-mpiexec', more=['--stop-after-steps', '1'])
        self.assertEqual(done.returncode, 85, done.stdout)
        self.assertEqual(done.stdout.count('start with srun --mpi=pmix'), 1, done.stdout)

    def test_more_gpus_than_a_node_has_are_refused_by_slurm(self):
        done = run('jobs/submit.sh', '--gpus-per-node=8', 'train', self.recipe, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn('Requested node configuration is not available', done.stdout)
        site = self.place / 'gpus.sh'
        site.write_text(self.work.site.read_text() + 'site_gpus_per_node=2\n')
        log = self.place / 'gpus.log'
        gpu_recipe = self.place / 'gpus.conf'
        gpu_recipe.write_text(self.recipe.read_text().replace('device = cpu', 'device = cuda'))
        job = harness.Job('env', f'MASKEDKD_SITE={site}', 'jobs/submit.sh', f'--output={log}', 'train', gpu_recipe,
                          log=log)
        self.assertEqual(job.wait_until_ended(60), 2, job.output())
        self.assertEqual(job.fields()['TresPerNode'], 'gres:gpu:2')
        self.assertIn('--device cpu', job.output())
        self.assertEqual(job.restarts(), 0)

    def test_ranks_have_the_sites_environment_if_sbatch_exports_none(self):
        site = self.place / 'odd-site.sh'
        site.write_text(self.work.site.read_text() + 'site_setup() { export OMPI_MCA_pml=nonesuch; }\n')
        job = self.batch('odd-site', f'--export=MASKEDKD_SITE={site}', ROOT / 'jobs/evaluate.sbatch', '--weights',
                         self.place / 'teacher')
        self.assertNotIn(job.wait_until_ended(60), (0, 137), job.output())
        self.assertIn('nonesuch', job.output())

    def test_a_repository_that_is_not_found_is_reported(self):
        lost = self.place / 'train.sbatch'
        lost.write_text((ROOT / 'jobs/train.sbatch').read_text())
        job = self.batch('lost', lost)
        self.assertEqual(job.wait_until_ended(30), 2)
        self.assertEqual(job.output(), 'the repository was not found: set MASKEDKD_ROOT to it\n')
        job = self.batch('found', lost, 'no-such-recipe', MASKEDKD_ROOT=str(ROOT))
        self.assertEqual(job.wait_until_ended(30), 2)
        self.assertIn("no recipe is called 'no-such-recipe'", job.output())


cluster = None
if __name__ == '__main__':
    cluster = harness.Cluster(nodes=2)
    unittest.main(argv=sys.argv, verbosity=2)
