"""Jobs that are stopped while they train: by preemption, by hand, at their time limit; and jobs that must not be requeued.
MASKEDKD_PREEMPTIONS sets the number of preemptions.
"""
import sys
import time
import unittest

import harness
from harness import count, newest_step, run, status, wait_for

EPOCHS = '60'  # 8 steps each


class Preemption(harness.ClusterTest):
    @classmethod
    def setUpClass(cls):
        cls.prepare(harness.Work(cluster), EPOCHS)

    def begun(self, job, name, after):
        """Waits until the run has a checkpoint after that step, and returns True, or False if it has ended before."""
        def look():
            return job.state() in ('COMPLETED', 'FAILED') or newest_step(self.work.folder(name)) > after
        wait_for(f'a step after {after} of job {job.number}', look, 120)
        return job.state() == 'RUNNING'

    def test_preempted_jobs_are_requeued_and_finish_with_the_same_bits(self):
        wanted, done, runs, notices = count('MASKEDKD_PREEMPTIONS', 2), 0, 0, []
        while done < wanted:
            name = f'preempted-{runs}'
            runs += 1
            folder = self.work.folder(name)
            job = self.work.submit(name, '--epochs', EPOCHS)
            step = -1
            while done < wanted and self.begun(job, name, step):
                before, began = job.restarts(), time.time()
                urgent = harness.Job('sbatch', '--partition=urgent', '--nodes=2', '--ntasks-per-node=4',
                                     '--output=/dev/null', '--wrap=sleep 1', log=folder / 'none')
                wait_for('the urgent job', lambda: urgent.state() in ('RUNNING', 'COMPLETED'), 60)
                notices.append(time.time() - began)
                if job.state() == 'COMPLETED':
                    break  # finished just before
                wait_for('the requeue', lambda: job.restarts() > before, 30)
                done += 1
                step = newest_step(folder)
                self.assertTrue(status(folder).get('state') == 'stopped', status(folder))
            self.assertEqual(job.wait_until_ended(180), 0, job.output()[-2000:])
            self.assert_same_run(self.expected, folder)
        print(f'{done} preemptions in {runs} runs, all finished with the same bits; the nodes were free '
              f'{max(notices):.1f} s after the urgent job came, at most')

    def test_a_job_that_is_requeued_by_hand_resumes_and_a_finished_one_ends_at_once(self):
        job = self.work.submit('by-hand', '--epochs', EPOCHS)
        self.assertTrue(self.begun(job, 'by-hand', 19))
        run('scontrol', 'requeue', job.number)
        self.assertEqual(job.wait_until_ended(180), 0)
        self.assertEqual(job.restarts(), 1)
        self.assert_same_run(self.expected, self.work.folder('by-hand'))
        mark = (self.work.folder('by-hand') / 'finished.json').stat().st_mtime_ns
        run('scontrol', 'requeue', job.number)
        wait_for('the second restart', lambda: job.restarts() == 2, 30)
        self.assertEqual(job.wait_until_ended(60), 0)
        self.assertIn('is finished: 60 epochs, 480 steps', job.output())
        self.assertEqual(mark, (self.work.folder('by-hand') / 'finished.json').stat().st_mtime_ns)

    def test_a_cancelled_job_is_not_requeued(self):
        job = self.work.submit('cancelled', '--epochs', '100000')
        self.assertTrue(self.begun(job, 'cancelled', 19))
        run('scancel', job.number)
        job.wait_until_ended(40)
        time.sleep(8)  # long enough for a requeue
        self.assertEqual(job.state(), 'CANCELLED', job.output()[-2000:])
        self.assertEqual(job.restarts(), 0)

    def test_a_job_at_its_time_limit_requeues_itself(self):
        # The smallest limit is a minute; the trainer keeps 15 s and the time of two steps and saves.
        job = self.work.submit('limited', '--epochs', '100000', flags=['--time=1', '--signal=USR1@1'])
        wait_for('its requeue', lambda: job.restarts() > 0 and 'stopped early' in job.output(), 180)
        self.assertIn('stopped early', job.output())
        self.assertNotIn('TIME LIMIT', job.output())
        run('scancel', job.number)
        job.wait_until_ended(60)
        self.assertGreater(newest_step(self.work.folder('limited')), 20)

    def test_a_job_that_ends_with_a_usage_error_is_not_requeued(self):
        for more, code, words in ((['--seed', 'x'], 2, '--seed'), (['--batch-size', '33'], 2, '--batch-size')):
            job = self.work.submit(f'mistake-{code}-{words}', '--epochs', '1', *more)
            self.assertEqual(job.wait_until_ended(60), code)
            self.assertIn(words, job.output())
            self.assertEqual(job.restarts(), 0)


cluster = None
if __name__ == '__main__':
    cluster = harness.Cluster(nodes=2)
    unittest.main(argv=sys.argv, verbosity=2)
