#!/usr/bin/env python3
"""Condenses recordings of the real server into the files beside this one.

    condense.py RECORDINGS

What is kept of an exchange: what was asked, by whom, and of the answer status, codes, message and the shape of its data. Keys of
users are named after their owners, and tokens left out.
"""

import json
import re
import sys
from pathlib import Path

OWNERS = {
    "EGRTCO8JMSIGI6S39GTP43NFWXDQOW": "user",
    "SUPERKEY": "system",
    "ROOTKEY": "root",
    "ADMINKEY": "admin",
}
# The logs of real clients hide who asks. They show two log-ins: of the ordinary user first, of root second.
LOGGED_IN = {"RUdSVE...": "user", "Uk9PVE...": "root"}
DATE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00$")
DROPPED_HEADERS = {"authorization", "user-agent", "content-type", "origin"}


def shape(value, key=""):
    """Data with dates and tokens masked."""
    if isinstance(value, dict):
        return {name: shape(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner, key) for inner in value]
    if isinstance(value, str) and DATE.match(value):
        return "<date>"
    if key == "token":
        return "<token>"
    return value


class Asker:
    def __init__(self):
        self.owner = None
        self.token = None

    def of(self, headers, default):
        header = headers.get("Authorization")
        if header is None:
            return default
        scheme, _, proof = header.partition(" ")
        pair = re.match(r"^<(.*):(.*)>$", proof)
        if scheme == "Basic" and pair:
            return {"keys": OWNERS.get(pair[1], pair[1]), "secret": pair[2] if pair[1] not in OWNERS else None}
        if scheme == "Basic" and proof in LOGGED_IN:
            self.owner = LOGGED_IN[proof]
            return {"keys": self.owner, "secret": None}
        if scheme == "Bearer" and proof.startswith("eyJ"):
            return {"token": self.owner or "first"}
        return {"header": header}


def condense(exchange, asker, default):
    request = exchange.get("request", exchange)
    response = exchange["response"]
    if "status" in exchange:
        status, body = exchange["status"], response
    else:
        status, body = response["status"], response.get("body", response)
    out = {
        "name": exchange.get("name", request["path"]),
        "method": request["method"],
        "path": request["path"],
        "asker": asker.of(request["headers"], default),
    }
    headers = {
        name: value
        for name, value in request["headers"].items()
        if name.lower() not in DROPPED_HEADERS and not name.lower().endswith(("-worker", "-agent", "-client"))
    }
    for name, value in (("headers", headers), ("query", request.get("query"))):
        if value:
            out[name] = value
    if request.get("body") is not None:
        out["body"] = json.loads(re.sub(r"eyJ[\w.-]+", "<token>", json.dumps(request["body"])))
    if "raw_body" in request:
        out["raw"] = request["raw_body"]
    out["status"] = status
    if isinstance(body, dict) and "meta" in body:
        meta = body["meta"]
        if "name" not in exchange and meta["result_subcode"] == 801:
            out["name"] = "duplicate name through the SDK"
        out |= {"code": meta["result_code"], "subcode": meta["result_subcode"], "message": meta["result_msg"]}
        out["version"] = meta["endpoint"]["actual_version"]
        if "data" in body:
            out["data"] = shape(body["data"])
        elif "row_count" in body:
            out["rows"] = body["row_count"]
    return out


def main():
    here = Path(__file__).parent
    for path in sorted(Path(sys.argv[1]).glob("*.json")):
        recording = json.loads(path.read_text())
        exchanges = recording.get("exchanges") or recording["http_exchanges"]
        asker = Asker()
        lines = []
        for exchange in exchanges:
            if "request" not in exchange and "path" not in exchange:
                # A digest of an answer, without what was asked.
                names = exchange["response"]["endpoints"]
                condensed = {"name": exchange["name"], "endpoints": names}
            else:
                default = None
                if path.name.startswith("08"):
                    acts = "X-Clearml-Act-As" in exchange["request"]["headers"]
                    default = {"keys": "root" if acts else "admin", "secret": None}
                condensed = condense(exchange, asker, default)
            lines.append(json.dumps(condensed, ensure_ascii=False))
        (here / path.name).write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
