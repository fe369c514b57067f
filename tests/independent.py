#!/usr/bin/python3
"""Verifies a crmwarden trail without any of crmwarden's code.

usage: independent.py STATE_DIR [TRUST_FILE]

Needs the Python standard library, and the `openssl` program for Ed25519. Written from the description of the
format alone: it reads the segments and the checkpoint, never tree/ or the cache. Checked are

* every line: its index, its `prev` (the leaf hash of the line before), `t` that never decreases;
* the RFC 6962 root over all lines before it, in every commit line;
* signatures of commit lines: the first 40, the last 40 and 40 at random (one openssl call each);
* the checkpoint: key ids, both signatures, and the root over the first `size` lines;
* with a trust file: origin, keys and entry 0 are the ones that it names.

Prints one line. Exit 0 when everything holds, 1 when something does not, 2 when it cannot be said.
"""

import base64
import hashlib
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

SAMPLE = 40
LINE_MAX = 60 * 1024
HEAD = re.compile(
    rb'\{"i":(0|[1-9][0-9]*),"prev":"([0-9a-f]{64})","t":"'
    rb'([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)","kind":"([a-z_.]+)"[,}]'
)
COMMIT = re.compile(rb'^(.*"kind":"commit","root":"([0-9a-f]{64})".*),"sig":"([A-Za-z0-9+/]{86}==)"\}$', re.S)


class Wrong(Exception):
    """Something does not hold."""


def require(condition, what):
    if not condition:
        raise Wrong(what)


def sha256(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


class Tree:
    """The right edge of an RFC 6962 tree: roots of full subtrees, largest first."""

    def __init__(self):
        self.edge = []  # (leaves, hash)
        self.size = 0

    def add(self, leaf):
        self.size += 1
        node = (1, leaf)
        while self.edge and self.edge[-1][0] == node[0]:
            leaves, left = self.edge.pop()
            node = (2 * leaves, sha256(b"\x01", left, node[1]))
        self.edge.append(node)

    def root(self):
        if not self.edge:
            return sha256(b"")
        root = self.edge[-1][1]
        for _, left in reversed(self.edge[:-1]):
            root = sha256(b"\x01", left, root)
        return root


class Key:
    """A verifier key `name+id+base64(type, key)`."""

    def __init__(self, vkey):
        name, key_id, encoded = vkey.split("+", 2)
        data = base64.b64decode(encoded, validate=True)
        require(len(data) == 33 and data[0] == 1, f"{name}: not an Ed25519 key")
        self.name, self.id, self.public = name, bytes.fromhex(key_id), data[1:]
        require(self.id == sha256(name.encode(), b"\n", data)[:4], f"{name}: its id is not its key's")

    def holds(self, message, signature):
        """RFC 8410: the fixed head of a SubjectPublicKeyInfo, and the key."""
        der = bytes.fromhex("302a300506032b6570032100") + self.public
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for name, data in (("key", der), ("message", message), ("signature", signature)):
                (folder / name).write_bytes(data)
            arguments = "pkeyutl -verify -rawin -pubin -keyform DER -inkey key -in message -sigfile signature"
            result = subprocess.run(
                ["openssl", *arguments.split()],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
        return result.returncode == 0


def lines_of(folder):
    """Every line of all segments; a file is named after the index of its first line."""
    index = 0
    files = sorted((folder / "segments").iterdir())
    require(files, "there are no segments")
    for path in files:
        require(re.fullmatch(r"[0-9]{20}\.jsonl", path.name), f"{path.name} is no segment")
        require(int(path.name[:20]) == index, f"{path.name} begins with entry {index}")
        with path.open("rb") as file:
            for line in file:
                require(line.endswith(b"\n"), f"entry {index} has no end")
                yield line[:-1]
                index += 1


def read_note(path):
    """Text and signatures of a signed note."""
    note = path.read_bytes().decode("utf-8")
    text, _, tail = note.rpartition("\n\n")
    text += "\n"
    signatures = []
    require(tail.endswith("\n"), "the checkpoint has no end")
    for line in tail[:-1].split("\n"):
        dash, name, encoded = line.split(" ")
        require(dash == "\u2014", "a signature line without its dash")
        data = base64.b64decode(encoded, validate=True)
        signatures.append((name, data[:4], data[4:]))
    return text, signatures


def read_trust(path):
    text = pathlib.Path(path).read_text("utf-8")
    head, *lines = text.split("\n\n")[0].splitlines()
    require(head == "crmwarden-trust v1", "not a trust file")
    return dict(line.split(" ", 1) for line in lines)


def check_checkpoint(folder, origin, keys):
    text, signatures = read_note(folder / "checkpoint")
    lines = text.split("\n")
    require(lines[0] == origin, "the checkpoint is of another trail")
    for key in keys:
        mine = [signature for name, key_id, signature in signatures if (name, key_id) == (key.name, key.id)]
        require(len(mine) == 1, f"the checkpoint is not signed by {key.name}")
        require(key.holds(text.encode(), mine[0]), f"the checkpoint's signature of {key.name} does not hold")
    return int(lines[1]), base64.b64decode(lines[2], validate=True)


def verify(state, trust_file):
    folder = pathlib.Path(state) / "trail" / "g1"
    tree, prev, newest = Tree(), bytes(32), b""
    commits, genesis, checkpoint, closed = [], None, None, 0
    for index, line in enumerate(lines_of(folder)):
        head = HEAD.match(line)
        require(head and len(line) <= LINE_MAX, f"entry {index} is not an entry")
        require(int(head[1]) == index, f"entry {index} says it is {head[1].decode()}")
        require(bytes.fromhex(head[2].decode()) == prev, f"entry {index} does not follow the one before")
        require(head[3] >= newest, f"entry {index} is older than the one before")
        json.loads(line.decode("utf-8"))
        leaf = sha256(b"\x00", line)
        if index == 0:
            genesis = json.loads(line)
            require(genesis["kind"] == "genesis" and genesis["v"] == 1, "entry 0 is no genesis")
            origin = genesis["origin"]
            keys = [Key(genesis["log"]), Key(genesis["epoch"])]
            require([key.name for key in keys] == [origin, origin + "/epoch0"], "keys of another origin")
            if trust_file:
                trust = read_trust(trust_file)
                same = trust["origin"] == origin and trust["entry0"] == leaf.hex()
                require(same, "entry 0 is not the one of the trust file")
                keys = [Key(trust["log"]), Key(trust["epoch0"])]
            checkpoint = check_checkpoint(folder, origin, keys)
        if head[4] == b"commit":
            commit = COMMIT.match(line)
            require(commit, f"entry {index} is a commit without root or signature")
            require(bytes.fromhex(commit[2].decode()) == tree.root(), f"the root in entry {index} is not the tree's")
            commits.append((index, commit[1], base64.b64decode(commit[3], validate=True)))
            closed = index + 1
        tree.add(leaf)
        prev, newest = leaf, head[3]
        if tree.size == checkpoint[0]:
            require(tree.root() == checkpoint[1], "the checkpoint's root is not the tree's")
            require(closed == tree.size, "the checkpoint is inside a group")
    require(tree.size >= checkpoint[0], f"{tree.size} entries, and {checkpoint[0]} are signed")
    require(closed == tree.size, f"the last group, from entry {closed} on, is not closed")
    chosen = {*range(min(SAMPLE, len(commits))), *range(max(0, len(commits) - SAMPLE), len(commits))}
    chosen |= set(random.sample(range(len(commits)), min(SAMPLE, len(commits))))
    for place in sorted(chosen):
        index, signed, signature = commits[place]
        message = b"crmwarden/commit/v1\n" + origin.encode() + b"\n" + signed
        require(keys[1].holds(message, signature), f"the signature in entry {index} does not hold")
    return (
        f"ok: {tree.size} entries, {checkpoint[0]} signed, {len(commits)} commits, "
        f"{len(chosen)} signatures tried, root {tree.root().hex()}"
    )


def main():
    if len(sys.argv) not in (2, 3):
        print(__doc__.split("\n\n")[1])
        return 2
    try:
        print(verify(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else None))
        return 0
    except Wrong as wrong:
        print(f"wrong: {wrong}")
        return 1
    except (ValueError, KeyError, TypeError, IndexError, OSError) as error:
        print(f"wrong: {type(error).__name__}: {error}".replace("\n", " "))
        return 1


if __name__ == "__main__":
    sys.exit(main())
