"""What the commands share: flags and the flag --config read from a command line, and how errors are shown."""

import ast
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from inpaint_ssl.config import load
from inpaint_ssl.errors import InputError


def read_flags(
    argv: Sequence[str],
    define: Callable[[flags.FlagValues], None],
    usage: str,
    saved: Callable[[flags.FlagValues], Path | None] = lambda values: None,
) -> flags.FlagValues:
    """The flags that `define` adds, --debug, and the settings as `.config`, which are not yet checked.

    usage: what is expected, for the message when --config is missing. saved: the config.json of a study whose settings
    are used without --config, or None. Raises InputError when the command line cannot be read.
    """
    argv = _with_scale(_with_from(argv))
    values = flags.FlagValues()
    define(values)
    flags.DEFINE_boolean("debug", False, "show the traceback of errors", flag_values=values)
    try:
        values(list(argv), known_only=True)
        _define_config(argv, saved(values), usage, values)
        rest = values(list(argv))
        values.config.keys()  # a config file that could not be loaded says so only when it is used
    except InputError:
        raise
    except (AttributeError, KeyError, IndexError) as error:
        hint = " ".join(str(error).replace("\\n", " ").replace("\\", "").strip("'\"").split())
        raise InputError(f"no such setting: {hint}; configs/base.py holds every key") from error
    except Exception as error:  # a config file is Python and can raise anything
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{text}; configs/base.py holds every setting and its type") from error
    if len(rest) > 1:
        raise InputError(f"got the word {rest[1]!r}, expected flags such as --config=configs/quickstart.py")
    return values


def read_plain_flags(
    argv: Sequence[str], define: Callable[[flags.FlagValues], None], usage: str, required: Sequence[str]
) -> flags.FlagValues:
    """The flags that `define` adds, and --debug, of a command without settings.

    required: flags that must not be empty. Raises InputError, which says `usage`, when the command line cannot be read.
    """
    values = flags.FlagValues()
    define(values)
    flags.DEFINE_boolean("debug", False, "show the traceback of errors", flag_values=values)
    try:
        rest = values(list(argv))
    except flags.Error as error:
        raise InputError(f"{' '.join(str(error).split())}; expected {usage}") from None
    if len(rest) > 1:
        raise InputError(f"got the word {rest[1]!r}, expected {usage}")
    for name in required:
        if not values[name].value:
            raise InputError(f"no --{name} given, expected {usage}")
    return values


def _joined(argv: Sequence[str], name: str) -> list[tuple[int, int, str]]:
    """(position, number of words, value) of every --name=value or --name value."""
    found = []
    for place, word in enumerate(argv):
        flag, is_joined, value = word.partition("=")
        if flag.lstrip("-") == name and flag.startswith("-"):
            found.append((place, 1, value) if is_joined else (place, 2, "".join(argv[place + 1 : place + 2])))
    return found


def _with_from(argv: Sequence[str]) -> list[str]:
    """--config.study.from=a,b as ml-collections reads it: `from` is a word of Python, texts of a tuple are quoted."""
    words = list(argv)
    for place, count, value in reversed(_joined(argv, "config.study.from")):
        folders = value if value.startswith(("(", "[")) else repr(tuple(part for part in value.split(",") if part))
        words[place : place + count] = [f'--config.study["from"]={folders}']
    return words


def _with_scale(argv: Sequence[str]) -> list[str]:
    """--config.scale=tiny also as the argument of the config file, which builds its settings for that scale.

    InputError for a file that has no scales.
    """
    scales, files, words = _joined(argv, "config.scale"), _joined(argv, "config"), list(argv)
    if not scales or not files:
        return words
    place, count, value = files[-1]
    path, _, spec = value.partition(":")
    if Path(path).is_file() and not _takes_argument(Path(path)):
        raise InputError(
            f"--config.scale: {path} has one size only; configs/transfer_grid.py, pretraining_grid.py, "
            "optimal_strategy.py, unlabelled_extent.py and clinical.py have tiny, reduced and full"
        )
    words[place : place + count] = [f"--config={path}:{','.join(part for part in (spec, scales[-1][2]) if part)}"]
    return words


def _takes_argument(path: Path) -> bool:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):
        return True  # loading it will say what is wrong
    made = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "get_config"]
    return not made or bool(made[0].args.args)


def _define_config(argv: Sequence[str], saved: Path | None, usage: str, values: flags.FlagValues) -> None:
    """The flag --config: a file of configs/, or without it the settings of the study that was started before."""
    if any(word.lstrip("-").partition("=")[0] == "config" for word in argv[1:]):
        config_flags.DEFINE_config_file(
            "config", None, "configs/<file>.py", lock_config=True, flag_values=values, sys_argv=list(argv)
        )
        return
    if saved is None or not saved.exists():
        raise InputError(f"no --config given, expected {usage}")
    config = load(saved)
    if "stage" in config:
        config.stage = "all"  # a study goes on with what is missing, whichever stage was run last
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=list(argv))


def wants_help(argv: Sequence[str]) -> bool:
    """Whether one of the words asks for help."""
    return any(word in ("-h", "--help", "-help", "--helpfull") for word in argv)


def wants_traceback(argv: Sequence[str]) -> bool:
    """Whether --debug is given, known before the command line was read."""
    return any(word.lstrip("-") in ("debug", "debug=true", "debug=True") for word in argv)


def error_console() -> Console:
    """Where errors go: plain lines, whatever characters they hold."""
    return Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def answered(argv: Sequence[str], about: str | None, work: Callable[[], int], interrupted: str) -> int:
    """The exit code of a command that works in one go: that of `work`, 2 when something given cannot be used, 130.

    about: what --help prints, None where `work` answers it; interrupted: what is said after Ctrl-C. --debug adds the
    traceback.
    """
    if about is not None and wants_help(argv):
        print(about)
        return 0
    try:
        return work()
    except (InputError, OSError) as error:
        message, code, trace = f"error: {error}", 2, traceback.format_exc()
    except KeyboardInterrupt:
        message, code, trace = interrupted, 130, traceback.format_exc()
    error_console().print(f"{trace}{message}" if wants_traceback(argv) else message)
    return code
