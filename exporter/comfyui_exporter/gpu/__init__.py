"""The GPUs of the exporter's own host, read by NVML: the optional extra `gpu`."""
