"""Run the command line from a checkout."""

from specvq_codec.cli import main

main()
