#!/usr/bin/env python3
"""A worker that is kept alive: counts the words of a text, job after job, in one process (docs/workers.md).

    tidegate worker --capability count --stdio-loop -- python3 examples/workers/word_count.py
"""

import json
import sys


def say(kind, seq, **more):
    print(json.dumps({"type": kind, "seq": seq, **more}), flush=True)


def count(told):
    seq, payload = told["seq"], told["payload"]
    if not isinstance(payload, dict) or not isinstance(payload.get("text"), str):
        return say("failure", seq, reason="the payload is to be {\"text\": \"...\"}")
    say("progress", seq, fraction=0.5, note="counting")
    say("result", seq, output={"words": len(payload["text"].split()), "process_has_done": seq})


# `for line in sys.stdin` would read ahead; a cancel that comes while nothing runs is for a job that has been answered.
for line in iter(sys.stdin.readline, ""):
    told = json.loads(line)
    if told["type"] == "job":
        count(told)
