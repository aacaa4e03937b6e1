"""Self-attention over the pixels of a feature map, with xFormers' kernel where it works and torch's elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthface.networks.layers import EqualisedConv

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


@lru_cache(maxsize=1)
def xformers_attention() -> Attend | None:
    """xFormers' attention on (N, L, heads, d), or None where the package can't be imported."""
    try:
        from xformers.ops import memory_efficient_attention
    except (ImportError, RuntimeError, OSError):
        return None
    return memory_efficient_attention


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention of (N, L, heads, d) tensors, scaled by 1/√d; the same result with either kernel.

    xFormers imports on machines where none of its kernels runs (CPU, an unsupported type); it then raises
    NotImplementedError, and torch's own attention takes over.
    """
    kernel = xformers_attention() if query.is_cuda else None
    if kernel is not None:
        try:
            return kernel(query, key, value)
        except NotImplementedError:
            _warn_once()
    heads_first = [x.transpose(1, 2) for x in (query, key, value)]
    mixed: Tensor = F.scaled_dot_product_attention(heads_first[0], heads_first[1], heads_first[2])
    return mixed.transpose(1, 2)


@lru_cache(maxsize=1)
def _warn_once() -> None:
    warnings.warn("xFormers has no attention kernel for this device and type; using torch's", stacklevel=3)


class SelfAttention2d(nn.Module):
    """x + gain · attention(x) over all pixels, where the gain starts at 0: the block starts as the identity.

    Args:
        num_channels: of the feature map.
        num_heads: it must divide `num_channels`.
    """

    def __init__(self, num_channels: int, *, num_heads: int = 4) -> None:
        super().__init__()
        assert num_channels % num_heads == 0
        self.num_heads = num_heads
        self.to_qkv = EqualisedConv(num_channels, 3 * num_channels, 1)
        self.to_out = EqualisedConv(num_channels, num_channels, 1)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape."""
        num, channels, height, width = x.shape
        # Unit-variance queries and keys: features grow with depth, and attention would saturate.
        normal = x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)
        tokens = self.to_qkv(normal).flatten(2).transpose(1, 2)  # (N, L, 3C)
        heads = tokens.reshape(num, height * width, 3, self.num_heads, channels // self.num_heads)
        mixed = attend(*(part.contiguous() for part in heads.unbind(dim=2)))
        mixed = mixed.reshape(num, height * width, channels).transpose(1, 2).reshape(x.shape)
        added: Tensor = x + self.gain * self.to_out(mixed)
        return added / torch.sqrt(1 + self.gain.square()).to(x.dtype)
