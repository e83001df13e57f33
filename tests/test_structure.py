"""The house rules that a linter does not know: sizes, rooms, links and promises in the configuration."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "napari_colipri"

LONGEST_FILE = 400  # "around 350"
LONGEST_FUNCTION = 60  # "around 40", its docstring not counted


def sources(*folders: str) -> list[Path]:
    """Python files of these folders, the linked samples left out."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if "sample_data" not in path.parts]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def long_strings(node: ast.AST) -> int:
    """Lines that are the inside of a text, such as a style sheet: there is nothing to split in them."""
    spans = {
        (item.lineno, item.end_lineno) for item in ast.walk(node) if isinstance(item, ast.JoinedStr | ast.Constant)
    }
    return sum((stop or start) - start for start, stop in spans)


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Every function with its number of lines; signature, docstring and long texts left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            if body:
                lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
                yield node.name, lines - sum(long_strings(item) for item in body)


def imported_roots(path: Path) -> set[str]:
    """First names of everything that a file imports, wherever in the file."""
    roots = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots.add(node.module.partition(".")[0])
    return roots


@pytest.mark.parametrize("path", sources("napari_colipri", "training", "benchmarks"), ids=name)
def test_files_and_functions_fit_on_few_screens(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    assert {function: lines for function, lines in functions(path) if lines > LONGEST_FUNCTION} == {}


def test_the_rooms_keep_to_their_doors() -> None:
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    done = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_of_the_package_stands_under_the_import_contracts() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter", encoding="utf-8")
    listed = {
        line
        for room in ("torch", "window")
        for line in contracts[f"importlinter:contract:{room}"]["source_modules"].split()
    }
    modules = {
        f"napari_colipri.{path.stem}"
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" and path.stem not in ("__init__", "__main__")) or (path / "__init__.py").exists()
    }
    assert modules <= listed


def test_nothing_from_elsewhere_is_unpickled_or_executed() -> None:
    forbidden = re.compile(r"torch\.load\(|pickle\.loads?\(|(trust_remote_code|allow_pickle) *= *True")
    # Connection.send and recv pickle; so do the queues and managers of multiprocessing.
    forbidden_ways = re.compile(
        r"\.recv\(|multiprocessing[a-z.]* import .*\b(Queue|Manager)\b|import pickle|from pickle"
    )
    texts = {name(path): path.read_text(encoding="utf-8") for path in sources("napari_colipri")}
    assert [file for file, text in texts.items() if forbidden.search(text) or forbidden_ways.search(text)] == []


def test_every_third_party_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    base = {requirement(item) for item in project["dependencies"]}
    used = set().union(*(imported_roots(path) for path in sources("napari_colipri")))
    assert third_parties(used) <= base
    used = set().union(*(imported_roots(path) for path in sources("training", "benchmarks")))
    known = extras["training"] + extras["lora"] + extras["dev"]
    assert third_parties(used) <= base | {requirement(item) for item in known}


def test_every_declared_dependency_is_used_and_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    reasons = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
    declared = list(project["dependencies"])
    for items in project["optional-dependencies"].values():
        declared += items
    missing = [item for item in declared if f"`{requirement(item)}`" not in reasons.replace("-", "_")]
    assert missing == []
    used = third_parties(set().union(*(imported_roots(path) for path in sources("napari_colipri"))))
    assert {requirement(item) for item in project["dependencies"]} - used - LOADED_BY_OTHERS == set()


# Never imported by name here: pydicom finds its decoders; colipri is read past its front.
LOADED_BY_OTHERS = {"pylibjpeg", "pylibjpeg_openjpeg", "pylibjpeg_rle", "python_gdcm", "colipri"}
DISTRIBUTION_OF = {"PIL": "pillow", "gdcm": "python_gdcm", "sklearn": "scikit_learn", "yaml": "pyyaml"}


def requirement(item: str) -> str:
    """Return a requirement's name as an import would spell it."""
    return re.split(r"[<>=!\[; ]", item)[0].lower().replace("-", "_")


def third_parties(roots: set[str]) -> set[str]:
    own = {"napari_colipri", "training", "benchmarks", "tests"}
    return {
        DISTRIBUTION_OF.get(root, root).lower()
        for root in roots
        if root not in sys.stdlib_module_names and root not in own
    }


def test_every_passport_code_is_documented() -> None:
    from napari_colipri.ct.passport import CODES

    rows = {
        "refused, refused": ("refuse", "refuse"),
        "with a warning, refused": ("warn", "refuse"),
        "with a warning, with a warning": ("warn", "warn"),
        "without remark, with a warning": ("ok", "warn"),
        "with a warning, without remark": ("warn", "ok"),
    }
    documented = {}
    for line in (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8").splitlines():
        verdicts = rows.get(line.strip("| ").partition(" |")[0])
        if verdicts is not None:
            documented |= dict.fromkeys(re.findall(r"`(\w+)`", line), verdicts)
    assert documented == CODES


def test_links_between_the_documents_lead_somewhere() -> None:
    broken = []
    for document in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
            file = target.partition("#")[0]
            if file and "://" not in target and not (document.parent / file).exists():
                broken.append(f"{name(document)}: {target}")
    assert broken == []
