"""A job that is suspended and resumed: Slurm moves its end by the pause, and the training uses the new end."""
import datetime
import re
import sys
import time
import unittest

import harness
from harness import newest_step, run, wait_for

PAUSE_S = 40  # of the job's minute


def end_of(job):
    return datetime.datetime.fromisoformat(job.fields()['EndTime'])


class Suspension(harness.ClusterTest):
    @classmethod
    def setUpClass(cls):
        cls.work = harness.Work(cluster)
        cls.work.pack()
        cls.work.train_teacher()

    def test_a_suspended_job_uses_all_of_its_time(self):
        folder = self.work.folder('suspended')
        job = self.work.submit('suspended', '--epochs', '100000', flags=['--time=1', '--signal=USR1@1'])
        wait_for('a checkpoint', lambda: newest_step(folder) >= 20, 60)
        end = end_of(job)
        run('scontrol', 'suspend', job.number)
        time.sleep(PAUSE_S)
        self.assertEqual(job.state(), 'SUSPENDED', job.output())
        step = newest_step(folder)
        run('scontrol', 'resume', job.number)
        says = re.compile(r'(\S+) info \[rank 0\] the job ends in (\d+) s, according to Slurm')
        answered = job.wait_for('the answer of squeue', lambda: says.search(job.output()), 20)
        moved = end_of(job)
        self.assertGreaterEqual((moved - end).total_seconds(), PAUSE_S)
        said_at = datetime.datetime.combine(datetime.date.today(), datetime.time.fromisoformat(answered[1]))
        self.assertAlmostEqual((moved - said_at).total_seconds(), int(answered[2]), delta=2)
        wait_for('steps after the pause', lambda: newest_step(folder) > step + 20, 20)
        self.assertNotIn('stopped', job.output().replace('was stopped for', ''))
        # It uses the remaining time, and stops before the limit: 15 s and the time of two steps and saves.
        wait_for('its requeue', lambda: job.restarts() > 0, 90)
        self.assertIn('before the time limit', job.output())
        self.assertIn('requeueing (restart', job.output())
        self.assertNotIn('TIME LIMIT', job.output())
        run('scancel', job.number)
        job.wait_until_ended(60)


cluster = None
if __name__ == '__main__':
    cluster = harness.Cluster(nodes=2)
    unittest.main(argv=sys.argv, verbosity=2)
