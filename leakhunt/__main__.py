"""``python -m leakhunt``."""

from leakhunt.cli import main

if __name__ == "__main__":
    main()
