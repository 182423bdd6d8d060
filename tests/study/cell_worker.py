"""A worker on made-up groups, in place of experiments.main: claims them, sleeps, and notes in events.txt what it does.

Flags: --workdir=<folder> --groups=<number> --seconds=<of each group> --code=<exit code at the end>; others are ignored.
"""

import os
import sys
import time
from pathlib import Path

from inpaint_ssl.signals import EXIT_STOPPED, graceful_stop
from inpaint_ssl.study import launch
from inpaint_ssl.study.claims import Claims


def note(workdir, *words):
    handle = os.open(workdir / "events.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(handle, (" ".join(map(str, words)) + "\n").encode())
    os.close(handle)


def work(claims, workdir, group, seconds, request):
    claim = claims.take(group)
    if claim is None:
        return
    with claim:
        if (workdir / group).exists():
            return
        note(workdir, "begin", group, os.getpid())
        print(f"{group} on {os.environ.get('CUDA_VISIBLE_DEVICES', 'no GPU')}")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not request.requested:
            time.sleep(0.01)
        note(workdir, "stop" if request.requested else "end", group, os.getpid())
        if not request.requested:
            (workdir / group).touch()


def main(flags):
    workdir, groups = Path(flags["workdir"]), [f"group-{n}" for n in range(int(flags["groups"]))]
    claims = Claims(workdir)
    with graceful_stop(print) as request:
        print(f"{'worker' if launch.is_worker() else 'process'}: {' '.join(sys.argv[1:])}")
        while any(not (workdir / group).exists() for group in groups):
            for group in groups:
                if request.requested:
                    print(f"stopped by {request.requested}")
                    return EXIT_STOPPED
                if not (workdir / group).exists():
                    work(claims, workdir, group, float(flags["seconds"]), request)
            time.sleep(0.01)
    code = int(flags.get("code", 0))
    if code:
        print("error: as it was told", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:])))
