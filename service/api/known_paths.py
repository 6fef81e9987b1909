"""Knows which paths there are, for a caller who has missed."""

import difflib
from collections.abc import Iterable

from starlette.routing import Route

from blockrank_server.service.middleware.request_target import METHODS

_MAX_COMPARED = 100  # characters of a path, because to compare takes the square of them


class KnownPaths:
    """Tells a caller who missed a path which others there are."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = tuple(routes)

    def methods_at(self, path: str) -> tuple[str, ...]:
        """Return the methods that a path takes, in the order of METHODS; none of no path."""
        found = {m for r in self._routes if r.path_regex.match(path) for m in r.methods or ()}
        return tuple(m for m in METHODS if m in found or (found and m == "OPTIONS"))

    def nearest(self, path: str, method: str) -> str | None:
        """Find the known path that a path ends in, begins with or is spelt like.

        Args:
            path: it is only compared, so that no text of a caller is ever in what comes back.
            method: paths that take it are preferred.
        """
        path = path.lower()[-_MAX_COMPARED:]
        fit = {r.path_format for r in self._routes if method in (r.methods or ())}
        for known in (sorted(fit), sorted({r.path_format for r in self._routes})):
            inside = [each for each in known if len(each) > 1 and _is_part(each, path)]
            if inside:
                return max(inside, key=len)
            if alike := difflib.get_close_matches(path, known, 1, cutoff=0.75):
                return alike[0]
        return None


def _is_part(known: str, path: str) -> bool:
    return path.endswith(known) or path.startswith(f"{known}/")
