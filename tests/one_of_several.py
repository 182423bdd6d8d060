"""One process of several, for test_machines.py: python tests/one_of_several.py <port> <processes> <process> <what>

It says "ready" when all have met, and then does what it is told.
"""

import os
import sys
import time

from inpaint_ssl.errors import InputError
from inpaint_ssl.machines import Machines, start


def _summed(machines: Machines) -> float:
    """A sum over the devices of all processes."""
    import jax
    import numpy as np

    from inpaint_ssl.parallel import Driver, make_mesh

    P = jax.sharding.PartitionSpec
    driver = Driver(lambda axis: lambda rows: rows.sum(), make_mesh(), "jit", (P("batch"),), P())
    rows = np.zeros(2 * machines.count)
    share = driver.local_rows(len(rows))
    rows[share] = machines.index + 1  # each process gives its own rows and knows no others
    return float(driver.get(driver(driver.put(rows, P("batch"))), P()))


def main(port: str, processes: str, process: str, what: str) -> int:
    try:
        machines = start(f"127.0.0.1:{port}", int(processes), int(process), timeout_s=30)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    total = _summed(machines)
    machines.barrier("begin")
    print("ready", flush=True)
    if what == "work":
        while True:  # one of them is about to be killed, in a sum over all or between two
            try:
                total = _summed(machines)
            except Exception:
                machines.settle()
                raise
    if what == "idle":
        time.sleep(60)
    if what == "wait":  # for the others, longer than any timeout of a few seconds
        time.sleep(3 if machines.is_writer() else 0)
        machines.barrier("late")
        agreed = machines.any("stop", machines.index == 1), machines.any("go on", False)
        print(f"{total} {agreed} {machines.is_writer()}")
    code = 0
    if what == "fail":  # all meet the same error
        code = 3
    if what == "fail alone":
        if machines.index == 1:
            raise ValueError("of process 1 alone")
        machines.barrier("never passed")
    machines.end(code)
    print("end", flush=True)
    return code


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.exit(main(*sys.argv[1:]))
