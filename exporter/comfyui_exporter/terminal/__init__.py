"""A client of the exporter for people in shells: what `top`, `jobs`, `status` and `wait` show, and how they get it."""
