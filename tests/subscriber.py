"""What somebody else sees: a stock NATS client of another language reads the stream and counts. Prints one JSON object.

usage: subscriber.py URL USER PASSWORD
"""

import asyncio
import json
import sys

import nats
import umsgpack


async def main():
    url, user, password = sys.argv[1:4]
    connection = await nats.connect(url, user=user, password=password)
    stream = connection.jetstream()
    info = await stream.stream_info("homeostat")
    consumer = await stream.subscribe("homeostat.v1.>", ordered_consumer=True)
    queries, requests, alerts = {}, {}, []
    sequence = 0
    while sequence < info.state.last_seq:
        message = await consumer.next_msg(timeout=10)
        sequence = message.metadata.sequence.stream
        word = message.subject.split(".")[2]
        if word == "event":
            packed = (message.headers or {}).get("content-type") == "application/msgpack"
            events = umsgpack.unpackb(message.data) if packed else json.loads(message.data)
            for event in events if isinstance(events, list) else [events]:
                if event["kind"] == "query":
                    queries[(event.get("trace"), event.get("span"))] = event
                elif event["kind"] == "request":
                    requests[(event.get("trace"), event.get("span"))] = event
        elif word == "alert":
            alert = json.loads(message.data)
            assert message.headers["ce-id"] == alert["id"], "a CloudEvent's id is the alert's"
            assert message.headers["ce-type"] == "homeostat.alert." + alert["rule"]
            alerts.append(alert)
    routes = {}
    for request in requests.values():
        key = (request["route"], request["status"])
        routes[key] = routes.get(key, 0) + 1
    print(json.dumps({
        "queries": len(queries),
        "failed": sum(bool(query.get("error")) for query in queries.values()),
        "over_100ms": sum(query["took_us"] > 100_000 for query in queries.values()),
        "requests": len(requests),
        "routes": [[route, status, count] for (route, status), count in sorted(routes.items())],
        "alerts": alerts,
    }))
    await connection.close()


asyncio.run(main())
