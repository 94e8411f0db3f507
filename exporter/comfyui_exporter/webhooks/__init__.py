"""Webhooks: the update of a job, POSTed to whoever wants to know of its status."""
