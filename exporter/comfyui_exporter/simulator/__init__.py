"""A simulated ComfyUI: the same endpoints and WebSocket events as the real one, without a GPU, and with a ledger.

It is independent of the rest of the package: what the exporter believes of ComfyUI is not believed here.
"""

from __future__ import annotations

from comfyui_exporter.simulator.comfy import ComfyUI
from comfyui_exporter.simulator.simulation import SimulateOptions, Simulation, serve

__all__ = ["ComfyUI", "SimulateOptions", "Simulation", "serve"]
