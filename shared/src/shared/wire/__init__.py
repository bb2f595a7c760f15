"""Generated from `proto/shared/wire/*.proto` by `make proto`; never edited by hand."""
