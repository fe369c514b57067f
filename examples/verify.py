#!/usr/bin/env python3
"""Verifies a crmwarden trail of any size without any of crmwarden's code.

usage: verify.py TRUSTFILE STATEDIR [KNOWNHEAD...]

TRUSTFILE is what `crmwarden keys export --format trust` printed when the trail was made; KNOWNHEAD is a checkpoint
that was kept elsewhere. Of STATEDIR the segments and the checkpoint are read, and pruned.jsonl of a pruned trail.
Needs Python 3.11, `openssl` 3 for Ed25519, and `zstd` where segments are compressed. Checked are

* key ids; entry 0 by its leaf hash; every line: index, `prev` (leaf hash of the line before), no time goes back;
* every commit: the RFC 6962 root over all entries before it, and its signature by the epoch's key;
* every new epoch's key: signed by the key before it; at most one in a group;
* checkpoint and known heads: the root at their size, signatures of the log key and of the epoch's key at that size.

Prints one line. Exit 0: everything holds; 1: something does not (the first is named); 2: it cannot be said.
"""
import base64, collections, concurrent.futures, hashlib, json, pathlib, re, shutil, subprocess, sys, tempfile

TIME = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
HEAD = re.compile(rb'\{"i":(0|[1-9]\d*),"prev":"([0-9a-f]{64})","t":"(%s)","kind":"([a-z_.]+)"[,}]' % TIME)
COMMIT = re.compile(rb'(.*"kind":"commit","root":"([0-9a-f]{64})".*),"sig":"([A-Za-z0-9+/]{86}==)"\}', re.S)
NOTE = re.compile("(([^\n]+)\n([1-9][0-9]*)\n([A-Za-z0-9+/]{43}=)\n)\n((?:\u2014 [^ \n]+ [A-Za-z0-9+/=]+\n)+)")
Key = collections.namedtuple("Key", "name id raw")
Head = collections.namedtuple("Head", "name text size root signatures")


def require(condition, what):
    if not condition:
        raise ValueError(what)

def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def unbase64(text):
    data = base64.b64decode(text, validate=True)
    require(base64.b64encode(data).decode() == text, f"{text} is not the one spelling of its bytes")
    return data

def read_key(name, vkey):
    data = unbase64(vkey.split("+", 2)[2])
    key = Key(name, sha256(name.encode(), b"\n", data)[:4], data[1:])
    good = len(data) == 33 and data[0] == 1 and vkey.startswith(f"{name}+{key.id.hex()}+")
    require(good, f"{vkey} is no key of {name}")
    return key

def read_head(path, origin):
    note = NOTE.fullmatch(path.read_bytes().decode())
    require(note and note[2] == origin, f"{path.name} is no checkpoint of {origin}")
    signatures = [(name, unbase64(data)) for _, name, data in (line.split(" ") for line in note[5].splitlines())]
    return Head(path.name, note[1].encode(), int(note[3]), unbase64(note[4]), signatures)

def holds(key, message, signature):  # RFC 8410: the fixed head of a SubjectPublicKeyInfo, and the key
    with tempfile.TemporaryDirectory() as folder:
        for name, data in ("k", bytes.fromhex("302a300506032b6570032100") + key.raw), ("m", message), ("s", signature):
            pathlib.Path(folder, name).write_bytes(data)
        command = "openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey k -in m -sigfile s"
        return subprocess.run(command.split(), cwd=folder, capture_output=True).returncode == 0

def lines(path):
    if path.suffix != ".zst":
        with path.open("rb") as file:
            yield from file
    else:
        with subprocess.Popen(["zstd", "-qdc", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            yield from process.stdout
        require(process.returncode == 0, f"{path.name} cannot be decompressed")


class Trail:
    """What was read so far. `edge`: the tree's full subtrees as (leaves, hash), the largest first; `closed`: where the
    last group ended; `by`: the key that signed its commit; `key`: the one for the next; `next`: one that was announced."""
    size, closed, commits, prev, newest = 0, 0, 0, bytes(32), b""
    epoch, next, by = 0, None, None

    def __init__(self, trust, state, known):
        self.origin, self.entry0, self.edge = trust["origin"], trust["entry0"], []
        self.log = read_key(self.origin, trust["log"])
        self.key = read_key(f"{self.origin}/epoch0", trust["epoch0"])
        self.folder = state / "trail" / self.origin.rpartition("/")[2]
        self.heads = [read_head(path, self.origin) for path in [self.folder / "checkpoint", *known]]
        self.waiting = sorted(self.heads, key=lambda head: head.size)
        self.pool, self.asked = concurrent.futures.ThreadPoolExecutor(), collections.deque()

    def need(self, condition, what):
        require(condition, f"entry {self.size}: {what}")

    def ask(self, what, key, message, signature):  # openssl on all cores; what was asked first is answered first
        self.asked.append((what, self.pool.submit(holds, key, message, signature)))
        self.answers(64)

    def answers(self, left=0):
        while len(self.asked) > left:
            what, answer = self.asked.popleft()
            require(answer.result(), f"{what} does not hold")

    def root(self):
        root = self.edge[-1][1] if self.edge else sha256()
        for _, left in reversed(self.edge[:-1]):
            root = sha256(b"\1", left, root)
        return root

    def head(self, head):
        require(self.closed == self.size, f"{head.name} ends within a group, at entry {self.size}")
        require(self.root() == head.root, f"{head.name}: its root is not that of the first {head.size} entries")
        for key in self.log, self.by:
            mine = [data[4:] for name, data in head.signatures if (name, data[:4]) == (key.name, key.id)]
            require(mine, f"{head.name} is not signed by {key.name}")
            for signature in mine:
                self.ask(f"{head.name}: the signature of {key.name}", key, head.text, signature)

    def new_epoch(self, line):
        entry = json.loads(line)
        self.need(self.next is None and entry["epoch"] == self.epoch + 1, "not the next epoch")
        self.next = read_key(f"{self.origin}/epoch{entry['epoch']}", entry["key"])
        message = f"crmwarden/key.epoch/v1\n{self.origin}\n{entry['i']}\n{entry['key']}\n".encode()
        self.ask(f"entry {entry['i']}: the signature of a new epoch", self.key, message, unbase64(entry["sig"]))

    def close(self):  # after the line that closes a group
        self.by, self.closed = self.key, self.size
        if self.next:
            self.key, self.epoch, self.next = self.next, self.epoch + 1, None

    def commit(self, line):
        parts = COMMIT.fullmatch(line)
        self.need(parts, "a commit without root or signature")
        self.need(parts[2].decode() == self.root().hex(), "its root is not that of the entries before it")
        message = b"crmwarden/commit/v1\n" + self.origin.encode() + b"\n" + parts[1]
        self.ask(f"entry {self.size}: the signature of a commit", self.key, message, unbase64(parts[3].decode()))
        self.commits += 1

    def line(self, line):
        head = HEAD.match(line)
        self.need(head and line.endswith(b"\n") and len(line) <= 61441, "its line is no entry")
        self.need(int(head[1]) == self.size, f"it says that it is entry {int(head[1])}")
        follows = self.prev in (None, bytes.fromhex(head[2].decode()))
        self.need(follows, f"it does not follow entry {self.size - 1}; one of the two was changed")
        self.need(head[3] >= self.newest, f"it is older than entry {self.size - 1}")
        self.need(isinstance(json.loads(line), dict), "its line is no JSON object")
        leaf = sha256(b"\0", line[:-1])
        self.need(self.size > 0 or leaf.hex() == self.entry0, "not the one that the trust file names")
        if head[4] == b"commit":
            self.commit(line[:-1])
        if head[4] == b"key.epoch":
            self.new_epoch(line)
        self.prev, self.newest, node = leaf, head[3], (1, leaf)
        while self.edge and self.edge[-1][0] == node[0]:
            node = (2 * node[0], sha256(b"\1", self.edge.pop()[1], node[1]))
        self.edge.append(node)
        self.size += 1
        if head[4] == b"commit":
            self.close()
        while self.waiting and self.waiting[0].size == self.size:
            self.head(self.waiting.pop(0))

    def pruned(self, first, files):  # the edge is the prune entry's; it must lead to the roots that were signed later
        entries = (json.loads(line) for path in files for line in lines(path) if b'"kind":"prune"' in line)
        entry = next((entry for entry in entries if entry["kind"] == "prune" and entry["to"] == first), None)
        require(entry, f"entries 0 to {first - 1} are missing, and no prune entry says so")
        _, genesis, *epochs = (self.folder / "pruned.jsonl").read_bytes().splitlines()
        require(sha256(b"\0", genesis).hex() == self.entry0, "entry 0: not the one that the trust file names")
        for line in epochs:
            self.new_epoch(line)
            self.close()
        widths = [1 << bit for bit in reversed(range(64)) if first >> bit & 1]
        self.edge = list(zip(widths, map(bytes.fromhex, entry["frontier"]), strict=True))
        self.size, self.closed, self.prev = first, first, None
        require(self.root().hex() == entry["root"], f"entry {entry['i']}: its frontier does not give its root")

    def verify(self):
        files = sorted(path for path in (self.folder / "segments").iterdir() if path.suffix != ".tmp")
        for path in files:
            require(re.fullmatch(r"\d{20}\.jsonl(\.zst)?", path.name), f"{path.name} is no segment")
        files = [path for path in files if path.suffix == ".jsonl" or path.with_suffix("") not in files]
        require(files, "there are no segments")
        if int(files[0].name[:20]):
            self.pruned(int(files[0].name[:20]), files)
        for path in files:
            require(int(path.name[:20]) == self.size == self.closed, f"entry {self.closed}: the next segment is {path.name}")
            for line in lines(path):
                self.line(line)
        signed, newest = self.heads[0].size, max(head.size for head in self.heads)
        require(self.size >= newest <= signed, f"rolled back: {self.size} entries, {signed} signed, {newest} known")
        require(not self.waiting, "a head lies before the first entry that was not pruned")
        require(self.closed == self.size, f"entry {self.closed}: it begins a group that no commit closes, an unfinished write")
        said = f"{self.size} entries, {signed} signed, {self.commits} commits, epochs 0 to {self.epoch}"
        return f"ok: {said}, root {self.root().hex()}"


def main(trust, state, *known):
    trail = None
    try:
        head, *rest = pathlib.Path(trust).read_text("utf-8").split("\n\n")[0].splitlines()
        require(head == "crmwarden-trust v1" and shutil.which("openssl"), "no trust file, or no openssl")
        words = dict(line.split(" ", 1) for line in rest)
    except (OSError, ValueError) as error:
        print(f"cannot be said: {trust}: {error}")
        return 2
    try:
        trail = Trail(words, pathlib.Path(state), map(pathlib.Path, known))
        said = trail.verify()
        trail.answers()
    except (ValueError, KeyError, TypeError, IndexError, OSError, RecursionError) as error:
        try:
            trail and trail.answers()  # a signature asked for earlier is an earlier fault
        except ValueError as earlier:
            error = earlier
        print(f"wrong: {error if type(error) is ValueError else repr(error)}".replace("\n", " "))
        return 1
    print(said)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) > 2 else print(__doc__) or 2)
