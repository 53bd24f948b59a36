"""Named settings of a training: the paper's, and those of the other papers' losses."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "r231": {},
    "adam": {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0},
    "dice": {"loss": "dice", "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0},
    "generalized-dice": {
        "loss": "generalized_dice",
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
    },
    "dice-ce": {"loss": "dice_ce"},
    "topk-ce": {"loss": "topk_ce"},
    "generalized-dice-topk-ce": {"loss": "generalized_dice_topk_ce"},
    "tanimoto-ce": {"loss": "tanimoto_ce", "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0},
}
"""What differs from the defaults of `Recipe`, which are those of `r231`.

| preset | source |
| --- | --- |
| `r231` | Hofmanninger et al. 2020, section II-B: SGD with momentum; no loss is named, the U-net's is cross-entropy |
| `adam` | the same with Adam (Kingma and Ba 2015) at its own rate |
| `dice` | Milletari et al. 2016, in the survey's section 7; by Adam, for SGD barely moves on it |
| `generalized-dice` | Sudre et al. 2017; by Adam as there |
| `dice-ce` | the sum of both, as in nnU-Net (Isensee et al. 2021) |
| `topk-ce` | cross-entropy of the hardest 30 % of the pixels: Xie et al. 2020 (CTSU-Net), section IV-A |
| `generalized-dice-topk-ce` | Xie et al. 2020, section IV-A: the sum by which CTSU-Net learned new disease |
| `tanimoto-ce` | Kloenne et al. 2020, equation 1: 0.6 Tanimoto + 0.4 cross-entropy, by Adam |
"""
