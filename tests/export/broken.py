"""Cannot be imported."""

raise ZeroDivisionError("division by zero")
