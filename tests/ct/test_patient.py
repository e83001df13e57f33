"""What is kept of a patient: enough to say "same patient" on this installation, and nothing else."""

from __future__ import annotations

import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from napari_colipri.ct.patient import age_band, patient_key


def test_the_same_patient_has_the_same_key_and_another_has_another() -> None:
    assert patient_key("4711", "Hospital") == patient_key("4711 ", "Hospital")
    keys = {patient_key("4711", "Hospital"), patient_key("4711", "Clinic"), patient_key("4712", "Hospital")}
    assert len(keys) == 3
    assert patient_key("1", "23") != patient_key("12", "3")


def test_a_key_does_not_travel_to_another_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = patient_key("4711")
    monkeypatch.setenv("NAPARI_COLIPRI_HOME", str(tmp_path))
    assert patient_key("4711") != here


@pytest.mark.parametrize("identifier", [None, "", "  ", "ANONYMOUS", "anonymized", "0"])
def test_nobody_has_no_key(identifier: str | None) -> None:
    assert patient_key(identifier, "Hospital") is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps access lists instead of modes")
def test_the_secret_is_readable_by_its_owner_only(user_folders: Path) -> None:
    patient_key("4711")
    secret = user_folders / "config" / "secret"
    assert len(secret.read_bytes()) == 32
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert [item.name for item in secret.parent.iterdir()] == ["secret"]


def test_two_first_calls_at_once_agree_on_one_secret() -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: patient_key("4711"), range(16)))) == 1


def test_a_damaged_secret_tells_nobody_apart_and_is_not_replaced(
    user_folders: Path, caplog: pytest.LogCaptureFixture
) -> None:
    patient_key("4711")
    secret = user_folders / "config" / "secret"
    secret.write_bytes(b"short")
    assert patient_key("4711") is None
    assert secret.read_bytes() == b"short"
    assert "4711" not in caplog.text


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("063Y", "60-69"),
        ("009Y", "0-9"),
        ("000Y", "0-9"),
        ("011M", "0-9"),
        ("130M", "10-19"),
        ("090Y", "90+"),
        ("104Y", "90+"),
        ("63", "60-69"),
        ("", None),
        (None, None),
        ("old", None),
    ],
)
def test_ages_become_bands_of_ten_years(age: str | None, band: str | None) -> None:
    assert age_band(age) == band
