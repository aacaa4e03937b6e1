"""Where a person is: the matte that the shipped segmentation network gives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.photos.tflite import Network


class PersonMatte:
    """The network by the name `selfie_segmentation`.

    Raises:
        MissingExtraError: `ai-edge-litert` isn't installed.
    """

    def __init__(self) -> None:
        self._network = Network("selfie_segmentation")

    def __call__(self, photo: npt.NDArray[np.uint8], size_px: int) -> npt.NDArray[np.float64]:
        """Probability of a person (size, size) in a photo (H, W, 3)."""
        side = (self._network.size_px,) * 2
        picture = np.asarray(Image.fromarray(photo).resize(side, Image.Resampling.BILINEAR), np.float32) / 255
        matte = Image.fromarray(self._network(picture)[0][0, :, :, 0])
        return np.asarray(matte.resize((size_px, size_px), Image.Resampling.BILINEAR), np.float64).clip(0, 1)
