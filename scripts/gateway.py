"""What the scripts say to a gateway, and how they end when something does not hold. Needs nothing but Python's own library."""

import base64
import json
import sys
import time
import urllib.request


def check(holds, what):
    if not holds:
        sys.exit(f"NOT SO: {what}")


def get(url, user=None, password=None):
    """The JSON at an address, as somebody if `user` is named."""
    request = urllib.request.Request(url)
    if user:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def post(url, body, content_type="application/json"):
    """The status of the answer. `body`: bytes, or what is to become JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": content_type}), timeout=30) as answer:
        return answer.status


def slow_query(gateway, service):
    """One query of 0.9 s: an alert `query.slow`."""
    event = {"kind": "query", "service": service, "at_ms": int(time.time() * 1000), "took_us": 900_000, "statement": "select a from t"}
    return post(gateway + "/v1/events", [event])


def incidents(gateway, query=""):
    """(service, incident) of the alerts there are."""
    return sorted((alert["service"], alert["incident"]) for alert in get(f"{gateway}/api/v1/alerts{query}"))
