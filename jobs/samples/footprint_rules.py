"""What an ended job's footprint tells about it, without its samples: a table of rules.

They say what those of `jobs.samples.rules` say of the whole job, for lists: a row of the database instead of a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from accounts.formatting import share
from jobs.models import Job
from jobs.records import PER_MILLE, JobFootprint
from jobs.samples.rules import ACCELERATOR, LOAD, MEMORY
from jobs.states import JobState


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: metrics, the figure of the first that the job has, its limits (shares), the sentence, and states.

    `alone`: it holds only for jobs that have their nodes alone.
    """

    metrics: tuple[str, ...]
    figure: str
    least: float
    most: float
    sentence: str
    states: frozenset[JobState] = frozenset(JobState)
    alone: bool = False


_OUT = frozenset({JobState.OUT_OF_MEMORY})
_ANY = float("inf")

RULES = (
    Rule(MEMORY, "max_share", 0.9, _ANY, "Out of memory: {metric} reached {share} of the peak.", _OUT),
    Rule(MEMORY, "max_share", 0.95, _ANY, "Memory nearly full: {share} of the peak.", frozenset(JobState) - _OUT),
    Rule(LOAD, "idle", 0.3, _ANY, "Nodes idle for {share} of the time ({metric}).", alone=True),
    Rule(ACCELERATOR, "max_share", 0, 0.01, "No accelerator was used."),
)


def sentences(job: Job, footprint: JobFootprint, slots: Mapping[str, int]) -> list[str]:
    """Return what the rules find, in their order; `slots` are those of the metrics."""
    found = []
    for rule in RULES:
        for metric in rule.metrics:
            value = getattr(footprint, f"{rule.figure}_{slots[metric]}") if metric in slots else None
            if value is None:
                continue
            part = value / PER_MILLE
            applies = job.job_state in rule.states and not (rule.alone and job.exclusive != 1)
            if applies and rule.least <= part < rule.most:
                found.append(rule.sentence.format(metric=metric, share=share(part)))
            break
    return found
