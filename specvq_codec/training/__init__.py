"""Training, one file a stage. Encoding and decoding never import it."""
