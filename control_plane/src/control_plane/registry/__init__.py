"""Runs and models to and from MLflow, the catalogue. The only room that imports mlflow.

Enters: a trained model with its manifest and measurements. Leaves: a registered version; bytes by
version, alias, run or SHA-256. Never: an approval (that is a release's; what is registered may still be
changed), nor the alias `champion` moved without being asked.
"""
