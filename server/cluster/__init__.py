"""One service on many machines: servers that a Ray cluster runs, and who tells clients where to go.

Ray is known in `server.cluster.app` only.
"""
