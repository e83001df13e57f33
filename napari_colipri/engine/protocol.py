"""What the window's process and the engine's process say to each other: frozen, typed, plain.

The classes of :data:`ToWorker` travel to the worker, those of :data:`Message` back; no others do. The client turns
messages into an :data:`~napari_colipri.engine.events.Event` for its owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from napari_colipri.ct.passport import Passport
from napari_colipri.ct.volume import Affine, Geometry, Source
from napari_colipri.engine.bundle import Bundle
from napari_colipri.engine.events import Loaded
from napari_colipri.engine.shared import ArrayRef, Parcel
from napari_colipri.errors import (
    BundleError,
    Cancelled,
    ColipriError,
    LibraryError,
    OutOfResources,
    StudyRefused,
    WorkerDied,
)

__all__ = [
    "REQUESTS",
    "Advanced",
    "Analyse",
    "AnyRequest",
    "AskFindings",
    "Broke",
    "Cancel",
    "Configure",
    "Delivered",
    "EmbedText",
    "Failure",
    "Finished",
    "HoldVolume",
    "Holding",
    "Lend",
    "Load",
    "Localise",
    "Message",
    "Need",
    "Request",
    "Segment",
    "Started",
    "ToWorker",
    "failure_of",
]


# ---------------------------------------------------------------------------------------------------- errors


_WITH_CODE: dict[str, type[ColipriError]] = {
    cls.__name__: cls for cls in (ColipriError, BundleError, LibraryError, OutOfResources, StudyRefused)
}
_KINDS = {*_WITH_CODE, "Cancelled", "WorkerDied"}


@dataclass(frozen=True)
class Failure:
    """An error on its way: name of its class, sentence and code. No traceback, no path."""

    kind: str
    message: str
    code: str

    def error(self) -> ColipriError:
        """Return the typed error again."""
        if self.kind == "Cancelled":
            return Cancelled(self.message)
        if self.kind == "WorkerDied":
            return WorkerDied(self.message)
        return _WITH_CODE.get(self.kind, ColipriError)(self.message, code=self.code)


def failure_of(error: BaseException) -> Failure:
    """Turn any exception into what may be told: of an unexpected one only the name of its class.

    Its text could hold a path, and a path can hold a patient's name.
    """
    if isinstance(error, ColipriError):
        known = (cls.__name__ for cls in type(error).__mro__ if cls.__name__ in _KINDS)
        return Failure(next(known), error.message, error.code)
    if isinstance(error, MemoryError):
        return Failure("OutOfResources", "The engine ran out of memory.", "out_of_memory")
    message = f"The engine could not finish because of an unexpected {type(error).__name__}; please report it."
    return Failure("ColipriError", message, "engine_error")


# ------------------------------------------------------------------------------------------- client to worker


@dataclass(frozen=True)
class Configure:
    """Which model to use from now on; it is loaded by the next request that needs it.

    Attributes
    ----------
    bundle
        A verified one, or a name or folder that ``open_bundle`` understands, or None.
    device, precision
        As :class:`~napari_colipri.engine.session.Session` takes them.
    """

    bundle: Bundle | str | None
    device: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True, eq=False)
class HoldVolume:
    """Which volume requests are about from now on (None: none). The source's path stays behind.

    Attributes
    ----------
    serial
        Growing number that :class:`Holding` gives back.
    hu
        Voxels, indexed [i, j, k].
    affine, geometry, source, passport, fingerprint
        As in :class:`~napari_colipri.ct.volume.CTVolume`.
    """

    serial: int
    hu: ArrayRef | None = None
    affine: Affine | None = None
    geometry: Geometry | None = None
    source: Source | None = None
    passport: Passport | None = None
    fingerprint: str = ""


@dataclass(frozen=True)
class Lend:
    """Answer to :class:`Need`: a block to write into, or why there is none."""

    request: int
    block: str | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Cancel:
    """Stop a request at the next check of its token."""

    request: int


@dataclass(frozen=True)
class Request:
    """Something to do; answered by events that carry the same id.

    Attributes
    ----------
    id
        Unique within a client, growing.
    """

    id: int


@dataclass(frozen=True)
class Load(Request):
    """Load the model now, so that the first question does not wait for it."""


@dataclass(frozen=True)
class Analyse(Request):
    """Encode, then findings, masks, and text where the bundle writes any, each answered as soon as it is there.

    Attributes
    ----------
    prompts
        Questions of the user's own, after the bundle's findings.
    """

    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class AskFindings(Request):
    """Findings alone, with prompts of the user's own."""

    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Localise(Request):
    """Heat map for a finding's name or any prompt."""

    text: str


@dataclass(frozen=True)
class Segment(Request):
    """Masks alone."""


@dataclass(frozen=True)
class EmbedText(Request):
    """Text vectors, float32 [n, D], L2-normalised; for a search of the library by text."""

    texts: tuple[str, ...]


AnyRequest: TypeAlias = Load | Analyse | AskFindings | Localise | Segment | EmbedText

#: Kind, as :meth:`EngineClient.submit` takes it, to its class.
REQUESTS: dict[str, type[AnyRequest]] = {
    "load": Load,
    "analyse": Analyse,
    "findings": AskFindings,
    "localise": Localise,
    "segment": Segment,
    "embed_text": EmbedText,
}

ToWorker: TypeAlias = Configure | HoldVolume | Lend | Cancel | AnyRequest


# ------------------------------------------------------------------------------------------- worker to client


@dataclass(frozen=True)
class Started:
    """The worker has begun with a request."""

    request: int


@dataclass(frozen=True)
class Advanced:
    """Progress of a request."""

    request: int
    fraction: float
    text: str


@dataclass(frozen=True)
class Need:
    """The worker wants a block of this many bytes for a result."""

    request: int
    nbytes: int


@dataclass(frozen=True)
class Delivered:
    """One answer of a request."""

    request: int
    parcel: Parcel


@dataclass(frozen=True)
class Finished:
    """A request is done."""

    request: int


@dataclass(frozen=True)
class Broke:
    """A request failed."""

    request: int
    failure: Failure


@dataclass(frozen=True)
class Holding:
    """The worker has followed the :class:`HoldVolume` of this number and let go of every volume before it."""

    serial: int


Message: TypeAlias = Started | Advanced | Loaded | Need | Delivered | Finished | Broke | Holding
