"""What we have: volumes and their files, DICOM series, the case registry, label versions and phantoms.

Knows nothing of networks, strategies or servers; everything else imports from here.
"""
