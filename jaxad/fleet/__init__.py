"""One detector for each group of a long table: for each machine, customer or sensor."""

from jaxad.fleet.fleet import Fleet as Fleet
from jaxad.fleet.partitions import fit_partition as fit_partition
from jaxad.fleet.partitions import survey_partition as survey_partition
