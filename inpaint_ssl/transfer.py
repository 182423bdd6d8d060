"""Grafting: the named parts of pretrained parameters put into fresh ones, strictly (paper, design choice #1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from rich.table import Table

from inpaint_ssl.errors import InputError
from inpaint_ssl.types import AnyArray, Params

INPUT_KERNEL = ("encoder", "level_0", "conv_0", "kernel")
ADAPTATIONS = ("refuse", "mean", "repeat")


@dataclass(frozen=True)
class GraftRow:
    """What happened to one tensor: status is "loaded", "adapted" or "fresh"; a shape is () where there is none."""

    name: str
    status: str
    pretrained_shape: tuple[int, ...]
    finetuned_shape: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class GraftReport:
    """One row per tensor of the fine-tuned network."""

    rows: tuple[GraftRow, ...]

    def count(self, status: str) -> int:
        """Number of tensors with this status."""
        return sum(row.status == status for row in self.rows)

    def table(self) -> Table:
        """The report as a table for the terminal."""
        table = Table(title="Transferred parameters", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("tensor", "status", "pretrained", "fine-tuned", "reason"):
            table.add_column(heading, no_wrap=heading != "reason")
        for row in self.rows:
            shapes = ["x".join(map(str, shape)) or "-" for shape in (row.pretrained_shape, row.finetuned_shape)]
            table.add_row(row.name, row.status, *shapes, row.reason)
        return table


def adapted_input(kernel: jax.Array, channels: int, how: str) -> tuple[jax.Array, str]:
    """The first kernel (height, width, old channels, filters) for another number of input channels, and what was done.

    An image whose channels are all equal gives the same response as before. "mean": every channel gets the mean over
    the old ones, times old / new. "repeat": channel j gets that of old channel j mod old, divided by the number of
    channels which get the same one. InputError for "repeat" to fewer channels, which would leave some out.
    """
    old = kernel.shape[2]
    if how == "mean":
        mean = jnp.mean(kernel, axis=2, keepdims=True)
        reason = f"mean over {old} input channels" if old > 1 else "the one input channel"
        return jnp.repeat(mean, channels, axis=2) * (old / channels), f"{reason}, times {old}/{channels}"
    if channels < old:
        raise InputError(
            f'transfer.adapt_input is "repeat", which cannot make {channels} input channels of {old}; use "mean", '
            "which takes all of them"
        )
    whole, rest = divmod(channels, old)
    index = jnp.arange(channels) % old
    copies = whole + (index < rest)
    share = "each divided by its number of copies" if rest else f"times 1/{whole}"
    repeated = jnp.take(kernel, index, axis=2) / copies[:, None].astype(kernel.dtype)
    return repeated, f"repeated from {old} to {channels} input channels, {share}"


def graft(
    pretrained_params: Params,
    fresh_params: Params,
    parts: Sequence[str] = ("encoder",),
    adapt_input: str = "refuse",
) -> tuple[Params, GraftReport]:
    """`fresh_params` with the subtrees named in `parts` taken from `pretrained_params`, and a row per tensor.

    Every tensor of a transferred part must exist on both sides with one shape and dtype; otherwise InputError lists
    what differs. adapt_input="mean" and "repeat" let the first convolution differ in input channels (adapted_input);
    "refuse" does not. Nothing loaded is an error. The other parts, and so the output unless `parts` names
    "post_processing", stay bit-equal to `fresh_params`.
    """
    if adapt_input not in ADAPTATIONS:
        raise InputError(f"adapt_input is {adapt_input!r}; expected one of {', '.join(map(repr, ADAPTATIONS))}")
    for side, params in (("pretrained", pretrained_params), ("fresh", fresh_params)):
        absent = [part for part in parts if part not in params]
        if not isinstance(params, Mapping) or absent or not parts:
            raise InputError(
                f"parts to transfer are {tuple(parts)}; the {side} parameters have {tuple(params)}: name some of these"
            )
    pretrained, fresh = flatten_dict(dict(pretrained_params)), flatten_dict(dict(fresh_params))
    problems = [
        f"{'/'.join(path)} is only in the pretrained parameters"
        for path in pretrained
        if path[0] in parts and path not in fresh
    ]
    grafted, rows = {}, []
    for path, value in fresh.items():
        row, tensor, problem = _graft_one(path, pretrained.get(path), value, parts, adapt_input)
        rows.append(row)
        grafted[path] = tensor
        problems.extend([problem] if problem else [])
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise InputError(
            f"pretrained weights do not fit the network: {shown}. Use the same model.filters and input channels"
        )
    report = GraftReport(tuple(rows))
    if not report.count("loaded") + report.count("adapted"):
        raise InputError(
            f"nothing was loaded: the parts to transfer, {tuple(parts)}, hold no tensor; name parts of the network"
        )
    return unflatten_dict(grafted), report


def _graft_one(
    path: tuple[str, ...], old: AnyArray | None, new: AnyArray, parts: Sequence[str], adapt_input: str
) -> tuple[GraftRow, AnyArray, str]:
    name = "/".join(path)
    old_shape = () if old is None else tuple(old.shape)

    def row(status: str, reason: str) -> GraftRow:
        return GraftRow(name, status, old_shape, tuple(new.shape), reason)

    if path[0] not in parts:
        return row("fresh", "not in transfer.parts"), new, ""
    if old is None:
        return row("fresh", "missing"), new, f"{name} is missing in the pretrained parameters"
    if old.dtype != new.dtype:
        return row("fresh", "dtype"), new, f"{name} is {old.dtype}, expected {new.dtype}"
    if old_shape == tuple(new.shape):
        # A copy, so that a step that donates its state cannot delete the pretrained weights.
        return row("loaded", "same shape"), jnp.array(old, copy=True), ""
    problem = f"{name} has shape {old_shape}, expected {tuple(new.shape)}"
    if path != INPUT_KERNEL or old_shape[:2] + old_shape[3:] != tuple(new.shape[:2] + new.shape[3:]):
        return row("fresh", "shape"), new, problem
    if adapt_input == "refuse":
        remedies = '"mean" or "repeat"' if new.shape[2] > old_shape[2] else '"mean"'
        return row("fresh", "shape"), new, f"{problem} (set transfer.adapt_input to {remedies})"
    kernel, reason = adapted_input(jnp.asarray(old), new.shape[2], adapt_input)
    return row("adapted", reason), kernel, ""
