"""Histories to a trained, exported, measured model. The only room that imports torch.

Enters: tables of run-to-failure histories, or recordings without labels. Leaves: `model.onnx`
(weights inside) and its manifest. Never: a held-out unit that the network or a threshold has seen
before it is judged on it; keys; a site.
"""
