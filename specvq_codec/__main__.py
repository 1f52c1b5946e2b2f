"""`python -m specvq_codec` is `specvq`."""

from .cli import main

main()
