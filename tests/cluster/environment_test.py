"""Variables of the submitting shell, inherited from another job, a step or mpiexec. On a cluster that binds ranks to cores
(task/affinity, two cores) the two ranks of a job must run on two cores whatever the variables are; if they do not, the programs
warn.
"""
import os
import re
import sys
import unittest

import harness
from harness import BUILD, ROOT, run

RANK = '''#!/usr/bin/env bash
printf 'rank %s of %s: cores %s, cpus-per-task %s, nodes %s\\n' "$SLURM_PROCID" "$SLURM_STEP_NUM_TASKS" \\
  "$(sed -n 's/^Cpus_allowed_list:\\t//p' /proc/self/status)" "${SLURM_CPUS_PER_TASK:-none}" "$SLURM_STEP_NUM_NODES"
env | sed 's/^/environment /'
'''
# Variables of an interactive step on one core: those of Slurm 22.05 were recorded with srun --pty, later ones added.
STEP = {'SLURM_CPU_BIND': 'quiet,mask_cpu:0x1', 'SLURM_CPU_BIND_TYPE': 'mask_cpu:', 'SLURM_CPU_BIND_LIST': '0x1',
        'SLURM_CPU_BIND_VERBOSE': 'quiet', 'SLURM_STEP_ID': '0', 'SLURM_STEPID': '0', 'SLURM_STEP_NUM_TASKS': '1',
        'SLURM_STEP_NODELIST': 'n7', 'SLURM_LAUNCH_NODE_IPADDR': '127.0.0.1', 'SLURM_SRUN_COMM_PORT': '1',
        'SLURM_TRES_PER_TASK': 'cpu=10', 'SRUN_CPUS_PER_TASK': '10', 'SLURM_DISTRIBUTION': 'block'}
ALLOCATION = {'SLURM_JOB_ID': '4711', 'SLURM_JOBID': '4711', 'SLURM_NTASKS': '5', 'SLURM_NPROCS': '5',
              'SLURM_NTASKS_PER_NODE': '5', 'SLURM_CPUS_PER_TASK': '10', 'SLURM_NNODES': '3', 'SLURM_JOB_NUM_NODES': '3',
              'SLURM_NODELIST': 'n[5-7]', 'SLURM_TASKS_PER_NODE': '5', 'SLURM_MEM_PER_CPU': '1', 'SLURM_MEM_PER_GPU': '1',
              'SLURM_GPUS': '8', 'SLURM_GPUS_PER_TASK': '1', 'SLURM_GPUS_PER_NODE': '8', 'SLURM_JOB_END_TIME': '1000'}
PLACEMENT = {'SLURM_HINT': 'nomultithread', 'SLURM_DISTRIBUTION': 'arbitrary', 'SLURM_THREADS_PER_CORE': '2',
             'SLURM_MEM_BIND': 'local', 'SLURM_EXACT': '1', 'SLURM_WHOLE': '1',
             'SLURM_TIMELIMIT': '1', 'SLURM_NTASKS_PER_SOCKET': '1', 'SLURM_TASK_PROLOG': '/nowhere',
             'SLURM_OVERCOMMIT': '1', 'SLURM_MPI_TYPE': 'none', 'SLURM_CONSTRAINT': 'no-such', 'SLURM_GRES': 'gpu:9',
             'SRUN_CONTAINER': '/nowhere', 'SLURM_EXPORT_ENV': 'NONE', 'SLURM_WORKING_CLUSTER': 'other:10.0.0.1:1:9728:109'}
LAUNCHERS = {'PMIX_RANK': '0', 'PMIX_NAMESPACE': 'old', 'PMIX_SERVER_URI2': 'old', 'PMI_RANK': '0', 'PMI_FD': '9',
             'OMPI_COMM_WORLD_SIZE': '4', 'OMPI_COMM_WORLD_RANK': '3', 'OMPI_MCA_orte_hnp_uri': '1.0;tcp://127.0.0.1:1',
             'OMPI_MCA_ess': '^singleton', 'OMPI_MCA_pmix': '^s1,s2,cray,isolated', 'OMPI_MCA_orte_ess_num_procs': '4',
             'PRTE_LAUNCHED': '1', 'MPI_LOCALNRANKS': '4', 'HYDI_CONTROL_FD': '9', 'FLUX_URI': 'local:///nowhere'}
STALE = {'step': STEP, 'allocation': {**ALLOCATION, 'SLURM_RESTART_COUNT': '7'}, 'placement': PLACEMENT,
         'launchers': LAUNCHERS, 'all': {**PLACEMENT, **ALLOCATION, **LAUNCHERS, **STEP}}
# Variables that srun does not set to the same value for its own ranks.
OTHERS = {name: value for name, value in STALE['all'].items() if value not in ('0', '1', 'quiet', 'mask_cpu:', 'block')}


class Environment(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = harness.Work(cluster, ranks_per_node=2, nodes=1)
        cls.place = cls.work.place
        (cls.place / 'bin').mkdir()
        program = cls.place / 'bin/maskedkd_train'
        program.write_text(RANK)
        program.chmod(0o755)
        cls.site = cls.place / 'ranks.sh'
        cls.site.write_text(cls.work.site.read_text().replace(f'site_build={BUILD}', f'site_build={cls.place}')
                            .replace('site_cpus_per_rank=1', 'site_cpus_per_rank='))
        os.environ['MASKEDKD_SITE'] = str(cls.site)

    def check_ranks(self, output, count=2):
        ranks = re.findall(r'^rank (\d+) of (\d+): cores (\S+), cpus-per-task \S+, nodes (\d+)$', output, re.M)
        self.assertEqual(sorted(rank[0] for rank in ranks), [str(rank) for rank in range(count)], output[-3000:])
        self.assertEqual({rank[1:2] + rank[3:] for rank in ranks}, {(str(count), '1')}, output[-3000:])
        self.assertEqual(sorted(rank[2] for rank in ranks), ['0', '1'], output[-3000:])
        left = [line for line in output.splitlines() if line.startswith('environment ') and
                OTHERS.get(line[12:].partition('=')[0]) == line.partition('=')[2]]
        self.assertEqual(left, [], output[-3000:])

    def submitted(self, name, command, stale, script, *more):
        log = self.place / f'{name}.log'
        job = harness.Job('env', *(f'{key}={value}' for key, value in stale.items()), *command, f'--output={log}',
                          *more, script, '--output-dir', self.place / 'run', log=log)
        self.assertEqual(job.wait_until_ended(30), 0, job.output()[-3000:])
        return job.output()

    def test_ranks_run_on_two_cores_whatever_the_submitting_shell_has(self):
        for name, stale in STALE.items():
            with self.subTest(name):
                self.check_ranks(self.submitted(f'{name}-submit', ['jobs/submit.sh'], stale, 'train'))
                self.check_ranks(self.submitted(f'{name}-sbatch', ['sbatch', '--nodes=1', '--ntasks-per-node=2'], stale,
                                                'jobs/train.sbatch'))

    def test_flags_of_sbatch_still_reach_the_ranks(self):
        for name, command in (('submit', ['jobs/submit.sh', '--ntasks-per-node=1', '--ntasks=1', '--cpus-per-task=2']),
                              ('sbatch', ['sbatch', '--ntasks=1', '--cpus-per-task=2'])):
            output = self.submitted(f'two-cores-{name}', command, STALE['all'],
                                    'train' if name == 'submit' else 'jobs/train.sbatch')
            self.assertRegex(output, r'rank 0 of 1: cores 0-1, cpus-per-task 2, nodes 1')
        output = self.submitted('hint', ['jobs/submit.sh', '--distribution=cyclic:block'], STALE['all'], 'train')
        self.assertIn('environment SLURM_DISTRIBUTION=cyclic:block\n', output)
        output = self.submitted('overcommit', ['sbatch', '--overcommit', '--nodes=1', '--ntasks=4'], {},
                                'jobs/train.sbatch')
        self.assertEqual(len(re.findall('^rank . of 4:', output, re.M)), 4, output[-3000:])

    def test_parameters_of_the_user_and_of_the_site_are_kept(self):
        site = self.place / 'own.sh'
        site.write_text(self.site.read_text() + 'site_setup() { export SLURM_CPU_BIND=verbose,cores PMIX_OWN=site; }\n')
        output = self.submitted('own', ['jobs/submit.sh'],
                                {**STALE['all'], 'MASKEDKD_SITE': str(site), 'OMPI_MCA_btl': 'self,tcp'}, 'train')
        self.check_ranks(output)
        for line in ('OMPI_MCA_btl=self,tcp', 'PMIX_OWN=site'):
            self.assertIn(f'environment {line}\n', output)
        self.assertIn('cpu-bind=MASK', output)  # output of srun with verbose

    # A shell of salloc or of srun --pty, in which the job scripts start at once.
    def test_ranks_run_on_two_cores_in_an_allocation_and_in_a_step_of_it(self):
        words = ['bash', '-c', 'jobs/interactive.sh train --output-dir "$0"', str(self.place / 'run')]
        self.check_ranks(run('salloc', '--nodes=1', '--ntasks-per-node=2', *words).stdout)
        self.check_ranks(run('salloc', '--nodes=1', '--ntasks-per-node=2', 'srun', '--ntasks=1', *words).stdout)
        stale = {name: value for name, value in STALE['all'].items() if name not in ('SLURM_JOB_ID', 'SLURM_JOBID')}
        self.check_ranks(run('jobs/interactive.sh', 'train', '--output-dir', self.place / 'run',
                             env={**os.environ, **stale}).stdout)

    def test_ranks_on_one_core_give_a_warning(self):
        folder = self.place / 'bound'

        def pack(*flags, **environment):
            return run('srun', '--mpi=pmix', '--nodes=1', '--ntasks=2', *flags, BUILD / 'bin/maskedkd_pack',
                       *self.work.write_images(), '--output-dir', folder, env={**os.environ, **environment}).stdout
        output = pack(SLURM_CPU_BIND='quiet,mask_cpu:0x1')
        self.assertRegex(output, r'ranks 0, 1 on n1 may only run on core 0, although the job could use 2 cores there')
        self.assertEqual(output.count('may only run on'), 1, output)
        # Both remedies of the warning.
        self.assertNotIn('may only run on', pack('--cpu-bind=cores', SLURM_CPU_BIND='quiet,mask_cpu:0x1'))
        self.assertNotIn('may only run on', pack())


cluster = None
if __name__ == '__main__':
    cluster = harness.Cluster(nodes=1, task_plugin='task/affinity')
    unittest.main(argv=sys.argv, verbosity=2)
