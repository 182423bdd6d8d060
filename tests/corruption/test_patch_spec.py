"""The static description of the patches: what it refuses, and what its advice is worth."""

import contextlib
import dataclasses
import itertools
import re

import jax
import numpy as np
import pytest

from inpaint_ssl.corruption import PatchSpec, context_prediction, context_restoration, sample_patches
from inpaint_ssl.corruption.spec import patch_count
from inpaint_ssl.errors import InputError

TASKS = ("context_prediction", "context_restoration")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("patch_size", 0),
        ("patch_size", -3),
        ("patch_size", 8.0),
        ("patch_size", True),
        ("sampling", "poisson"),
        ("area_fraction", 0.0),
        ("area_fraction", 1.0),
        ("area_fraction", -0.25),
        ("area_fraction", float("nan")),
        ("area_fraction", "many"),
    ],
)
def test_field_out_of_range_is_named(field, value):
    spec = PatchSpec()
    object.__setattr__(spec, field, value)  # past the type checks that only tests have
    with pytest.raises(InputError, match=f"{field} is .*expected") as caught:
        spec.__post_init__()
    assert repr(value) in str(caught.value)


def test_equal_specs_are_one_static_value():
    spec = PatchSpec(patch_size=8, sampling="random", area_fraction=0.25)
    assert spec == PatchSpec(8, "random", 0.25)
    assert hash(spec) == hash(PatchSpec(8, "random", 0.25))
    assert jax.tree.leaves(spec) == []
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.patch_size = 4


@pytest.mark.parametrize(
    ("patch_size", "size", "task", "count"),
    [
        (64, (512, 512), "context_restoration", 16),
        (32, (512, 512), "context_restoration", 64),
        (16, (512, 512), "context_restoration", 256),
        (8, (512, 512), "context_restoration", 1024),
        (16, (80, 48), "context_prediction", 4),  # 3.75
        (16, (112, 48), "context_prediction", 6),  # 5.25
        (16, (112, 64), "context_prediction", 7),
        (16, (112, 64), "context_restoration", 8),  # 7 made even
    ],
)
def test_number_of_poisson_disc_patches(patch_size, size, task, count):
    spec = PatchSpec(patch_size)
    assert patch_count(size, spec, task) == count
    patches = jax.eval_shape(lambda key: sample_patches(key, size, spec, task), jax.random.key(0))
    assert patches.corners.shape == (count, 2)


def test_decimal_fraction_is_not_rounded_up():
    assert 0.07 * 100 > 7  # in binary
    assert patch_count((10, 10), PatchSpec(1, area_fraction=0.07), "context_prediction") == 7


@pytest.mark.parametrize("sampling", ["poisson_disc", "random"])
@pytest.mark.parametrize(
    ("size", "patch_size", "task", "largest"),
    [
        ((64, 40), 41, "context_prediction", 40),
        ((64, 64), 33, "context_restoration", 32),
        ((90, 40), 41, "context_restoration", 40),
    ],
)
def test_patch_larger_than_the_image_names_the_largest(sampling, size, patch_size, task, largest):
    with pytest.raises(InputError, match=f"patch_size {patch_size} .*{size[0]} x {size[1]}") as caught:
        PatchSpec(patch_size, sampling, 0.01).check(size, task)
    advised = int(re.findall(r"patch_size = (\d+)", str(caught.value))[0])
    assert advised == largest or (sampling == "poisson_disc" and advised < largest)
    PatchSpec(advised, sampling, 0.01).check(size, task)


def test_random_sampling_is_accepted_up_to_three_quarters():
    PatchSpec(8, "random", 0.75).check((64, 64))
    with pytest.raises(InputError, match=r"area_fraction is 0\.76 .*area_fraction <= 0\.75"):
        PatchSpec(8, "random", 0.76).check((64, 64))


def test_poisson_disc_needs_the_lattice_not_the_packing():
    PatchSpec(32).check((64, 64), "context_prediction")
    with pytest.raises(InputError, match=r"needs 2 Poisson-disc patches .* at most 1"):
        PatchSpec(32).check((64, 64), "context_restoration")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("size", "patch_size", "fraction"), [((64, 64), 32, 0.5), ((96, 70), 24, 0.6), ((50, 33), 9, 0.6)]
)
def test_advice_is_the_largest_that_passes(size, patch_size, fraction, task):
    with pytest.raises(InputError) as caught:
        PatchSpec(patch_size, area_fraction=fraction).check(size, task)
    advised = dict(re.findall(r"(\w+) <?= ([\d.]+\d|\d)", str(caught.value)))
    assert advised
    if "area_fraction" in advised:
        share = float(advised["area_fraction"])
        PatchSpec(patch_size, area_fraction=share).check(size, task)
        with pytest.raises(InputError):
            PatchSpec(patch_size, area_fraction=share + 2e-4).check(size, task)
    if "patch_size" in advised:
        largest = int(advised["patch_size"])
        PatchSpec(largest, area_fraction=fraction).check(size, task)
        for larger in range(largest + 1, max(size)):
            with pytest.raises(InputError):
                PatchSpec(larger, area_fraction=fraction).check(size, task)


def test_advice_is_never_refused():
    for size, patch_size, fraction in [
        ((64, 64), 3, 0.4),
        ((64, 64), 40, 0.25),
        ((64, 64), 2, 0.8),
        ((33, 20), 25, 0.8),
    ]:
        for task, sampling in itertools.product(TASKS, ("poisson_disc", "random")):
            with contextlib.suppress(InputError):
                PatchSpec(patch_size, sampling, fraction).check(size, task)
                continue
            with pytest.raises(InputError) as caught:
                PatchSpec(patch_size, sampling, fraction).check(size, task)
            message = str(caught.value)
            for advised in re.findall(r"patch_size = (\d+)", message):
                PatchSpec(int(advised), sampling, fraction).check(size, task)
            if "sampling = " in message:
                PatchSpec(patch_size, "random", fraction).check(size, task)


def test_numbers_of_numpy():
    spec = PatchSpec()
    object.__setattr__(spec, "patch_size", np.uint8(16))  # past the type checks that only tests have
    object.__setattr__(spec, "area_fraction", np.float32(0.25))
    spec.__post_init__()
    assert spec == PatchSpec(16) and type(spec.patch_size) is int
    spec.check((512, 512))


def test_other_task_and_empty_image():
    with pytest.raises(InputError, match="task is 'swap'"):
        PatchSpec(8).check((64, 64), "swap")
    with pytest.raises(InputError, match="image size is 0 x 64"):
        PatchSpec(8).check((0, 64))
    with pytest.raises(InputError, match="no two patches"):
        PatchSpec(1).check((1, 1), "context_restoration")


@pytest.mark.parametrize("corrupt", [context_prediction, context_restoration])
def test_refused_while_tracing(corrupt):
    image = jax.ShapeDtypeStruct((16, 16, 1), np.float32)
    with pytest.raises(InputError, match="patch_size 32"):
        jax.eval_shape(lambda key, x: corrupt(key, x, PatchSpec(32)), jax.random.key(0), image)
    batch = jax.ShapeDtypeStruct((2, 64, 64, 1), np.float32)
    with pytest.raises(InputError, match=r"\(2, 64, 64, 1\).*vmap"):
        jax.eval_shape(lambda key, x: corrupt(key, x, PatchSpec(8)), jax.random.key(0), batch)
