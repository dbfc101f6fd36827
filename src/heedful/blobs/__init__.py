"""Weights and datasets by digest: the same content has the same name, and a name never changes its meaning.

`protocol` is the seam and what every adapter promises, `manifest` is how a directory becomes one blob (pure,
so that every adapter gives the same tree the same digest), `directory` keeps blobs in a folder on a disk.
"""
