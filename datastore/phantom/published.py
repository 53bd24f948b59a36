"""What is published about the chests of adults: ranges, each with where it stands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """From where to where a figure was found.

    Attributes:
        low: Least.
        high: Most.
        source: Who found it, in whom, and what the ends mean.
    """

    low: float
    high: float
    source: str

    def __contains__(self, value: float) -> bool:
        """Whether a value lies between the ends; NaN never does.

        >>> 3.0 in Range(1, 3, ""), float("nan") in Range(1, 3, "")
        (True, False)
        """
        return self.low <= value <= self.high


LUNG_HU = Range(-860, -700, "Robinson, Kreel. JCAT 1979;3:740: mean lung attenuation, all phases of respiration")
DEPENDENT_HU = Range(0, 200, "Robinson, Kreel. JCAT 1979;3:740: back third of the lung over its front third, at most")
FAT_HU = Range(-190, -30, "Mitsiopoulos et al. J Appl Physiol 1998;85:115: adipose tissue")
MUSCLE_HU = Range(-29, 150, "Mitsiopoulos et al. J Appl Physiol 1998;85:115: skeletal muscle")
AIR_HU = Range(-1005, -970, "ACR CT accreditation phantom: air")
WATER_DIAMETER_MM = Range(200, 280, "Huda et al. Med Phys 2010;37:842: chests of 50 to 120 kg as water cylinders")
SUPINE_GAS_ML = Range(
    4066 - 2 * 1190, 4066 + 2 * 1190, "Cressoni et al. Crit Care 2013;17:R93: 100 normal CT, mean and 2 SD"
)


def inspired_volume_ml(sex: str, height_cm: float, weight_kg: float) -> Range:
    """Both lungs on CT in full inspiration.

    >>> inspired_volume_ml("male", 170, 70).low
    3523.7
    """
    middle = -10150 + 605.3 * (sex == "male") + 92.61 * height_cm - 12.99 * weight_kg
    source = "Cheng et al. Int J COPD 2019;14:1657: normal CT of 564 Chinese adults, full inspiration"
    return Range(round(middle - 1766, 1), round(middle + 1766, 1), source)


def breathable_gas_ml(sex: str, height_cm: float, age_years: float) -> Range:
    """Gas of both lungs, from residual volume to total lung capacity, each with 1.64 residual standard deviations.

    >>> breathable_gas_ml("female", 165, 50).high
    6084.0
    """
    metres = height_cm / 100
    if sex == "male":
        least, most = 1.31 * metres + 0.022 * age_years - 1.23 - 1.64 * 0.41, 7.99 * metres - 7.08 + 1.64 * 0.70
    else:
        least, most = 1.81 * metres + 0.016 * age_years - 2.00 - 1.64 * 0.35, 6.60 * metres - 5.79 + 1.64 * 0.60
    source = "Quanjer et al. Eur Respir J 1993;6 Suppl 16:5: residual volume to total lung capacity"
    return Range(round(1000 * least, 1), round(1000 * most, 1), source)


def lung_weight_g(sex: str, side: int) -> Range:
    """Weight of the right (1) or left (2) lung with its blood, of people of 18 to 35 years who died suddenly."""
    if sex == "male":
        low, high = ((185, 967), (186, 885))[side - 1]
        return Range(low, high, "Molina, DiMaio. Am J Forensic Med Pathol 2012;33:368: least and most of 232 men")
    low, high = ((142, 835), (108, 736))[side - 1]
    return Range(
        low, high, "Molina, DiMaio. Am J Forensic Med Pathol 2015, doi 10.1097/PAF.0000000000000175: of 102 women"
    )


def tracheal_widths_mm(sex: str) -> tuple[Range, Range]:
    """Of the trachea's air, from front to back and from side to side, at 20 to 79 years."""
    source = "Breatnach et al. AJR 1984;142:903: radiographs of 808 people, 3 SD"
    low, deep, wide = (13, 27, 25) if sex == "male" else (10, 23, 21)
    return Range(low, deep, source), Range(low, wide, source)
