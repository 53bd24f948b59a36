"""What a training does when memory does not suffice."""

from __future__ import annotations

import gc

import torch

from infers.torch_unet import give_back_memory

SHORT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "DefaultCPUAllocator",
    "bad_alloc",
    "could not create a primitive",  # what oneDNN makes of it
    "could not create a memory",
)


class OutOfMemoryError(RuntimeError):
    """A minibatch does not fit into memory.

    Attributes:
        parts: In how many parts it was computed.
        is_final: Whether more parts are impossible.
    """

    def __init__(self, message: str, parts: int, is_final: bool) -> None:
        super().__init__(message, parts, is_final)
        self.parts, self.is_final = parts, is_final

    def __str__(self) -> str:
        return str(self.args[0])


def is_short_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of a GPU or of the machine, did not suffice.

    torch has a class of its own for GPUs alone; on a CPU it raises RuntimeError with one of these messages.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SHORT_OF_MEMORY)


def free_memory() -> None:
    """Give up what nothing refers to any more, to the device and to the system."""
    gc.collect()
    give_back_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
