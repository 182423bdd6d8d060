"""A study of arms with settings of their own: its runs, what they share, and what is refused."""

from pathlib import Path

import pytest

from configs import base, evidence, quickstart
from inpaint_ssl.config import evaluated_parts, evaluated_with, read_arms, resolve
from inpaint_ssl.config.resolve import flatten
from inpaint_ssl.config.saved import check_same_study
from inpaint_ssl.errors import InputError
from inpaint_ssl.files import write_json_atomic
from inpaint_ssl.report.evidence.files import name_of
from inpaint_ssl.study.cells import Cell
from inpaint_ssl.study.designs import arms_of, cells_of, is_reported

ARMS = (
    "slow: finetune.learning_rate=0.001 transfer.learning_rate_factor=0.1",
    "short: start=fresh finetune.max_steps=6",
    "both: transfer.parts=('encoder','decoder') against=short",
    "small: corruption.patch_size=2 corruption.task=context_prediction finetune.learning_rate=0.001",
)


def config_of(arms: tuple[str, ...] = ARMS, **settings):
    config = quickstart.get_config()
    config.study.kind, config.arms, config.seeds = "arms", arms, (3, 5)
    config.split.label_fractions = (0.25, 1.0)
    config.split.label_counts = ()
    for name, value in settings.items():
        section, _, key = name.rpartition("__")
        (config[section] if section else config)[key] = value
    return resolve(config, base.get_config())


def started(cell: Cell) -> tuple[str, int] | None:
    return (cell.start.arm, cell.start.seed) if cell.start else None


def test_every_arm_is_trained_with_its_own_settings_and_equal_pretrainings_are_one() -> None:
    config = config_of()
    cells = cells_of(config)
    assert [(c.arm, c.seed) for c in cells if c.phase == "pretrain"] == [
        ("slow", 3),
        ("slow", 5),
        ("small", 3),
        ("small", 5),
    ]
    tuned = [c for c in cells if c.phase == "finetune"]
    assert [(c.label_fraction, c.seed) for c in tuned[::5]] == [(0.25, 3), (1.0, 3), (0.25, 5), (1.0, 5)]
    assert [c.arm for c in tuned[:5]] == ["from_scratch", "slow", "short", "both", "small"]
    assert [started(c) for c in tuned[:5]] == [None, ("slow", 3), None, ("slow", 3), ("small", 3)]
    own = {c.arm: c.config(config) for c in tuned}
    assert (own["slow"].finetune.learning_rate, own["slow"].transfer.learning_rate_factor) == (0.001, 0.1)
    assert own["both"].transfer.parts == ("encoder", "decoder") and own["from_scratch"].finetune.learning_rate == 0.01
    assert {c.arm: c.length(config)["max_steps"] for c in tuned}["short"] == 6
    assert next(c for c in cells if c.arm == "small").config(config).corruption.patch_size == 2
    assert all(is_reported(config, cell) for cell in cells)
    arms = arms_of(config)
    assert [(a["arm"], a["pretrained"], a["against"]) for a in arms] == [
        ("from_scratch", False, ""),
        ("slow", True, "from_scratch"),
        ("short", False, "from_scratch"),
        ("both", True, "short"),
        ("small", True, "from_scratch"),
    ]
    assert arms[2]["settings"] == {"finetune.max_steps": 6}


def test_one_pretraining_serves_all_seeds_each_seed_draws_its_labels_and_large_subsets_have_one_seed() -> None:
    config = config_of(study__one_pretraining=True, split__draw_by_seed=True, study__one_seed_from=0.5)
    cells = cells_of(config)
    assert [(c.arm, c.seed) for c in cells if c.phase == "pretrain"] == [("slow", 3), ("small", 3)]
    tuned = [c for c in cells if c.phase == "finetune"]
    assert {(c.label_fraction, c.seed, c.subset_draw) for c in tuned} == {(0.25, 3, 0), (1.0, 3, 0), (0.25, 5, 1)}
    assert {started(c) for c in tuned if c.arm == "slow"} == {("slow", 3)}


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        ("slow", "expected '<name>: <setting>=<value>"),
        ("a b: finetune.learning_rate=1", "with a name of letters"),
        ("a: finetune.learning_rate", "got 'finetune.learning_rate', expected <setting>=<value>"),
        ("a: finetune.learning_rate=fast", "config.finetune.learning_rate: got 'fast' "),
        ("a: finetune.learning_rate=-1", "config.finetune.learning_rate: got -1.0, expected above 0"),
        ("a: finetune.rate=1", "finetune.rate: no such setting"),
        ("a: model.groups=8", "model.groups: an arm cannot change it"),
        ("a: transfer.pretrained=x", "transfer.pretrained: an arm cannot change it"),
        ("a: start=nothing", "got start=nothing, expected start=fresh"),
        ("a: against=b", "a is against 'b'; expected one of from_scratch, a"),
        ("a: corruption.patch_size=999", "config.corruption.patch_size: got 999, larger than the image"),
        ("from_scratch: start=fresh", "the name 'from_scratch' is there twice"),
    ],
)
def test_an_arm_that_cannot_be_is_refused_before_anything_is_written(arm: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        config_of((arm,))
    assert str(caught.value).startswith("config.arms: ") and expected in str(caught.value)


def test_arms_are_for_their_kind_of_study_alone() -> None:
    for kind, arms in (("comparison", ARMS), ("arms", ())):
        with pytest.raises(InputError, match='expected arms in a study of kind "arms"'):
            config_of(arms, study__kind=kind)
    with pytest.raises(InputError, match="compares pretrainings of its own"):
        config_of(transfer__pretrained_study="somewhere")
    for name in ("study__one_pretraining", "split__draw_by_seed"):
        with pytest.raises(InputError, match=r"got True in a study of kind 'comparison'"):
            config_of((), study__kind="comparison", **{name: True})
    with pytest.raises(InputError, match=r"second_learning_rate: got 0\.1 in a study of kind"):
        config_of(transfer__second_learning_rate=0.1)
    with pytest.raises(InputError, match=r"study\.one_seed_from: got 0\.5 with one seed"):
        config_of(seeds=(1,), study__one_seed_from=0.5)


def test_values_are_those_of_python_and_texts_need_no_quotes() -> None:
    known = flatten(base.get_config())
    spec = read_arms(("a: transfer.freeze=true finetune.schedule=constant corruption.patch_size=4",), known)[0]
    assert dict(spec.settings) == {"transfer.freeze": True, "finetune.schedule": "constant", "corruption.patch_size": 4}
    assert spec.of_pretraining == (("corruption.patch_size", 4),)


def resolved_evidence(spec: str):
    config = evidence.get_config(spec)
    config.data.root = "somewhere"
    return resolve(config, base.get_config())


@pytest.mark.parametrize("data", evidence.DATA_SETS)
@pytest.mark.parametrize("part", evidence.PARTS)
def test_the_studies_of_the_evidence(data: str, part: str) -> None:
    config = resolved_evidence(f"{data},{part}")
    chooses = part in ("tuning", "recipe")
    assert evaluated_parts(config) == (("validation",) if chooses else ("test",))
    cells = cells_of(config)
    assert max(cell.length(config)["max_steps"] for cell in cells if cell.phase == "finetune") <= 2500
    seeds = {(c.arm, c.label_fraction): set[int]() for c in cells if c.phase == "finetune"}
    for cell in cells:
        if cell.phase == "finetune":
            seeds[cell.arm, cell.label_fraction].add(cell.seed)
    wanted = {0.05: 2} if chooses else {1.0: 1} if part == "best" else {0.05: 3, 0.1: 3, 0.25: 1, 1.0: 1}
    assert all(len(of_arm) == wanted[fraction] for (_, fraction), of_arm in seeds.items())
    if part == "primary":
        assert {fraction for _, fraction in seeds} == set(wanted)


@pytest.mark.parametrize(
    "spec", ["hippocampus,all", "hippocampus", "hippocampus,primary,", "hippocampus,primary,wide,x", ""]
)
def test_a_part_of_the_evidence_that_is_none(spec: str) -> None:
    with pytest.raises(InputError, match=rf"evidence\.py:{spec}: expected <data set>,<part>"):
        evidence.get_config(spec)


@pytest.mark.parametrize("data", evidence.DATA_SETS)
@pytest.mark.parametrize("part", evidence.PARTS)
def test_the_wide_variant_is_the_papers_network_and_its_folder_names_its_command(data: str, part: str) -> None:
    config = resolved_evidence(f"{data},{part},wide")
    assert config.model.filters == (32, 64, 128, 256, 512) and config.study.name == f"{data}_{part}_wide"
    assert config.finetune.learning_rate == 3e-3 and config.finetune.warmup_steps == 100
    name = name_of(config.study.name)
    assert name is not None and f"configs/evidence.py:{data},{part},wide --config" in name.command
    if part == "tuning":  # every strategy against from scratch at its own rate, and the study's rate needs no arm
        specs = {spec.name: spec for spec in read_arms(config.arms, flatten(config))}
        tried = [name for name in specs if name.startswith("paper_k2")]
        assert len(specs) == 2 + 9 and len(tried) == 3
        against = [dict(specs[specs[n].against].settings) if specs[n].against in specs else {} for n in tried]
        own = [{k: v for k, v in specs[n].settings if k == "finetune.learning_rate"} for n in tried]
        assert own == against


def test_a_setting_that_is_the_studys_makes_no_other_pretraining() -> None:
    config = config_of(("a: corruption.task=context_restoration", "b: transfer.freeze_steps=2"))
    assert config.corruption.task == "context_restoration"
    assert [c.arm for c in cells_of(config) if c.phase == "pretrain"] == ["a", "a"]


def test_a_study_may_get_more_arms_but_not_others(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "config.json", config_of(ARMS[:2]).to_dict())
    assert check_same_study(tmp_path, config_of(ARMS)) == []
    for arms in (ARMS[:1], (ARMS[0], "short: start=fresh finetune.max_steps=7")):
        with pytest.raises(InputError, match="holds a different study: arms"):
            check_same_study(tmp_path, config_of(arms))


def test_scans_that_runs_are_measured_on() -> None:
    for named, parts in (
        ("auto", ("test",)),
        ("validation", ("validation",)),
        ("test", ("test",)),
        ("both", ("validation", "test")),
    ):
        config = config_of(study__measure_on=named)
        assert evaluated_parts(config) == parts
        assert evaluated_with(config, "finetune").get("measured_on") == (None if named == "auto" else list(parts))
