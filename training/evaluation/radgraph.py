"""RadGraph F1 from annotations that the public ``radgraph`` tool wrote: entities, and entities with relations.

RadGraph: Jain et al., NeurIPS Datasets and Benchmarks 2021; RadGraph-XL: Delbrouck et al., Findings of ACL 2024. The
three rewards: Delbrouck et al., Findings of EMNLP 2022. The model itself is not run: its weights are pickled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from napari_colipri.engine.bundle_files import file_sha256
from training.evaluation.bootstrap import RESAMPLES, Floats, Interval, bootstrap
from training.evaluation.files import read_json
from training.evaluation.reports import ReportPair
from training.evaluation.scores import EvaluationError

__all__ = ["REWARDS", "Entity", "Graph", "GraphTable", "graph_table", "items_of", "read_graphs", "reward"]

#: The published names: entities; entities and whether they have a relation; entities and their relations.
REWARDS = ("simple", "partial", "complete")


@dataclass(frozen=True)
class Entity:
    """A few words of a report.

    Attributes
    ----------
    tokens, label
        Words, and kind with certainty ("Observation::definitely present").
    relations
        Kind of relation and key of the entity at its other end.
    """

    tokens: str
    label: str
    relations: tuple[tuple[str, str], ...] = ()


#: Key to entity, of one report.
Graph: TypeAlias = Mapping[str, Entity]


@dataclass(frozen=True)
class GraphTable:
    """RadGraph F1 of a set of reports.

    Attributes
    ----------
    files
        Generated and reference file: name and SHA-256.
    reports, patients
        How many.
    rewards
        Reward to F1, precision and recall, each the mean over reports.
    empty
        Reports of which either side has no entity; they score 0.
    """

    files: tuple[tuple[str, str], tuple[str, str]]
    reports: int
    patients: int
    rewards: dict[str, tuple[Interval, Interval, Interval]]
    empty: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        kinds = ("generated", "reference")
        figures = {
            name: dict(zip(("f1", "precision", "recall"), (each.to_json() for each in values), strict=True))
            for name, values in self.rewards.items()
        }
        return {
            "files": {k: {"name": n, "sha256": s} for k, (n, s) in zip(kinds, self.files, strict=True)},
            "reports": self.reports,
            "patients": self.patients,
            "empty": self.empty,
            **figures,
        }


def _graph(value: Any) -> Graph:
    """Entities of one annotation; ValueError says what is wrong."""
    entities = value.get("entities") if isinstance(value, dict) else None
    if not isinstance(entities, dict):
        raise ValueError("has no object of entities")
    out = {}
    for key, each in entities.items():
        fields = each if isinstance(each, dict) else {}
        tokens, label, relations = (fields.get(field) for field in ("tokens", "label", "relations"))
        if not isinstance(tokens, str) or not isinstance(label, str) or not isinstance(relations, list):
            raise ValueError(f"entity {key} needs tokens, label and relations")
        for relation in relations:
            if not isinstance(relation, list) or len(relation) != 2 or str(relation[1]) not in entities:
                raise ValueError(f"entity {key} has a relation that leads to no entity")
        out[key] = Entity(tokens, label, tuple((str(kind), str(end)) for kind, end in relations))
    return out


def read_graphs(path: Path, studies: Sequence[str]) -> tuple[Graph, ...]:
    """Read the annotations of these studies, in their order.

    Parameters
    ----------
    path
        JSON of study to annotation, or with the keys "0", "1", … that the tool gives to a list of reports: the
        studies' order then tells which is which. Exactly these studies.
    studies
        Keys, none twice.

    Raises
    ------
    EvaluationError
        Naming the file and the study that one of the two lacks, or whose annotation is not whole.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise EvaluationError(f"{path.name} is not a JSON object of study: annotation.", code="bad_annotations")
    twice = next((study for place, study in enumerate(studies) if study in studies[:place]), None)
    if twice is not None:
        raise EvaluationError(f"Study {twice} has two reports: which is annotated?", code="mismatch")
    numbers = [str(place) for place in range(len(studies))]
    keys = numbers if set(values) == set(numbers) and set(studies) != set(numbers) else list(studies)
    for key in keys:
        if key not in values:
            raise EvaluationError(f"{path.name} has no annotation of study {key}.", code="mismatch")
    known = set(keys)
    for key in values:
        if key not in known:
            raise EvaluationError(f"{path.name} annotates study {key}, which has no report.", code="mismatch")
    out = []
    for key, study in zip(keys, studies, strict=True):
        try:
            out.append(_graph(values[key]))
        except ValueError as error:
            raise EvaluationError(f"{path.name}, study {study}: {error}.", code="bad_annotations") from error
    return tuple(out)


def items_of(graph: Graph, kind: str) -> set[tuple[object, ...]]:
    """Return what a reward compares, each once however often the report says it.

    Parameters
    ----------
    graph
        Of one report.
    kind
        One of :data:`REWARDS`: (tokens, label); the same with a mark where the entity has a relation; the same where
        it has none, else one (tokens, label, relation, tokens at its other end) per relation, tokens in lower case.
    """
    out: set[tuple[object, ...]] = set()
    for each in graph.values():
        if kind == "simple" or not each.relations:
            out.add((each.tokens, each.label))
        elif kind == "partial":
            out.add((each.tokens, each.label, True))
        else:
            out |= {(each.tokens.lower(), each.label, how, graph[end].tokens.lower()) for how, end in each.relations}
    return out


def reward(generated: Graph, reference: Graph, kind: str) -> tuple[float, float, float]:
    """Return F1, precision and recall of one report; 0 where either side has no entity."""
    ours, theirs = items_of(generated, kind), items_of(reference, kind)
    hits = len(ours & theirs)
    if not hits:
        return 0.0, 0.0, 0.0
    return 2 * hits / (len(ours) + len(theirs)), hits / len(ours), hits / len(theirs)


def graph_table(
    pairs: Sequence[ReportPair], generated: Path, reference: Path, *, resamples: int = RESAMPLES, seed: int = 0
) -> GraphTable:
    """Score annotations of generated reports against those of the references.

    Parameters
    ----------
    pairs
        Their studies and patients.
    generated, reference
        Files for :func:`read_graphs`.
    resamples, seed
        Of the bootstrap over patients.

    Raises
    ------
    EvaluationError
        Naming file and study.
    """
    studies = [pair.study for pair in pairs]
    ours, theirs = (read_graphs(path, studies) for path in (generated, reference))
    scores = np.array(
        [[reward(a, b, kind) for kind in REWARDS] for a, b in zip(ours, theirs, strict=True)], dtype=np.float64
    ).reshape(len(pairs), -1)

    def statistic(weights: Floats) -> Floats:
        return weights @ scores / weights.sum(axis=1, keepdims=True)

    patients = [pair.patient for pair in pairs]
    figures = bootstrap(statistic, patients, resamples=resamples, seed=seed)
    rewards = {kind: (figures[3 * n], figures[3 * n + 1], figures[3 * n + 2]) for n, kind in enumerate(REWARDS)}
    return GraphTable(
        files=((generated.name, file_sha256(generated)), (reference.name, file_sha256(reference))),
        reports=len(pairs),
        patients=len(set(patients)),
        rewards=rewards,
        empty=sum(not a or not b for a, b in zip(ours, theirs, strict=True)),
    )
