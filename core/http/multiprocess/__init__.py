"""The metrics of several processes, and of jobs that end, as one: for sites that set PROMETHEUS_MULTIPROC_DIR.

`prometheus_client` lets processes keep their metrics in files of one directory. This package makes the sums right:
each process has a name of its own that says its role (`process_identity`), a lock shows which processes are alive
(`directory`), the files of processes that ended are merged (`compaction`), and a scrape shows each role separately
(`collector`).
"""

from .collector import Collector
from .directory import IS_SUPPORTED
from .process_identity import VARIABLE, take_part
from .process_role import ROLE_VARIABLE, ROLES, ProcessRole, role_of

__all__ = ["IS_SUPPORTED", "ROLES", "ROLE_VARIABLE", "VARIABLE", "Collector", "ProcessRole", "role_of", "take_part"]
