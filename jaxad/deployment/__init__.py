"""Fitted detectors as programs that run without jaxad's networks: StableHLO and ONNX."""

from jaxad.deployment.export import FORMATS as FORMATS
from jaxad.deployment.export import KIND as KIND
from jaxad.deployment.export import export as export
from jaxad.deployment.exported import Exported as Exported
from jaxad.deployment.exported import load_exported as load_exported
