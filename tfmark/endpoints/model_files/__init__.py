"""Models in files, one format each. What runs them is imported with the module of the format."""
