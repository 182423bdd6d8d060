"""Several processes as one run, on one machine or many, by jax.distributed.

Every process opens one connection to process 0 and keeps it. Over it they find each other, wait for each other, agree
when to stop, and learn at once, by its closing, that a process has ended: then all end, since none can train without
the others. jax's own heartbeats (100 s) remain behind that for a network that fails silently.
"""

from inpaint_ssl.machines.run import LOST, Machines, start

__all__ = ["LOST", "Machines", "start"]
