"""How large the windows are in which peers send, where many share the memory for that.

What a window allows may all come and wait for whoever takes it: two hundred uploads with 4 MiB each
are 800 MiB, if the disk is slow for a moment. So a call begins with a small window, which is all
that most calls need. One that has more to send is given a larger one as soon as something of it is
taken, and it is the smaller the more such calls there are, on all connections together: a call
alone keeps any line busy, many keep it busy together. What was allowed cannot be taken back
(RFC 9113, 6.9.2), so a window shrinks as it is used.
"""


class Windows:
    """Of all connections of a server. Sizes are octets.

    A window is `initial` at first, and of a call that goes on an equal share of `together`, between
    `initial` and `most`.
    """

    __slots__ = ("_growing", "initial", "most", "together")

    def __init__(self, initial: int, most: int, together: int) -> None:
        self.initial = min(initial, most)
        self.most = most
        self.together = together
        self._growing = 0

    @property
    def size(self) -> int:
        """Of each call's that goes on."""
        share = self.together // (self._growing or 1)
        return max(self.initial, min(self.most, share))

    def join(self) -> None:
        """One more call goes on."""
        self._growing += 1

    def leave(self) -> None:
        self._growing -= 1
