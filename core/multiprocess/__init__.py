"""The metrics of several processes, and of jobs that end, as one: for sites that set PROMETHEUS_MULTIPROC_DIR.

`prometheus_client` lets processes keep their metrics in files of one directory. What is added here makes the sums
right: each process has a name of its own that says its role (`identity`), a lock tells who is alive (`directory`), the
files of those who ended are merged (`ended`), and a scrape shows each role by itself (`collector`).
"""

from core.multiprocess.collector import Collector
from core.multiprocess.identity import VARIABLE, take_part
from core.multiprocess.roles import ROLES, Part, part_of

__all__ = ["ROLES", "VARIABLE", "Collector", "Part", "part_of", "take_part"]
