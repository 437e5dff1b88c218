"""``python -m nbflow``."""

import sys

from nbflow.surface_entry_points import main

if __name__ == "__main__":
    sys.exit(main())
