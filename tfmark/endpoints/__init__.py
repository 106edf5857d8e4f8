"""Ways to ask a suspect, one file each. An endpoint takes images and gives class ids."""

from tfmark.endpoints.base import Endpoint
from tfmark.endpoints.choosing import endpoint_from
from tfmark.endpoints.connection import Connection
from tfmark.endpoints.dialect import PROTOCOLS, Dialect, Task
from tfmark.endpoints.in_memory import KerasModel
from tfmark.endpoints.kserve_v1 import KServeV1
from tfmark.endpoints.mlflow import MLflow
from tfmark.endpoints.open_inference import OpenInference
from tfmark.endpoints.service import Suspect
from tfmark.endpoints.tf_serving import TFServing

__all__ = [
    "PROTOCOLS",
    "Connection",
    "Dialect",
    "Endpoint",
    "KServeV1",
    "KerasModel",
    "MLflow",
    "OpenInference",
    "Suspect",
    "TFServing",
    "Task",
    "endpoint_from",
]
