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

HEAD = re.compile(rb'\{"i":(0|[1-9]\d*),"prev":"([0-9a-f]{64})","t":"(\d{4}(?:-\d\d){2}T\d\d(?::\d\d){2}\.\d{6}Z)","kind":"([a-z_.]+)"[,}]')
COMMIT = re.compile(rb'(.*"kind":"commit","root":"([0-9a-f]{64})".*),"sig":"([A-Za-z0-9+/]{86}==)"\}', re.S)
NOTE = re.compile("(([^\n]+)\n([1-9][0-9]*)\n([A-Za-z0-9+/]{43}=)\n)\n((?:\u2014 [^ \n]+ [A-Za-z0-9+/=]+\n)+)")
Key, Head = collections.namedtuple("Key", "name id raw"), collections.namedtuple("Head", "name text size root signatures")


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
    require(len(data) == 33 and data[0] == 1 and vkey.startswith(f"{name}+{key.id.hex()}+"), f"{vkey} is no key of {name}")
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
    """What was read so far: the tree's right edge as full subtrees (leaves, hash), the epoch, where the last group closed."""
    size, closed, prev, newest = 0, 0, bytes(32), b""
    epoch, next, commits, by = 0, None, 0, None

    def __init__(self, trust, state, known):
        self.origin, self.entry0, self.edge, self.asked = trust["origin"], trust["entry0"], [], collections.deque()
        self.log, self.key = read_key(self.origin, trust["log"]), read_key(f"{self.origin}/epoch0", trust["epoch0"])
        self.folder, self.pool = state / "trail" / self.origin.rpartition("/")[2], concurrent.futures.ThreadPoolExecutor()
        self.heads = [read_head(path, self.origin) for path in [self.folder / "checkpoint", *known]]
        self.waiting = sorted(self.heads, key=lambda head: head.size)

    def ask(self, what, key, message, signature):  # openssl runs on all cores; what was asked first is answered for first
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
            mine = [signature[4:] for name, signature in head.signatures if (name, signature[:4]) == (key.name, key.id)]
            require(mine, f"{head.name} is not signed by {key.name}")
            for signature in mine:
                self.ask(f"{head.name}: the signature of {key.name}", key, head.text, signature)

    def new_epoch(self, line):
        entry = json.loads(line)
        require(self.next is None and entry["epoch"] == self.epoch + 1, f"entry {entry['i']}: not the next epoch")
        self.next = read_key(f"{self.origin}/epoch{entry['epoch']}", entry["key"])
        message = f"crmwarden/key.epoch/v1\n{self.origin}\n{entry['i']}\n{entry['key']}\n".encode()
        self.ask(f"entry {entry['i']}: the signature of a new epoch", self.key, message, unbase64(entry["sig"]))

    def close(self):  # after the line that closes a group
        self.by, self.closed = self.key, self.size
        if self.next:
            self.key, self.epoch, self.next = self.next, self.epoch + 1, None

    def commit(self, line):
        parts = COMMIT.fullmatch(line)
        require(parts and bytes.fromhex(parts[2].decode()) == self.root(), f"entry {self.size}: its root is not that of the entries before it")
        message = b"crmwarden/commit/v1\n" + self.origin.encode() + b"\n" + parts[1]
        self.ask(f"entry {self.size}: the signature of a commit", self.key, message, unbase64(parts[3].decode()))
        self.commits += 1

    def line(self, line):
        index, head = self.size, HEAD.match(line)
        require(head and line.endswith(b"\n") and len(line) <= 61441 and int(head[1]) == index, f"entry {index}: not an entry of this index")
        require(self.prev in (None, bytes.fromhex(head[2].decode())), f"entry {index}: does not follow entry {index - 1}; one of the two was changed")
        require(head[3] >= self.newest, f"entry {index}: older than entry {index - 1}")
        require(isinstance(json.loads(line), dict), f"entry {index}: no JSON object")
        self.prev, self.newest, node = sha256(b"\0", line[:-1]), head[3], (1, sha256(b"\0", line[:-1]))
        require(index > 0 or self.prev.hex() == self.entry0, "entry 0: not the one that the trust file names")
        if head[4] == b"commit":
            self.commit(line[:-1])
        if head[4] == b"key.epoch":
            self.new_epoch(line)
        while self.edge and self.edge[-1][0] == node[0]:
            node = (2 * node[0], sha256(b"\1", self.edge.pop()[1], node[1]))
        self.edge.append(node)
        self.size += 1
        if head[4] == b"commit":
            self.close()
        while self.waiting and self.waiting[0].size == self.size:
            self.head(self.waiting.pop(0))

    def pruned(self, first, files):  # the edge as the prune entry gives it; it must lead to the roots that were signed later
        entries = (json.loads(line) for path in files for line in lines(path) if b'"kind":"prune"' in line)
        entry = next((entry for entry in entries if entry["kind"] == "prune" and entry["to"] == first), None)
        require(entry, f"entries 0 to {first - 1} are missing, and no prune entry says so")
        genesis, *epochs = (self.folder / "pruned.jsonl").read_bytes().splitlines()
        require(sha256(b"\0", genesis).hex() == self.entry0, "entry 0: not the one that the trust file names")
        for line in epochs:
            self.new_epoch(line)
            self.close()
        widths = [1 << bit for bit in reversed(range(64)) if first >> bit & 1]
        self.edge, self.size, self.closed, self.prev = list(zip(widths, map(bytes.fromhex, entry["frontier"]), strict=True)), first, first, None
        require(self.root().hex() == entry["root"], f"entry {entry['i']}: its frontier does not give its root")

    def verify(self):
        files = sorted(path for path in (self.folder / "segments").iterdir() if path.suffix != ".zst" or not path.with_suffix("").exists())
        require(files and all(re.fullmatch(r"\d{20}\.jsonl(\.zst)?", path.name) for path in files), "not a folder of segments")
        if int(files[0].name[:20]):
            self.pruned(int(files[0].name[:20]), files)
        for path in files:
            require(int(path.name[:20]) == self.size == self.closed, f"entry {self.closed}: the next segment is {path.name}")
            for line in lines(path):
                self.line(line)
        signed, newest = self.heads[0].size, max(head.size for head in self.heads)
        require(self.size >= newest <= signed, f"rolled back: {self.size} entries, {signed} signed, {newest} known")
        require(not self.waiting, "a head lies before the first entry that was not pruned")
        require(self.closed == self.size, f"entry {self.closed}: begins a group that no commit closes, an unfinished write")
        return f"ok: {self.size} entries, {signed} signed, {self.commits} commits, epochs 0 to {self.epoch}, root {self.root().hex()}"


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
    except (ValueError, KeyError, TypeError, IndexError, OSError) as error:
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
