"""One detector for each group of a long table: for each machine, customer or sensor."""

from jaxad.fleet.fleet import Fleet as Fleet
