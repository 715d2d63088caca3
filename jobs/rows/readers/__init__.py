"""One reader a kind of file. They run in the bounded child of `ingest_child`, nowhere else."""
