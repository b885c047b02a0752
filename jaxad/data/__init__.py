"""Data: the papers' splits, as row numbers of a set that stays where it is."""

from jaxad.data.protocols import half_normals as half_normals
from jaxad.data.protocols import half_split as half_split
from jaxad.data.semi_supervised import Ratios as Ratios
from jaxad.data.semi_supervised import SemiSupervised as SemiSupervised
from jaxad.data.semi_supervised import semi_supervised as semi_supervised
