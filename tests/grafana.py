"""usage: grafana.py DASHBOARD...: reads each dashboard with Grafana's own model of one and writes it again.
Whatever is not there afterwards is no member that Grafana knows. Needs grafana-foundation-sdk of PyPI."""
import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard


def leaves(value, path=""):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}[]")
    else:
        yield path, value


def main(files):
    wrong = 0
    for file in files:
        with open(file, encoding="utf-8") as text:
            given = json.load(text)
        read = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(given)))
        known = set(map(str, leaves(read)))
        for path, value in leaves(given):
            if str((path, value)) not in known:
                print(f"{file}: {path} = {value!r} is not known to Grafana")
                wrong += 1
        if not given["panels"]:
            print(f"{file}: no panels")
            wrong += 1
    print(f"{len(files)} dashboards, {wrong} members that Grafana does not know")
    return min(wrong, 1)


if len(sys.argv) < 2:
    sys.exit(__doc__)
sys.exit(main(sys.argv[1:]))
