"""Downloading datasets: fetch, verify, unpack, and put files where their card says."""
