"""What nodes for pictures and masks let one choose from. Imports without torch."""

from __future__ import annotations

from typing import Literal

Blend = Literal["normal", "multiply", "screen", "overlay", "difference", "lighten", "darken"]
Combination = Literal["add", "subtract", "multiply", "and", "or", "xor"]
Fill = Literal["grey", "edge", "mirror"]
Shape = Literal["rectangle", "ellipse"]
Turn = Literal["90", "180", "270"]
Under = Literal["grey", "picture"]
"""What is encoded under a mask: nothing (mid-grey), or the picture."""
