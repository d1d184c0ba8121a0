"""Help text of `--device`, which programs without training options have too."""

from __future__ import annotations

from core.engine import devices

DEVICE_HELP = f"{devices.CHOICES} [auto: first usable GPU]"
