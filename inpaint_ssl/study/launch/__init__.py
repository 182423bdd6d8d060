"""Several workers on one study: processes side by side on this machine, or jobs of a SLURM cluster.

A worker is the same command as the launcher's, with config.launcher=local and config.workers=1, in the same folder.
Which worker does what is settled by study.claims alone, so that launchers need not know of each other.
"""

from inpaint_ssl.study.launch.start import is_worker, run, side_by_side, wanted

__all__ = ["is_worker", "run", "side_by_side", "wanted"]
