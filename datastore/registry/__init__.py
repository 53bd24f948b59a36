"""The registry: the one owner of the project's database.

One method is one transaction; frozen records come out. Read `sessions.py` first, then the part you need. A label's file
is durable before its row is written, so every row has its file, and a crash in between leaves at most an orphan file,
which `check` finds.
"""

from datastore.registry.catalogue import EVERY_CASE, CaseFilter, Catalogue
from datastore.registry.history import History
from datastore.registry.intake import LOCAL, Intake
from datastore.registry.labels import CASE_ID, LABEL_ID, LABEL_SUFFIX
from datastore.registry.leases import LeaseError, Leases, Order
from datastore.registry.people import People
from datastore.registry.publications import Publications
from datastore.registry.refreshing import Refreshing
from datastore.registry.reviews import ReviewError, Reviews
from datastore.registry.round_queue import RoundError
from datastore.registry.sessions import UnknownCaseError
from datastore.registry.soundness import Fault, Soundness
from datastore.registry.training import Training

__all__ = [
    "CASE_ID",
    "EVERY_CASE",
    "LABEL_ID",
    "LABEL_SUFFIX",
    "LOCAL",
    "CaseFilter",
    "Fault",
    "LeaseError",
    "Order",
    "Registry",
    "ReviewError",
    "RoundError",
    "UnknownCaseError",
]


class Registry(Intake, Catalogue, Reviews, Refreshing, Leases, History, People, Training, Publications, Soundness):
    """Cases, label versions, leases, draws, rounds, models and users of one project, and their audit."""
