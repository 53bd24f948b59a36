"""What the network says: preprocessing, networks, weights, `segment` and what follows the network.

Knows files and volumes from `datastore`; knows nothing of training, strategies or servers.
"""

from infers.models import Model, load_model
from infers.segment import segment

__all__ = ["Model", "load_model", "segment"]
