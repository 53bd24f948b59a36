"""What the network says: preprocessing, networks, weights, `segment` and what follows the network.

Knows files and volumes from `datastore`; knows nothing of training, strategies or servers.
"""

from infers.models import Model, load_model
from infers.options import Backend, Options, Postprocessing
from infers.segment import segment
from infers.uncertainty import Uncertainty, uncertainty

__all__ = ["Backend", "Model", "Options", "Postprocessing", "Uncertainty", "load_model", "segment", "uncertainty"]
