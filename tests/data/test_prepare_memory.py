"""Preparing takes no more memory for more scans: measured on generated sets of 200 and 2,000."""

from pathlib import Path

import pytest

from experiments.benchmarks import prepare


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_memory_does_not_grow_with_the_number_of_scans(tmp_path: Path, keep_summary) -> None:
    sets = {}
    for count in (200, 2000):
        root = tmp_path / str(count)
        prepare.write_set(root, count, (48, 62, 60))
        sets[count] = prepare.compare(root, count, rival=False)
    keep_summary("prepare_2000", {"shape": [48, 62, 60], "sets": list(sets.values())})
    assert sets[2000]["peak_bytes"] < 1.1 * sets[200]["peak_bytes"]
    assert sets[2000]["peak_bytes"] < 2e9
