"""Data: public sets with their cards, a user's own tables and streams, and the papers' splits.

A split holds row numbers; the rows themselves are not copied.
"""

from jaxad.data.cards import CARDS as CARDS
from jaxad.data.cards import Card as Card
from jaxad.data.dataset import NAMES as NAMES
from jaxad.data.dataset import Dataset as Dataset
from jaxad.data.dataset import load as load
from jaxad.data.files import DownloadError as DownloadError
from jaxad.data.protocols import SETTINGS as SETTINGS
from jaxad.data.protocols import Split as Split
from jaxad.data.protocols import all_rows as all_rows
from jaxad.data.protocols import contrast_normalised as contrast_normalised
from jaxad.data.protocols import file_order_halves as file_order_halves
from jaxad.data.protocols import half_normals as half_normals
from jaxad.data.protocols import half_split as half_split
from jaxad.data.protocols import kdd_rev as kdd_rev
from jaxad.data.protocols import one_class as one_class
from jaxad.data.protocols import split as split
from jaxad.data.protocols import split_hash as split_hash
from jaxad.data.protocols import unsupervised as unsupervised
from jaxad.data.semi_supervised import LabelledSplit as LabelledSplit
from jaxad.data.semi_supervised import Ratios as Ratios
from jaxad.data.semi_supervised import SemiSupervised as SemiSupervised
from jaxad.data.semi_supervised import deep_sad_images as deep_sad_images
from jaxad.data.semi_supervised import deep_sad_table as deep_sad_table
from jaxad.data.semi_supervised import semi_supervised as semi_supervised
from jaxad.data.sources import stream as stream
from jaxad.data.user_table import read_table as read_table
