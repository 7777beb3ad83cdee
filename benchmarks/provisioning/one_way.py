"""`python [-m gevent.monkey --module] -m benchmarks.provisioning.one_way WAY CONNECTION SLOTS`: drains once."""

from __future__ import annotations

import sys


def main() -> None:
    import django

    django.setup()
    from benchmarks.provisioning import ways

    way, connection_id, slots = sys.argv[1:]
    ways.drain_once(way=way, connection_id=int(connection_id), slots=int(slots))


if __name__ == "__main__":
    main()
