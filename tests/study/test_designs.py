"""Which runs the paper's studies consist of, counted by hand from its sections 2.5 to 2.7 and 6.2."""

import itertools
from pathlib import Path

import pytest

from configs import base
from experiments.main import parse
from inpaint_ssl.config import resolve
from inpaint_ssl.errors import InputError
from inpaint_ssl.study.cells import Cell, grouped
from inpaint_ssl.study.designs import analyses_alone, arms_of, cells_of, is_reported

FILES = ("transfer_grid.py", "pretraining_grid.py", "optimal_strategy.py", "unlabelled_extent.py", "clinical.py")


def config_of(kind: str, *more: str):
    argv = ["main", f"--config=configs/{kind}.py", *(f"--config.{setting}" for setting in more)]
    return resolve(parse(argv)[0], base.get_config())


def by_phase(cells: list[Cell]) -> tuple[int, int]:
    return sum(c.phase == "pretrain" for c in cells), sum(c.phase == "finetune" for c in cells)


def test_the_transfer_grid_has_sixteen_models_and_each_of_them_four_times_again() -> None:
    config = config_of("transfer_grid")
    cells = cells_of(config)
    assert by_phase(cells) == (1, 16 + 64)
    assert {cell.label_fraction for cell in cells[1:]} == {0.05}
    first = {cell.arm: cell for cell in cells if cell.phase == "finetune" and cell.start.phase == "pretrain"}
    second = [cell for cell in cells if cell.phase == "finetune" and cell.start.phase == "finetune"]
    rates = ("0.01", "0.001", "0.0001", "1e-05")
    assert set(first) == {f"{d}_lr-{r}" for d in ("FEF", "FBF", "FFEF", "FFBF") for r in rates}
    pairs = itertools.product(("FES", "FBS", "FFES", "FFBS"), rates, rates)
    assert {cell.arm for cell in second} == {f"{design}_lr-{one}_lr-{two}" for design, one, two in pairs}
    for cell in second:
        design, one, two = cell.arm.split("_")
        assert cell.start is first[f"{design[:-1]}F_{one}"] or cell.start == first[f"{design[:-1]}F_{one}"]
        own = cell.config(config)
        assert own.finetune.learning_rate == float(two.removeprefix("lr-")) and not own.transfer.freeze
    for name, cell in first.items():
        own = cell.config(config)
        assert own.transfer.freeze == name.startswith("FF")
        assert own.transfer.parts == (("encoder", "decoder") if name.partition("_")[0][-2] == "B" else ("encoder",))
        assert own.finetune.learning_rate == float(name.partition("_lr-")[2])
    assert (config.corruption.task, config.corruption.sampling) == ("context_prediction", "poisson_disc")
    assert config.corruption.patch_size == 16 * config.data.image_size[0] // 512
    assert [arm["arm"] for arm in arms_of(config)] == [cell.arm for cell in cells[1:]]


def test_the_transfer_grid_of_the_papers_knees_has_its_patches_and_five_labelled_scans() -> None:
    argv = ["main", "--config=configs/transfer_grid.py:paper_mri", "--config.data.root=somewhere"]
    config = resolve(parse(argv)[0], base.get_config())
    assert (config.corruption.patch_size, config.split.label_counts) == (16, (5,))
    assert config.split.pretraining_extent == 1.0  # section 6.1.2


def test_the_pretraining_grid_is_sixteen_strategies_at_every_fraction_beside_from_scratch() -> None:
    argv = ["main", "--config=configs/pretraining_grid.py:paper_mri", "--config.data.root=somewhere"]
    config = resolve(parse(argv)[0], base.get_config())
    cells = cells_of(config)
    assert by_phase(cells) == (16, 16 * 5 + 5)
    arms = arms_of(config)
    assert arms[0]["arm"] == "from_scratch" and len(arms) == 17
    assert {arm["patch_size"] for arm in arms[1:]} == {64, 32, 16, 8}
    for cell in cells:
        if cell.arm != "from_scratch" and cell.phase == "finetune":
            assert cell.start.arm == cell.arm and cell.start.seed == cell.seed
    own = next(cell for cell in cells if cell.arm == "context_restoration_k-8_random").config(config)
    assert (own.corruption.task, own.corruption.patch_size, own.corruption.sampling) == (
        "context_restoration",
        8,
        "random",
    )


def test_patch_sizes_that_are_one_on_small_images_are_one_strategy() -> None:
    config = config_of("pretraining_grid", "data.image_size=(16, 16)", "corruption.patch_size=2")
    sizes = [arm["patch_size"] for arm in arms_of(config)[1:]]
    assert sorted(set(sizes)) == [1, 2] and len(sizes) == 2 * 2 * 2


def test_from_scratch_sees_all_labels_even_where_no_strategy_does() -> None:
    for kind in ("pretraining_grid", "unlabelled_extent"):
        cells = cells_of(config_of(kind, "split.label_fractions=(0.05, 0.25)"))
        seen = {(cell.arm == "from_scratch", cell.label_fraction) for cell in cells if cell.phase == "finetune"}
        assert seen == {(True, 0.05), (True, 0.25), (True, 1.0), (False, 0.05), (False, 0.25)}


def test_extents_are_pretrained_on_once_per_seed() -> None:
    config = config_of("unlabelled_extent", "seeds=0,1", "split.label_fractions=(0.05, 1.0)")
    cells = cells_of(config)
    assert by_phase(cells) == (3 * 2, (3 + 1) * 2 * 2)
    assert [arm["arm"] for arm in arms_of(config)] == [
        "from_scratch",
        "extent-100pct",
        "extent-150pct",
        "extent-200pct",
    ]
    assert {c.config(config).split.pretraining_extent for c in cells if c.phase == "pretrain"} == {1.0, 1.5, 2.0}


def test_a_second_run_is_for_both_arms_and_the_first_is_no_arm() -> None:
    config = config_of("quickstart", "transfer.second_learning_rate=0.0001", "transfer.freeze=True")
    cells = [cell for cell in cells_of(config) if cell.label_fraction == 1.0]
    assert [cell.arm for cell in cells] == ["from_scratch-first", "from_scratch", "pretrained-first", "pretrained"]
    assert [is_reported(config, cell) for cell in cells] == [False, True, False, True]
    assert [cell.start.arm if cell.start else None for cell in cells] == [
        None,
        "from_scratch-first",
        "",
        "pretrained-first",
    ]
    assert [cell.config(config).finetune.learning_rate for cell in cells] == [0.01, 0.0001, 0.01, 0.0001]
    assert [cell.config(config).transfer.freeze for cell in cells] == [True, False, True, False]


def test_seeds_of_one_run_are_one_group_with_what_they_begin_with() -> None:
    groups = grouped(cells_of(config_of("transfer_grid", "seeds=3,5", "grid.learning_rates=(0.01,)")))
    assert [len(group.cells) for group in groups] == [2] * 9
    for group in groups[1:]:
        assert [cell.start.seed for cell in group.cells] == [3, 5]
    assert len({group.directory for group in groups}) == 9


def test_the_transfer_grid_is_of_one_label_fraction() -> None:
    with pytest.raises(InputError, match=r"split.label_fractions: got \(0.05, 0.25\) .*expected one"):
        config_of("transfer_grid", "split.label_fractions=(0.05, 0.25)")


def test_a_ranking_of_other_studies_has_no_runs_of_its_own() -> None:
    config = config_of("optimal_strategy", "study.from=runs/a,runs/b")
    assert config.study["from"] == ("runs/a", "runs/b") and analyses_alone(config) and cells_of(config) == []
    assert len(cells_of(config_of("optimal_strategy"))) == len(cells_of(config_of("pretraining_grid")))


@pytest.mark.parametrize("written", ["--config.study.from=runs/a", "--config.study.from=('runs/a',)"])
def test_one_earlier_study(written: str) -> None:
    assert parse(["main", "--config=configs/clinical.py", written])[0].study["from"] == ("runs/a",)
    assert parse(["main", "--config=configs/clinical.py", *written.split("=", 1)])[0].study["from"] == ("runs/a",)


def test_scales() -> None:
    tiny = parse(["main", "--config=configs/transfer_grid.py", "--config.scale=tiny"])[0]
    assert (tiny.scale, tiny.data.image_size, tiny.finetune.max_steps) == ("tiny", (32, 32), 12)
    own = parse(["main", "--config=configs/transfer_grid.py:hippocampus", "--config.scale=reduced"])[0]
    assert (own.scale, own.study.name, own.data.format) == ("reduced", "hippocampus_transfer_grid", "msd")
    assert own.grid.learning_rates == (1e-2, 1e-3) and own.finetune.max_steps == 600
    grid = parse(["main", "--config=configs/pretraining_grid.py:hippocampus", "--config.scale=reduced"])[0]
    assert (grid.pretrain.max_steps, grid.finetune.max_steps, grid.finetune.validate_every_steps) == (600, 500, 125)
    changed = ["main", "--config=configs/transfer_grid.py", "--config.scale=tiny", "--config.finetune.max_steps=7"]
    assert parse(changed)[0].finetune.max_steps == 7  # what is given by name counts


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--config=configs/quickstart.py", "--config.scale=tiny"], "one size only"),
        (["--config=configs/transfer_grid.py:hippocampos"], "'hippocampos' is neither a scale"),
        (["--config=configs/transfer_grid.py:clinical"], "'clinical' is neither a scale"),
        (["--config=configs/transfer_grid.py", "--config.scale=small"], "'small' is neither a scale"),
    ],
)
def test_scales_that_are_none(argv: list[str], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        parse(["main", *argv])


def test_a_run_keeps_its_folder_name_short_and_of_one_level() -> None:
    for file in FILES:
        for cell in cells_of(config_of(file.removesuffix(".py"))):
            assert len(Path(cell.directory).parts) == 2 and len(Path(cell.directory).name) < 90


def test_an_earlier_studys_pretraining_serves_the_transfer_grid_and_no_comparison_of_pretrainings() -> None:
    cells = cells_of(config_of("transfer_grid", "transfer.pretrained_study=runs/a"))
    assert by_phase(cells) == (0, 16 + 64) and cells[0].start == Cell("pretrain", cells[0].seed)
    for kind in ("pretraining_grid", "unlabelled_extent"):
        with pytest.raises(InputError, match="which compares pretrainings of its own"):
            config_of(kind, "transfer.pretrained_study=runs/a")


def test_extents_must_be_given_and_no_study_is_ranked_twice() -> None:
    with pytest.raises(InputError, match=r"pretraining_extents: got \(\) in a study of kind"):
        config_of("unlabelled_extent", "split.pretraining_extents=()")
    with pytest.raises(InputError, match=r"config\.study\.from: got 'a' twice"):
        config_of("optimal_strategy", "study.from=a,a")


def test_a_reduced_study_of_the_papers_data_keeps_their_numbers_of_labels() -> None:
    argv = ["main", "--config=configs/pretraining_grid.py:paper_ct,reduced", "--config.data.root=somewhere"]
    config = resolve(parse(argv)[0], base.get_config())
    assert (config.split.label_fractions, config.split.label_counts) == ((0.05, 0.25), (35, 177))
