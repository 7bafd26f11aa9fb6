"""The recipe of the starter voice: from nothing to the weights in the package.

`python -m offline.train.starter --work DIR` runs it all; see `__main__`.
"""
