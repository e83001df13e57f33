"""The one thing kept of a patient: a keyed hash that tells this installation "same patient", and age band and sex."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from napari_colipri.paths import config_dir

__all__ = ["PatientFacts", "age_band", "patient_facts", "patient_key"]

_LOG = logging.getLogger(__name__)

_SECRET_BYTES = 32
#: What anonymisers write into PatientID: two such patients are not the same one.
_NOBODY = {"", "0", "ANON", "ANONYMOUS", "ANONYMIZED", "ANONYMISED", "NONE", "UNKNOWN", "PATIENT", "REMOVED", "ID"}
_KEYWORDS = ["SpecificCharacterSet", "PatientID", "IssuerOfPatientID", "PatientAge", "PatientSex"]


@dataclass(frozen=True)
class PatientFacts:
    """What leaves a DICOM header about a patient.

    Attributes
    ----------
    key
        64 hexadecimal digits, or None where there is no identifier ("cannot tell").
    age_band
        Such as ``"60-69"``; ``"90+"`` from 90 years; None where not stated.
    sex
        ``"M"``, ``"F"``, ``"O"`` or None.
    """

    key: str | None = None
    age_band: str | None = None
    sex: str | None = None


def _secret() -> bytes | None:
    """Return this installation's secret, made at the first call; None where it can be neither read nor kept."""
    path = config_dir() / "secret"
    for _ in range(2):
        with contextlib.suppress(FileNotFoundError):
            found = path.read_bytes()
            if len(found) == _SECRET_BYTES:
                return found
            _LOG.warning("The installation's secret is damaged: patients cannot be told apart.")
            return None
        _make_secret(path)
    return None


def _make_secret(path: Path) -> None:
    """Write the secret whole or not at all; where another process was first, its secret stays."""
    draft = path.with_name(f".secret-{os.getpid()}-{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES))
        with contextlib.suppress(FileExistsError):
            # a link, unlike a rename, never replaces what another process has just written
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def patient_key(patient_id: str | None, issuer: str | None = None) -> str | None:
    """HMAC-SHA256 of issuer and PatientID under this installation's secret.

    Parameters
    ----------
    patient_id, issuer
        PatientID and IssuerOfPatientID as the header has them.

    Returns
    -------
    str or None
        64 hexadecimal digits; None ("cannot tell") without an identifier, for the placeholders of anonymisers, and
        where the secret cannot be kept.
    """
    identifier = (patient_id or "").strip(" \0")
    if identifier.upper() in _NOBODY:
        return None
    try:
        secret = _secret()
    except OSError:
        _LOG.warning("The installation's secret cannot be read or written: patients cannot be told apart.")
        return None
    if secret is None:
        return None
    message = f"{(issuer or '').strip(' ' + chr(0))}\x1f{identifier}".encode()
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def age_band(age: str | None) -> str | None:
    """Ten-year band of a DICOM age string (``"063Y"``, ``"011M"``, weeks, days), or None.

    Everyone from 90 years on is ``"90+"``: great ages identify.
    """
    found = re.fullmatch(r"(\d{1,3})([YMWD]?)", (age or "").strip().upper())
    if found is None:
        return None
    per_year = {"Y": 1.0, "": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}[found.group(2)]
    decade = int(int(found.group(1)) / per_year) // 10 * 10
    return "90+" if decade >= 90 else f"{decade}-{decade + 9}"


def patient_facts(path: Path) -> PatientFacts:
    """Read a DICOM file's patient module and return what may be kept of it.

    Must run inside :func:`~napari_colipri.ct.readers.dicom_elements.lenient`.
    """
    from napari_colipri.ct.readers.dicom_elements import open_header, text

    dataset = open_header(path, _KEYWORDS).dataset
    sex = text(dataset, "PatientSex").upper()
    return PatientFacts(
        key=patient_key(text(dataset, "PatientID"), text(dataset, "IssuerOfPatientID")),
        age_band=age_band(text(dataset, "PatientAge")),
        sex=sex if sex in ("M", "F", "O") else None,
    )
