"""Images as they lie on public hubs, read in place: webdataset shards and parquet tables."""
