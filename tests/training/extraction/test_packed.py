"""Products on packed weights: the same figures, nothing left behind, and only where
they are right.
"""

import pytest
import torch
from torch import nn

from training.extraction.packed import packable, packed

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 24), (5, 3, 24), (2, 1, 24)])
@torch.inference_mode()
def test_the_product_is_the_same_but_for_rounding(bias: bool, shape: tuple[int, ...]) -> None:
    block = nn.Sequential(nn.Linear(24, 40, bias=bias), nn.ReLU(), nn.Linear(40, 8, bias=bias))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    plain = block(x)
    with packed(packable([block])):
        assert "forward" in block[0].__dict__
        torch.testing.assert_close(block(x), plain, rtol=1e-5, atol=1e-6)


@needs_onednn
@torch.inference_mode()
def test_rows_that_do_not_lie_together_give_the_same_product() -> None:
    block = nn.Linear(6, 4)
    x = torch.randn(6, 5).t()
    with packed(packable([block])):
        got = block(x)
    torch.testing.assert_close(got, block(x), rtol=1e-5, atol=1e-6)


@needs_onednn
def test_the_network_is_left_as_it_was_also_after_a_failure() -> None:
    block = nn.Linear(3, 2)
    with pytest.raises(RuntimeError, match="stopped"), packed(packable([block])):
        raise RuntimeError("stopped")
    assert "forward" not in block.__dict__
    assert block(torch.zeros(1, 3, requires_grad=True)).requires_grad


@needs_onednn
def test_only_plain_float32_linear_modules_are_packed() -> None:
    class Own(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    plain, wrapped = nn.Linear(3, 3), nn.Linear(3, 3)
    wrapped.forward = lambda x: x  # type: ignore[method-assign]
    others = [Own(3, 3), nn.Linear(3, 3, dtype=torch.bfloat16), nn.LayerNorm(3), wrapped]
    assert packable([plain, *others]) == (plain,)


@needs_onednn
def test_copies_that_would_not_fit_are_not_made() -> None:
    blocks = [nn.Linear(10, 10), nn.Linear(10, 10)]
    assert len(packable(blocks, most_bytes=800)) == 2
    assert packable(blocks, most_bytes=799) == ()
