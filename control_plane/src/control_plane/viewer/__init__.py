"""A page on which somebody tries out what a model would say (PRD 6.4).

Enters: cycles from a CSV file or the lake, changes of a person, answers of the inference server over gRPC.
Leaves: a page of Gradio, and calls that stand on the audit record as exploration. Never: a number that is
taken for the plant's, a request to anybody but the inference server.
"""
