# SPDX-License-Identifier: BSD-3-Clause
"""Jobs on volumes that survive being killed, on this machine or on many."""

from otfuse.jobs.begin import begin, find_ledger, hand_over, job_folder, reopen
from otfuse.jobs.heap import map_arrays, share_heap
from otfuse.jobs.ledger import ChangedParameters, Ledger
from otfuse.jobs.lock import OutputInUse, only_run
from otfuse.jobs.run import Workplace, here, run_job
from otfuse.jobs.runner import Outcome
from otfuse.jobs.tasks import Failure, Job

__all__ = [
    "ChangedParameters",
    "Failure",
    "Job",
    "Ledger",
    "Outcome",
    "OutputInUse",
    "Workplace",
    "begin",
    "find_ledger",
    "hand_over",
    "here",
    "job_folder",
    "map_arrays",
    "only_run",
    "reopen",
    "run_job",
    "share_heap",
]
