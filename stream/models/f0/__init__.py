"""Pitch detectors: 16 kHz audio in, the fundamental of the synthesizer's frames out."""

from stream.models.f0.contour import held, interpolated, within
from stream.models.f0.crepe import Crepe
from stream.models.f0.detector import FAINT, HIGHEST_HZ, LOWEST_HZ, F0Detector, centres
from stream.models.f0.detectors import Detectors
from stream.models.f0.ensemble import Ensemble
from stream.models.f0.fcpe import Fcpe
from stream.models.f0.harmonic import Harmonic
from stream.models.f0.rmvpe import Rmvpe
from stream.models.f0.swift import SwiftF0

__all__ = [
    "FAINT",
    "HIGHEST_HZ",
    "LOWEST_HZ",
    "Crepe",
    "Detectors",
    "Ensemble",
    "F0Detector",
    "Fcpe",
    "Harmonic",
    "Rmvpe",
    "SwiftF0",
    "centres",
    "held",
    "interpolated",
    "within",
]
