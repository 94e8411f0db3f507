"""Watching one ComfyUI: when to read what, at what cost, and what to do when there is no answer."""
