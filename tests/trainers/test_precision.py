"""Half precision where it is asked for, and only there."""

from __future__ import annotations

import pytest
import torch

from trainers.precision import precision_for
from trainers.recipe import Recipe


@pytest.mark.parametrize(("asked", "kind"), [("auto", None), ("off", None), ("on", torch.bfloat16)])
def test_a_cpu_computes_in_half_precision_only_when_asked(asked: str, kind: torch.dtype | None) -> None:
    precision = precision_for(Recipe(mixed_precision=asked), torch.device("cpu"))
    assert precision.kind == kind and not precision.scaler().is_enabled()
    with precision():
        made = torch.ones(2, 2) @ torch.ones(2, 2)
    assert made.dtype == (kind or torch.float32)


@pytest.mark.parametrize("can", [True, False])
@pytest.mark.parametrize("asked", ["auto", "on", "off"])
def test_a_gpu_computes_in_the_half_precision_that_it_has(
    asked: str, can: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: can)
    kind = precision_for(Recipe(mixed_precision=asked), torch.device("cuda")).kind
    assert kind == (None if asked == "off" else torch.bfloat16 if can else torch.float16)
