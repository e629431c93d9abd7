"""Workers and clients of Tidegate.

Jobs are judged by policy before anything can run them; a worker gets only jobs that were allowed, under a lease that it
keeps by heartbeats and a fencing token that makes its result count once. Delivery to handlers is at least once: key
effects that must not happen twice by the job's tenant and id.
"""

from ._client import BlockingClient, BlockingJob, Client, Job, Story
from ._errors import (
    Cancelled,
    Dead,
    Denied,
    Failed,
    Held,
    JobEnded,
    NotFinished,
    Remediation,
    Retryable,
    TidegateError,
    TimedOut,
    Unavailable,
    Unknown,
)
from ._governed import governed
from ._progress import Progress
from ._worker import Context, Worker

__all__ = [
    "BlockingClient",
    "BlockingJob",
    "Cancelled",
    "Client",
    "Context",
    "Dead",
    "Denied",
    "Failed",
    "Held",
    "Job",
    "JobEnded",
    "NotFinished",
    "Progress",
    "Remediation",
    "Retryable",
    "Story",
    "TidegateError",
    "TimedOut",
    "Unavailable",
    "Unknown",
    "Worker",
    "governed",
]
