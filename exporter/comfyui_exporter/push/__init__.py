"""The push service: tells WebSocket clients of every change of a job, a batch, a server or an alert."""
