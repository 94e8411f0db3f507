"""The Grafana dashboards of comfyui-exporter, as a program: `python -m comfyui_dashboards` writes their JSON."""
