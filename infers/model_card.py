"""The model card that lies beside a stored model's weights, as README.md."""

from __future__ import annotations

from infers.manifest import MANIFEST, WEIGHTS, Manifest
from infers.published import CITATION, published_as, published_with
from infers.weights_metadata import Origin


def model_card(manifest: Manifest) -> str:
    """Markdown: what the model is, its label map, where it came from, whom to cite, what may be done with it."""
    metadata = manifest.metadata
    how = metadata.preprocessing
    lines = [f"# {metadata.name}", "", description(manifest)]
    if metadata.origin is not None:
        lines += ["", f"{origin_sentence(metadata.origin)}."]
    lines += ["", "| value | structure |", "| --- | --- |", "| 0 | background |"]
    lines += [f"| {structure.value} | {structure.name} |" for structure in metadata.structures]
    lines += [
        "",
        f"- Network: the U-net of Hofmanninger et al. 2020, {manifest.classes} classes, run on axial slices.",
        f"- Input: body crop, {how.size} x {how.size} pixels, {how.hu_low} to {how.hu_high} HU as 0 to 1.",
        f"- Weights: `{WEIGHTS}`, SHA-256 `{manifest.sha256}`.",
    ]
    if metadata.origin is not None:
        lines += [f"- Imported from: `{metadata.origin.file_name}`, SHA-256 `{metadata.origin.sha256}`."]
    if manifest.imported_at is not None:
        by = f" by lungapp {metadata.lungapp_version}" if metadata.lungapp_version else ""
        lines += [f"- Imported: {manifest.imported_at:%Y-%m-%d %H:%M} UTC{by}."]
    lines += [
        "",
        f"`{MANIFEST}` says the same for programs. A file of weights that no longer has this checksum is not loaded.",
        "",
        "## Citation",
        "",
        CITATION,
        "",
        "## Licence",
        "",
        "These weights are your own copy of a file that you brought; they are no part of lungapp, which does not "
        "distribute them. What may be done with them is for those to say who published them.",
    ]
    return "\n".join(lines) + "\n"


def description(manifest: Manifest) -> str:
    """One sentence on what a stored model is."""
    origin = manifest.metadata.origin
    published = published_with(origin.sha256) if origin else None
    if published is not None:
        return published.description
    names = ", ".join(structure.name for structure in manifest.metadata.structures)
    trained = f", trained in round {manifest.round_number} of its project" if manifest.round_number is not None else ""
    return f"A U-net that finds {names}, slice by slice{trained}."


def origin_sentence(origin: Origin) -> str:
    """Whether an imported file is one that its authors published, judged by its checksum."""
    published = published_with(origin.sha256)
    if published is not None:
        return f"The published {published.name}: the SHA-256 begins with {published.sha256_prefix} as published"
    namesake = published_as(origin.file_name)
    if namesake is not None:
        return (
            f"NOT the published {namesake.name}, though its file is called so: the SHA-256 begins with "
            f"{origin.sha256[:8]}, that of the published file with {namesake.sha256_prefix}"
        )
    return "Not a published file that is known here"
