"""The edge: the only package that knows ComfyUI's wire format."""
