"""A report in lines for a person."""


class Report:
    """A report in lines for a person; it is healthy as long as no line is bad."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.healthy = True

    def good(self, text: str) -> None:
        """Add a line about something that is in order."""
        self.lines.append(f"  ok    {text}")

    def note(self, text: str) -> None:
        """Add a line that is worth knowing."""
        self.lines.append(f"  note  {text}")

    def bad(self, text: str, remedy: str) -> None:
        """Add a line about something wrong, with its remedy; the report is no longer healthy."""
        self.healthy = False
        self.lines += [f"  BAD   {text}", f"        -> {remedy}"]

    def head(self, text: str) -> None:
        """Begin a section."""
        self.lines.append(text)
