"""Fingers on a touch screen: what Chromium makes of them is what it makes of real ones."""

from collections.abc import Sequence

from playwright.sync_api import CDPSession, Page

Point = tuple[float, float]


class Fingers:
    """Fingers on one page; each move says where all of them are."""

    def __init__(self, page: Page) -> None:
        self._line: CDPSession = page.context.new_cdp_session(page)

    def down(self, *points: Point) -> None:
        """Put fingers down; those that are there stay where they are named."""
        self._send("touchStart", points)

    def move(self, *points: Point) -> None:
        """Move all fingers to where they are named."""
        self._send("touchMove", points)

    def up(self, *left: Point) -> None:
        """Lift all fingers but those that are named."""
        self._send("touchEnd", left)

    def drag(self, *points: Point) -> None:
        """Draw a line with one finger."""
        self.down(points[0])
        for point in points[1:]:
            self.move(point)
        self.up()

    def pinch(self, centre: Point, begin: float, end: float, steps: int = 8) -> None:
        """Put two fingers down around a point, so far from it, and move them until they are as far as told."""
        self.down(*_around(centre, begin))
        for step in range(1, steps + 1):
            self.move(*_around(centre, begin + (end - begin) * step / steps))
        self.up()

    def _send(self, kind: str, points: Sequence[Point]) -> None:
        touched = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)]
        self._line.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})


def _around(centre: Point, distance: float) -> tuple[Point, Point]:
    (x, y) = centre
    return (x - distance, y), (x + distance, y)
