"""The whole loop on one machine: starts every part as a process of its own, tells what happens, and at
the end counts from what the parts stored whether every claim held."""
