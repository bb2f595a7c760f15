"""Laws that several component types share: water at saturation, centrifugal pumps.

Enters: arrays of cycles and a type's own constants. Leaves: arrays of the same length. Never: a
component type; those are the modules of `components/`.
"""
