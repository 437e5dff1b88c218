"""``python -m nbflow``."""

import sys

from nbflow.surfaces import main

if __name__ == "__main__":
    sys.exit(main())
