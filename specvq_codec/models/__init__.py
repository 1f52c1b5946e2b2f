"""The networks, one file each. They know tensors, and no files."""
