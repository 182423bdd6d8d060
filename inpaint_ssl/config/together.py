"""Settings that are possible alone but not with each other."""

import itertools
import math
from typing import Any

from inpaint_ssl.config.rules import OUTPUT, PARTS, WEIGHTS_GIVEN
from inpaint_ssl.errors import InputError


def check_together(v: dict[str, Any]) -> None:
    """InputError for settings that are possible alone but not with each other; `v` maps dotted names to values."""
    size, levels = v["data.image_size"], len(v["model.filters"])
    multiple = 2 ** (levels - 1)
    if v["corruption.patch_size"] > min(size):
        raise InputError(
            f"config.corruption.patch_size: got {v['corruption.patch_size']}, larger than the image of {size[0]} x "
            f"{size[1]} pixels (config.data.image_size); use at most {min(size)}"
        )
    if v["corruption.masks"] == "bank":
        _check_mask_bank(v)
    if any(side % multiple for side in size):
        larger = tuple(math.ceil(side / multiple) * multiple for side in size)
        raise InputError(
            f"config.data.image_size: got {size}, expected multiples of {multiple} for a U-Net of {levels} levels; "
            f"use {larger} or fewer levels (config.model.filters)"
        )
    for width in v["model.filters"]:
        if width % v["model.groups"]:
            raise InputError(
                f"config.model.filters: got {width}, no multiple of config.model.groups={v['model.groups']}; "
                "change one of the two"
            )
    _check_split(v)
    _check_kind(v)
    _check_transfer(v)
    grid = ("grid.learning_rates", "grid.tasks", "grid.patch_sizes", "grid.samplings")
    for name in ("seeds", "study.from", "split.label_fractions", "split.pretraining_extents", "transfer.parts", *grid):
        repeated = [a for a, b in itertools.pairwise(sorted(v[name])) if a == b]
        if repeated:
            raise InputError(f"config.{name}: got {repeated[0]!r} twice, expected each once; remove one")
    for phase in ("pretrain", "finetune"):
        if not v[f"{phase}.max_steps"] and (v[f"{phase}.schedule"] == "cosine" or not v[f"{phase}.max_epochs"]):
            raise InputError(
                f"config.{phase}.max_steps: got 0 with schedule {v[f'{phase}.schedule']!r} and max_epochs "
                f"{v[f'{phase}.max_epochs']}, expected a number of steps; cosine needs it, and training must end"
            )
        if v[f"{phase}.schedule"] == "cosine" and v[f"{phase}.warmup_steps"] >= v[f"{phase}.max_steps"]:
            raise InputError(
                f"config.{phase}.warmup_steps: got {v[f'{phase}.warmup_steps']}, expected fewer than "
                f"config.{phase}.max_steps={v[f'{phase}.max_steps']}; lower one or raise the other"
            )
    if v["data.format"] == "phantom" and v["data.root"]:
        raise InputError(
            f'config.data.root: got {v["data.root"]!r} with config.data.format="phantom", which reads no files; add '
            "--config.data.format=auto, or leave the root out"
        )
    if (v["data.format"], v["data.phantom.anatomy"]) == ("phantom", "abdomen"):
        for name, expected in (("data.modality", "ct"), ("data.slice_axis", "axial")):
            if v[name] != expected:
                raise InputError(
                    f'config.{name}: got {v[name]!r} with config.data.phantom.anatomy="abdomen", whose scans are '
                    f'single axial CT slices; use "{expected}", as configs/abdomen_phantom.py does'
                )
    if v["data.format"] != "phantom" and not v["data.root"]:
        raise InputError(
            'config.data.root: got "", expected the folder of the data set; add --config.data.root=<folder>'
        )


def _check_split(v: dict[str, Any]) -> None:
    if v["split.file"] and v["split.method"] in ("official", "k_fold"):
        raise InputError(
            f"config.split.method: got {v['split.method']!r} with config.split.file, which names the subjects of each "
            "part; leave one of the two out"
        )
    if not math.isclose(sum(v["split.fractions"]), 1.0, abs_tol=1e-6):
        raise InputError(
            f"config.split.fractions: got {v['split.fractions']}, which add up to {sum(v['split.fractions']):g}, "
            "expected training, validation and test shares that add up to 1"
        )
    counts = v["split.label_counts"]
    if counts and len(counts) != len(v["split.label_fractions"]):
        raise InputError(
            f"config.split.label_counts: got {len(counts)} counts for {len(v['split.label_fractions'])} "
            "config.split.label_fractions; give one for each, or ()"
        )
    if v["study.one_seed_from"] and len(v["seeds"]) == 1:
        raise InputError(
            f"config.study.one_seed_from: got {v['study.one_seed_from']} with one seed, which every label fraction is "
            "trained with; use 0 or more config.seeds"
        )
    if v["split.fold"] >= v["split.folds"]:
        raise InputError(
            f"config.split.fold: got {v['split.fold']}, expected less than config.split.folds={v['split.folds']}"
        )


def _check_kind(v: dict[str, Any]) -> None:
    kind = v["study.kind"]
    if bool(v["arms"]) != (kind == "arms"):
        raise InputError(
            f'config.arms: got {v["arms"]} in a study of kind {kind!r}; expected arms in a study of kind "arms", as '
            "configs/evidence.py has them, and in no other"
        )
    for name in ("study.one_pretraining", "study.one_seed_from", "split.draw_by_seed"):
        if v[name] and kind != "arms":
            raise InputError(
                f'config.{name}: got {v[name]!r} in a study of kind {kind!r}; only one of kind "arms" can do so, see '
                "configs/evidence.py"
            )
    if kind == "arms" and v["transfer.second_learning_rate"]:
        raise InputError(
            f"config.transfer.second_learning_rate: got {v['transfer.second_learning_rate']} in a study of kind "
            '"arms", whose runs are trained once; use 0, and transfer.freeze_steps to freeze what was transferred first'
        )
    if kind == "unlabelled_extent" and not v["split.pretraining_extents"]:
        raise InputError(
            'config.split.pretraining_extents: got () in a study of kind "unlabelled_extent", expected what it '
            "compares; use (1.0, 1.5, 2.0), as configs/unlabelled_extent.py does"
        )
    if kind == "transfer_grid" and len(v["split.label_fractions"]) != 1:
        raise InputError(
            f'config.split.label_fractions: got {v["split.label_fractions"]} in a study of kind "transfer_grid", '
            "expected one: the ways of transfer are compared at one label fraction, such as (0.05,)"
        )


def _check_transfer(v: dict[str, Any]) -> None:
    kind, given = v["study.kind"], [name for name in WEIGHTS_GIVEN if v[name]]
    if given and kind in ("arms", "pretraining_grid", "optimal_strategy", "unlabelled_extent"):
        raise InputError(
            f"config.{given[0]}: got {v[given[0]]!r} in a study of kind {kind!r}, which compares pretrainings of its "
            "own; leave it out"
        )
    if len(given) > 1:
        raise InputError(
            f"config.{given[0]}: got {v[given[0]]!r} beside config.{given[1]}={v[given[1]]!r}, expected one place "
            "that pretrained weights come from; leave one of the two out"
        )
    if OUTPUT in v["transfer.parts"] and not v["transfer.pretrained"]:
        raise InputError(
            f"config.transfer.parts: got {v['transfer.parts']}, but a pretraining ends in image channels and not in "
            f'classes, so its "{OUTPUT}" cannot serve; leave it out, or start from the bundle of a fine-tuned network '
            "(config.transfer.pretrained)"
        )
    if v["transfer.freeze"] and set(v["transfer.parts"]) == set(PARTS):
        raise InputError(
            f"config.transfer.freeze: got True with config.transfer.parts={v['transfer.parts']}, which leaves nothing "
            "to train; use False or transfer fewer parts"
        )


def _check_mask_bank(v: dict[str, Any]) -> None:
    height, width = v["data.image_size"]
    if v["corruption.region"] != "image":
        raise InputError(
            f'config.corruption.region: got {v["corruption.region"]!r} with config.corruption.masks="bank", expected '
            '"image": the masks of a bank are made before any scan is seen; use "image", or "fresh" masks'
        )
    if height != width:
        raise InputError(
            f'config.corruption.masks: got "bank" with images of {height} x {width} pixels, expected square ones, '
            'since a bank turns its masks by 90 degrees; use "fresh" or a square config.data.image_size'
        )
    swaps_discs = (v["corruption.task"], v["corruption.sampling"]) == ("context_restoration", "poisson_disc")
    if v["corruption.bank_pairs"] == "anew" and not swaps_discs:
        raise InputError(
            f'config.corruption.bank_pairs: got "anew" with {v["corruption.task"]} and {v["corruption.sampling"]} '
            'sampling, expected context_restoration and poisson_disc; use "fixed"'
        )
