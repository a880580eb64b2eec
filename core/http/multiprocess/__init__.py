"""Combines the metrics of several processes and finished jobs, for sites that set PROMETHEUS_MULTIPROC_DIR.

`prometheus_client` stores the metrics of each process in files of one directory. With this package, the sums are
correct: each process has a unique name that contains its role (`process_identity`), a lock shows which processes are
alive (`directory`), the files of ended processes are merged (`compaction`), and a scrape shows each role separately
(`collector`).
"""

from .collector import Collector
from .directory import IS_SUPPORTED
from .process_identity import VARIABLE, take_part
from .process_role import ROLE_VARIABLE, ROLES, ProcessRole, role_of

__all__ = ["IS_SUPPORTED", "ROLES", "ROLE_VARIABLE", "VARIABLE", "Collector", "ProcessRole", "role_of", "take_part"]
