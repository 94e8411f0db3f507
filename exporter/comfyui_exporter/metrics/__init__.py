"""What Prometheus reads: the metric families, their series in memory, and the text that a scrape is answered with.

`families` declares every family once, `store` keeps the series and their rendered text, `exposition` turns series into
lines, `negotiate` reads the headers of a scrape.
"""
