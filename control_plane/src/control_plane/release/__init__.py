"""Approvals, keys and the signed repositories; the roll-out plan. The only room that touches keys.

Enters: a registered model, approvers' signatures. Leaves: an image repository (what may run: 2 of 3
people), a director repository per site (what does run: one online key), a journal of roll-outs.
Never: a target published below its threshold, an approver's private key kept.
"""
