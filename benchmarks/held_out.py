"""A bundle on phantoms that nothing was trained on: findings, retrieval, masks, reports. Nothing about patients.

``--set new`` takes new seeds, ``--set regime`` new seeds whose scanner settings and wordings no training phantom has.
Findings that the grid cannot show have no label there (training/phantom/resolvable.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks._common import parser, publish, work_folder

if TYPE_CHECKING:
    from training.evaluation.bundle import BundleAnswers
    from training.evaluation.scores import Scores

SETS = {"new": "phantom:5000000", "regime": "phantom-held-out:6000000"}
_TITLES = {"new": "new seeds", "regime": "new seeds, scanners and wordings never trained"}
_MACRO = {"new": "≥ 0.92", "regime": "≥ 0.87"}
Row = Mapping[str, str]


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--bundle", help="name or folder; the embedded one without it")
    options.add_argument("--set", choices=tuple(SETS), default="new", dest="kind")
    options.add_argument("--count", type=int, default=500, help="phantoms")
    options.add_argument("--masks", type=int, default=100, help="of them, that are segmented")
    options.add_argument("--reports", type=int, default=200, help="of them, that are written about")
    options.add_argument("--out", type=Path, help="folder that takes scores, tables and plots")
    chosen = options.parse_args(arguments)
    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session
    from training.evaluation.bundle import Limits, score_bundle, write_answers
    from training.evaluation.studies import studies_of

    session = Session(open_bundle(chosen.bundle), device="cpu", cache_bytes=0)
    studies = studies_of(f"{SETS[chosen.kind]}:{chosen.count}")
    answers = score_bundle(session, studies, limits=Limits(chosen.masks, chosen.reports))
    write_answers(answers, chosen.out or work_folder() / "held-out" / f"{answers.bundle_hash[:8]}-{chosen.kind}")
    beside = {"set": _TITLES[chosen.kind], "bundle": f"{answers.bundle} {answers.bundle_hash[:8]}"}
    tables = {
        "Findings on held-out phantoms": _findings(answers, _MACRO[chosen.kind]),
        "Retrieval on held-out phantoms, image to report": _retrieval(answers),
        "Masks on held-out phantoms, bare argmax": _masks(answers),
        "Written reports on held-out phantoms": _reports(answers),
    }
    for heading, rows in tables.items():
        if rows:
            publish(heading, [{**row, **beside} for row in rows], write=chosen.write)


def _findings(answers: BundleAnswers, target: str) -> list[Row]:
    rows = _classified("zero-shot", answers.zero_shot, target)
    return rows + (_classified("probe", answers.probe, "") if answers.probe is not None else [])


def _classified(answer: str, scores: Scores, target: str) -> list[Row]:
    from training.evaluation.classification import classify

    found = classify(scores)
    rows: list[Row] = [
        {
            "answer": answer,
            "finding": row.finding,
            "AUROC (95 % interval)": str(row.metrics["auroc"]),
            "positives": f"{row.positives} of {row.studies}",
            "target": "",
        }
        for row in found.rows
    ]
    silent = f"; none for {', '.join(found.silent)}" if found.silent else ""
    macro = {
        "finding": f"macro, {len(found.rows)} findings{silent}",
        "AUROC (95 % interval)": str(found.macro["auroc"]),
    }
    return [*rows, {"answer": answer, **macro, "positives": "", "target": target}]


def _retrieval(answers: BundleAnswers) -> list[Row]:
    from training.evaluation.bundle import retrieval_of

    rows: list[Row] = []
    for sizes in (True, False):
        found = retrieval_of(answers.embeddings, sizes=sizes) if answers.embeddings is not None else None
        if found is None:
            continue
        count, resolved = found.resolved[10]
        rows.append(
            {
                "text": "as written" if sizes else "sizes removed",
                "distinct phantoms": str(found.items),
                "R@10": str(found.image_to_report[10]),
                "by chance": f"{found.chance[10]:.3f}",
                "oracle of labels": f"{found.oracle[10]:.3f}",
                "R@10 of pairs that the oracle resolves": f"{resolved}, {count} pairs",
                "target": "≥ 0.80 of resolved pairs",
            }
        )
    return rows


def _masks(answers: BundleAnswers) -> list[Row]:
    from training.evaluation.masks import mask_table

    if not answers.masks:
        return []
    table = mask_table(answers.masks)
    rows: list[Row] = [
        {"class": name, "Dice (95 % interval)": str(dice), "phantoms": str(count), "target": ""}
        for name, (count, dice, _) in table.classes.items()
    ]
    return [
        *rows,
        {
            "class": "mean",
            "Dice (95 % interval)": str(table.macro[0]),
            "phantoms": str(table.cases),
            "target": "≥ 0.90",
        },
    ]


def _reports(answers: BundleAnswers) -> list[Row]:
    from training.evaluation.reports import evaluate_reports

    if not answers.reports:
        return []
    told = evaluate_reports(answers.reports)
    return [
        {
            "reports": str(told.reports),
            "clinical F1, macro": str(told.macro),
            "micro": str(told.micro),
            "wrong side": f"{told.wrong_side} of {told.sided}",
            "wrong size": f"{told.wrong_size} of {told.sized}",
            "sentences that compare": f"{told.comparing} of {told.sentences}",
            "BLEU": f"{told.bleu:.3f}",
            "ROUGE-L": str(told.rouge_l),
            "target": "F1 ≥ 0.70, wrong side ≤ 5 %, none compares",
        }
    ]


if __name__ == "__main__":
    main()
