"""A rate over time as a small drawing."""

from collections.abc import Sequence

from markupsafe import Markup

WIDTH = 64
HEIGHT = 16


def sparkline(counts: Sequence[int], words: str) -> Markup:
    """Return an SVG of a bar for each count.

    Args:
        counts: by time, the oldest first.
        words: the same in words, for whoever doesn't see it.
    """
    most = max(counts, default=0)
    if not most:
        return Markup("")
    step = WIDTH / len(counts)
    bars = "".join(
        f"M{place * step:.1f} {HEIGHT}v-{max(1.0, HEIGHT * number / most):.1f}h{max(1.0, step - 1):.1f}V{HEIGHT}z"
        for place, number in enumerate(counts)
        if number
    )
    return Markup(  # numbers, and words that are escaped
        '<svg class="spark" viewBox="0 0 {} {}" role="img" aria-label="{}"><path d="{}"/></svg>'
    ).format(WIDTH, HEIGHT, words, Markup(bars))  # noqa: S704
