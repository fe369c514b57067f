// Verifies what crmwarden publishes as a C2SP transparency log, with the reference implementation of its formats:
// golang.org/x/mod/sumdb/note and tlog (Debian: golang-golang-x-mod-dev). Nothing of crmwarden is used.
//
//	verify -log VKEY -epoch VKEY [-epoch VKEY]... tiles DIR [OLDCHECKPOINT]
//	verify -log VKEY -epoch VKEY [-epoch VKEY]... proof PROOFFILE ENTRYFILE
//	verify -log VKEY -epoch VKEY [-epoch VKEY]... consistency OLDCHECKPOINT NEWCHECKPOINT PROOFFILE
//
// tiles: opens DIR/checkpoint, computes the tree again from the entry bundles, compares the root and every tile,
// proves entries through the tiles, and consistency with an older checkpoint.
// proof: a .tlog-proof file (c2sp.org/tlog-proof@v1) of one entry; ENTRYFILE holds its bytes, without newline.
// consistency: PROOFFILE holds base64 hashes, one a line, in the order of RFC 6962.
//
// A checkpoint counts with a signature of the log key and one of an epoch's key; of which epoch's at which size, only
// the entries say. Prints one line. Exit 0 when all of it holds, 1 when something does not, 2 for a wrong call.
//
// Build: GO111MODULE=off GOPATH=/usr/share/gocode go build verify.go
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// C2SP tiles hold 2^8 hashes, bundles 2^8 entries.
const height = 8

// keys are the verifiers that a checkpoint is opened with.
type keys struct {
	log    note.Verifier
	epochs []note.Verifier
}

// epochList is a flag that may be given several times.
type epochList []string

func (list *epochList) String() string         { return strings.Join(*list, " ") }
func (list *epochList) Set(value string) error { *list = append(*list, value); return nil }

func main() {
	var epochs epochList
	log := flag.String("log", "", "verifier key of the log")
	flag.Var(&epochs, "epoch", "verifier key of an epoch; may be repeated")
	flag.Parse()
	arguments := flag.Args()
	verifiers, err := parseKeys(*log, epochs)
	if err != nil || len(arguments) == 0 {
		fmt.Fprintln(os.Stderr, "verify: a command and the keys are needed:", err)
		os.Exit(2)
	}
	var said string
	switch command, count := arguments[0], len(arguments); {
	case command == "tiles" && (count == 2 || count == 3):
		said, err = tiles(verifiers, arguments[1], arguments[2:])
	case command == "proof" && count == 3:
		said, err = proof(verifiers, arguments[1], arguments[2])
	case command == "consistency" && count == 4:
		said, err = consistency(verifiers, arguments[1], arguments[2], arguments[3])
	default:
		fmt.Fprintln(os.Stderr, "verify: no such command:", strings.Join(arguments, " "))
		os.Exit(2)
	}
	if err != nil {
		fmt.Println("wrong:", err)
		os.Exit(1)
	}
	fmt.Println("ok:", said)
}

func parseKeys(log string, epochs []string) (keys, error) {
	var parsed keys
	var err error
	if parsed.log, err = note.NewVerifier(log); err != nil {
		return parsed, fmt.Errorf("log key: %w", err)
	}
	for _, epoch := range epochs {
		verifier, err := note.NewVerifier(epoch)
		if err != nil {
			return parsed, fmt.Errorf("epoch key: %w", err)
		}
		if !strings.HasPrefix(verifier.Name(), parsed.log.Name()+"/epoch") {
			return parsed, errors.New("the epoch key is of another origin")
		}
		parsed.epochs = append(parsed.epochs, verifier)
	}
	if len(epochs) == 0 {
		return parsed, errors.New("no epoch key")
	}
	return parsed, nil
}

// openCheckpoint opens a note that the log key and an epoch's key must have signed. note.Open refuses a note with a
// signature of a known key that does not hold, and ignores unknown keys.
func openCheckpoint(verifiers keys, message []byte) (tlog.Tree, error) {
	var tree tlog.Tree
	all := append([]note.Verifier{verifiers.log}, verifiers.epochs...)
	opened, err := note.Open(message, note.VerifierList(all...))
	if err != nil {
		return tree, err
	}
	byLog, byEpoch := false, false
	for _, signature := range opened.Sigs {
		if signature.Name == verifiers.log.Name() {
			byLog = true
		} else {
			byEpoch = true
		}
	}
	if !byLog || !byEpoch {
		return tree, fmt.Errorf("the checkpoint needs a signature of the log key (%v) and of an epoch (%v)", byLog, byEpoch)
	}
	// note.Open reads base64 that has another, equal spelling. Of the signatures that count there is only one.
	for _, signature := range opened.Sigs {
		if _, err := base64.StdEncoding.Strict().DecodeString(signature.Base64); err != nil {
			return tree, fmt.Errorf("signature of %s: %w", signature.Name, err)
		}
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != verifiers.log.Name() {
		return tree, errors.New("the checkpoint is not origin, size and root of this log")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil || strconv.FormatInt(tree.N, 10) != lines[1] {
		return tree, fmt.Errorf("the checkpoint's size is %q", lines[1])
	}
	tree.Hash, err = parseHash(lines[2])
	return tree, err
}

func readCheckpoint(verifiers keys, path string) (tlog.Tree, error) {
	message, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	tree, err := openCheckpoint(verifiers, message)
	if err != nil {
		return tree, fmt.Errorf("%s: %w", path, err)
	}
	return tree, nil
}

func parseHash(text string) (tlog.Hash, error) {
	var hash tlog.Hash
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(data) != len(hash) {
		return hash, fmt.Errorf("%q is no hash", text)
	}
	copy(hash[:], data)
	return hash, nil
}

// tilePath is where C2SP puts a tile: as x/mod, but without the height, and `entries` for `data`.
func tilePath(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), "tile/8/")
	if strings.HasPrefix(path, "data/") {
		path = "entries/" + strings.TrimPrefix(path, "data/")
	}
	return "tile/" + path
}

// folder is a tlog.TileReader over files.
type folder string

func (folder) Height() int                     { return height }
func (folder) SaveTiles([]tlog.Tile, [][]byte) {}
func (dir folder) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		data, err := os.ReadFile(filepath.Join(string(dir), tilePath(tile)))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// memory is a tlog.HashReader over hashes that were computed here.
type memory []tlog.Hash

func (stored memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	for _, index := range indexes {
		if index < 0 || index >= int64(len(stored)) {
			return nil, fmt.Errorf("there is no hash %d", index)
		}
		hashes = append(hashes, stored[index])
	}
	return hashes, nil
}

// entries reads the bundles that cover the tree: each entry as a length of two bytes and its bytes.
func entries(dir string, size int64) ([][]byte, error) {
	var all [][]byte
	for first := int64(0); first < size; first += 1 << height {
		width := size - first
		if width > 1<<height {
			width = 1 << height
		}
		path := tilePath(tlog.Tile{H: height, L: -1, N: first >> height, W: int(width)})
		bundle, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return nil, err
		}
		for count := int64(0); count < width; count++ {
			if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
				return nil, fmt.Errorf("%s ends within entry %d", path, first+count)
			}
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			all = append(all, bundle[2:end])
			bundle = bundle[end:]
		}
		if len(bundle) > 0 {
			return nil, fmt.Errorf("%s holds more than %d entries", path, width)
		}
	}
	return all, nil
}

// chained checks that every entry names the leaf hash of the one before.
func chained(all [][]byte) error {
	previous := strings.Repeat("0", 64)
	for index, entry := range all {
		if !bytes.HasPrefix(entry, []byte(fmt.Sprintf(`{"i":%d,"prev":"%s","t":"`, index, previous))) {
			return fmt.Errorf("entry %d does not follow the one before", index)
		}
		previous = fmt.Sprintf("%x", sha256.Sum256(append([]byte{0}, entry...)))
	}
	return nil
}

// allTiles lists the tiles of hashes of a tree: at every level the full ones, and the one that is not.
// (tlog.NewTiles would list every width that this one ever had.)
func allTiles(size int64) []tlog.Tile {
	var list []tlog.Tile
	for level := 0; size > 0; level++ {
		for first := int64(0); first < size; first += 1 << height {
			width := size - first
			if width > 1<<height {
				width = 1 << height
			}
			list = append(list, tlog.Tile{H: height, L: level, N: first >> height, W: int(width)})
		}
		size >>= height
	}
	return list
}

func tiles(verifiers keys, dir string, older []string) (string, error) {
	tree, err := readCheckpoint(verifiers, filepath.Join(dir, "checkpoint"))
	if err != nil {
		return "", err
	}
	all, err := entries(dir, tree.N)
	if err != nil {
		return "", err
	}
	if err := chained(all); err != nil {
		return "", err
	}
	var stored memory
	for index, entry := range all {
		hashes, err := tlog.StoredHashes(int64(index), entry, stored)
		if err != nil {
			return "", err
		}
		stored = append(stored, hashes...)
	}
	if root, err := tlog.TreeHash(tree.N, stored); err != nil || root != tree.Hash {
		return "", fmt.Errorf("the entries give the root %v, the checkpoint says %v (%v)", root, tree.Hash, err)
	}
	expected := allTiles(tree.N)
	for _, tile := range expected {
		ours, err := tlog.ReadTileData(tile, stored)
		if err != nil {
			return "", err
		}
		if theirs, err := os.ReadFile(filepath.Join(dir, tilePath(tile))); err != nil || !bytes.Equal(ours, theirs) {
			return "", fmt.Errorf("%s is not what the entries give (%v)", tilePath(tile), err)
		}
	}
	proofs, err := prove(folder(dir), tree, all)
	if err != nil {
		return "", err
	}
	for _, path := range older {
		if err := grownFrom(verifiers, path, folder(dir), tree); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d entries, %d tiles, %d inclusion and %d consistency proofs, root %v",
		tree.N, len(expected), proofs, len(older), tree.Hash), nil
}

// prove makes and checks inclusion proofs from the published tiles alone: of the ends, of what stands around the
// borders of tiles, and of some in between.
func prove(dir folder, tree tlog.Tree, all [][]byte) (int, error) {
	reader := tlog.TileHashReader(tree, dir)
	proofs := 0
	for index := int64(0); index < tree.N; index++ {
		border := index%256 == 0 || index%256 == 255 || index == tree.N-1
		if !border && index%97 != 0 {
			continue
		}
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		if err != nil {
			return proofs, fmt.Errorf("entry %d: %w", index, err)
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(all[index])); err != nil {
			return proofs, fmt.Errorf("entry %d: %w", index, err)
		}
		proofs++
	}
	return proofs, nil
}

func grownFrom(verifiers keys, path string, dir folder, tree tlog.Tree) error {
	old, err := readCheckpoint(verifiers, path)
	if err != nil {
		return err
	}
	if old.N > tree.N {
		return fmt.Errorf("rolled back: %d entries, and %d were known", tree.N, old.N)
	}
	proof, err := tlog.ProveTree(tree.N, old.N, tlog.TileHashReader(tree, dir))
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash)
}

// proof checks a .tlog-proof: head, optional `extra`, `index`, hashes, an empty line, the checkpoint as it is.
func proof(verifiers keys, path, entryPath string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	entry, err := os.ReadFile(entryPath)
	if err != nil {
		return "", err
	}
	head, checkpoint, found := strings.Cut(string(content), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || lines[0] != "c2sp.org/tlog-proof@v1" {
		return "", errors.New("not a tlog-proof")
	}
	lines = lines[1:]
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return "", errors.New("the proof names no index")
	}
	digits := strings.TrimPrefix(lines[0], "index ")
	index, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || strconv.FormatInt(index, 10) != digits {
		return "", fmt.Errorf("%q is no index", digits)
	}
	hashes, err := parseHashes(lines[1:])
	if err != nil {
		return "", err
	}
	tree, err := openCheckpoint(verifiers, []byte(checkpoint))
	if err != nil {
		return "", err
	}
	if err := tlog.CheckRecord(tlog.RecordProof(hashes), tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
		return "", err
	}
	return fmt.Sprintf("entry %d of %d, %d hashes, root %v", index, tree.N, len(hashes), tree.Hash), nil
}

func parseHashes(lines []string) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	for _, line := range lines {
		hash, err := parseHash(line)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, hash)
	}
	return hashes, nil
}

func consistency(verifiers keys, oldPath, newPath, proofPath string) (string, error) {
	old, err := readCheckpoint(verifiers, oldPath)
	if err != nil {
		return "", err
	}
	tree, err := readCheckpoint(verifiers, newPath)
	if err != nil {
		return "", err
	}
	content, err := os.ReadFile(proofPath)
	if err != nil {
		return "", err
	}
	var lines []string
	if len(content) > 0 {
		lines = strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	}
	hashes, err := parseHashes(lines)
	if err != nil {
		return "", err
	}
	if err := tlog.CheckTree(tlog.TreeProof(hashes), tree.N, tree.Hash, old.N, old.Hash); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d entries grew to %d, %d hashes", old.N, tree.N, len(hashes)), nil
}
