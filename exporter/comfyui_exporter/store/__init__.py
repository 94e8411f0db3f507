"""What survives a restart: the job log, the totals of the lasting counters, and how far each history was read.

`log` collects what watching shows and commits it, `batch` is what is committed at once, `database` writes and reads it,
`schema` and `migrations` are the tables, `sqlite` and `postgres` what differs between the two, `rows` turns runs into
rows and back, `restore` brings a server back to where it was.
"""
