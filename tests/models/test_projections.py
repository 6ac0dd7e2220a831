"""The linear baselines against NumPy's decompositions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pochi_cli.models.projections import pca, random_projection, truncation


def draw(count: int, dim: int, offset: float = 0.0) -> torch.Tensor:
    """Rows with a variance of their own in every direction of a random basis."""
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.normal(size=(dim, dim)))[0]
    spread = generator.normal(size=(count, dim)) * np.linspace(3, 0.2, dim)
    return torch.from_numpy(spread @ basis + offset)


def find_components(rows: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Components by falling variance and the variances, from NumPy's SVD."""
    centred = rows.numpy() - rows.numpy().mean(0)
    _, scales, components = np.linalg.svd(centred, full_matrices=False)
    return components, scales**2 / len(rows)


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("latent_dim", [1, 5, 12])
def test_pca_is_numpys_svd_up_to_signs(latent_dim: int, offset: float) -> None:
    rows = draw(200, 12, offset)
    projection = pca(torch.split(rows, 64), latent_dim)
    assert projection.weight.dtype == projection.bias.dtype == torch.float32
    components, _ = find_components(rows)
    along = np.sum(projection.weight.numpy() * components[:latent_dim], axis=1)
    np.testing.assert_allclose(np.abs(along), 1, atol=1e-6)
    largest = np.take_along_axis(
        projection.weight.numpy(), np.abs(projection.weight.numpy()).argmax(1)[:, None], 1
    )
    assert (largest > 0).all()
    expected = -projection.weight.double().numpy() @ rows.numpy().mean(0)
    np.testing.assert_allclose(projection.bias.numpy(), expected, rtol=1e-6, atol=offset * 1e-6 + 1e-6)


def test_pca_latents_are_centred_and_have_the_eigenvalues_for_variances() -> None:
    rows = draw(300, 8)
    latents = pca([rows], 8)(rows).numpy()
    np.testing.assert_allclose(latents.mean(0), 0, atol=1e-5)
    eigenvalues = np.linalg.eigvalsh(np.cov(rows.numpy().T, bias=True))[::-1]
    np.testing.assert_allclose(np.cov(latents.T, bias=True), np.diag(eigenvalues), atol=1e-4)


@pytest.mark.parametrize("sizes", [[1] * 150, [149, 1], [0, 50, 0, 100], [2, 3, 145]])
def test_where_chunks_are_cut_does_not_matter(sizes: list[int]) -> None:
    rows = draw(150, 6, offset=100)
    whole, chunked = pca([rows], 4), pca(iter(torch.split(rows, sizes)), 4)
    torch.testing.assert_close(chunked, whole)


def test_fewer_rows_than_dimensions() -> None:
    rows = draw(5, 20)
    projection = pca([rows.float()], 10)
    weight = projection.weight.double().numpy()
    np.testing.assert_allclose(weight @ weight.T, np.eye(10), atol=1e-6)
    components, variances = find_components(rows)
    # Five rows vary in four directions; the projection on those keeps all distances.
    assert variances[4] < 1e-20
    np.testing.assert_allclose(np.abs(np.sum(weight[:4] * components[:4], axis=1)), 1, atol=1e-5)
    latents = projection(rows)
    torch.testing.assert_close(torch.cdist(latents, latents), torch.cdist(rows, rows).float())


def test_constant_columns_and_a_single_row() -> None:
    rows = draw(50, 6)
    rows[:, 2] = 7
    projection = pca([rows], 5)
    np.testing.assert_allclose(projection.weight[:, 2].numpy(), 0, atol=1e-7)
    torch.testing.assert_close(pca([rows[:1]], 3)(rows[:1]), torch.zeros(1, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_half_precision_rows_are_gathered_in_float64(dtype: torch.dtype) -> None:
    rows = draw(100, 5, offset=10).half()
    torch.testing.assert_close(pca([rows.to(dtype)], 3), pca([rows.double()], 3))
    assert pca([rows], 3)(rows).dtype == torch.float32


def test_random_projection_keeps_squared_lengths_on_average() -> None:
    projection = random_projection(64, 4_000, seed=3)
    entries = projection.weight.numpy()
    assert entries.shape == (4_000, 64)
    assert entries.var() == pytest.approx(1 / 4_000, rel=0.02)
    assert entries.mean() == pytest.approx(0, abs=3e-4)
    vectors = draw(20, 64)
    kept = projection(vectors).square().sum(1) / vectors.square().sum(1)
    np.testing.assert_allclose(kept.numpy(), 1, atol=0.1)


def test_random_projection_depends_on_its_seed_alone() -> None:
    before = torch.get_rng_state()
    first = random_projection(8, 3, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    torch.testing.assert_close(random_projection(8, 3, seed=1), first, rtol=0, atol=0)
    assert not torch.equal(random_projection(8, 3, seed=2).weight, first.weight)


def test_truncation_keeps_the_first_components() -> None:
    rows = draw(10, 6).float()
    assert torch.equal(truncation(6, 4)(rows), rows[:, :4])


@pytest.mark.parametrize("latent_dim", [0, 7])
def test_more_components_than_dimensions_are_refused(latent_dim: int) -> None:
    message = f"latent_dim is {latent_dim}, and must be from 1 to 6"
    with pytest.raises(ValueError, match=message):
        pca([draw(10, 6)], latent_dim)
    with pytest.raises(ValueError, match=message):
        truncation(6, latent_dim)


def test_nothing_to_project_is_refused() -> None:
    with pytest.raises(ValueError, match="there are none"):
        pca([], 2)
    with pytest.raises(ValueError, match="latent_dim is 0"):
        random_projection(6, 0, seed=0)
