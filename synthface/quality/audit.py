"""Looking at every picture before it is written: does it show what was asked for?

Estimators read the factors off the generator's whole view, before it is cropped and degraded, and each picture's residuals
become label columns. What fails is marked, left out, or drawn again under streams of its own (`sampling.redraw`), so that a
dataset's bytes depend neither on workers nor on where a run was killed. A tile is drawn again as a whole, with what passed in
its place, since pixels are made in whole tiles; only pictures that are looked at go through the estimators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synthface.columns import Column, Origin
from synthface.quality.centre import centre_of
from synthface.quality.estimators import read_pictures, shared_actions
from synthface.quality.residuals import FACTORS, Facts, excess, residuals, signed
from synthface.sampling import redraw
from synthface.seeding import uniforms
from synthface.spec.model import Audit

if TYPE_CHECKING:
    from synthface.job import Job
    from synthface.sampling import Samples
    from synthface.tiles import Picture

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

#: What a residual column holds where a picture wasn't looked at.
NOT_CHECKED = -1.0
_ABOUT: Mapping[str, tuple[str, str]] = {
    "pose_deg": ("Angle between the head asked for and the one seen", "degree"),
    "expression": ("Euclidean distance between the actions asked for and those seen", ""),
    "lighting": (
        "Root mean square difference of shading between the light asked for and the one seen, scaled to mean 1",
        "",
    ),
    "landmarks": ("Mean distance of the 68 points from where they should be, as a share of the face's size", ""),
    "identity": ("Recognition distance (1 − cos, centred) to the standard picture of the identity", ""),
}
_AXES = ("yaw", "pitch", "roll")


def audit_columns(audit: Audit) -> tuple[Column, ...]:
    """The columns that an audit adds."""
    seen = Origin.ESTIMATED
    columns = [
        Column("audit_checked", "bool", seen, "Whether the picture was looked at."),
        Column("audit_failed", "bool", seen, "Whether what was seen is further than allowed from what was asked for."),
        Column("audit_tries", "int32", seen, "How often the picture was drawn; more than once where it was resampled."),
    ]
    for name in FACTORS:
        if name in audit.limits:
            text, unit = _ABOUT[name]
            text = f"{text}; {NOT_CHECKED:g} where not looked at. More than {audit.limits[name]:g} fails."
            columns.append(Column(f"audit_{name}", "float32", seen, text, unit=unit))
    if "pose_deg" in audit.limits:
        columns += [
            Column(
                f"audit_{axis}_error_deg",
                "float32",
                seen,
                f"Head {axis} seen minus asked for; 0 where not looked at.",
                unit="degree",
                frame="camera",
            )
            for axis in _AXES
        ]
    return tuple(columns)


@dataclass(frozen=True)
class Verdict:
    """What an audit makes of M pictures.

    Args:
        residuals: factor to (M,), of those that are limited.
        errors: axis to signed errors (M,) in degrees.
        excess: (M,) the worst share of a limit; over 1 fails.
    """

    residuals: Mapping[str, F32]
    errors: Mapping[str, F32]
    excess: F64


class Auditor:
    """The estimators of a job, and what they compare with. Made once per process.

    Args:
        job: with its identities known, where identity is looked at.
    """

    def __init__(self, job: Job) -> None:
        assert job.spec.quality.audit is not None
        self._audit, self._device = job.spec.quality.audit, job.device
        self._names = job.info.layout.expression_names
        self._estimator = job.estimator
        self._shared = shared_actions(self._estimator, self._names)
        self._recognition = None
        if "identity" in self._audit.limits:
            assert job.chosen is not None, "identities are described before any picture"
            assert job.chosen.descriptors is not None
            self._recognition, self._references = job.recognition, job.chosen.descriptors
            self._centre = centre_of(job.generator, job.recognition)

    def look(self, picture: Picture, rows: I64) -> Verdict:
        """Judge some rows (M,) of a tile."""
        asked = self._asked(picture, rows)
        read = read_pictures(
            picture.view[rows],
            self._estimator,
            self._names,
            recognition=self._recognition,
            centre=None if self._recognition is None else self._centre,
            landmarks=asked.landmarks,
            device=self._device,
        )
        found = {name: values for name, values in residuals(asked, read).items() if name in self._audit.limits}
        errors = {axis: signed(asked, read)[f"{axis}_deg"] for axis in _AXES}
        return Verdict(found, errors, excess(found, self._audit.limits))

    def _asked(self, picture: Picture, rows: I64) -> Facts:
        samples = picture.samples
        factors = samples.factors[rows]
        return Facts(
            pose_rad=factors.pose_rad,
            expression=factors.expression * self._shared,
            sh=factors.sh,
            landmarks=None if picture.landmarks is None else picture.landmarks[rows],
            descriptors=None if self._recognition is None else self._references[samples.rows.identity[rows]],
        )


def audited(job: Job, first: Picture, count: int, make: Callable[[Samples], Picture]) -> Picture:
    """A tile after its audit: with the audit's columns, and what failed marked, missing or drawn again.

    Args:
        job: what is rendered.
        first: the tile as it was drawn first, all K rows.
        count: rows that will be kept; the rest only fill the tile up.
        make: samples to pictures, whole tiles.
    """
    audit, auditor = job.spec.quality.audit, job.auditor
    assert audit is not None
    checked = _checked(job, first.samples, audit)[:count]
    best, rows = first, np.flatnonzero(checked)
    state = _Columns(audit, len(first.samples), rows)
    if len(rows):
        verdict = auditor.look(first, rows)
        state.keep(rows, verdict)
        pending = rows[verdict.excess > 1.0]
        draws = range(1, audit.max_tries if audit.on_fail == "resample" else 1)
        for draw in draws:
            if not len(pending):
                break
            again = make(redraw(job.plan, first.samples, pending, draw, audit.redraw))
            verdict = auditor.look(again, pending)
            state.tries[pending] += 1
            better = verdict.excess < state.excess[pending]
            best = best.with_rows(pending[better], again)
            state.keep(pending, verdict, better)
            pending = pending[verdict.excess > 1.0]
    done = replace(best, columns={**best.columns, **state.columns()}).first(count)
    return done.only(~state.failed[:count]) if audit.on_fail == "drop" else done


def _checked(job: Job, samples: Samples, audit: Audit) -> npt.NDArray[np.bool_]:
    """Which rows are looked at: by the image's own key, so that filing and company decide nothing."""
    if audit.fraction >= 1.0:
        return np.ones(len(samples), bool)
    return uniforms(job.spec.seed, "audit/fraction", samples.rows.key)[:, 0] < audit.fraction


class _Columns:
    """The audit's columns of a tile while it is drawn."""

    def __init__(self, audit: Audit, count: int, checked: I64) -> None:
        self._audit = audit
        self.checked = np.zeros(count, bool)
        self.checked[checked] = True
        self.tries = np.ones(count, np.int32)
        self.excess = np.full(count, np.inf)
        self.excess[~self.checked] = 0.0
        self._values: dict[str, F32] = {}
        for column in audit_columns(audit)[3:]:
            empty = 0.0 if column.name.endswith("_error_deg") else NOT_CHECKED
            self._values[column.name] = np.full(count, empty, np.float32)

    @property
    def failed(self) -> npt.NDArray[np.bool_]:
        """(K,) whether what is kept is beyond a limit."""
        return self.excess > 1.0

    def keep(self, rows: I64, verdict: Verdict, which: npt.NDArray[np.bool_] | None = None) -> None:
        """Note what was found for rows (M,), or for some of them."""
        which = np.ones(len(rows), bool) if which is None else which
        mine = rows[which]
        self.excess[mine] = verdict.excess[which]
        for name, values in verdict.residuals.items():
            self._values[f"audit_{name}"][mine] = values[which]
        for axis, values in verdict.errors.items():
            if f"audit_{axis}_error_deg" in self._values:
                self._values[f"audit_{axis}_error_deg"][mine] = values[which]

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Name to (K,)."""
        return {"audit_checked": self.checked, "audit_failed": self.failed, "audit_tries": self.tries, **self._values}
