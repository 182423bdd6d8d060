"""The networks, losses and compiled programs of a study's two phases, and the slices they are fed with."""

import dataclasses
import functools
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from inpaint_ssl.batches import Feed, device_type, resident_feed, streamed_feed
from inpaint_ssl.corruption import CORRUPTORS, Corruptor, corrupt_from_bank, make_mask_bank
from inpaint_ssl.data import SliceSource
from inpaint_ssl.engine import WHOLE, EngineSettings, Programs
from inpaint_ssl.losses import dice_loss_of_sums
from inpaint_ssl.machines import Machines
from inpaint_ssl.memory import capacity_bytes, check_fits, limit_bytes
from inpaint_ssl.models import UNet
from inpaint_ssl.optim import OptimSettings, make_optimizer, make_schedule
from inpaint_ssl.rng import stream_key
from inpaint_ssl.steps import (
    NOT_SLOWED,
    LossFunction,
    Slowed,
    ValidationStep,
    inpainting_loss,
    make_inpainting_validation_step,
    make_segmentation_validation_step,
    make_train_step,
    segmentation_loss,
)
from inpaint_ssl.study.prepare import StudyData, patch_spec
from inpaint_ssl.types import TrainState

# Arrays of the first level's size that a step can hold at once, deeper levels included, and the share of the memory
# below which nothing is looked at more closely.
AT_MOST_MAPS, SURELY_FITS = 60, 0.25
LOSS_SETTINGS = ("dice_epsilon", "augmentation", "cross_entropy_weight")  # of fine-tuning
log = logging.getLogger(__name__)


def compute_dtype(name: str) -> Any:
    """config.model.dtype as a dtype; "auto" is bfloat16 on a GPU and float32 on a CPU."""
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(name)


def _bytes_of(source: SliceSource, dtype: Any) -> int:
    """Images and labels of all slices on the device."""
    height, width, channels = source.image_shape
    return len(source) * height * width * (channels * device_type(source, dtype).itemsize + 1)


def make_corruptor(config: ConfigDict) -> Corruptor:
    """Fresh patches for every image and step, anywhere or within the scan, or the masks of a bank for all seeds."""
    settings, patches = config.corruption, patch_spec(config)
    if settings.masks == "fresh":
        corrupt, in_scan = CORRUPTORS[settings.task], settings.region == "scan"
        return lambda key, image, box: corrupt(key, image, patches, box if in_scan else None)
    key = stream_key(settings.bank_seed, "mask_bank")
    bank = make_mask_bank(key, config.data.image_size, patches, settings.task, settings.bank_size)
    pair_anew = settings.bank_pairs == "anew"
    return lambda key, image, box: corrupt_from_bank(key, image, bank, pair_anew=pair_anew)


class Phase(NamedTuple):
    """What trains a run: programs, shared by all runs that compute alike, and its own optimiser and schedule."""

    programs: Programs
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule


class Phases:
    """Builds and keeps them. The training slices of both phases are one set: `feed`, placed once as `placed`."""

    def __init__(self, config: ConfigDict, data: StudyData, machines: Machines) -> None:
        self.config = config
        engine = config.engine
        self.settings = EngineSettings.resolved(engine.seeds, engine.driver, engine.devices, engine.steps_per_call)
        model = {
            "filters": config.model.filters,
            "groups": config.model.groups,
            "dtype": compute_dtype(config.model.dtype),
            "conv_gradients": config.model.conv_gradients,
        }
        self.inpainter = UNet(out_channels=len(data.channel_names), head="inpainting", **model)
        self.segmenter = UNet(out_channels=len(data.classes.names), head="segmentation", **model)
        self._membership = jnp.asarray(data.classes.membership())
        self.feed, self.validation_feed = self._feeds(data, machines)
        self._placed: tuple[Any, Any] | None = None
        self._corruptors: dict[Any, Corruptor] = {}
        self._programs: dict[Any, Programs] = {}
        self._image_shape = (*config.data.image_size, len(data.channel_names))
        self.init = functools.cache(self._initialiser)

    def _feeds(self, data: StudyData, machines: Machines) -> tuple[Feed, Feed]:
        """Both resident or both streamed, by the size of the memory, so that a resumed run does as before."""
        settings, sources = self.config.data, (data.learning, data.validation)
        dtype = jnp.dtype(settings.device_dtype)
        size = sum(_bytes_of(source, dtype) for source in sources)
        allowed = int(settings.device_memory_fraction * capacity_bytes())
        fits = not machines.any("streamed", size > allowed)
        log.info(
            "training and validation slices are %.2f GB, %.2f GB of a device are allowed for them: %s",
            size / 1e9,
            allowed / 1e9,
            "they stay on the device" if fits else "they are streamed",
        )

        def feed(source: SliceSource) -> Feed:
            if fits:
                return resident_feed(source, dtype)
            return streamed_feed(source, dtype, settings.stream_threads, settings.stream_prefetch)

        return feed(sources[0]), feed(sources[1])

    def corruptor(self, own: ConfigDict) -> Corruptor:
        """The corruption of a run with the settings `own`; made once for all that corrupt alike."""
        key = tuple(own.corruption.items())
        if key not in self._corruptors:
            self._corruptors[key] = make_corruptor(own)
        return self._corruptors[key]

    def get(
        self,
        own: ConfigDict,
        phase: str,
        seeds: int,
        steps_per_epoch: int,
        frozen: Sequence[str] = (),
        slowed: Slowed = NOT_SLOWED,
    ) -> Phase:
        """The phase of a run with the settings `own`; runs that differ in their learning rate share the programs.

        steps_per_epoch: 0 where the schedule does not depend on it.
        """
        section = own[phase]
        settings = OptimSettings(**{name: section[name] for name in OptimSettings.__dataclass_fields__})
        optimizer = make_optimizer(settings, steps_per_epoch)
        corrupted = tuple(own.corruption.items()) if phase == "pretrain" else ()
        schedule = dataclasses.replace(settings, learning_rate=0.0)  # the rate itself is in the state
        loss_settings = tuple(section[name] for name in LOSS_SETTINGS if name in section)
        key = (phase, seeds, steps_per_epoch, tuple(frozen), slowed, corrupted, schedule, loss_settings)
        if key not in self._programs:
            loss, validation = self._loss(own, phase)
            self._programs[key] = Programs(
                self.settings,
                seeds,
                lambda axis_name: make_train_step(loss, optimizer, frozen=frozen, slowed=slowed, axis_name=axis_name),
                self.feed.fetch,
                validation,
                self.validation_feed.fetch,
            )
        return Phase(self._programs[key], optimizer, make_schedule(settings, steps_per_epoch))

    def _loss(self, own: ConfigDict, phase: str) -> tuple[LossFunction, ValidationStep]:
        if phase == "pretrain":
            corrupt = self.corruptor(own)
            return inpainting_loss(self.inpainter, corrupt), make_inpainting_validation_step(self.inpainter, corrupt)
        loss = segmentation_loss(
            self.segmenter,
            self._membership,
            own.finetune.dice_epsilon,
            cross_entropy_weight=own.finetune.cross_entropy_weight,
            augmentation=own.finetune.augmentation,
        )
        return loss, make_segmentation_validation_step(self.segmenter, self._membership)

    def check_memory(self, phase: str, seeds: int) -> None:
        """InputError, with the largest batch that would fit, when a training step needs more memory than there is.

        Nothing is allocated. Steps that are small beyond doubt are not compiled for it.
        """
        section, limit = self.config[phase], limit_bytes()
        height, width, channels = self._image_shape
        pixels = section.batch_size * height * width * (channels + AT_MOST_MAPS * self.config.model.filters[0])
        if 4 * pixels * seeds < SURELY_FITS * limit:
            return
        programs, optimizer, _ = self.get(self.config, phase, seeds, int(section.schedule == "epoch_decay"))
        params = jax.eval_shape(self.init(phase), stream_key(0, "shapes"))
        state = TrainState(params, jax.eval_shape(optimizer.init, params), jax.ShapeDtypeStruct((), jnp.int32))
        item = self.feed.assemble(np.arange(1), 1, slice(None))
        held = sum(leaf.nbytes for leaf in jax.tree.leaves(self.validation_feed.data))
        check_fits(
            lambda size: held + programs.predicted_bytes(size, state, self.feed.data, item),
            section.batch_size,
            limit,
            f"config.{phase}.batch_size",
        )

    def placed(self, programs: Programs) -> tuple[Any, Any]:
        """Training and validation slices on the devices; () where they are streamed. Placed once for all phases."""
        if self._placed is None:
            put = programs.train.put
            self._placed = put(self.feed.data, WHOLE), put(self.validation_feed.data, WHOLE)
        return self._placed

    def validation_loss(self, phase: str, sums: Any) -> float:
        """Equation 1 or 2 from the sums over the whole validation set."""
        if phase == "pretrain":
            return float(sums["total"] / sums["count"])
        return float(dice_loss_of_sums(sums["intersection"], sums["total"], self.config.finetune.dice_epsilon))

    def _initialiser(self, phase: str) -> Any:
        """seed key -> fresh parameters. They depend on phase and seed alone, so both arms share decoder and head."""
        model = self.inpainter if phase == "pretrain" else self.segmenter
        images = jnp.zeros((1, *self._image_shape))
        return jax.jit(lambda key: model.init(key, images)["params"])
