"""Labels read off a scene. Each annotator declares its columns and files before there is a pixel.

To add one: write a class with the `Annotator` protocol's three methods, put it into `ANNOTATORS`; the contract test in
`tests/annotators` then runs over it, and specs can name it under `output.annotations`.
"""

from synthface.annotators.base import Annotator, TileLabels, TileView
from synthface.annotators.registry import ANNOTATORS, annotators_of, networks_of

__all__ = ["ANNOTATORS", "Annotator", "TileLabels", "TileView", "annotators_of", "networks_of"]
