"""Series of a folder tree as scans to read: ids, labels, notes, and what is wrong with single ones."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from inpaint_ssl.data.labels import LabelRules, declared_values, parse_label_map, parse_labels
from inpaint_ssl.data.readers.dicom.files import Found, Series, find_series
from inpaint_ssl.data.readers.dicom.geometry import Localizer, Place, Volume, arrange
from inpaint_ssl.data.readers.dicom.ids import IdHasher, ShownPaths, load_salt
from inpaint_ssl.data.readers.dicom.labels import match_labels, undeclared_error
from inpaint_ssl.data.readers.dicom.notes import notes_of
from inpaint_ssl.data.readers.dicom.series import MODALITY_OF_SETTING, Frame
from inpaint_ssl.data.readers.dicom.values import common_dtype
from inpaint_ssl.data.readers.settings import ReaderSettings
from inpaint_ssl.data.scan import ScanEntry
from inpaint_ssl.errors import InputError, Problems

_NO_UID = "; without a SeriesInstanceUID the files of one folder are one series: give each scan a folder of its own"
_AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Plan:
    """How one scan is read. files: path -> (frame, slice, channel) of each frame used; shape and affine of the grid
    (columns, rows, slices); shown: what the series is called in messages.
    """

    entry: ScanEntry
    modality: str
    files: Mapping[str, tuple[tuple[int, int, int], ...]]
    shape: tuple[int, int, int]
    affine: np.ndarray
    dtype: np.dtype
    acquisition: Mapping[str, float | str]
    shown: str


@dataclass(frozen=True)
class Listing:
    """plans: by scan id. shown: path -> what may be written of it; others are shown by `paths`. ids: "plain", or the
    fingerprint of the salt. The rest as in `ScanReader`.
    """

    name: str
    channel_names: tuple[str, ...]
    labels: Mapping[str, int | tuple[int, ...]]
    rules: LabelRules
    plans: Mapping[str, Plan]
    notes: tuple[str, ...]
    shown: Mapping[str, str]
    paths: ShownPaths
    ids: str


def hinted(error: InputError) -> InputError:
    """The error with a word on how to see the names behind hashes, where it has some."""
    hint = " (data.hash_ids=False shows the names)" if "hash-" in str(error) else ""
    return InputError(f"{error}{hint}", error.kind)


def list_dicom(root: Path, settings: ReaderSettings, problems: Problems, use_labels: bool) -> Listing:
    """Sort a folder tree into scans. Raises InputError when there are none, and for single scans through `problems`."""
    hasher = IdHasher(load_salt(settings.id_salt_file)) if settings.hash_ids else None
    found = find_series(root, MODALITY_OF_SETTING[settings.modality])
    return _Lister(root, settings, problems, found, hasher).listing(use_labels)


class _Lister:
    """The steps of `list_dicom`, with what they share."""

    def __init__(self, root: Path, settings: ReaderSettings, problems: Problems, found: Found, hasher: IdHasher | None):
        self._root, self._settings, self._problems, self._found, self._hasher = root, settings, problems, found, hasher
        self._paths = ShownPaths(root, hasher)
        self._every_term = frozenset[str]().union(*found.terms.values())
        self._notes: list[str] = []
        self._shown: dict[str, str] = {}

    def listing(self, use_labels: bool) -> Listing:
        found, settings = self._found, self._settings
        for path, reason in found.damaged:
            self._report(f"{self._shown_damaged(path)} {reason}", "unreadable")
        volumes, broken = self._volumes()
        channels = self._of_equal_channels(volumes)
        labels = parse_labels(settings.labels)
        label_of = self._label_files(volumes, broken) if use_labels else {}
        rules = LabelRules(declared_values(labels), -1, parse_label_map(settings.label_map), "data.labels")
        plans = self._plans(volumes, label_of)
        notes = notes_of(found, [series for series, _ in volumes.values()], self._shown_alone)
        if not plans and not self._problems.found:
            why = f": {'; '.join(notes + self._notes)}" if notes or self._notes else ""
            raise InputError(
                f"no DICOM series of data.modality={settings.modality!r} below data.root={self._root}{why}; give "
                "another folder or modality",
                "listing",
            )
        return Listing(
            self._paths.component(self._root.resolve().name, self._every_term),
            channels,
            labels,
            rules,
            plans,
            tuple(notes + self._notes),
            self._shown,
            self._paths,
            "plain" if self._hasher is None else self._hasher.fingerprint(),
        )

    def _report(self, what: str, kind: str) -> None:
        self._problems.add(hinted(InputError(what, kind)))

    def _shown_alone(self, path: str) -> str:
        """A path that is no part of a scan: whatever identifies any patient is left out."""
        return self._paths.shown(path, self._every_term)

    def _shown_damaged(self, path: str) -> str:
        """A DICOM file that cannot be read: where others in its folder do not say whose it is, all is left out."""
        return self._paths.shown(path, self._every_term if str(Path(path).parent) in self._found.terms else None)

    def _place(self, series: Series) -> Place:
        terms = series.about.terms
        folder = self._paths.shown(series.paths[0] if len(series.paths) == 1 else series.folder, terms)

        def name(frame: Frame) -> str:
            file = self._paths.shown(frame.path, terms)
            return f"frame {frame.index + 1} of {file}" if len(series.paths) < len(series.frames) else file

        number = f"series {series.about.number} in " if series.about.number else "series in "
        hint = "" if series.has_uid else _NO_UID
        return Place(f"{number}{folder}", name, series.about.tilt_deg, hint)

    def _volumes(self) -> tuple[dict[tuple[str, ...], tuple[Series, Volume]], list[Series]]:
        """Series that make up volumes, by key, and those that do not; localizers are skipped."""
        volumes, broken = {}, []
        for key, series in sorted(self._found.series.items()):
            about, place = series.about, self._place(series)
            frames = series.frames
            if len(frames) == 1 and (frames[0].position is None or frames[0].orientation is None):
                frames = [replace(frames[0], position=(0.0, 0.0, 0.0), orientation=_AXIAL)]
                self._notes.append(f"{place.series} does not say where it lies; taken for an axial slice")
            tolerance = self._settings.geometry_tolerance_mm
            try:
                volume = arrange(frames, place, about.modality, tolerance, about.thickness_mm)
            except Localizer:
                self._notes.append(f"skipped {place.series} ({len(frames)} images): localizer in three planes")
                continue
            except InputError as error:
                self._problems.add(hinted(error))
                broken.append(series)
                continue
            volumes[key] = (series, volume)
            self._shown.update((path, self._paths.shown(path, about.terms)) for path in series.paths)
        return volumes, broken

    def _of_equal_channels(self, volumes: dict[tuple[str, ...], tuple[Series, Volume]]) -> tuple[str, ...]:
        """The channels that most scans have, or those of the number that a model takes; other scans are reported and
        left out.
        """
        wanted = self._settings.scan_channels
        counts = Counter(
            volume.channel_names
            for _, volume in volumes.values()
            if not wanted or len(volume.channel_names) == len(wanted)
        )
        usual = max(counts, key=lambda names: (counts[names], -len(names)), default=())
        for key, (series, volume) in list(volumes.items()):
            names = volume.channel_names
            if names != usual:
                del volumes[key]
                what = f"the channels {', '.join(names)}, but most scans of the data set have {', '.join(usual)}"
                if wanted:
                    plural = "s" * (len(names) > 1)
                    what = f"{len(names)} channel{plural} ({', '.join(names)}), the model was trained on "
                    what += f"{len(wanted)} ({', '.join(wanted)})"
                remedy = "leave it out" if wanted else "move it to a data set of its own"
                self._report(f"{self._place(series).series} has {what}; {remedy}", "geometry")
        return usual

    def _label_files(
        self, volumes: dict[tuple[str, ...], tuple[Series, Volume]], broken: Sequence[Series]
    ) -> dict[tuple[str, ...], str]:
        """The label file of each series that has one; where it cannot be told the series is left out."""
        everything = [series for series, _ in volumes.values()] + list(broken)
        # Beside the root lies what may concern others, so there labels are looked for only when some are declared.
        beside_root = bool(self._settings.labels)
        matched = match_labels(self._root, everything, self._found.nifti, self._found.terms, beside_root)
        for series in everything:
            paths = [*matched.ambiguous.get(series.key, ()), matched.of_series.get(series.key, "")]
            self._shown.update((path, self._paths.shown(path, series.about.terms)) for path in paths if path)
        for key, paths in matched.ambiguous.items():
            if volumes.pop(key, None) is not None:
                self._report(
                    f"label files and series cannot be told apart: {' and '.join(self._shown[p] for p in paths)}; keep "
                    "one label file for each series and each series in a folder of its own",
                    "labels",
                )
        for path in matched.unused:
            self._report(f"no series belongs to the label {self._shown_alone(path)}; rename or remove it", "labels")
        if matched.others:
            shown = ", ".join(map(self._shown_alone, matched.others[:3]))
            self._notes.append(f"{len(matched.others)} NIfTI files are no label of a series by their name: {shown}")
        used = {key: path for key, path in matched.of_series.items() if key in volumes}
        if used and not self._settings.labels:
            path = next(iter(used.values()))
            self._problems.add(hinted(undeclared_error(path, self._shown[path])))
            return {}
        return used

    def _plans(
        self, volumes: Mapping[tuple[str, ...], tuple[Series, Volume]], label_of: Mapping[tuple[str, ...], str]
    ) -> dict[str, Plan]:
        per_folder = Counter(series.folder for series, _ in volumes.values())
        plans: dict[str, Plan] = {}
        for key, (series, volume) in volumes.items():
            is_alone = per_folder[series.folder] == 1 or len(series.paths) > 1
            subject = self._subject_id(series, series.folder if is_alone else series.paths[0])
            scan_id = self._scan_id(series, subject)
            number = 2
            while scan_id in plans:
                scan_id = f"{self._scan_id(series, subject)}-{number}"
                number += 1
            plans[scan_id] = self._plan(series, volume, scan_id, subject, label_of.get(key, ""))
        return dict(sorted(plans.items()))

    def _plan(self, series: Series, volume: Volume, scan_id: str, subject: str, label: str) -> Plan:
        files: dict[str, list[tuple[int, int, int]]] = {}
        for channel, frames in enumerate(volume.channels):
            for position, frame in enumerate(frames):
                files.setdefault(frame.path, []).append((frame.index, position, channel))
        used = [frame for channel in volume.channels for frame in channel]
        dtype = common_dtype({frame.value_range for frame in used}, all(frame.has_whole_values for frame in used))
        acquisition = dict(series.about.acquisition)
        if volume.channels[0][0].echo_time_ms is not None:
            acquisition["te_ms"] = volume.channels[0][0].echo_time_ms
        return Plan(
            ScanEntry(scan_id, subject, bool(label), tuple(files), label),
            series.about.modality,
            {path: tuple(places) for path, places in files.items()},
            volume.shape,
            volume.affine,
            dtype,
            acquisition,
            self._place(series).series,
        )

    def _subject_id(self, series: Series, place: str) -> str:
        """Of the patient; where none is given, of the study, else of the folder or file."""
        about = series.about
        relative = Path(place).relative_to(self._root).as_posix()
        known = ("patient", *about.patient) if about.patient else ("study", about.study_uid or relative)
        if self._hasher is not None:
            return f"subject-{self._hasher.of(*known)}"
        return _file_name(about.patient[0] if about.patient else about.study_uid or relative) or "root"

    def _scan_id(self, series: Series, subject: str) -> str:
        if self._hasher is not None:
            return f"scan-{self._hasher.of(*series.key)}"
        return "_".join(
            part for part in map(_file_name, (subject, series.about.number, series.about.description)) if part
        )


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text).strip("._")
