"""`python -m edge_app.cli` is `edge-app`."""

from edge_app.cli import main

if __name__ == "__main__":
    main()
