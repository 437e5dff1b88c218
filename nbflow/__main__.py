"""``python -m nbflow``."""

import sys

from nbflow.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
