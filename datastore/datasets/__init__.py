"""Importers for the public data sets of the papers: their published layouts, names and numbers, turned into ours.

`references` lists a data set's cases; each knows where its CT lies and reads its masks on the CT's own grid.
"""

from datastore.datasets.catalogue import DATASETS, references
from datastore.datasets.reference import LUNGS, TUMOUR, Dataset, Missing, PartSides, Reference

__all__ = ["DATASETS", "LUNGS", "TUMOUR", "Dataset", "Missing", "PartSides", "Reference", "references"]
