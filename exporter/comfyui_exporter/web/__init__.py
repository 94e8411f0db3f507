"""The HTTP side: scrapes and health checks."""
