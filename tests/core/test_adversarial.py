"""Adversarial training: the perturbation of the word vectors, in the reference and in both frameworks."""

from __future__ import annotations

import numpy as np
import pytest

import backends
from core.adversarial import perturbation_of, random_directions
from core.batch import Batch, pad, real_mask
from core.errors import UserError
from core.parity.derivatives import adversarial_perturbation, training_losses
from core.parity.instances import random_batch, random_parameters
from core.rng import generator
from core.spec.experiment import replace
from core.train.members import Member, check_members
from tasks.parity.cases import Case
from tests.conftest import loaded, make_dataset, one_line
from tests.core.train.test_loop import SMALL, VOCAB, new_engine


def drawn(rng, rows: int = 5) -> tuple[Batch, np.ndarray]:
    """Return a batch with a text of one token, and gradients of it that are not zero at padding."""
    batch = pad([rng.integers(2, VOCAB, length) for length in (1, *rng.integers(2, 12, rows - 1))], {})
    return batch, rng.normal(size=(*batch.ids.shape, 3)) * 10.0 ** rng.uniform(-9, 3, (rows, 1, 1))


def test_the_norm_of_each_text_is_the_size_times_the_root_of_its_tokens(rng):
    batch, gradient = drawn(rng)
    found = perturbation_of(gradient, batch, 0.3)
    for own, given, length in zip(found, gradient, batch.lengths, strict=True):
        assert np.linalg.norm(own) == pytest.approx(0.3 * length**0.5, rel=1e-12)
        cosine = (own * given)[:length].sum() / np.linalg.norm(own) / np.linalg.norm(given[:length])
        assert cosine == pytest.approx(1.0, rel=1e-12) and not own[length:].any()


@pytest.mark.parametrize("name", backends.NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_frameworks_perturb_like_the_reference(name, dtype, rng):
    """A text without gradient is not perturbed."""
    side = loaded(name)
    batch, gradient = drawn(rng)
    gradient[2] = 0.0
    inputs = side.runtime.Inputs(batch, dtype, side.runtime.native_device("cpu"))
    native = side.runtime.to_tensor(gradient.astype(dtype), side.runtime.native_device("cpu"))
    found = side.runtime.to_numpy(side.adversarial.perturbation(native, inputs, 0.7))
    np.testing.assert_allclose(found, perturbation_of(gradient, batch, 0.7), rtol=1e-5 if dtype == "float32" else 1e-12)
    assert not found[2].any()


def test_no_other_perturbation_of_that_norm_raises_the_loss_more(rng):
    """To first order; checked with a small one against random directions."""
    experiment = Case("lstm", 1, True, "max_mean", "index").experiment("float64", **{"training.adversarial": 1e-4})
    parameters, batch = random_parameters(experiment, rng), random_batch(experiment, rng)
    worst = adversarial_perturbation(experiment, parameters, batch, 0)
    assert worst is not None
    losses = training_losses(experiment, parameters, batch, 0, worst)
    for _ in range(20):
        other = perturbation_of(rng.normal(size=worst.shape), batch, 1e-4)
        assert (training_losses(experiment, parameters, batch, 0, other) < losses).all()


def test_the_reference_ignores_padding(rng):
    batch, gradient = drawn(rng)
    wide = Batch(np.pad(batch.ids, ((0, 0), (0, 31))), batch.lengths, {})
    more = np.pad(gradient, ((0, 0), (0, 31), (0, 0)), constant_values=5.0)
    found = perturbation_of(more, wide, 0.3)
    np.testing.assert_array_equal(found[:, : batch.ids.shape[1]], perturbation_of(gradient, batch, 0.3))
    assert not found[~real_mask(wide)].any()


def test_size_0_changes_nothing_and_another_size_does(backend, rng):
    """Of a step's gradients; evaluation does not know of it."""
    batch = pad([rng.integers(2, VOCAB, length) for length in (1, 5, 9)], {"label": np.array([0, 1, 0])})
    plain, other = new_engine(backend, SMALL), new_engine(backend, replace(SMALL, {"training.adversarial": 0.5}))
    np.testing.assert_array_equal(plain.logits(batch), other.logits(batch))
    (loss, own), (higher, theirs) = plain.gradients(batch, 0), other.gradients(batch, 0)
    assert higher > loss
    assert all(np.abs(own[name] - theirs[name]).max() > 1e-6 for name in own)


def test_random_directions_ignore_padding(rng):
    batch, _ = drawn(rng)
    wide = Batch(np.pad(batch.ids, ((0, 0), (0, 9))), batch.lengths, {})
    found, wider = random_directions(3, 5, batch, 4), random_directions(3, 5, wide, 4)
    np.testing.assert_array_equal(wider[:, : batch.ids.shape[1]], found)
    assert not wider[~real_mask(wide)].any() and found[real_mask(batch)].all()
    assert not np.array_equal(found, random_directions(3, 6, batch, 4))


@pytest.mark.parametrize("change", [{"training.adversarial": 0.1}, {"training.average_share": 0.5}], ids=str)
def test_models_that_train_together_refuse_it(change):
    from core.data.dataset import Prepared

    experiment = replace(SMALL, {**change, "training.bucket_batches": 0})
    sets = [make_dataset(generator(0, "members", number), 8, VOCAB) for number in range(3)]
    member = Member("one", experiment, Prepared(None, *sets, [], {}))  # type: ignore[arg-type]
    with pytest.raises(UserError) as error:
        check_members([member])
    assert f"{next(iter(change))} {next(iter(change.values()))}: not supported by ensemble training" in one_line(error)
