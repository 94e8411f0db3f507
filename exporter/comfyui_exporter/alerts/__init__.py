"""What Alertmanager says: `alert` is one of its alerts, `webhook` reads its messages, `book` holds what fires now."""
