"""Ways to ask a suspect, one file each. An endpoint takes images and gives class ids."""

from tfmark.endpoints.base import Endpoint
from tfmark.endpoints.in_memory import KerasModel
from tfmark.endpoints.tf_serving import TFServing

__all__ = ["Endpoint", "KerasModel", "TFServing"]
