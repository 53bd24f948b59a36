"""How it learns: training slices, stratified batches, augmentation, judging and publishing.

Knows `datastore` and `infers`; never `strategies`, which only `lungapp` brings together with it.
"""
