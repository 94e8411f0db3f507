"""`comfyui-exporter` for a world in which jobs take milliseconds: what is measured per second is as much shorter.

    HASTE=20 python hasty.py run ...

What reads may cost ComfyUI is a share of each second, so it is that much more here; and a server that is back is
noticed within half a second instead of half a minute. Nothing else differs from the real program.
"""

from __future__ import annotations

import os

from comfyui_exporter.cli.main import main
from comfyui_exporter.watch import backoff, budget

if __name__ == "__main__":
    budget.SHARE *= float(os.environ.get("HASTE", "1"))
    backoff.LONGEST = 0.5
    main()
