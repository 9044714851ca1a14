"""What an attempt costs: how long each phase takes, how long the device works, and what was painted."""

import time
from collections.abc import Callable

from qwen_image_studio.contract.words import Lane
from qwen_image_studio.jobs import Job
from qwen_image_studio.jobs.states import BEFORE_WORK, CLAIMING, WAITING, Measured
from qwen_image_studio.planning.plan import PaintPlan, Plan

CHECKING = "checking"
_NOT_OF_DEVICE = frozenset({*BEFORE_WORK, "storing", CHECKING})


class Stopwatch:
    """The stopwatch of one attempt. It is driven by the painting thread, and may be read by any."""

    def __init__(self, job: Job, claim_s: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`claim_s` is how long the transaction took that claimed the job, in seconds."""
        self._clock, self._lane = clock, job.lane
        self._phases: dict[str, float] = {} if claim_s is None else {CLAIMING: claim_s}
        if job.claimed_at is not None:
            self._phases[WAITING] = max(0.0, job.claimed_at - job.created_at)
        self._now: tuple[str, float] | None = None
        self._plan: PaintPlan | None = None
        self._step = 0

    def begin(self, plan: Plan) -> None:
        """Note what is painted from now on."""
        self._plan = plan if isinstance(plan, PaintPlan) else None

    def enter(self, phase: str, step: int) -> None:
        """Note that a phase goes on or begins, after so many steps over all images."""
        now = self._clock()
        if self._now is None or self._now[0] != phase:
            self._close(now)
            self._now = phase, now
        self._step = max(self._step, step)

    def read(self) -> Measured:
        """Return what the attempt has cost until now."""
        phases, now = dict(self._phases), self._now
        if now is not None:
            phases[now[0]] = phases.get(now[0], 0.0) + self._clock() - now[1]
        # The light worker has no device that others could have used.
        worked = (seconds for phase, seconds in phases.items() if phase not in _NOT_OF_DEVICE)
        return Measured(
            device_s=round(sum(worked), 3) if self._lane is Lane.PAINT else 0.0,
            megapixel_steps=round(self._plan.megapixel_steps(self._step), 6) if self._plan is not None else 0.0,
            phases={phase: round(seconds * 1000, 1) for phase, seconds in phases.items()},
        )

    def _close(self, now: float) -> None:
        if self._now is not None:
            phase, since = self._now
            self._phases[phase] = self._phases.get(phase, 0.0) + now - since
