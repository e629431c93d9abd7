"""What can go wrong with a job, as exceptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class TidegateError(Exception):
    """The base of all."""


class Unavailable(TidegateError):
    """The gateway did not answer, or not as it should. What was asked may or may not have happened."""


class NotFinished(TidegateError):
    """The job had not ended within the time given."""


class Unknown(TidegateError):
    """The gateway has known nothing of the job for a while: it is not judged yet, or ended so long ago that it is forgotten. Or
    records stand for one another without end."""


@dataclass(frozen=True)
class Remediation:
    """What the submitter may do instead."""

    id: str
    fields: Mapping[str, Any]


class Retryable(TidegateError):
    """Raised by a handler: the job failed, and another attempt may go better. The scheduler tries it again after a pause, or
    after `after_s` seconds where that is known, until its attempts are used up. Any other exception is final."""

    def __init__(self, reason: str, *, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class JobEnded(TidegateError):
    """The job ended, or waits, otherwise than by succeeding."""

    def __init__(self, message: str, story: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.story = story
        """All that is known of the job."""


class Denied(JobEnded):
    """Policy said no, or said something this version does not know: that counts as no."""

    def __init__(
        self, reason: str, rule_id: str | None, remediations: Sequence[Remediation], story: Mapping[str, Any]
    ) -> None:
        super().__init__(f"denied: {reason}" + (f" (rule {rule_id})" if rule_id else ""), story)
        self.reason = reason
        self.rule_id = rule_id
        """The rule that decided; none when no rule allowed it."""
        self.remediations = tuple(remediations)


class Held(JobEnded):
    """The job waits for people. It runs once they have approved it, and ends when they reject it or too late."""

    def __init__(self, approval_ref: str, reason: str, story: Mapping[str, Any]) -> None:
        super().__init__(f"held for approval: {reason} (`tidegate approvals show {approval_ref}`)", story)
        self.approval_ref = approval_ref
        """What `tidegate approvals approve` takes."""
        self.reason = reason


class Failed(JobEnded):
    """Its worker said that it failed."""

    def __init__(self, reason: str, output: Any, story: Mapping[str, Any]) -> None:
        super().__init__(f"failed: {reason}", story)
        self.reason = reason
        self.output = output


class Cancelled(JobEnded):
    """It was called off."""


class TimedOut(JobEnded):
    """It ran, or waited, for too long."""


class Dead(JobEnded):
    """It could not be handled: `tidegate dead list` says more."""


_WAITS = {"approved", "deferred", "running", "unknown"}


def stands_at(story: Mapping[str, Any]) -> str | None:
    """The record that stands for this one, which only repeats it; `None` when it has a story of its own. One that repeats
    another without saying which is no such: its state is a word that lets nothing run."""
    first = story.get("duplicate_of")
    return first if story.get("state") == "duplicate" and isinstance(first, str) and first else None


def concluded(story: Mapping[str, Any], *, wait_if_held: bool) -> tuple[bool, Any]:
    """Whether the job has ended, and its output.

    Raises `JobEnded` when it ended otherwise than by succeeding, or is held and that is not waited for.
    """
    state = story.get("state")
    decision: Mapping[str, Any] = story.get("decision") or {}
    why = str(story.get("reason") or decision.get("reason") or state)
    if state == "succeeded":
        if story.get("output_left_out"):
            raise TidegateError(f"the output of {story.get('source')} is larger than the gateway keeps; read `finished`")
        return True, story.get("output")
    if state in _WAITS:
        return False, None
    if state == "held":
        if wait_if_held:
            return False, None
        raise Held(str(story.get("source")), str(decision.get("reason") or why), story)
    if state == "failed":
        raise Failed(why, story.get("output"), story)
    if state == "cancelled":
        raise Cancelled(f"cancelled: {why}", story)
    if state == "timed_out":
        raise TimedOut(f"timed out: {why}", story)
    if state == "dead":
        dead: Mapping[str, Any] = story.get("dead") or {}
        raise Dead(f"dead: {dead.get('reason', why)} {dead.get('detail', '')}".rstrip(), story)
    # A word of a later version, or one that lets nothing run (`observed`): fail closed.
    rules = decision.get("rule_ids") or [None]
    reason = str(decision.get("reason") or why) if state == "denied" else f"unknown verdict `{state}`"
    remediations = [Remediation(str(one.get("id")), one) for one in decision.get("remediations") or []]
    raise Denied(reason, rules[0], remediations, story)
