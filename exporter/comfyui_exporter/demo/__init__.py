"""`demo`: simulated ComfyUIs that live through a day in fast motion, with an exporter that watches them.

`day` is the story, as data; `plan` makes a list of acts of it, `player` has a simulated ComfyUI act. The others are
about processes.
"""
