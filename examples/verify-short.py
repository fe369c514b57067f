#!/usr/bin/env python3
"""usage: verify-short.py TRUSTFILE STATEDIR: verifies a crmwarden trail of any size, short enough to be read first.
Chain, tree, every commit, every change of keys and the checkpoint, from the segments and the trust file alone; Python,
openssl 3, zstd. For pruned trails and known heads there is verify.py. Exit 0: all holds; 1: not; 2: usage."""
import base64, concurrent.futures, functools, hashlib, json, pathlib, re, subprocess, sys, tempfile

def need(condition, what):
    if not condition:
        raise ValueError(what)

def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def unbase64(text):
    need(base64.b64encode(base64.b64decode(text)).decode() == text, f"{text!r} is not the one spelling of its bytes")
    return base64.b64decode(text)

def raw(vkey, name):
    key = unbase64(vkey.split("+", 2)[2])
    identity = sha(name.encode(), b"\n", key)[:4].hex()
    need(len(key) == 33 and key[0] == 1 and vkey.startswith(f"{name}+{identity}+"), f"{vkey!r} is no key of {name}")
    return key[1:]

def holds(what, key, message, signature):  # RFC 8410: the fixed head of a SubjectPublicKeyInfo, and the key
    with tempfile.TemporaryDirectory() as folder:
        for name, data in ("k", bytes.fromhex("302a300506032b6570032100") + key), ("m", message), ("s", signature):
            pathlib.Path(folder, name).write_bytes(data)
        command = "openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey k -in m -sigfile s"
        need(not subprocess.run(command.split(), cwd=folder, capture_output=True).returncode, f"{what} does not hold")

def root(edge):  # RFC 9162, 2.1: the complete subtrees, (size, hash) each, joined from the right
    return functools.reduce(lambda right, left: sha(b"\1", left, right), [node for _, node in reversed(edge)] or [sha()])

def verify(trust, folder, ask):
    origin, key, epoch, coming = trust["origin"], raw(trust["epoch0"], f"{trust['origin']}/epoch0"), 0, None
    note, _, signed = (folder / "checkpoint").read_text("utf-8").partition("\n\n")
    name, size, head = note.split("\n")
    need(name == origin, "the checkpoint is of another trail")
    edge, prev, time, index, closed = [], bytes(32), "", 0, 0
    for name in sorted({path.name.removesuffix(".zst") for path in (folder / "segments").iterdir()}):
        path = folder / "segments" / name
        need(name == f"{closed:020}.jsonl" and index == closed, f"entry {index}: {name} is not the next segment")
        packed = not path.exists() and subprocess.run(["zstd", "-qdc", f"{path}.zst"], check=True, capture_output=True)
        data = packed.stdout if packed else path.read_bytes()
        *lines, rest = data.split(b"\n")
        need(not rest, f"{name} does not end with a whole line")
        for line in lines:
            entry, leaf = json.loads(line), sha(b"\0", line)
            begin = '{"i":%d,"prev":"%s","t":"%s","kind":"%s"' % (index, prev.hex(), entry["t"], entry["kind"])
            same = line.startswith(begin.encode()) and line[-1:] == b"}" and (entry["i"], entry["prev"]) == (index, prev.hex())
            need(same and entry["t"] >= time, f"entry {index} does not follow the one before")
            need(index or leaf.hex() == trust["entry0"], "entry 0 is not the one of the trust file")
            if entry["kind"] == "key.epoch":
                need(coming is None and entry["epoch"] == epoch + 1, f"entry {index}: not the next epoch")
                coming, message = raw(entry["key"], f"{origin}/epoch{epoch + 1}"), f"{origin}\n{index}\n{entry['key']}\n"
                ask(f"entry {index}", key, f"crmwarden/key.epoch/v1\n{message}".encode(), unbase64(entry["sig"]))
            if entry["kind"] == "commit":
                text, _, tail = line.decode().rpartition(',"sig":"')
                need(entry["root"] == root(edge).hex() and tail[-2:] == '"}', f"entry {index}: no commit of what is before")
                ask(f"entry {index}", key, f"crmwarden/commit/v1\n{origin}\n{text}".encode(), unbase64(tail[:-2]))
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
                    data = unbase64("".join(re.findall(rf"^\u2014 {re.escape(owner)} (\S+)$", signed, re.M)))
                    need(data[:4] == sha(owner.encode(), b"\n\1", its)[:4], f"the checkpoint is not signed by {owner}")
                    ask(f"the signature of {owner}", its, f"{note}\n".encode(), data[4:])
                head = None
    need(head is None and closed == index, "shorter than its checkpoint, or an unfinished group at its end")
    return f"ok: {index} entries, {size} signed, epochs 0 to {epoch}, root {root(edge).hex()}"

if len(sys.argv) != 3:
    sys.exit(print(__doc__) or 2)
try:
    asked, text = [], pathlib.Path(sys.argv[1]).read_text("utf-8").split("\n\n")[0].splitlines()
    need(text[0] == "crmwarden-trust v1", "no trust file")
    trust = dict(line.split(" ", 1) for line in text[1:])
    said = verify(trust, pathlib.Path(sys.argv[2], "trail", trust["origin"].rpartition("/")[2]), lambda *it: asked.append(it))
    list(concurrent.futures.ThreadPoolExecutor().map(lambda it: holds(*it), asked))
    print(said)
except Exception as error:  # Whatever went wrong: it is not verified.
    sys.exit(print(f"wrong: {error}".replace("\n", " ")) or 1)
