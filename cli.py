from specvq_codec.cli import main

main()
