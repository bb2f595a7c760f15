"""The pages that operators and reliability engineers look at, on NiceGUI over FastAPI.

Enters: the read model of `control_plane.api`. Leaves: pages that keep themselves up to date. Never:
queries, writes, assets from the network, a colour as the only sign of anything, an old number as new.
"""
