import tracemalloc

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from jaxad.estimators import scaling
from jaxad.estimators.scaling import SCALERS, AffineScaler
from jaxad.estimators.scaling import fit_scaler as fit_blocks

REFERENCES = {"standard": StandardScaler, "minmax": MinMaxScaler, "robust": RobustScaler}


def fit_scaler(name, x):
    return fit_blocks(name, [x], x.shape[1:])


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return rng.normal([0, 1e6, -3, 7], [1, 1e-2, 1e4, 1e-6], (257, 4))


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(3, 200, (20, 5, 4, 2)).astype(np.uint8)


@pytest.mark.parametrize("name", REFERENCES)
def test_tables_agree_with_scikit_learn(name, table):
    scaled = fit_scaler(name, table)(table)
    expected = REFERENCES[name]().fit_transform(table)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", REFERENCES)
def test_images_are_scaled_per_pixel_and_channel(name, images):
    scaler = fit_scaler(name, images)
    expected = REFERENCES[name]().fit_transform(images.reshape(20, -1).astype(np.float64))
    assert scaler.shift.shape == scaler.scale.shape == (5, 4, 2)
    np.testing.assert_allclose(scaler(images).reshape(20, -1), expected, rtol=1e-6, atol=1e-7)


def test_auto_standardises_tables(table):
    np.testing.assert_array_equal(
        fit_scaler("auto", table)(table), fit_scaler("standard", table)(table)
    )


def test_auto_maps_all_pixels_of_images_by_one_minimum_and_maximum(images):
    scaled = fit_scaler("auto", images)(images)
    low, high = images.min(), images.max()
    np.testing.assert_allclose(scaled, (images - float(low)) / (high - float(low)), rtol=1e-6)
    assert (scaled.min(), scaled.max()) == (0, 1)


def test_none_changes_nothing_but_the_type(table, images):
    np.testing.assert_array_equal(fit_scaler("none", table)(table), table.astype(np.float32))
    np.testing.assert_array_equal(fit_scaler("none", images)(images), images)


@pytest.mark.parametrize("name", ["auto", "standard", "minmax", "robust"])
@pytest.mark.parametrize("constant", [0.0, 0.1, -1e9, 1e-30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_column_becomes_exactly_zero(name, constant, dtype):
    x = np.column_stack([np.full(1000, constant), np.arange(1000)]).astype(dtype)
    scaler = fit_scaler(name, x)
    assert scaler.scale[0] == 1
    assert (scaler(x)[:, 0] == 0).all()


@pytest.mark.parametrize("name", ["minmax", "robust"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("power", [-130, -60, 60])
def test_the_unit_of_a_column_does_not_matter(name, dtype, power, table):
    """An absolute bound took columns with a spread below it for constant."""
    x = table[:, :3].astype(dtype)  # half of the fourth column are equal in float32
    other = np.ldexp(x, power)
    if power == -130 and dtype == np.float32:
        x = np.ldexp(other, 130)  # float32 holds fewer digits of such small numbers
    np.testing.assert_array_equal(fit_scaler(name, other)(other), fit_scaler(name, x)(x))


def test_a_median_needs_all_rows_at_once(table):
    with pytest.raises(ValueError, match="scaler='robust' needs all rows at once"):
        fit_blocks("robust", [table[:9], table[9:]], (4,))


def test_weights_count_in_mean_and_variance_in_each_block(table):
    weight = np.resize([1.0, 3.0, 2.0], len(table))
    scaler = fit_blocks("standard", [table[:100], table[100:]], (4,), weight)
    mean = np.average(table, axis=0, weights=weight)
    spread = np.sqrt(np.average((table - mean) ** 2, axis=0, weights=weight))
    np.testing.assert_allclose(scaler.shift, mean, rtol=1e-9)
    np.testing.assert_allclose(scaler.scale, 1 / spread, rtol=1e-6)


def test_constant_images_become_zero():
    x = np.full((4, 3, 3, 1), 0.3)
    assert (fit_scaler("auto", x)(x) == 0).all()


@pytest.mark.parametrize("name", [name for name in SCALERS if name != "none"])
def test_float32_and_float64_input_fit_the_same_scaler(name, table):
    table = table.astype(np.float32)
    one, other = fit_scaler(name, table), fit_scaler(name, table.astype(np.float64))
    np.testing.assert_allclose(one.shift, other.shift, rtol=1e-7)
    np.testing.assert_allclose(one.scale, other.scale, rtol=1e-6)


def test_the_map_is_computed_in_float64():
    x = 1e8 + np.linspace(0, 1, 11)[:, None]
    scaled = fit_scaler("minmax", x)(x)
    np.testing.assert_allclose(scaled[:, 0], np.linspace(0, 1, 11), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_scaled_rows_do_not_depend_on_other_rows(dtype):
    rng = np.random.default_rng(2)
    x = rng.integers(-9, 9, (40_000, 7)).astype(dtype)
    scaler = fit_scaler("standard", x)
    together = scaler(x)
    for row in (0, 1, 18_724, 18_725, 39_999):
        np.testing.assert_array_equal(scaler(x[row : row + 1])[0], together[row])
    order = rng.permutation(len(x))
    np.testing.assert_array_equal(scaler(x[order]), together[order])


def test_scaling_needs_little_more_memory_than_its_result():
    x = np.random.default_rng(3).normal(size=(200_000, 10)).astype(np.float32)
    scaler = AffineScaler(np.zeros(10), np.ones(10))
    tracemalloc.start()
    scaled = scaler(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < scaled.nbytes + 4 * 2**20


@pytest.mark.parametrize("name", SCALERS)
def test_inverse_restores_the_units(name, table, images):
    for x in (table, images):
        scaler = fit_scaler(name, x)
        restored = scaler.inverse(scaler(x))
        np.testing.assert_allclose(restored, x, rtol=1e-6, atol=1e-5 * np.abs(x).max())


def test_no_rows_give_no_rows():
    assert AffineScaler(np.zeros(3), np.ones(3))(np.ones((0, 3))).shape == (0, 3)


def test_an_unknown_name_lists_the_valid_ones(table):
    with pytest.raises(ValueError, match="scaler='z' is not one of: 'auto', 'standard', 'minmax'"):
        fit_scaler("z", table)


def test_rows_of_another_shape_are_refused(table):
    with pytest.raises(ValueError, match=r"shape \(3,\).* fitted on \(4,\)"):
        fit_scaler("standard", table)(table[:, :3])


@pytest.mark.parametrize("bytes_of_a_block", [2**20, 2**10])
def test_a_value_too_large_for_float32_is_located(bytes_of_a_block, table, monkeypatch):
    monkeypatch.setattr(scaling, "_BLOCK_BYTES", bytes_of_a_block)
    scaler = fit_scaler("minmax", table)
    table[200, 2] = -1e300
    with pytest.raises(ValueError, match=r"X\[200, 2\]=-1e\+300 is too far .* clip X"):
        scaler(table)


@pytest.mark.parametrize("name", ["standard", "minmax", "robust"])
def test_a_spread_beyond_float64_is_refused(name):
    with pytest.raises(ValueError, match=f"scaler='{name}'.* overflows float64; clip X"):
        fit_scaler(name, np.repeat([[-1.7e308, 0.0], [1.7e308, 1.0]], 4, axis=0))


def test_the_constants_cannot_be_replaced(table):
    scaler = fit_scaler("standard", table)
    with pytest.raises(AttributeError):
        scaler.shift = 0


def test_robust_scaling_takes_noise_of_the_last_digit_for_constant():
    column = np.where(np.arange(100) < 50, 0.3, np.nextafter(0.3, 1))
    x = np.stack([column, np.arange(100.0)], 1)
    assert fit_scaler("robust", x).scale[0] == 1
    assert fit_scaler("robust", x * 2.0**-60).scale[1] == 2.0**60 / 49.5


def test_robust_scaling_copies_a_few_columns_at_a_time():
    x = np.random.default_rng(0).normal(size=(2**17, 64)).astype(np.float32)
    tracemalloc.start()
    fit_scaler("robust", x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes
