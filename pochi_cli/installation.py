"""Whether the packages that do the work are there and fit each other."""

from __future__ import annotations

from pochi_cli.errors import InstallationError, first_line


def require_torch() -> None:
    """Import torch and torchvision.

    Raises:
        InstallationError: They are not there, or are of builds that do not fit each other.
    """
    try:
        import torchvision  # noqa: F401 - it imports torch, and registers its operators with it
    except (ImportError, OSError, RuntimeError) as error:
        raise InstallationError(
            f"torch and torchvision do not work together: {first_line(error)}",
            hint="install matching builds of both from one source: "
            "pip install --upgrade --force-reinstall torch torchvision",
        ) from error
