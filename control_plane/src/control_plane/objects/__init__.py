"""What leaves for an object store, or comes from one: S3, Google Cloud Storage, by the same calls.

Enters: files of the centre's folder, or the address of signed repositories. Leaves: objects that anybody
can check, or releases verified from a root that was brought by hand. Never: a private key, trust in a bucket.
"""
