"""Synthetic chest CT beside real ones: contact sheets, HU of tissues, noise, and sizes against published ranges.

    python benchmarks/realism.py [--real DIR] [--phantoms N] [--size 256] [--seed 0] [--out DIR] [--json]

Writes sheet_lung.png and sheet_soft.png: two axial slices and a coronal one of every scan, phantoms (every second one
with diseases) and real scans in a mixed order, and key.txt, which says which is which. Then tables. Real scans are all
that lie below --real; their lungs are those of lung.nii.gz beside the file, or else found by threshold. Volumes of
phantoms are those of their lungs before diseases; tissues and noise are measured in the finished scans, in the same
way as in the real ones. Each line says whether all are inside the published range, or which are not; where a range
follows from sex, size and age, its least and most are printed. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from datastore.hounsfield import NotHounsfieldError
from datastore.image_files import read_mask
from datastore.phantom import published, realism
from datastore.phantom.acquisition import acquire, draw_acquisition
from datastore.phantom.anatomy import build_scene
from datastore.phantom.lesions import add_lesions, draw_lesions
from datastore.phantom.patient import draw_patient
from datastore.phantom.published import Range
from datastore.phantom.view import draw_view
from datastore.sources import find_sources
from infers.models import load_model

SLICES_MM = (2.0, 3.0, 5.0, 8.0)
WINDOWS = {"lung": (-1150.0, 350.0), "soft": (-160.0, 240.0)}
THUMBNAIL, PANELS_A_ROW = 150, 3
EXPIRED, INSPIRED = 0.55, 0.8


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan along LPS with its lungs."""

    name: str
    kind: str
    hu: np.ndarray
    lungs: np.ndarray
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Check:
    """One figure of one scan and the range in which it is expected."""

    scan: str
    what: str
    value: float
    expected: Range

    @property
    def inside(self) -> bool:
        return self.value in self.expected


def phantom(seed: int, size: int) -> tuple[Scan, list[Check]]:
    random = np.random.default_rng(seed)
    patient = draw_patient(random)
    view = draw_view(random, patient)
    spacing_mm = (float(random.choice(SLICES_MM)), view.width_mm / size, view.width_mm / size)
    scene = build_scene(patient, view.shape(spacing_mm), spacing_mm, view.centre_mm)
    name = f"phantom {seed}"
    weight_kg = patient.bmi * (patient.height_cm / 100) ** 2
    gas, tissue = zip(
        *(realism.gas_and_tissue_ml(scene.hu, spacing_mm, scene.lungs == side) for side in (1, 2)), strict=True
    )
    breath = published.breathable_gas_ml(patient.sex, patient.height_cm, patient.age_years)
    above_carina = (scene.z_mm > 15) & (scene.z_mm < 60)
    deep_mm, wide_mm = realism.widths_mm(scene.airways[above_carina], spacing_mm)
    expected_deep, expected_wide = published.tracheal_widths_mm(patient.sex)
    checks = [Check(name, "gas of lungs [ml], by height", sum(gas), breath)]
    if patient.inspiration >= INSPIRED:
        expected = published.inspired_volume_ml(patient.sex, patient.height_cm, weight_kg)
        checks.append(Check(name, "lungs [ml], by height and weight", sum(gas) + sum(tissue), expected))
    if patient.inspiration >= EXPIRED:
        checks.append(Check(name, "gas of lungs [ml], supine", sum(gas), published.SUPINE_GAS_ML))
    for side, weight in ((1, tissue[0]), (2, tissue[1])):
        checks.append(
            Check(name, f"{'right' if side == 1 else 'left'} lung [g]", weight,
                  published.lung_weight_g(patient.sex, side))
        )  # fmt: skip
    checks.append(Check(name, "trachea, depth [mm]", deep_mm, expected_deep))
    checks.append(Check(name, "trachea, width [mm]", wide_mm, expected_wide))
    if "down" not in patient.arms and 50 <= weight_kg <= 120:
        chest = scene.lungs.any(axis=(1, 2))
        body = realism.trunk(scene.hu[chest], spacing_mm)
        cut = np.count_nonzero(body[:, :, [0, -1]]) > 0.02 * np.count_nonzero(chest) * 2 * size
        if not cut:
            water_mm = realism.water_diameter_mm(scene.hu[chest], spacing_mm, body)
            checks.append(Check(name, "chest as water, diameter [mm]", water_mm, published.WATER_DIAMETER_MM))
    if seed % 2:
        scene, _ = add_lesions(scene, draw_lesions(random), random, posture=patient.posture)
    hu = acquire(
        scene.hu, spacing_mm, draw_acquisition(random, spacing_mm), random,
        bone=scene.bone, metal=scene.metal, lungs=scene.lungs,
    )  # fmt: skip
    return Scan(name, "sick phantom" if seed % 2 else "phantom", hu, scene.lungs, spacing_mm), checks


def real_scans(folder: Path) -> Iterator[Scan]:
    model = load_model("threshold")
    for found in find_sources(folder)[0]:
        try:
            volume = found.read()
        except NotHounsfieldError:  # a mask
            continue
        reference = found.source.path.parent / "lung.nii.gz"
        if found.series is None and reference.is_file():
            lungs = read_mask(reference).on_grid_of(volume).to_lps().array
        else:
            lungs = model.predict(volume.to_lps().array, volume.to_lps().spacing_zyx_mm)
        turned = volume.to_lps()
        yield Scan(str(found.name), "real", turned.array, lungs, turned.spacing_zyx_mm)


def measured(scan: Scan) -> tuple[dict[str, tuple[float, float]], list[Check]]:
    """Levels and spreads by tissue, noise with its frequencies, and what is expected of them."""
    body = realism.trunk(scan.hu, scan.spacing_mm)
    levels = realism.tissue_levels(scan.hu, scan.spacing_mm, scan.lungs, body)
    noise = realism.noise_texture(scan.hu, scan.spacing_mm, body)
    row = {name: (level.hu, level.spread_hu) for name, level in levels.items()}
    row["noise"] = (noise.std_hu, noise.std_hu)
    row["noise peak [1/mm]"] = (noise.peak_per_mm, noise.mean_per_mm)
    checks = [
        Check(scan.name, "aerated lung [HU]", levels["aerated lung"].hu, published.LUNG_HU),
        Check(scan.name, "fat [HU]", levels["fat"].hu, published.FAT_HU),
        Check(scan.name, "soft tissue [HU]", levels["soft tissue"].hu, published.MUSCLE_HU),
        Check(scan.name, "air outside [HU]", levels["air outside"].hu, published.AIR_HU),
    ]
    return row, [check for check in checks if not math.isnan(check.value)]


def thumbnail(plane: np.ndarray, step_mm: tuple[float, float], window: tuple[float, float]) -> Image.Image:
    """A plane in its true proportions, its longer side `THUMBNAIL` pixels, on black."""
    low, high = window
    grey = (np.clip((plane.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    height_mm, width_mm = plane.shape[0] * step_mm[0], plane.shape[1] * step_mm[1]
    scale = THUMBNAIL / max(height_mm, width_mm)
    picture = Image.fromarray(grey).resize(
        (max(1, round(width_mm * scale)), max(1, round(height_mm * scale))), Image.Resampling.BILINEAR
    )
    square = Image.new("L", (THUMBNAIL, THUMBNAIL))
    square.paste(picture, ((THUMBNAIL - picture.width) // 2, (THUMBNAIL - picture.height) // 2))
    return square


def panel(scan: Scan, number: int, window: tuple[float, float]) -> Image.Image:
    """Two axial slices at a third and two thirds of the lungs, and the coronal one with most lung."""
    with_lung = np.flatnonzero(scan.lungs.any(axis=(1, 2)))
    bottom, top = (with_lung[0], with_lung[-1]) if len(with_lung) else (0, len(scan.hu) - 1)
    row = int(np.count_nonzero(scan.lungs, axis=(0, 2)).argmax())
    z, y, x = scan.spacing_mm
    pictures = [thumbnail(scan.hu[round(bottom + part * (top - bottom))], (y, x), window) for part in (0.33, 0.67)]
    pictures.append(thumbnail(scan.hu[::-1, row], (z, x), window))
    strip = Image.new("L", (len(pictures) * THUMBNAIL + 8, THUMBNAIL + 8))
    for place, picture in enumerate(pictures):
        strip.paste(picture, (place * THUMBNAIL, 0))
    ImageDraw.Draw(strip).text((3, 3), str(number), fill=255)
    return strip


def draw_sheets(scans: list[Scan], seed: int, out: Path) -> None:
    order = [scans[number] for number in np.random.default_rng(seed).permutation(len(scans))]
    for name, window in WINDOWS.items():
        panels = [panel(scan, number, window) for number, scan in enumerate(order, start=1)]
        width, height = panels[0].size
        sheet = Image.new("L", (PANELS_A_ROW * width, math.ceil(len(panels) / PANELS_A_ROW) * height))
        for place, picture in enumerate(panels):
            sheet.paste(picture, (place % PANELS_A_ROW * width, place // PANELS_A_ROW * height))
        sheet.save(out / f"sheet_{name}.png")
    lines = (f"{number}\t{scan.kind}\t{scan.name}\n" for number, scan in enumerate(order, start=1))
    (out / "key.txt").write_text("".join(lines))


def middle_and_ends(values: list[float]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # none of these scans has it
        low, middle, high = np.nanmin(values), np.nanmedian(values), np.nanmax(values)
    digits = 2 if abs(middle) < 5 else 0
    return f"{middle:8.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def print_tables(rows: dict[str, dict[str, dict[str, tuple[float, float]]]], checks: list[Check]) -> None:
    print(
        f"{'median (least..most) of scans':24}"
        + "".join(f"{kind + ', n=' + str(len(rows[kind])):>52}" for kind in rows)
    )
    names = next(row for scans in rows.values() for row in scans.values())
    for name in names:
        print(f"{name:24}", end="")
        for scans in rows.values():
            first, second = (middle_and_ends([row[name][part] for row in scans.values()]) for part in (0, 1))
            joined = {"noise": first, "noise peak [1/mm]": f"{first} mean {second}"}.get(name, f"{first} +- {second}")
            print(f"{joined:>52}", end="")
        print()
    print()
    for what, source in dict.fromkeys((check.what, check.expected.source) for check in checks):
        for kind, scans in rows.items():
            same = [c for c in checks if (c.what, c.expected.source) == (what, source) and c.scan in scans]
            if not same:
                continue
            values, expected = [check.value for check in same], [check.expected for check in same]
            wrong = [f"{check.scan} {check.value:.0f}" for check in same if not check.inside]
            verdict = f"OUTSIDE: {', '.join(wrong)}" if wrong else "all inside"
            print(
                f"{what:33} {kind:9} {min(values):5.0f}..{max(values):<5.0f} n={len(same):<3} expected "
                f"{min(e.low for e in expected):5.0f}..{max(e.high for e in expected):<5.0f} {verdict}"
            )
        print(f"{'':34}{source}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="folder of real CT; without it phantoms are looked at alone")
    parser.add_argument("--phantoms", type=int, default=12, help="how many phantoms [12]")
    parser.add_argument("--size", type=int, default=256, help="pixels of their in-plane matrix [256]")
    parser.add_argument("--seed", type=int, default=0, help="of the first phantom and of the order [0]")
    parser.add_argument("--out", type=Path, default=Path("realism"), help="where sheets and key go [realism]")
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    scans: list[Scan] = list(real_scans(arguments.real)) if arguments.real is not None else []
    checks: list[Check] = []
    for seed in range(arguments.seed, arguments.seed + arguments.phantoms):
        scan, of_scene = phantom(seed, arguments.size)
        scans.append(scan)
        checks += of_scene
    if not scans:
        parser.error("neither phantoms nor real scans to look at")
    rows: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    for scan in scans:
        kind = "real" if scan.kind == "real" else "phantoms"
        rows.setdefault(kind, {})[scan.name], of_scan = measured(scan)
        checks += of_scan
    draw_sheets(scans, arguments.seed, arguments.out)
    if not arguments.json:
        print_tables(rows, checks)
    found = [asdict(check) | {"inside": check.inside} for check in checks]
    outside = sum(not check.inside for check in checks)
    known = {
        kind: {
            name: {what: [None if math.isnan(part) else part for part in pair] for what, pair in row.items()}
            for name, row in scans_of_kind.items()
        }
        for kind, scans_of_kind in rows.items()
    }
    print(json.dumps({"scans": known, "checks": found, "outside": outside}))


if __name__ == "__main__":
    main()
