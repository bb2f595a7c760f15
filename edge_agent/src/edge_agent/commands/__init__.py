"""One module a command of `edge-agent`: parse, call, print. No decisions."""
