"""One module a command of `control-plane`: parse, call, print. No decisions."""
