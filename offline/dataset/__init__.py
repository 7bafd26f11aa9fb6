"""Recordings to learn a voice from: listened to, judged, cut, and described for training."""

from offline.dataset.clips import Clip, Dataset, Example
from offline.dataset.inspection import Advice, Inspection, inspect
from offline.dataset.prepare import prepare
from offline.dataset.report import write_report
from offline.dataset.settings import DatasetSettings

__all__ = [
    "Advice",
    "Clip",
    "Dataset",
    "DatasetSettings",
    "Example",
    "Inspection",
    "inspect",
    "prepare",
    "write_report",
]
