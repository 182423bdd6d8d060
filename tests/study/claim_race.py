"""Many processes that want the claims of dead holders at the same moment: python claim_race.py <folder> <rounds>

Prints the number of winners of each round. The processes are forks of this one, which has no threads yet.
"""

import json
import multiprocessing
import os
import sys
from pathlib import Path

from inpaint_ssl.study.claims import Claims

PROCESSES = 8


def contend(folder, rounds, barrier, winners):
    claims = Claims(folder)
    for number in range(rounds):
        barrier.wait()
        claim = claims.take(f"group-{number}")
        if claim is not None:
            with winners.get_lock():
                winners[number] += 1
        barrier.wait()  # a winner that ended before the others have tried would be dead in turn


def main(folder, rounds):
    context = multiprocessing.get_context("fork")
    for number in range(rounds):  # left by a process that has ended without a word
        pid = os.fork()
        if pid == 0:
            Claims(folder).take(f"group-{number}")
            os._exit(0)
        os.waitpid(pid, 0)
    barrier, winners = context.Barrier(PROCESSES), context.Array("i", rounds)
    processes = [context.Process(target=contend, args=(folder, rounds, barrier, winners)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(json.dumps(list(winners)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
