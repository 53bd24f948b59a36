"""What next: which case an annotator gets. A strategy is a pure ranking of cases with an explicit seed.

Knows `datastore` and `infers`; never `trainers`, which only `lungapp` brings together with it.
"""
