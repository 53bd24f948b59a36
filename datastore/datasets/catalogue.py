"""The public data sets that can be imported, by name."""

from __future__ import annotations

import os
from pathlib import Path

from datastore.datasets.anatomy3 import find_anatomy3
from datastore.datasets.lctsc import find_lctsc
from datastore.datasets.lola11 import find_lola11
from datastore.datasets.ltrc import find_ltrc
from datastore.datasets.lung1 import find_lung1
from datastore.datasets.nnunet import find_nnunet
from datastore.datasets.pairs import find_pairs
from datastore.datasets.reference import Dataset, Found, PartSides
from datastore.datasets.vessel12 import find_vessel12

DATASETS: dict[str, Dataset] = {
    "anatomy3": Dataset(
        "VISCERAL Anatomy3: CT of the trunk and the whole body with each lung in a NIfTI file of its own.",
        "Jimenez-del-Toro et al. 2016, IEEE Transactions on Medical Imaging 35(11), doi:10.1109/TMI.2016.2578680",
        find_anatomy3,
    ),
    "ltrc": Dataset(
        "Lung Tissue Research Consortium: CT of fibrosis and COPD with maps of lungs or lobes.",
        "Lung Tissue Research Consortium, https://ltrcpublic.com",
        find_ltrc,
    ),
    "lctsc": Dataset(
        "Lung CT Segmentation Challenge 2017: DICOM CT with the lungs as RTSTRUCT contours.",
        "Yang et al. 2017, The Cancer Imaging Archive, doi:10.7937/K9/TCIA.2017.3R3FVZ08",
        find_lctsc,
    ),
    "vessel12": Dataset(
        "VESSEL12: MetaImage scans with one mask for both lungs.",
        "Rudyanto et al. 2014, Medical Image Analysis 18(7), doi:10.1016/j.media.2014.07.003",
        find_vessel12,
    ),
    "lung1": Dataset(
        "NSCLC-Radiomics (Lung1): DICOM CT with tumour and lungs as RTSTRUCT contours or DICOM SEG.",
        "Aerts et al. 2014, Nature Communications 5:4006, doi:10.7937/K9/TCIA.2015.PF0M9REI",
        find_lung1,
    ),
    "lola11": Dataset(
        "LOLA11: MetaImage scans whose reference is not public.",
        "LObe and Lung Analysis 2011, https://lola11.grand-challenge.org",
        find_lola11,
    ),
    "pairs": Dataset(
        "Any folders of images with lung masks, numbered 1 right and 2 left or with both lungs in one.",
        "none",
        find_pairs,
    ),
    "nnunet": Dataset(
        "An nnU-Net dataset of version 1 or 2 whose labels are lungs, lobes or a lung tumour, by name.",
        "Isensee et al. 2021, Nature Methods 18(2), doi:10.1038/s41592-020-01008-z",
        find_nnunet,
    ),
}


def references(dataset: str, folder: Path, part_sides: PartSides) -> Found:
    """The cases of a public data set below a folder.

    Args:
        dataset: A name in `DATASETS`.
        folder: Where it was unpacked.
        part_sides: Parts a mask of both lungs in one into right and left.

    Returns:
        One `Reference` or `Missing` after the other, in a fixed order. Headers and names are read, voxels are not.

    Raises:
        ValueError: If no data set is called so; with the first case, if the folder holds nothing of it.
        FileNotFoundError: If the folder is not there.
    """
    if dataset not in DATASETS:
        raise ValueError(f"unknown data set {dataset!r}: expected one of {', '.join(DATASETS)}")
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    return DATASETS[dataset].find(folder, part_sides)
