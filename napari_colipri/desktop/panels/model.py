"""The page that chooses the model, where it runs and how precisely, and adds one from a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QProgressBar, QVBoxLayout, QWidget

from napari_colipri.desktop.panels.parts import Card, as_sentence, button, label, row
from napari_colipri.desktop.preferences import DEVICES, PRECISIONS, Preferences

if TYPE_CHECKING:
    from napari_colipri.engine.bundle_store import BundleInfo

__all__ = ["ModelPanel", "described", "offered"]

_CHANGE = (
    "A change loads the engine anew. Answers on screen stay, marked as those of the model that made them, until you "
    "analyse again; a draft that you edited is kept with its model."
)


def offered(devices: tuple[str, ...], chosen: str) -> list[str]:
    """Return the devices to choose from.

    Parameters
    ----------
    devices
        Of this machine, as the engine told; empty while it has not run yet.
    chosen
        The one in use: it stays in the list whatever the engine says.
    """
    known = devices or ("cpu",)
    return [name for name in DEVICES if name == "auto" or name in known or name == chosen]


def described(info: BundleInfo) -> str:
    """Return what a list of models says about one, in a few words."""
    if info.problem:
        return f"Cannot be used: {info.problem}"
    words = ["ships with the program" if info.embedded else f"added as “{info.name}”"]
    words.append(f"{info.size_bytes / 1e6:.0f} MB" if info.size_bytes >= 1e6 else "less than 1 MB")
    if info.licence:
        words.append(f"licence {info.licence.partition(';')[0]}")
    if info.demonstration:
        words.append("demonstration only, trained on phantoms")
    assumed = [name.replace("_", " ") for name, state in info.settings.items() if state == "assumed"]
    if assumed:
        words.append(f"not verified: {', '.join(assumed)}")
    return as_sentence(", ".join(words))


class ModelPanel(QWidget):
    """Shows models and preferences; says what the user asks for."""

    model = Signal(str)
    device = Signal(str)
    precision = Signal(str)
    add_folder = Signal()
    cancel = Signal()
    closed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._listed: dict[str, BundleInfo] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        self.done_button = button("Back to the study")
        layout.addLayout(row(label("Model and device", "heading"), self.done_button, stretch=0))
        self.models, self.devices, self.precisions = _chooser(), _chooser(), _chooser()
        self.about = label("", "muted")
        self.note = label("", "warn")
        self.doing = label("", "muted")
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.add_button = button(
            "Add a model folder…", tip="A bundle, or model.safetensors with the vocab.txt it needs"
        )
        self.cancel_button = button("Cancel")
        self._lay_out(layout)
        self._connect()
        self.show_doing(None)
        self.say("")

    def _lay_out(self, layout: QVBoxLayout) -> None:
        card = Card()
        card.body.addWidget(self.models)
        card.body.addWidget(self.about)
        card.body.addWidget(self.note)
        card.body.addWidget(self.doing)
        card.body.addWidget(self.bar)
        buttons = row(self.add_button, self.cancel_button)
        buttons.addStretch(1)
        card.body.addLayout(buttons)
        layout.addWidget(card)
        where = Card()
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setHorizontalSpacing(12)
        form.addRow(label("Device", "muted", wrap=False), self.devices)
        form.addRow(label("Precision", "muted", wrap=False), self.precisions)
        where.body.addLayout(form)
        layout.addWidget(where)
        layout.addWidget(label(_CHANGE, "caption"))
        layout.addStretch(1)

    def _connect(self) -> None:
        for chooser, signal in (
            (self.models, self.model),
            (self.devices, self.device),
            (self.precisions, self.precision),
        ):
            # "activated" is the user's doing only; filling a chooser does not emit it.
            chooser.activated.connect(lambda row, chooser=chooser, signal=signal: signal.emit(chooser.itemData(row)))
        self.add_button.clicked.connect(self.add_folder)
        self.cancel_button.clicked.connect(self.cancel)
        self.done_button.clicked.connect(self.closed)

    def show_models(self, listed: tuple[BundleInfo, ...], chosen: str | None, title: str = "") -> None:
        """Fill the list of models.

        Parameters
        ----------
        listed
            The one that ships and those that were added.
        chosen
            Name or folder of the one in use; None is the one that ships.
        title
            Of the one in use, for a folder that is not in the list.
        """
        self._listed = {"" if info.embedded else info.name: info for info in listed}
        self.models.clear()
        for name, info in self._listed.items():
            self.models.addItem(info.title, name)
            if info.problem:
                _disable(self.models, self.models.count() - 1, info.problem)
        if (chosen or "") not in self._listed:
            self.models.addItem(title or str(chosen), chosen or "")
        self.models.setCurrentIndex(self.models.findData(chosen or ""))
        own = self._listed.get(chosen or "")
        broken = [f"{item.title}: {item.problem}" for item in listed if item.problem]
        about = described(own) if own is not None else "A folder that was named on the command line."
        self.about.setText(" ".join([about, *broken]))
        self.about.setToolTip("" if own is None else own.licence)

    def show_preferences(self, preferences: Preferences, devices: tuple[str, ...]) -> None:
        """Show device and precision; ``devices`` as in :func:`offered`."""
        self.devices.clear()
        for name in offered(devices, preferences.device):
            self.devices.addItem(DEVICES[name], name)
        self.devices.setCurrentIndex(self.devices.findData(preferences.device))
        self.precisions.clear()
        for name, words in PRECISIONS.items():
            self.precisions.addItem(words, name)
        self.precisions.setCurrentIndex(self.precisions.findData(preferences.precision))

    def show_doing(self, text: str | None, fraction: float = 0.0) -> None:
        """Show that a model is being added or checked, with *Cancel*; None: nothing is."""
        for widget in (self.doing, self.bar, self.cancel_button):
            widget.setVisible(text is not None)
        for widget in (self.add_button, self.models, self.devices, self.precisions):
            widget.setEnabled(text is None)
        self.doing.setText(text or "")
        self.bar.setValue(round(1000 * fraction))

    def say(self, sentence: str) -> None:
        """Say what went wrong, or what came of an act."""
        self.note.setText(sentence)
        self.note.setVisible(bool(sentence))


def _chooser() -> QComboBox:
    out = QComboBox()
    out.setMinimumContentsLength(12)
    out.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    return out


def _disable(chooser: QComboBox, row_number: int, why: str) -> None:
    item: Any = chooser.model().item(row_number)
    item.setEnabled(False)
    item.setToolTip(why)
    chooser.setItemData(row_number, why, int(Qt.ItemDataRole.ToolTipRole))
