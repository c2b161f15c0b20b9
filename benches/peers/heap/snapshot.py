"""Writes a V8 heap snapshot of a wanted size: `snapshot.py FILE MEGABYTES`.

Its proportions are those that Node.js 20 writes: seven fields a node, about four and a half edges a node, and strings of which a
quarter are the contents of string nodes. Seeded: the same size is the same file.
"""

import json
import random
import sys

TYPES = ["hidden", "array", "string", "object", "code", "closure", "regexp", "number", "native", "synthetic",
         "concatenated string", "sliced string", "symbol", "bigint", "object shape", "wasm object"]
META = {
    "node_fields": ["type", "name", "id", "self_size", "edge_count", "trace_node_id", "detachedness"],
    "node_types": [TYPES, "string", "number", "number", "number", "number", "number"],
    "edge_fields": ["type", "name_or_index", "to_node"],
    "edge_types": [["context", "element", "property", "internal", "hidden", "shortcut", "weak"], "string_or_number", "node"],
    "trace_function_info_fields": ["function_id", "name", "script_name", "script_id", "line", "column"],
    "trace_node_fields": ["id", "function_info_index", "count", "size", "children"],
    "sample_fields": ["timestamp_us", "last_assigned_id"],
    "location_fields": ["object_index", "script_id", "line", "column"],
}
# Shares of kinds in a snapshot of Node.js 20.
SHARES = {"code": 22, "string": 26, "object": 18, "object shape": 9, "closure": 9, "array": 6, "hidden": 7, "concatenated string": 3}
BYTES_A_NODE = 106


def write(path, megabytes):
    draw = random.Random(7)
    nodes = megabytes * 1_000_000 // BYTES_A_NODE
    edges = nodes * 9 // 2
    classes = 3_000
    strings = classes + nodes // 8
    kinds = draw.choices([TYPES.index(name) for name in SHARES], SHARES.values(), k=65_536)
    named = {TYPES.index("object"), TYPES.index("closure")}
    with open(path, "w", encoding="utf-8") as out:
        out.write('{"snapshot":')
        out.write(json.dumps({"meta": META, "node_count": nodes, "edge_count": edges, "trace_function_count": 0}, separators=(",", ":")))
        out.write(',\n"nodes":[')
        for start in range(0, nodes, 10_000):
            rows = []
            for n in range(start, min(nodes, start + 10_000)):
                kind = kinds[(n * 7919) & 65_535]
                name = draw.randrange(classes) if kind in named else draw.randrange(strings)
                rows.append(f"{kind},{name},{n * 2 + 1},{16 + (n * 8) % 256},{4 + n % 2},0,0\n")
            out.write(("," if start else "") + ",".join(rows))
        out.write('],\n"edges":[')
        for start in range(0, edges, 10_000):
            rows = [f"{n % 7},{(n * 31) % strings},{(n * 104_729) % nodes * 7}\n" for n in range(start, min(edges, start + 10_000))]
            out.write(("," if start else "") + ",".join(rows))
        out.write('],\n"trace_function_infos":[],\n"trace_tree":[],\n"samples":[],\n"locations":[],\n"strings":[')
        for start in range(0, strings, 10_000):
            rows = [f'"Class{n}"' if n < classes else f'"row {n}: \\"{n * 37 % 9973}\\" of a page that was rendered\\n"'
                    for n in range(start, min(strings, start + 10_000))]
            out.write(("," if start else "") + ",\n".join(rows))
        out.write("]}\n")


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]))
