"""The U-net on the CPU by compiled Winograd convolutions: the fastest way where it can run.

Winograd's F(4 x 4, 3 x 3) needs a quarter of the multiplications of a 3 x 3 convolution (Lavin and Gray 2016). ReLU
and batch normalisation, average pooling and bilinear upsampling happen on the way into or out of a tile, and the
1 x 1 convolution comes before the upsampling, with which it commutes; so each activation is written once.
"""

from __future__ import annotations

import queue
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from infers.native import Kernels, aligned, kernels
from infers.unet import ConvBlock, UNet, bias_of, scale_and_shift

TILE = 4  # pixels along each side that a tile gives
POINTS = 36  # products that it takes
WIDEST = 16  # lanes of the widest vectors
LARGEST_TRANSFORMED = 2_500_000  # floats of transformed weights that are kept; larger ones are made as they are used
JOINT_SIDE = 32  # up to this many pixels a side, the slices of a batch go together: weights outweigh pixels there


@dataclass(frozen=True, eq=False)
class _Convolution:
    """Weights of a 3 x 3 convolution, packed for the kernels, with what follows it."""

    in_channels: int
    out_channels: int
    weights: np.ndarray
    transformed: bool
    bias: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True, eq=False)
class _Pointwise:
    """Weights of a 1 x 1 convolution, packed for the kernels."""

    in_channels: int
    out_channels: int
    weights: np.ndarray
    bias: np.ndarray


class NativeUNet:
    """A U-net run by the compiled kernels. Several threads may call it at once.

    Args:
        network: In evaluation mode; its weights are copied.
        size: Pixels along each side of the input.
        workers: How many calls run at once; further ones wait.
        batch: Slices that go through the network together.
        compiled: The kernels; by default those for this CPU.

    Raises:
        ValueError: If the kernels cannot run it here (see `can_run`).
    """

    def __init__(
        self, network: UNet, size: int, workers: int = 1, batch: int = 4, compiled: Kernels | None = None
    ) -> None:
        compiled = compiled or kernels()
        if compiled is None or not can_run(network, size, compiled):
            raise ValueError("the compiled kernels do not run this network on this machine")
        self.name = f"native-{compiled.instruction_set}"
        self.workers = workers
        self.batch = batch
        self._kernels = compiled
        self._classes = network.classes
        self._size = size
        self._base = network.base_channels
        packer = _Packer(compiled)
        self._first = packer.first(*network.down_blocks()[0].layers()[0])
        self._down = [packer.block(block) for block in network.down_blocks()]
        self._up = [(packer.pointwise(up.pointwise()), *packer.block(up.conv_block)) for up in network.up_blocks()]
        self._last = packer.pointwise(network.last)
        self._idle: queue.SimpleQueue[_Workspace | None] = queue.SimpleQueue()
        for _ in range(workers):
            self._idle.put(None)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Scores of the classes before the softmax.

        Args:
            images: (slices, size, size) float32 in 0..1.

        Returns:
            (slices, classes, size, size) float32.
        """
        workspace = self._idle.get()
        try:
            workspace = workspace or _Workspace(self._size, self._base, self.batch)
            scores = np.empty((len(images), self._classes, self._size, self._size), dtype=np.float32)
            for start in range(0, len(images), self.batch):
                self._run(images[start : start + self.batch], workspace, scores[start : start + self.batch])
            return scores
        finally:
            self._idle.put(workspace)

    def _run(self, images: np.ndarray, space: _Workspace, scores: np.ndarray) -> None:
        """Down the levels and up again."""
        bottom = len(self._down) - 1
        for depth, (one, two) in enumerate(self._down):
            for part in space.parts(depth, len(images)):
                between = space.between(depth, part)
                if depth == 0:
                    self._convolve_first(images[part.start], space.framed, between)
                else:
                    self._convolve(one, None, space.halved[depth][part], between, None, space)
                halved = None if depth == bottom else space.halved[depth + 1][part]
                self._convolve(two, None, between, space.levels[depth][part], halved, space)
        for depth, (pointwise, one, two) in zip(range(bottom - 1, -1, -1), self._up, strict=True):
            for part in space.parts(depth, len(images)):
                between, level = space.between(depth, part), space.levels[depth][part]
                low = space.halved[depth + 1][part]
                self._convolve_pointwise(pointwise, space.levels[depth + 1][part], low)
                self._convolve(one, low, level, between, None, space)
                self._convolve(two, None, between, level, None, space)
        for index in range(len(images)):
            flat = space.scores[: self._last.out_channels * self._size**2]
            self._convolve_pointwise(self._last, space.levels[0][index], flat)
            by_pixel = flat.reshape(self._size, self._size, -1)
            scores[index] = np.moveaxis(by_pixel[..., : self._classes], -1, 0)

    def _convolve_first(self, image: np.ndarray, framed: np.ndarray, out: np.ndarray) -> None:
        framed[1:-1, 1:-1] = image
        layer = self._first
        followed_by = layer.bias, layer.scale, layer.shift
        size = self._size
        self._kernels.call("convolve_first", framed, size, size, layer.weights, *followed_by, layer.out_channels, out)

    def _convolve(
        self,
        layer: _Convolution,
        doubled: np.ndarray | None,
        plain: np.ndarray,
        out: np.ndarray,
        halved: np.ndarray | None,
        space: _Workspace,
    ) -> None:
        slices, height, width, out_channels = out.shape
        doubled_channels = 0 if doubled is None else doubled.shape[-1]
        followed_by = layer.bias, layer.scale, layer.shift
        self._kernels.call(
            "convolve_3x3", doubled, doubled_channels, plain, plain.shape[-1], slices, height, width,
            layer.weights, int(layer.transformed), *followed_by, out_channels, out, halved,
            _tile_block(layer.in_channels), space.scratch,
        )  # fmt: skip

    def _convolve_pointwise(self, layer: _Pointwise, image: np.ndarray, out: np.ndarray) -> None:
        pixels = image.size // layer.in_channels
        self._kernels.call(
            "convolve_1x1", image, pixels, layer.in_channels, layer.weights, layer.bias, layer.out_channels, out
        )


def can_run(network: UNet, size: int, compiled: Kernels) -> bool:
    """Whether the kernels run this network: channels fill the vectors, tiles of 4 x 4 fill each level."""
    deepest = size // 2 ** (network.depth - 1)
    whole = size % 2 ** (network.depth - 1) == 0 and deepest % TILE == 0
    return whole and network.base_channels % compiled.lanes == 0


class _Workspace:
    """What one call needs, kept from call to call: returning and mapping memory anew costs as much as the work.

    Attributes:
        levels: For each depth (batch, y, x, channels), the result of its second convolution.
        halved: For each depth but the first, what comes in from above; on the way up, from below before doubling.
        framed: An image with a frame of zeros.
        scores: Of one slice, for each pixel as many as a vector has lanes.
        scratch: For the kernels.
    """

    def __init__(self, size: int, base_channels: int, batch: int, depth: int = UNet.depth) -> None:
        sizes = [size >> level for level in range(depth)]
        channels = [base_channels << level for level in range(depth)]
        shapes = list(zip(sizes, channels, strict=True))
        self._batch = batch
        self._shapes = shapes
        self.levels = [aligned((batch, side, side, count)) for side, count in shapes]
        self.halved = [
            aligned((batch if level else 0, side, side, channels[level] // 2)) for level, side in enumerate(sizes)
        ]
        self.framed = aligned((size + 2, size + 2))
        self.framed[...] = 0
        together = [batch if self._is_joint(level) else 1 for level in range(depth)]
        self._between = aligned(
            (max(n * side * side * count for n, (side, count) in zip(together, shapes, strict=True)),)
        )
        self.scores = aligned((size * size * WIDEST,))
        self.scratch = aligned((_scratch(2 * channels[-2]),))

    def parts(self, depth: int, count: int) -> list[slice]:
        """The slices of a batch, all at once or one by one."""
        if self._is_joint(depth):
            return [slice(0, count)]
        return [slice(index, index + 1) for index in range(count)]

    def between(self, depth: int, part: slice) -> np.ndarray:
        """Room for the result of a depth's first convolution."""
        side, channels = self._shapes[depth]
        count = part.stop - part.start
        return self._between[: count * side * side * channels].reshape(count, side, side, channels)

    def _is_joint(self, depth: int) -> bool:
        return self._shapes[depth][0] <= JOINT_SIDE


class _Packer:
    """Lays weights out as the kernels read them."""

    def __init__(self, compiled: Kernels) -> None:
        self._kernels = compiled

    def first(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> _Convolution:
        """The first convolution of all, from one channel."""
        weights = _copied(convolution.weight[:, 0].permute(1, 2, 0))
        return _Convolution(1, len(convolution.weight), weights, False, *_after(convolution, norm))

    def block(self, block: ConvBlock) -> tuple[_Convolution, _Convolution]:
        """Both convolutions of a block."""
        one, two = block.layers()
        return self._convolution(*one), self._convolution(*two)

    def pointwise(self, convolution: nn.Conv2d) -> _Pointwise:
        """A 1 x 1 convolution; output channels are filled up to whole vectors."""
        out_channels, in_channels = convolution.weight.shape[:2]
        missing = -out_channels % self._kernels.lanes
        weights = functional.pad(convolution.weight[:, :, 0, 0], (0, 0, 0, missing))
        bias = functional.pad(bias_of(convolution), (0, missing))
        return _Pointwise(in_channels, len(weights), self._in_blocks(weights.T[None]), _copied(bias))

    def _convolution(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> _Convolution:
        out_channels, in_channels = convolution.weight.shape[:2]
        weights = self._in_blocks(convolution.weight.permute(2, 3, 1, 0).reshape(9, in_channels, out_channels))
        transformed = POINTS * in_channels * out_channels <= LARGEST_TRANSFORMED and in_channels > 1
        if transformed:
            blocks, _, _, lanes = weights.shape
            points = aligned((blocks, POINTS, in_channels, lanes))
            for block in range(blocks):
                self._kernels.call("transform_weights", weights[block], in_channels, lanes, points[block])
            weights = points
        return _Convolution(in_channels, out_channels, weights, transformed, *_after(convolution, norm))

    def _in_blocks(self, weights: Tensor) -> np.ndarray:
        """(taps, in_channels, out_channels) to (blocks, taps, in_channels, lanes)."""
        taps, in_channels, out_channels = weights.shape
        lanes = self._kernels.lanes * (1 if out_channels % (2 * self._kernels.lanes) else 2)
        return _copied(weights.reshape(taps, in_channels, out_channels // lanes, lanes).permute(2, 0, 1, 3))


def _after(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What follows the products: bias, then after the ReLU scale and shift."""
    scale, shift = scale_and_shift(norm)
    return _copied(bias_of(convolution)), _copied(scale), _copied(shift)


def _copied(tensor: Tensor) -> np.ndarray:
    array = aligned(tuple(tensor.shape))
    array[...] = tensor.detach().cpu().float().numpy()
    return array


def _tile_block(in_channels: int) -> int:
    """Tiles that are transformed together: few where the weights stay in the cache, many where they pass through."""
    return min(max(in_channels // 4, 16), 128)


def _scratch(most_channels: int) -> int:
    """Floats that `convolve_3x3` needs at most, for the widest layer."""
    lanes = 2 * WIDEST
    tiles = _tile_block(most_channels)
    return most_channels + POINTS * (tiles * (most_channels + 16) + tiles * lanes + most_channels * lanes)
