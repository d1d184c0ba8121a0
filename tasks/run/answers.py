"""Answer with the probabilities of a classifier: calibrated, or only where they are large enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.calibration import MINIMA, with_temperature
from core.errors import UserError
from core.train.run_folder import RunFolder
from tasks.run.predict_options import PredictOptions

UNSURE = "?"
"""Answer to a text below the least probability."""


@dataclass
class Answers:
    """How probabilities become answers, and how many texts got one."""

    classes: list[str]
    temperature: float | None = None
    """None: the probabilities as trained."""
    minimum: float = 0.0
    on_dev: tuple[float, float, float | None] | None = None
    """Least probability to two digits, the share of the dev texts that reach it, and the accuracy on these."""
    texts: int = 0
    answered: int = 0

    @classmethod
    def of(cls, folder: RunFolder, classes: list[str], wanted: PredictOptions) -> Answers:
        """Return the answers that a prediction wants. Raises UserError for a run that cannot give them."""
        if not wanted.calibrate and wanted.minimum is None:
            return cls(classes)
        own = folder.read_result().get("calibration")
        if own is None:
            raise UserError(
                f"{folder.path}: trained before runs were calibrated: train it again, or omit --calibrate and"
                " --min-probability"
            )
        if wanted.minimum is None:
            return cls(classes, own["temperature"])
        if UNSURE in classes:
            raise UserError(f"--min-probability answers {UNSURE}, which is a class of this run: omit it")
        place = min(int(round(wanted.minimum * MINIMA, 6)), MINIMA - 1)  # 0.29 * 100 is below 29
        return cls(classes, own["temperature"], wanted.minimum, (place / MINIMA, *own["coverage"][place]))

    def shares(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the probabilities [C] of a text as they are shown."""
        if self.temperature is None:
            return probabilities
        return with_temperature(probabilities[None], self.temperature)[0]

    def answer(self, shares: np.ndarray) -> str:
        """Return the class with the largest share, or `UNSURE`, and count it."""
        best = int(shares.argmax())
        self.texts += 1
        if shares[best] < self.minimum:
            return UNSURE
        self.answered += 1
        return self.classes[best]

    def describe(self) -> str:
        """Return how many texts got an answer, next to the figures on dev; "" without a least probability."""
        if self.on_dev is None or not self.texts:
            return ""
        reached, share, accuracy = self.on_dev
        told = f"no text reaches {reached:g}"
        if accuracy is not None:
            told = f"{share:.1%} reach {reached:g}, accuracy {accuracy:.4f} on these"
        share_here = self.answered / self.texts
        return (
            f"answered {self.answered:,} of {self.texts:,} texts ({share_here:.1%}), the others {UNSURE}; on dev {told}"
        )
