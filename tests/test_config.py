"""Every wrong setting is refused with what was got, what was expected and what to do."""

import json
from pathlib import Path

import optax
import pytest
from ml_collections import ConfigDict

from configs import abdomen_phantom, base, gallery, headneck_ct, hippocampus, paper_ct, paper_mri, quickstart
from inpaint_ssl import config as cfg
from inpaint_ssl.config.saved import cosine
from inpaint_ssl.errors import InputError


def changed(**settings) -> ConfigDict:
    config = quickstart.get_config()
    with config.unlocked():
        for name, value in settings.items():
            section, *path = name.split("__")
            node = config
            for part in [section, *path][:-1]:
                node = node[part]
            key = [section, *path][-1]
            if key in node:
                del node[key]  # ml-collections would refuse another type before we see it
            node[key] = value
    return config


def refused(config: ConfigDict) -> str:
    with pytest.raises(InputError) as caught:
        cfg.resolve(config, base.get_config())
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "module", [quickstart, hippocampus, headneck_ct, paper_mri, paper_ct, gallery, abdomen_phantom]
)
def test_shipped_configs_are_valid(module) -> None:
    config = module.get_config()
    if config.data.format != "phantom":
        config.data.root = "somewhere"
    resolved = cfg.resolve(config, base.get_config())
    assert cfg.flatten(resolved).keys() == cfg.flatten(base.get_config()).keys()


def test_base_is_the_paper_and_holds_no_none() -> None:
    values = cfg.flatten(base.get_config())
    assert None not in values.values()
    assert values["model.filters"] == (32, 64, 128, 256, 512) and values["model.groups"] == 16
    assert (values["pretrain.adam_b1"], values["pretrain.adam_b2"], values["pretrain.batch_size"]) == (0.99, 0.995, 9)
    assert (values["pretrain.early_stopping_min_delta"], values["pretrain.early_stopping_patience"]) == (50.0, 4)
    assert (values["finetune.early_stopping_min_delta"], values["finetune.early_stopping_patience"]) == (1e-3, 10)
    assert (values["finetune.decay_factor"], values["finetune.decay_every_epochs"]) == (0.9, 2)
    free = {"data.root", "data.use_unlabelled", "data.hash_ids", "data.id_salt_file", "data.prepared"}
    free |= {"split.file", "transfer.pretrained_study", "transfer.pretrained"}
    assert set(values) - set(cfg.RULES) == free, "a setting without a range"


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"corruption__patch_size": 65}, ("config.corruption.patch_size", "got 65", "64 x 64", "at most 64")),
        ({"corruption__area_fraction": 0.0}, ("area_fraction", "got 0.0", "above 0 and below 1")),
        ({"corruption__area_fraction": 1.0}, ("area_fraction", "got 1.0")),
        ({"corruption__masks": "banks"}, ("config.corruption.masks", "'banks'", '"fresh", "bank"')),
        ({"corruption__masks": "bank", "data__image_size": (64, 72)}, ("corruption.masks", "64 x 72", "square")),
        (
            {"corruption__masks": "bank", "corruption__bank_pairs": "anew", "corruption__sampling": "random"},
            ("bank_pairs", "random", "poisson_disc"),
        ),
        ({"corruption__region": "box"}, ("config.corruption.region", "'box'", '"image", "scan"')),
        ({"corruption__region": "scan", "corruption__masks": "bank"}, ("corruption.region", "'scan'", "bank", "fresh")),
        ({"corruption__bank_size": 0}, ("config.corruption.bank_size", "got 0", "1 or more")),
        ({"model__groups": 12}, ("config.model.filters", "got 16", "groups=12")),
        ({"data__image_size": (60, 64)}, ("image_size", "(60, 64)", "multiples of 8", "use (64, 64)")),
        ({"data__image_size": (64,)}, ("image_size", "two whole numbers")),
        ({"pretrain__batch_size": 0}, ("config.pretrain.batch_size", "got 0", "1 or more")),
        ({"pretrain__batch_size": 2.5}, ("config.pretrain.batch_size", "2.5", "expected a int")),
        ({"finetune__learning_rate": float("nan")}, ("config.finetune.learning_rate", "nan")),
        ({"finetune__learning_rate": "fast"}, ("config.finetune.learning_rate", "'fast'", "float")),
        ({"split__fractions": (0.6, 0.4, 0.0)}, ("split.fractions", "three numbers")),
        ({"split__fractions": (0.6, 0.3, 0.3)}, ("split.fractions", "1.2", "add up to 1")),
        ({"split__label_counts": (3,)}, ("label_counts", "got 1 counts for 2")),
        ({"split__label_fractions": (0.5, 1.5)}, ("label_fractions", "1.5")),
        ({"seeds": ()}, ("config.seeds", "()")),
        ({"seeds": (1, 1)}, ("config.seeds", "1 twice")),
        ({"transfer__parts": ("encodr",)}, ("transfer.parts", "encodr", '"encoder"')),
        (
            {"transfer__parts": ("post_processing",)},
            ("transfer.parts", "post_processing", "config.transfer.pretrained"),
        ),
        (
            {"transfer__pretrained": "a.zip", "transfer__pretrained_study": "runs/a"},
            ("config.transfer.pretrained: got 'a.zip'", "pretrained_study='runs/a'", "leave one of the two out"),
        ),
        (
            {"transfer__pretrained": "a.zip", "study__kind": "pretraining_grid"},
            ("config.transfer.pretrained: got 'a.zip'", "'pretraining_grid'", "pretrainings of its own"),
        ),
        (
            {
                "transfer__pretrained": "a.zip",
                "transfer__parts": ("encoder", "decoder", "post_processing"),
                "transfer__freeze": True,
            },
            ("config.transfer.freeze: got True", "nothing to train"),
        ),
        ({"transfer__adapt_input": "average"}, ("transfer.adapt_input", "'average'", '"refuse", "mean", "repeat"')),
        ({"finetune__warmup_steps": 600}, ("config.finetune.warmup_steps", "600", "max_steps")),
        ({"finetune__decay_factor": 1.0}, ("config.finetune.decay_factor", "below 1")),
        ({"model__filters": (16,)}, ("config.model.filters", "two or more")),
        ({"finetune__max_steps": 0}, ("config.finetune.max_steps", "cosine")),
        ({"data__slice_axis": "transverse"}, ("slice_axis", '"axial"')),
        ({"data__format": "msd"}, ("config.data.root", "folder of the data set")),
        ({"data__format": "msd", "stage": "gallery"}, ("config.data.root", "folder of the data set")),
        ({"data__root": "somewhere"}, ("config.data.root", "'somewhere'", "phantom", "format=auto")),
        ({"data__phantom__anatomy": "abdomen"}, ("config.data.modality", "'mri'", "abdomen", '"ct"')),
        (
            {"data__phantom__anatomy": "abdomen", "data__modality": "ct", "data__slice_axis": "coronal"},
            ("config.data.slice_axis", "'coronal'", '"axial"'),
        ),
        ({"statistics__bootstrap_resamples": 999}, ("bootstrap_resamples", "got 999", "1000 or more")),
        ({"clinical__t2_convention": "dosma"}, ("config.clinical.t2_convention", "'dosma'", '"skm_tea"')),
        ({"clinical__t2_bounds_ms": (100.0, 0.0)}, ("config.clinical.t2_bounds_ms", "smaller one first")),
        ({"clinical__intramuscular_fat": "on"}, ("config.clinical.intramuscular_fat", '"below_-30_hu"')),
        ({"evaluate__flips": ("up",)}, ("config.evaluate.flips", "('up',)", '"rows", "columns"')),
        ({"finetune__augmentation": "strong"}, ("config.finetune.augmentation", "'strong'", '"off", "light"')),
        ({"finetune__cross_entropy_weight": -0.5}, ("cross_entropy_weight", "got -0.5", "0 or more")),
        ({"evaluate__corruption_gallery": "maybe"}, ("config.evaluate.corruption_gallery", "'maybe'", "bool")),
        ({"data__hu_windows": ((0.0, 50.0),)}, ("hu_windows", "width above 0")),
        ({"use_gpu": True}, ("config.use_gpu", "no such setting")),
        ({"data__imagesize": (64, 64)}, ("config.data.imagesize", "did you mean config.data.image_size?")),
        ({"study__name": "../up"}, ("config.study.name", "letters")),
    ],
)
def test_wrong_settings_are_refused(settings, parts) -> None:
    message = refused(changed(**settings))
    for part in parts:
        assert part in message


def test_a_bundle_may_give_the_output_too() -> None:
    settings = {"transfer__pretrained": "a.zip", "transfer__parts": ("encoder", "post_processing")}
    resolved = cfg.resolve(changed(**settings, transfer__freeze=True), base.get_config())
    assert resolved.transfer.parts == ("encoder", "post_processing")


def test_a_missing_setting_is_refused() -> None:
    config = quickstart.get_config()
    with config.unlocked():
        del config.model["filters"]
    assert "config.model.filters: missing" in refused(config)


def test_json_round_trip_keeps_types(tmp_path: Path) -> None:
    resolved = cfg.resolve(quickstart.get_config(), base.get_config())
    path = tmp_path / "config.json"
    path.write_text(json.dumps(cfg.to_json(resolved)))
    again = cfg.resolve(cfg.load(path), base.get_config())
    assert cfg.flatten(again) == cfg.flatten(resolved)
    assert again.data.hu_windows[1] == (1800.0, 40.0) and isinstance(again.data.hu_windows[1], tuple)
    assert cfg.fingerprint(again) == cfg.fingerprint(resolved)


def test_whole_numbers_serve_as_floats() -> None:
    config = changed(finetune__learning_rate=1, split__label_fractions=(0.5, 1))
    resolved = cfg.resolve(config, base.get_config())
    assert isinstance(resolved.finetune.learning_rate, float)
    assert [type(value) for value in resolved.split.label_fractions] == [float, float]


def test_another_study_in_the_folder_is_refused(tmp_path: Path) -> None:
    resolved = cfg.resolve(quickstart.get_config(), base.get_config())
    cfg.check_same_study(tmp_path, resolved)  # nothing there yet
    (tmp_path / "config.json").write_text(json.dumps(cfg.to_json(resolved)))
    cfg.check_same_study(
        tmp_path,
        cfg.resolve(changed(stage="report", log_every_steps=1, evaluate__corruption_gallery=False), base.get_config()),
    )
    with pytest.raises(InputError, match=r"different study: corruption.patch_size \(8 there, 4 now\)"):
        cfg.check_same_study(tmp_path, cfg.resolve(changed(corruption__patch_size=4), base.get_config()))


def study_in(workdir: Path, **settings) -> Path:
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps(cfg.to_json(cfg.resolve(changed(**settings), base.get_config()))))
    return workdir


def continued(workdir: Path, **settings) -> list[str]:
    return cfg.check_same_study(workdir, cfg.resolve(changed(**settings), base.get_config()))


def test_weights_may_be_moved_but_not_come_or_go(tmp_path: Path) -> None:
    workdir = study_in(tmp_path / "a", transfer__pretrained="a.zip")
    assert continued(workdir, transfer__pretrained="elsewhere/b.zip") == []  # their content is compared by the study
    with pytest.raises(InputError, match=r"transfer.pretrained \(True there, False now\)"):
        continued(workdir)
    with pytest.raises(InputError, match=r"transfer.pretrained \(True there, False now\), transfer.pretrained_study"):
        continued(workdir, transfer__pretrained_study="runs/a")


def test_training_may_become_longer(tmp_path: Path) -> None:
    constant = {"pretrain__schedule": "constant", "finetune__schedule": "step_decay"}
    workdir = study_in(tmp_path / "a", pretrain__max_epochs=3, **constant)
    assert continued(workdir, pretrain__max_epochs=3, **constant) == []
    assert continued(workdir, pretrain__max_epochs=4, **constant) == [
        "pretrain.max_epochs 3 -> 4: training goes on, the learning rate has no jump"
    ]
    assert continued(
        workdir, pretrain__max_epochs=0, pretrain__max_steps=401, finetune__max_steps=9000, **constant
    ) == [
        "pretrain.max_steps 400 -> 401, pretrain.max_epochs 3 -> no limit: "
        "training goes on, the learning rate has no jump",
        "finetune.max_steps 600 -> 9000: training goes on, the learning rate has no jump",
    ]
    assert continued(workdir, pretrain__max_epochs=3, pretrain__max_steps=0, **constant) == [
        "pretrain.max_steps 400 -> no limit: training goes on, the learning rate has no jump"
    ]


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"finetune__max_steps": 599}, r"finetune.max_steps \(600 there, 599 now, may only be raised\);"),
        ({"pretrain__max_epochs": 100}, r"pretrain.max_epochs \(0 there, 100 now, may only be raised\);"),
        (
            {"finetune__max_steps": 700, "corruption__patch_size": 4},
            r"study: corruption.patch_size \(8 there, 4 now\);",
        ),
        ({"finetune__max_steps": 700, "pretrain__max_steps": 300}, r"study: pretrain.max_steps \(400 there, 300 now"),
        ({"finetune__warmup_steps": 700, "finetune__max_steps": 800}, r"study: finetune.warmup_steps"),
    ],
)
def test_a_study_never_becomes_shorter(tmp_path: Path, settings, refused: str) -> None:
    with pytest.raises(InputError, match=refused):
        continued(study_in(tmp_path / "study"), **settings)


def test_a_jump_of_the_cosine_is_told_in_numbers(tmp_path: Path) -> None:
    settings = {"finetune__learning_rate": 1e-3, "finetune__warmup_steps": 0}
    workdir = study_in(tmp_path / "study", finetune__max_steps=2500, **settings)
    (line,) = continued(workdir, finetune__max_steps=5000, **settings)
    assert "cosine over 2500 steps becomes cosine over 5000" in line
    assert "learning rate at step 2500 jumps from 0 to 0.0005;" in line
    (line,) = continued(workdir, finetune__max_steps=2500, pretrain__max_steps=500, **settings)
    assert line.startswith("pretrain.max_steps 400 -> 500: cosine over 400 steps becomes cosine over 500")
    with_epochs = study_in(tmp_path / "epochs", finetune__max_epochs=3)
    assert "has no jump" in continued(with_epochs, finetune__max_epochs=4)[0], "the cosine is over max_steps alone"


@pytest.mark.parametrize("warmup", [0, 7])
def test_the_cosine_of_the_notes_is_the_one_of_training(warmup: int) -> None:
    schedule = optax.warmup_cosine_decay_schedule(0.0 if warmup else 0.01, 0.01, warmup, 40)
    for step in range(50):
        assert cosine(step, 0.01, warmup, 40) == pytest.approx(float(schedule(step)), rel=1e-4, abs=1e-9)


def test_pretraining_stays_as_it_is_once_it_was_transferred(tmp_path: Path) -> None:
    workdir = study_in(tmp_path / "study")
    (workdir / "finetune" / "from_scratch_labels-5pct_draw-0_seed-0").mkdir(parents=True)
    assert len(continued(workdir, pretrain__max_steps=500)) == 1
    (workdir / "finetune" / "pretrained_labels-5pct_draw-0_seed-0").mkdir()
    with pytest.raises(
        InputError, match="finetune/pretrained_labels-5pct_draw-0_seed-0 began from the shorter"
    ) as caught:
        continued(workdir, pretrain__max_steps=500)
    assert "pretrain.max_steps (400 there, 500 now), but runs such as" in str(
        caught.value
    ) and "another --workdir" in str(caught.value)
    assert len(continued(workdir, finetune__max_steps=700)) == 1, "fine-tuning may go on"


def test_the_length_of_a_phase() -> None:
    config = cfg.resolve(changed(finetune__max_epochs=5), base.get_config())
    assert cfg.length_of(config, "pretrain") == {"max_steps": 400, "max_epochs": 0}
    assert cfg.length_of(config, "finetune") == {"max_steps": 600, "max_epochs": 5}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"data": 3}'])
def test_a_broken_config_json_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError):
        cfg.resolve(cfg.load(tmp_path / "config.json"), base.get_config())
