"""Cross-validation along the path of a flow."""
