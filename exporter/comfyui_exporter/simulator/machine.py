"""The simulated GPU and disk: which model is in memory, and which files exist."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

_LOAD_MS_PER_GIGABYTE = 900
"""From an SSD through RAM into VRAM."""


@dataclass(slots=True)
class GpuMachine:
    """One GPU with room for one model at a time."""

    rng: Random
    model: str | None = None
    model_gigabytes: float = 0
    taken_gigabytes: float = 0
    """What another program holds of the GPU's memory."""
    _counters: dict[tuple[str, str], int] = field(default_factory=dict)
    _temp_suffix: str = ""

    def restart(self) -> None:
        """A new process: nothing is loaded, and temporary files get a new name."""
        self.unload()
        self._temp_suffix = "".join(self.rng.choices("abcdefghijklmnopqrstupvxyz", k=5))

    def unload(self) -> None:
        """Free the memory."""
        self.model, self.model_gigabytes = None, 0

    def load_ms(self, model: str, gigabytes: float) -> float:
        """Time to have this model in memory; 0 when it is there already."""
        if model == self.model:
            return 0
        self.model, self.model_gigabytes = model, gigabytes
        return gigabytes * _LOAD_MS_PER_GIGABYTE

    def noise(self) -> float:
        """A factor around 1 by which a node's time differs from the usual."""
        return min(1.5, max(0.7, self.rng.gauss(1.0, 0.06)))

    def save(self, prefix: str, ending: str, count: int, kind: str) -> list[dict[str, str]]:
        """Name so many new files in the folder `output` or `temp`; a prefix may carry a subfolder."""
        subfolder, _, name = prefix.rpartition("/")
        if kind == "temp":
            name = f"{name}_temp_{self._temp_suffix}"
        files = []
        for _ in range(count):
            number = self._counters[kind, prefix] = self._counters.get((kind, prefix), 0) + 1
            files.append({"filename": f"{name}_{number:05}_.{ending}", "subfolder": subfolder, "type": kind})
        return files
