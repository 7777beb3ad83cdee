"""One client: claims numbers as fast as it can for some seconds, then prints which."""

from __future__ import annotations

import json
import random
import sys
import time

import django


def main() -> None:
    django.setup()
    from django.db import connection

    from apps.core import clock
    from apps.core.actor import Actor
    from apps.numbering import services as numbering

    host, *operators = (int(each) for each in sys.argv[1:])
    actor = Actor.system("benchmark")

    def claim() -> int:
        return numbering.take_number(
            actor=actor, operator_id=random.choice(operators), host_carrier_id=host, now=clock.now()
        ).number

    # Connected and prepared before the clock runs.
    numbers = [claim() for _ in range(8)]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    began, seconds = (float(each) for each in sys.stdin.readline().split())
    time.sleep(max(0.0, began - time.time()))
    warm, started = len(numbers), time.perf_counter()
    while time.perf_counter() - started < seconds:
        numbers.append(claim())
    took = time.perf_counter() - started
    connection.close()
    sys.stdout.write(json.dumps({"numbers": numbers, "counted": len(numbers) - warm, "seconds": took}))


if __name__ == "__main__":
    main()
