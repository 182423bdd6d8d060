"""Which runs each kind of study consists of, and what its arms mean (paper, sections 2.5 to 2.7 and 6.2)."""

import itertools
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from inpaint_ssl.config import ArmSpec, evaluated_parts, flatten, pixels_of, read_arms
from inpaint_ssl.config.arms import FROM_SCRATCH, PRETRAINED
from inpaint_ssl.study.cells import Cell
from inpaint_ssl.study.pretrained import given_weights

GRIDS = ("pretraining_grid", "optimal_strategy")
PARTS = {"E": ("encoder",), "B": ("encoder", "decoder")}
TASK_NAMES = {"context_prediction": "context prediction", "context_restoration": "context restoration"}
SAMPLING_NAMES = {"poisson_disc": "Poisson-disc", "random": "random"}
Arm = dict[str, Any]


def analyses_alone(config: ConfigDict) -> bool:
    """True for a study that trains nothing: it ranks the strategies of the studies in config.study.from."""
    return config.study.kind == "optimal_strategy" and bool(config.study["from"])


def cells_of(config: ConfigDict) -> list[Cell]:
    """Every run of the study; what a run begins with comes before it."""
    if analyses_alone(config):
        return []
    designs = {"arms": _arms, "transfer_grid": _transfer_grid, "unlabelled_extent": _unlabelled_extent}
    return designs.get(config.study.kind, _strategies if config.study.kind in GRIDS else _comparison)(config)


def arms_of(config: ConfigDict) -> list[Arm]:
    """What is compared, in order: the name in per_scan.csv, one for a person, and what it means."""
    kind = config.study.kind
    if kind == "transfer_grid":
        return [arm for arm, _ in _transfer_arms(config)]
    if kind in GRIDS:
        return [_SCRATCH, *(arm for arm, _ in _strategy_arms(config))]
    if kind == "arms":
        return [{**_SCRATCH, "pretrained": False, "against": "", "settings": {}}, *map(_as_arm, arm_specs(config))]
    if kind == "unlabelled_extent":
        return [_SCRATCH, *(arm for arm, _ in _extent_arms(config))]
    return [_SCRATCH, {"arm": PRETRAINED, "label": "pretrained"}]


def about_study(config: ConfigDict) -> dict[str, Any]:
    """What study.json says of every study, whether it trains or ranks what others trained."""
    return {
        "format_version": 1,
        "study": config.study.name,
        "kind": config.study.kind,
        "select_on": evaluated_parts(config)[-1] if config.study.kind == "arms" else config.study.select_on,
        "measured_on": list(evaluated_parts(config)),
        "from": list(config.study["from"]),
        "scale": config.scale,
        "subset_draw": config.split.subset_draw,
        "alpha": config.statistics.alpha,
        "bootstrap": {"resamples": config.statistics.bootstrap_resamples, "seed": config.statistics.bootstrap_seed},
    }


def is_reported(config: ConfigDict, cell: Cell) -> bool:
    """False for the first of two training runs of an arm where the second is what is compared."""
    return cell.phase == "pretrain" or any(arm["arm"] == cell.arm for arm in arms_of(config))


_SCRATCH: Arm = {"arm": FROM_SCRATCH, "label": "from scratch"}


def _chain(
    config: ConfigDict,
    arm: str,
    seed: int,
    fraction: float,
    start: Cell | None,
    settings: Sequence[tuple[str, Any]] = (),
) -> list[Cell]:
    """The fine-tuning of one arm: one training run, or two where config.transfer.second_learning_rate is set.

    From scratch nothing is frozen, and a second run follows all the same, so that both arms train alike.
    """
    second, draw = config.transfer.second_learning_rate, config.split.subset_draw
    if not second:
        return [Cell("finetune", seed, arm, fraction, draw, tuple(settings), start)]
    first = Cell("finetune", seed, f"{arm}-first", fraction, draw, tuple(settings), start)
    again = (*settings, ("finetune.learning_rate", second), ("transfer.freeze", False))
    return [first, Cell("finetune", seed, arm, fraction, draw, again, first)]


def _scratch(config: ConfigDict, seed: int, fraction: float) -> list[Cell]:
    return _chain(config, FROM_SCRATCH, seed, fraction, None)


def _fractions(config: ConfigDict) -> list[float]:
    return sorted(config.split.label_fractions)


def _pretrainings(config: ConfigDict) -> list[Cell]:
    """One for each seed, none where weights come from elsewhere."""
    return [] if given_weights(config) else [Cell("pretrain", seed) for seed in config.seeds]


def _comparison(config: ConfigDict) -> list[Cell]:
    """One pretraining per seed; both arms of a pair follow each other."""
    cells = _pretrainings(config)
    for seed, fraction in itertools.product(config.seeds, _fractions(config)):
        cells += _scratch(config, seed, fraction)
        cells += _chain(config, PRETRAINED, seed, fraction, Cell("pretrain", seed))
    return cells


def arm_specs(config: ConfigDict) -> tuple[ArmSpec, ...]:
    """What config.arms says of each arm."""
    return read_arms(config.arms, flatten(config))


def _as_arm(spec: ArmSpec) -> Arm:
    about = {"arm": spec.name, "label": spec.name.replace("_", " "), "pretrained": spec.pretrained}
    return {**about, "against": spec.against, "settings": dict(spec.settings)}


def _runs(config: ConfigDict) -> list[tuple[float, int, int]]:
    """(label fraction, seed, draw of the label subset) of every run of an arm, in the order in which they are made."""
    one_from, draws = config.study.one_seed_from, config.split.draw_by_seed
    return [
        (fraction, seed, config.split.subset_draw + (number if draws else 0))
        for number, seed in enumerate(config.seeds)
        for fraction in _fractions(config)
        if number == 0 or not one_from or fraction < one_from
    ]


def _arms(config: ConfigDict) -> list[Cell]:
    """From scratch and every arm of config.arms; arms whose pretraining has equal settings share it.

    A pretraining is named by the first arm that it serves, and comes just before that arm's first run. Runs of all arms
    follow by seed and label fraction, so that what is compared is made together.
    """
    specs, cells, began = arm_specs(config), list[Cell](), dict[tuple[tuple[str, Any], ...], str]()
    seeds = config.seeds[:1] if config.study.one_pretraining else config.seeds
    for fraction, seed, draw in _runs(config):
        cells.append(Cell("finetune", seed, FROM_SCRATCH, fraction, draw))
        first = seeds[0] if config.study.one_pretraining else seed
        for spec in specs:
            own = spec.of_pretraining
            if spec.pretrained and own not in began:
                began[own] = spec.name
                cells += [Cell("pretrain", one, spec.name, settings=own) for one in seeds]
            start = Cell("pretrain", first, began[own], settings=own) if spec.pretrained else None
            cells.append(Cell("finetune", seed, spec.name, fraction, draw, spec.settings, start))
    return cells


def _rate(rate: float) -> str:
    return f"lr-{rate:g}"


def _transfer_arms(config: ConfigDict) -> list[tuple[Arm, tuple[float, ...]]]:
    """Section 6.2.1: A is F (at once) or FF (frozen first), B is E or B (parts), C is F or S (first or second run)."""
    arms = []
    rates = tuple(config.grid.learning_rates)
    for runs in (1, 2):
        for (freeze, a), (letter, parts) in itertools.product(((False, "F"), (True, "FF")), PARTS.items()):
            for chosen in itertools.product(rates, repeat=runs):
                design = a + letter + ("F" if runs == 1 else "S")
                name = "_".join([design, *map(_rate, chosen)])
                label = f"{design}, learning rate {' then '.join(f'{rate:g}' for rate in chosen)}"
                arm = {"arm": name, "label": label, "design": design, "parts": list(parts), "freeze": freeze}
                arms.append(({**arm, "learning_rates": list(chosen)}, chosen))
    return arms


def first_run(arm: Arm) -> str:
    """The arm of the model that an arm of the transfer grid trains a second time."""
    return "_".join([arm["design"][:-1] + "F", _rate(arm["learning_rates"][0])])


def _transfer_grid(config: ConfigDict) -> list[Cell]:
    """One pretraining per seed; every design and rate once, then each of these models again at every rate."""
    cells = _pretrainings(config)
    for seed, fraction in itertools.product(config.seeds, _fractions(config)):
        first: dict[str, Cell] = {}
        for arm, rates in _transfer_arms(config):
            settings = [("transfer.parts", tuple(arm["parts"])), ("finetune.learning_rate", rates[-1])]
            settings += [("transfer.freeze", arm["freeze"] and len(rates) == 1)]
            start = first[first_run(arm)] if len(rates) == 2 else Cell("pretrain", seed)
            draw = config.split.subset_draw
            cell = Cell("finetune", seed, arm["arm"], fraction, draw, tuple(settings), start)
            first.setdefault(arm["arm"], cell)
            cells.append(cell)
    return cells


def _strategy_arms(config: ConfigDict) -> list[tuple[Arm, tuple[tuple[str, Any], ...]]]:
    """Section 2.5.2: both tasks, every patch size, both samplings; sizes that become equal on small images once."""
    arms: dict[str, tuple[Arm, tuple[tuple[str, Any], ...]]] = {}
    grid = config.grid
    for task, size, sampling in itertools.product(grid.tasks, grid.patch_sizes, grid.samplings):
        pixels = pixels_of(size, config.data.image_size)
        name = f"{task}_k-{pixels}_{sampling}"
        label = f"{TASK_NAMES[task]}, {pixels} x {pixels}, {SAMPLING_NAMES[sampling]}"
        arm = {"arm": name, "label": label, "task": task, "sampling": sampling, "patch_size": pixels}
        settings = {"task": task, "patch_size": pixels, "sampling": sampling}
        own = tuple((f"corruption.{key}", value) for key, value in settings.items())
        arms.setdefault(name, ({**arm, "paper_patch_size": size}, own))
    return list(arms.values())


def _strategies(config: ConfigDict) -> list[Cell]:
    return _from_pretrainings(config, _strategy_arms(config), sorted({*_fractions(config), 1.0}))


def _extent_arms(config: ConfigDict) -> list[tuple[Arm, tuple[tuple[str, Any], ...]]]:
    arms: list[tuple[Arm, tuple[tuple[str, Any], ...]]] = []
    for extent in sorted(config.split.pretraining_extents):
        percent = f"{100 * extent:.10g}"
        arm = {"arm": f"extent-{percent.replace('.', 'p')}pct", "label": f"pretrained on {percent} %", "extent": extent}
        arms.append((arm, (("split.pretraining_extent", float(extent)),)))
    return arms


def _unlabelled_extent(config: ConfigDict) -> list[Cell]:
    return _from_pretrainings(config, _extent_arms(config), sorted({*_fractions(config), 1.0}))


def _from_pretrainings(
    config: ConfigDict, arms: Sequence[tuple[Arm, tuple[tuple[str, Any], ...]]], scratch_fractions: Sequence[float]
) -> list[Cell]:
    """A pretraining per arm and seed, each fine-tuned at every label fraction, and from scratch at `scratch_fractions`.

    These hold all labels too: they are the dotted line of figures 3 to 5, 8 and 9.
    """
    cells: list[Cell] = []
    for seed, fraction in itertools.product(config.seeds, scratch_fractions):
        cells += _scratch(config, seed, fraction)
    for (arm, settings), seed in itertools.product(arms, config.seeds):
        pretraining = Cell("pretrain", seed, arm["arm"], settings=settings)
        cells.append(pretraining)
        for fraction in _fractions(config):
            cells += _chain(config, arm["arm"], seed, fraction, pretraining)
    return cells
