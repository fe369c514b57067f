#!/usr/bin/env python3
"""usage: verify-short.py TRUSTFILE STATEDIR: verifies a crmwarden trail of any size, short enough to be read first.
Chain, tree, every commit, every change of keys and the checkpoint, from the segments and the trust file alone; Python
and openssl 3. For pruned trails and known heads there is verify.py. Exit 0: all holds; 1: not; 2: usage."""
import base64, concurrent.futures, hashlib, json, pathlib, re, subprocess, sys, tempfile

def need(condition, what):
    if not condition:
        raise ValueError(what)

def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def unbase64(text):
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, f"{text} is not the one spelling of its bytes")
    return data

def raw(vkey, name):
    key = unbase64(vkey.split("+", 2)[2])
    identity = sha(name.encode(), b"\n", key)[:4].hex()
    need(len(key) == 33 and key[0] == 1 and vkey.startswith(f"{name}+{identity}+"), f"{vkey} is no key of {name}")
    return key[1:]

def holds(what, key, message, signature):  # RFC 8410: the fixed head of a SubjectPublicKeyInfo, and the key
    with tempfile.TemporaryDirectory() as folder:
        files = {"k": bytes.fromhex("302a300506032b6570032100") + key, "m": message, "s": signature}
        for name, data in files.items():
            pathlib.Path(folder, name).write_bytes(data)
        command = "openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey k -in m -sigfile s"
        need(not subprocess.run(command.split(), cwd=folder, capture_output=True).returncode, f"{what} does not hold")

def lines(path):
    if path.suffix == ".jsonl":
        yield from path.open("rb")
    else:
        process = subprocess.Popen(["zstd", "-qdc", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        yield from process.stdout
        need(process.wait() == 0, f"{path.name} does not unpack")

def root(edge):
    hashes = [node for _, node in edge] or [sha()]
    while len(hashes) > 1:
        hashes[-2:] = [sha(b"\1", hashes[-2], hashes[-1])]
    return hashes[0]

def verify(trust, state, ask):
    origin, entry0 = trust["origin"], trust["entry0"]
    folder = pathlib.Path(state, "trail", origin.rpartition("/")[2])
    note, _, signed = (folder / "checkpoint").read_text("utf-8").partition("\n\n")
    name, size, head = note.split("\n")
    need(name == origin, "the checkpoint is of another trail")
    key, epoch, coming, edge, prev, time, index, closed = raw(trust["epoch0"], f"{origin}/epoch0"), 0, None, [], bytes(32), "", 0, 0
    paths = [path for path in sorted((folder / "segments").iterdir()) if path.suffix == ".jsonl" or not path.with_suffix("").exists()]
    for path in paths:
        need(path.name.removesuffix(".zst") == f"{closed:020}.jsonl" and index == closed, f"entry {index}: {path.name} is not the next segment")
        for line in lines(path):
            entry, leaf = json.loads(line), sha(b"\0", line[:-1])
            need(entry["i"] == index and entry["prev"] == prev.hex() and entry["t"] >= time and line.endswith(b"}\n")
                 and line.startswith(b'{"i":%d,"prev":"%s","t":"%s","kind":"' % (index, prev.hex().encode(), entry["t"].encode())),
                 f"entry {index} does not follow the one before")
            need(index or leaf.hex() == entry0, "entry 0 is not the one of the trust file")
            if entry["kind"] == "key.epoch":
                need(coming is None and entry["epoch"] == epoch + 1, f"entry {index}: not the next epoch")
                coming = raw(entry["key"], f"{origin}/epoch{epoch + 1}")
                message = f"crmwarden/key.epoch/v1\n{origin}\n{index}\n{entry['key']}\n".encode()
                ask(f"entry {index}", key, message, unbase64(entry["sig"]))
            if entry["kind"] == "commit":
                text, _, tail = line[:-1].rpartition(b',"sig":"')
                need(entry["root"] == root(edge).hex() and re.fullmatch(rb'[A-Za-z0-9+/]{85}[AQgw]=="}', tail), f"entry {index}: not a commit of this")
                ask(f"entry {index}", key, f"crmwarden/commit/v1\n{origin}\n".encode() + text, unbase64(tail[:-2].decode()))
            node, prev, time, index = (1, leaf), leaf, entry["t"], index + 1
            while edge and edge[-1][0] == node[0]:
                node = (2 * node[0], sha(b"\1", edge.pop()[1], node[1]))
            edge.append(node)
            if entry["kind"] == "commit":
                signer, signer_name, closed = key, f"{origin}/epoch{epoch}", index
                key, epoch, coming = (coming, epoch + 1, None) if coming else (key, epoch, None)
            if index == int(size) == closed:
                need(base64.b64encode(root(edge)).decode() == head, "the checkpoint's root is another")
                for owner, its in (origin, raw(trust["log"], origin)), (signer_name, signer):
                    line = re.findall(rf"^\u2014 {re.escape(owner)} (\S+)$", signed, re.M)
                    data = unbase64(line[0]) if len(line) == 1 else b""
                    need(data[:4] == sha(owner.encode(), b"\n\1", its)[:4], f"not signed by {owner}")
                    ask(f"the signature of {owner}", its, f"{note}\n".encode(), data[4:])
                head = None
    need(head is None and closed == index, "shorter than its checkpoint, or an unfinished group at its end")
    return f"ok: {index} entries, {size} signed, epochs 0 to {epoch}, root {root(edge).hex()}"

if len(sys.argv) != 3:
    print(__doc__)
    sys.exit(2)
try:
    text = pathlib.Path(sys.argv[1]).read_text("utf-8").split("\n\n")[0].splitlines()
    need(text[0] == "crmwarden-trust v1", "no trust file")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = []
        said = verify(dict(line.split(" ", 1) for line in text[1:]), sys.argv[2], lambda *it: asked.append(pool.submit(holds, *it)))
        all(answer.result() is None for answer in asked)
    print(said)
except (ValueError, KeyError, TypeError, IndexError, OSError) as error:
    print(f"wrong: {error}".replace("\n", " "))
    sys.exit(1)
