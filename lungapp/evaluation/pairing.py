"""Which files belong together, by their names alone; two that could belong to one case are refused, never guessed.

A file's name is its path below its folder, without the suffix: `site1/0042_mask`. Files belong together

1. if their names are the same;
2. else if they are without endings such as `_lung`, `-label`, `_ct` or nnU-Net's `_0000`: `site1/0042`; where the
   whole last part is such a word, as in `0042/mask`, it goes too: `0042`;
3. else if the last parts of these are: `0042`, which no other file of either side may have.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from datastore.datasets.image_folders import images_below, stem
from datastore.datasets.pairs import IMAGE_WORDS, MASK_WORDS

OWN_WORDS = (*MASK_WORDS, "pred", "prediction", "tumour", "tumor", "gtv")  # of what is no image
ENTROPY = ".entropy"  # what `lungapp segment --uncertainty` writes beside a mask


def _ending(words: Iterable[str]) -> re.Pattern[str]:
    spelled = [re.escape(word) for word in words]
    alone = [word for word in spelled if not word.isdigit()]  # a case may be called 0000
    return re.compile(rf"(?:^(?:{'|'.join(alone)})s?)?(?:(?!^)[-_.](?:{'|'.join(spelled)})s?)*$", re.IGNORECASE)


_ANY = _ending((*OWN_WORDS, *IMAGE_WORDS))
_MASK = _ending(OWN_WORDS)


def without_ending(name: str) -> str:
    """A file's name without the words that say what kind of file it is.

    >>> [without_ending(name) for name in ("site1/0042_lung_mask", "0042/mask", "0042_0000", "lung")]
    ['site1/0042', '0042', '0042', 'lung']
    """
    return _cut(name, _ANY)


def last_part(name: str) -> str:
    """The last part of a file's name without its ending.

    >>> last_part("site1/0042_lung"), last_part("site1/0042/mask")
    ('0042', '0042')
    """
    return without_ending(name).rpartition("/")[2]


def _cut(name: str, ending: re.Pattern[str]) -> str:
    folder, _, last = name.rpartition("/")
    found = ending.search(last)
    kept = last if found is None else last[: found.start()]
    return "/".join(part for part in (folder, kept) if part) or name


def named_files(folder: Path) -> dict[str, Path]:
    """Image files below a folder by their names, in the order of their paths.

    Raises:
        NotADirectoryError: If it is no folder.
        ValueError: If there are none, or two have one name.
    """
    if not folder.is_dir():
        reason = "expected a folder, got a file" if folder.exists() else "no such folder"
        raise NotADirectoryError(f"{folder}: {reason}")
    found: dict[str, Path] = {}
    for path in images_below(folder):
        below = path.relative_to(os.path.abspath(folder))
        name = (below.parent / stem(path)).as_posix()
        if name.endswith(ENTROPY):
            continue
        if name in found:
            raise ValueError(f"{folder}: {found[name].name} and {below} have one name: leave one of them out")
        found[name] = folder / below
    if not found:
        raise ValueError(f"{folder}: no masks in it or below")
    return found


def case_names(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """What the cases of some files are called: without the ending of a mask, where that leaves each its own name.

    >>> case_names(["b_lung", "a_lung", "a_mask"])
    {'b': 'b_lung', 'a_lung': 'a_lung', 'a_mask': 'a_mask'}

    Args:
        names: Of the files.
        taken: Names of other cases.

    Returns:
        Name of the file by case.
    """
    names, used = list(names), set(taken)
    same = defaultdict(list)
    for name in names:
        same[_cut(name, _MASK)].append(name)
    found: dict[str, str] = {}
    for name in names:
        short = _cut(name, _MASK)
        case = short if len(same[short]) == 1 and short not in used else name
        while case in used:
            case += "'"
        used.add(case)
        found[case] = name
    return found


def pair(cases: Mapping[str, str], names: Iterable[str], what: str) -> dict[str, str]:
    """The file of each case.

    Args:
        cases: Name of the file that made the case, by case.
        names: Of the files that are to be shared out.
        what: They are, in words, for errors.

    Returns:
        Name of the file by case, for the cases that have one; every file belongs to at most one.

    Raises:
        ValueError: If two files could belong to a case, or one to two.
    """
    names = list(names)
    found: dict[str, str] = {}
    for key in (str, without_ending, last_part):
        given = set(found.values())
        all_cases, all_names = _by(key, cases.items()), _by(key, ((name, name) for name in names))
        for shared in sorted(all_cases.keys() & all_names.keys()):
            waiting = [case for case in all_cases[shared] if case not in found]
            offered = [name for name in all_names[shared] if name not in given]
            if not waiting or not offered:
                continue
            if len(offered) > 1:
                raise ValueError(f"two files could be the {what} of case {waiting[0]}: {offered[0]} and {offered[1]}")
            if len(waiting) > 1:
                raise ValueError(f"{what} {offered[0]} could belong to two cases: {waiting[0]} and {waiting[1]}")
            if key is last_part and (len(all_cases[shared]) > 1 or len(all_names[shared]) > 1):
                continue  # its namesakes have partners: which one this belongs to cannot be told
            found[waiting[0]] = offered[0]
    return found


def _by(key: Callable[[str], str], items: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for item, name in items:
        groups.setdefault(key(name), []).append(item)
    return groups
