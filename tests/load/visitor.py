"""Someone who looks around in a running viewer, as a program of its own.

    python -m tests.load.visitor PORT MOVES

For each line that is typed: opens the viewer, moves MOVES times, waits for a new picture after each move, leaves, and
prints how many pictures came. Fails if one does not come.
"""

import sys

from tests.viewer.live import look
from tests.viewer.viewer_client import ViewerClient


def visit(port: int, moves: int) -> int:
    """How many pictures came.

    Raises:
        TimeoutError: none came after a move.
    """
    with ViewerClient(port, patience=120.0) as client:
        for move in range(moves):
            client.next_picture(lambda aside=0.5 * (move % 20): look(client, aside))
        return client.picture_count


if __name__ == "__main__":
    where, how_often = map(int, sys.argv[1:])
    for _ in sys.stdin:
        sys.stdout.write(f"{visit(where, how_often)}\n")
        sys.stdout.flush()
