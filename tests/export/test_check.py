"""How a difference is measured; needs no PyTorch."""

import numpy as np
import pytest

from edge_app.export.check import measure
from edge_app.export.errors import ExportError


@pytest.mark.parametrize("transposed", [False, True])
def test_confidences_are_not_measured_by_the_coordinates_beside_them(transposed: bool) -> None:
    expected = np.full((1, 6, 50), 600.0, np.float32)
    expected[:, 4:] = 0.5
    axes = (0, 2, 1) if transposed else (0, 1, 2)
    for row, error, share in ((0, 0.03, 0.03 / 600), (4, 0.00005, 0.00005)):
        actual = expected.copy()
        actual[0, row, 7] += error
        found = measure("output0", 1, expected.transpose(axes), actual.transpose(axes), 1e-4)
        assert found.largest == pytest.approx(error, rel=0.01)
        assert found.share == pytest.approx(share, rel=0.01)
    actual[0, 4, 7] += 0.001
    with pytest.raises(ExportError, match=r"allowed is 0\.0001"):
        measure("output0", 1, expected.transpose(axes), actual.transpose(axes), 1e-4)


def test_not_a_number_is_within_no_tolerance() -> None:
    expected = np.zeros((1, 2), np.float32)
    with pytest.raises(ExportError, match="differs from the module's by nan"):
        measure("output0", 1, expected, np.array([[0, np.nan]], np.float32), 1e9)


@pytest.mark.parametrize("shape", [(2,), (2, 0), (0, 4, 4), ()])
def test_any_shape_can_be_measured(shape: tuple[int, ...]) -> None:
    values = np.ones(shape, np.int64)
    assert measure("labels", 2, values, values, 0.0).largest == 0


def test_another_shape_is_refused() -> None:
    with pytest.raises(ExportError, match=r"is \[1, 2\], the module's \[3, 2\]"):
        measure("output0", 3, np.zeros((3, 2)), np.zeros((1, 2)), 1.0)
