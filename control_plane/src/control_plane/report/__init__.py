"""Plots and pages that need no server: SVG and HTML text with nothing from elsewhere.

Enters: numbers as they stand in the lake. Leaves: text. Never: a script, a font or a picture to be fetched, a
number that was withheld.
"""
