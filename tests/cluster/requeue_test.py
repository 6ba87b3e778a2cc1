"""Job scripts that requeue themselves: a packing that is killed, a run that is always killed, a training that gets many signals
while it ends. MASKEDKD_REQUEUE_SIGNALS sets the number of the last.
"""
import os
import pathlib
import signal
import sys
import time
import unittest

import harness
from harness import BUILD, count, newest_step, run, wait_for


EPOCHS = '30'  # 8 steps each


def batch_shells(node):
    """The processes on that node that run job scripts."""
    return [pid for pid in cluster.processes(node, 'bash')
            if b'slurm_script' in pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()]


class Requeue(harness.ClusterTest):
    @classmethod
    def setUpClass(cls):
        cls.work = harness.Work(cluster, nodes=1)
        cls.work.pack()
        cls.work.train_teacher()

    def pack_job(self, name, images, *flags):
        log = self.work.place / f'{name}.log'
        words = [*images, '--records-per-shard', '4', '--output-dir', self.work.place / name]
        return harness.Job('jobs/submit.sh', f'--output={log}', *flags, 'pack', *words, log=log), words

    def shards(self, name):
        return {path.name: path.read_bytes() for path in (self.work.place / name).glob('shard-*.h5')}

    def test_a_packing_that_is_killed_is_resumed(self):
        images = self.work.write_images(1200)
        del images[images.index('--records-per-shard'):]
        job, words = self.pack_job('killed', images)
        folder = self.work.place / 'killed'
        wait_for('a shard', lambda: len(self.shards('killed')) >= 20, 60)
        run('scontrol', 'update', f'job={job.number}', 'comment=in-vain:5')  # as after five starts without result
        run('scancel', '--signal=KILL', f'{job.number}.0')
        wait_for('the requeue', lambda: job.restarts() == 1, 60)
        self.assertEqual(job.fields()['Comment'], 'in-vain:0')
        self.assertFalse((folder / 'index.json').exists(), 'it was finished before it was killed')
        before = {path.name: path.stat().st_mtime_ns for path in folder.glob('shard-*.h5')}
        self.assertGreaterEqual(len(before), 20)
        self.assertEqual(job.wait_until_ended(90), 0, job.output())
        kept = [name for name, time_ns in before.items() if (folder / name).stat().st_mtime_ns == time_ns]
        self.assertGreaterEqual(len(kept), 20, 'it began anew')
        words[-1] = self.work.place / 'alone'
        run(BUILD / 'bin/maskedkd_pack', *words)
        self.assertEqual(self.shards('alone'), self.shards('killed'))

    def test_a_run_that_never_makes_a_checkpoint_ends(self):
        log = self.work.place / 'in-vain.log'
        # As if submitted from another job, whose variables sbatch passes on.
        inherited = ['SLURM_ARRAY_JOB_ID=99999', 'SLURM_ARRAY_TASK_ID=3', 'SLURM_RESTART_COUNT=2']
        job = harness.Job('env', *inherited, 'sbatch', f'--output={log}', '--nodes=1', '--ntasks-per-node=1',
                          'jobs/train.sbatch', *self.work.common, '--output-dir', self.work.folder('in-vain'),
                          '--distillation-type', 'none', '--width', 512, '--depth', 12, '--heads', 8,
                          log=log)  # a step takes seconds: it is killed long before its first checkpoint
        for restarts in range(3):
            job.wait_for('ranks', lambda: job.output().count('student of') > restarts, 90)
            if restarts == 2:
                run('scontrol', 'update', f'job={job.number}', 'comment=in-vain:5')
            run('scancel', '--signal=KILL', f'{job.number}.0')
            if restarts < 2:
                job.wait_for('the requeue', lambda: job.restarts() == restarts + 1, 60)
                self.assertEqual(job.fields()['Comment'], f'in-vain:{restarts + 1}')
        self.assertEqual(job.wait_until_ended(60), 137, job.output())
        self.assertIn('6 starts in a row ended without a new result', job.output())

    def was_requeued_or_ended(self, job):
        return job.restarts() > 0 or job.state() in ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT')

    # bash 5.2.15 dies of a trapped signal that arrives while it reads a $(...), so nothing may be trapped after the
    # ranks' end.
    def test_many_signals_while_the_ranks_stop_do_not_prevent_the_requeue(self):
        wanted, sent = count('MASKEDKD_REQUEUE_SIGNALS', 1), 0
        expected = self.work.undisturbed('--epochs', EPOCHS)
        for trial in range(wanted):
            name = f'signalled-{trial}'
            job = self.work.submit(name, '--epochs', EPOCHS)
            wait_for('a checkpoint', lambda: newest_step(self.work.folder(name)) >= 20, 90)
            self.assertEqual(job.state(), 'RUNNING', job.output())
            shell = min(batch_shells(job.nodes()[0]))
            run('scancel', '--signal=USR1', job.number)
            end = time.time() + 60
            while not self.was_requeued_or_ended(job) and time.time() < end:
                burst_end = time.time() + 0.5
                while time.time() < burst_end and os.path.exists(f'/proc/{shell}'):
                    # Not TERM, with which the cluster ends the script after a requeue.
                    os.kill(shell, signal.SIGUSR1)
                    sent += 1
                    time.sleep(0.002)
            self.assertEqual((job.restarts(), job.output().count('requeueing (restart')), (1, 1), job.output())
            self.assertEqual(job.wait_until_ended(180), 0, job.output())
            self.assert_same_run(expected, self.work.folder(name))
        print(f'{wanted} job scripts were requeued despite {sent} signals')


cluster = None
if __name__ == '__main__':
    cluster = harness.Cluster(nodes=2)
    unittest.main(argv=sys.argv, verbosity=2)
