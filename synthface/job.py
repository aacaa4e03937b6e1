"""A job: a spec met with its generator. All that a worker must know, made by `prepare`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthface.annotators import Annotator, annotators_of, networks_of
from synthface.columns import Column, Origin, SampleFile, check_unique
from synthface.crops import CROPS
from synthface.generators import GeneratorInfo, generator_info, load_generator
from synthface.generators.base import Generator
from synthface.identities import ChosenIdentities, IdentityTable, read_identities
from synthface.plan import Plan, make_plan
from synthface.quality.audit import audit_columns
from synthface.shards.encode import JpegBackend, encoder_versions
from synthface.spec.layout import resolve
from synthface.spec.loader import load_spec
from synthface.spec.model import Spec
from synthface.storage import open_store

if TYPE_CHECKING:
    from synthface.networks.recognition import Recognition
    from synthface.quality.audit import Auditor
    from synthface.quality.estimators import Estimator

FORMAT = 1
SpecSource = str | Path | Mapping[str, Any] | Spec


@dataclass(frozen=True)
class Job:
    """A spec met with its generator: all that a worker must know. Made by `prepare`; travels to other processes."""

    spec: Spec
    info: GeneratorInfo
    plan: Plan
    device: str = "cpu"
    jpeg: JpegBackend = "pillow"
    chosen: ChosenIdentities | None = None
    _state: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        chosen = self.chosen if self.audits_identity else None  # large, and of no use to workers otherwise
        return {**self.__dict__, "_state": {}, "chosen": chosen}

    @property
    def audits_identity(self) -> bool:
        """Whether pictures are compared with their identity's standard picture."""
        return self.spec.quality.audit is not None and "identity" in self.spec.quality.audit.limits

    @property
    def estimator(self) -> Estimator:
        """What reads factors off pictures for the audit, loaded in this process when first asked for."""
        if "estimator" not in self._state:
            from synthface.quality.estimators import load_estimator

            assert self.spec.quality.audit is not None
            self._state["estimator"] = load_estimator(self.spec.quality.audit.estimator, device=self.device)
        estimator: Estimator = self._state["estimator"]
        return estimator

    @property
    def auditor(self) -> Auditor:
        """What looks at pictures, loaded in this process when first asked for."""
        if "auditor" not in self._state:
            from synthface.quality.audit import Auditor

            self._state["auditor"] = Auditor(self)
        auditor: Auditor = self._state["auditor"]
        return auditor

    @property
    def generator(self) -> Generator:
        """The generator, loaded in this process when first asked for."""
        if "generator" not in self._state:
            self._state["generator"] = load_generator(
                self.info.name, device=self.device, truncation=self.spec.truncation
            )
        generator: Generator = self._state["generator"]
        return generator

    @property
    def recognition(self) -> Recognition:
        """f_id, loaded in this process when first asked for."""
        if "recognition" not in self._state:
            from synthface.networks.recognition import load_recognition

            self._state["recognition"] = load_recognition().to(self.device)
        recognition: Recognition = self._state["recognition"]
        return recognition

    @property
    def annotators(self) -> tuple[Annotator, ...]:
        """Those the spec asks for."""
        return annotators_of(self.spec.output.annotations)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every label column of the dataset."""
        columns = [*self.plan.columns()]
        columns += [column for annotator in self.annotators for column in annotator.columns(self.info.num_dense)]
        if self.spec.output.image.crop != "full":
            text = "From pixel coordinates of the generator's view to the image's: x′ = M[:, :2] x + M[:, 2]."
            columns.append(Column("crop_matrix", "float32", Origin.RENDERED, text, (2, 3), "px", "image"))
        if self.spec.quality.audit is not None:
            columns += audit_columns(self.spec.quality.audit)
        return check_unique(columns)

    @property
    def sample_files(self) -> tuple[SampleFile, ...]:
        """Every file of a sample besides the label JSON and the class."""
        image = self.spec.output.image
        kind = "jpeg" if image.format == "jpg" else "png"
        text = f"The picture, {image.size} × {image.size} px, sRGB: {CROPS[image.crop]}."
        picture = SampleFile(image.format, f"image/{kind}", Origin.RENDERED, text)
        return (picture, *(file for annotator in self.annotators for file in annotator.files()))

    def fingerprint(self, identities_sha256: str) -> dict[str, Any]:
        """What decides the dataset's bytes, as plain data: two runs with the same one may share a folder."""
        networks = networks_of(self.spec.output.annotations)
        return {
            "format": FORMAT,
            "spec_sha256": self.spec.digest,
            "generator": self.generator.describe(),
            "identities_sha256": identities_sha256,
            "encoder": encoder_versions(self.jpeg),
            "image_size_px": self.spec.output.image.size,
            **({"estimated_by": networks} if networks else {}),
            **({} if self.spec.quality.audit is None else {"audit": self.estimator.digest()}),
        }


def prepare(
    spec: SpecSource, *, generator: str | None = None, device: str = "cpu", jpeg: JpegBackend = "pillow"
) -> Job:
    """Load a spec, check it against its generator and lay it out.

    Args:
        spec: a path, YAML text, a mapping or a `Spec`.
        generator: instead of the spec's own.
        device: where the generator runs.
        jpeg: which encoder.

    Raises:
        SpecError: the spec is wrong; with every problem found.
        GeneratorError: the generator can't be found or loaded.
        DatasetError: identities are to be reused and can't be.
    """
    loaded = load_spec(spec)
    if generator is not None:
        loaded = loaded.replace(generator=generator)
    info = generator_info(loaded.generator)
    resolved = resolve(loaded, info.layout)
    plan = make_plan(resolved, info.layout, tile_size=info.tile_size, reused=_reused(resolved, info))
    return Job(resolved, info, plan, device, jpeg)


def _reused(spec: Spec, info: GeneratorInfo) -> IdentityTable | None:
    """The identities of the dataset that the spec names under `identities.from`."""
    source = spec.identities.reuse
    if source is None:
        return None
    folder = source if "://" in source else str(spec.source.folder / source)
    store = open_store(folder)
    try:
        content = store.read("identities.parquet")
    except FileNotFoundError:
        content = b""
    return read_identities(content, f"{store.url}/identities.parquet", info.layout, spec.identities.count)
