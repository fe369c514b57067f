#!/bin/sh
# Verifies a small crmwarden trail with what stands on every server.
#
#   verify.sh TRUSTFILE STATEDIR [KNOWNHEAD]
#
# TRUSTFILE is what `crmwarden keys export --format trust` printed when the trail was made, kept elsewhere since.
# Of STATEDIR only trail/g<n>/segments and trail/g<n>/checkpoint are read. KNOWNHEAD is a checkpoint that was
# kept elsewhere: only with one is it noticed that an older state was put back as a whole.
#
# Needs a POSIX shell (dash will do), sed, sha256sum and openssl 3; mktemp and rm for a scratch folder; and zstd
# where a sealed segment is compressed. Nothing of crmwarden. Every check can be read below:
#
#   1. key ids in the trust file; the log key's signature under the checkpoint
#   2. every line is an entry, of the expected index; entry 0 is the one of the trust file, by its leaf hash
#   3. every line's `prev` is the leaf hash of the line before; no time goes back
#   4. every commit line: the RFC 6962 root over all entries before it, and its signature by the epoch's key
#   5. every new epoch's key is signed by the key before it
#   6. the checkpoint's root, and its signature by the epoch's key of that size; the same for the known head
#
# One file an entry is slow, so this takes trails of up to 1,000 entries; verify.py beside it takes any size.
# Exit: 0 all of it holds, 1 something does not (the first is named), 2 it cannot be said.
set -u
LC_ALL=C
export LC_ALL
LIMIT=1000

say() { printf '%s\n' "$*"; }
wrong() { say "wrong: $*"; exit 1; }
cannot() { say "cannot be said: $*"; exit 2; }

case $# in 2 | 3) ;; *) cannot 'usage: verify.sh TRUSTFILE STATEDIR [KNOWNHEAD]' ;; esac
[ -r "$1" ] || cannot "there is no trust file $1"
for name in sed sha256sum openssl; do command -v $name > /dev/null || cannot "there is no $name"; done
scratch=$(mktemp -d) || cannot 'no scratch folder'
trap 'rm -rf "$scratch"' EXIT
trap 'exit 2' HUP INT TERM

# ------------------------------------------------------------------------------------------------- hashes
# printf %b writes bytes from octal escapes; $b00 to $bff hold one each.
eval "$(n=0; while [ $n -lt 256 ]; do printf "b%02x='\\\\0%03o'\n" $n $n; n=$((n + 1)); done)"

# octal HEX: sets $octal to the escapes of these bytes.
octal() {
    hex=$1 octal=
    while [ -n "$hex" ]; do
        eval "octal=\$octal\$b${hex%"${hex#??}"}"
        hex=${hex#??}
    done
}

# tree WIDTH: hashes the files node.0 … as leaves of the tree, then level by level all full subtrees over
# them. Subtree n of a level is left in $hash_<level>_<n> and, as escapes, $octal_<level>_<n>.
tree() {
    level=0 width=$1
    while [ "$width" -gt 0 ]; do
        names= n=0
        while [ $n -lt "$width" ]; do names="$names node.$n" n=$((n + 1)); done
        (cd "$scratch" && sha256sum $names) > "$scratch/hashes" || cannot 'sha256sum failed'
        n=0
        while read -r hash _; do
            octal "$hash"
            eval "hash_${level}_$n=\$hash octal_${level}_$n=\$octal"
            n=$((n + 1))
        done < "$scratch/hashes"
        n=0 width=$((width / 2))
        while [ $n -lt $width ]; do
            eval "printf %b \"\\0001\$octal_${level}_$((2 * n))\$octal_${level}_$((2 * n + 1))\"" > "$scratch/node.$n"
            n=$((n + 1))
        done
        level=$((level + 1))
    done
}

# roots SIZE...: sets $root_<SIZE> to the root over the first SIZE entries. Every bit of SIZE is a full subtree;
# they are joined from the smallest, which stands on the right. All sizes together, so that a level is one process.
roots() {
    level=0
    for size; do eval "root_$size="; done
    while [ $((count >> level)) -gt 0 ]; do
        names=
        for size; do
            [ $((size >> level & 1)) -eq 1 ] || continue
            last=$(((size >> level) - 1))
            eval "right=\$root_$size left=\$octal_${level}_$last"
            if [ -z "$right" ]; then
                eval "root_$size=\$hash_${level}_$last"
            else
                octal "$right"
                printf %b "\\0001$left$octal" > "$scratch/root.$size"
                names="$names root.$size"
            fi
        done
        (cd "$scratch" && sha256sum $names < /dev/null) > "$scratch/hashes" || cannot 'sha256sum failed'
        while read -r hash file; do
            [ "$file" = - ] || eval "root_${file#root.}=\$hash"
        done < "$scratch/hashes"
        level=$((level + 1))
    done
}

# ------------------------------------------------------------------------------------- keys and signatures
# bytes BASE64 LENGTH: sets $bytes to its bytes in hexadecimal. (openssl shows a DER octet string so.) Fails
# unless there are LENGTH of them and this is their one spelling in base64.
bytes() {
    octal "$(printf '04%02x' "$2")"
    bytes=$({ printf %b "$octal"; printf %s "$1" | openssl base64 -d -A; } 2> /dev/null |
        openssl asn1parse -inform DER 2> /dev/null |
        sed -n -e '/.*\[HEX DUMP\]:/!d' -e 's///' -e 'y/ABCDEF/abcdef/' -e p)
    case $bytes in '' | *[!0-9a-f]*) return 1 ;; esac
    octal "$bytes"
    [ ${#bytes} -eq $((2 * $2)) ] && [ "$(printf %b "$octal" | openssl base64 -A)" = "$1" ]
}

# key NAME VKEY FILE: VKEY must be <NAME>+<id>+<base64 of 01 and the key>, the id SHA-256 of the name, a newline,
# 01 and the key, cut to 8 digits. Leaves the key for openssl in FILE (RFC 8410) and the id in $id_<FILE>.
key() {
    id=${2#"$1+"}
    id=${id%%+*}
    bytes "${2#"$1+$id+"}" 33 && [ "$2" = "$1+$id+${2#"$1+$id+"}" ] || return 1
    case $bytes in 01*) ;; *) return 1 ;; esac
    real=$({ printf '%s\n' "$1"; printf %b "$octal"; } | sha256sum)
    [ "$id" = "${real%"${real#????????}"}" ] || return 1
    octal "302a300506032b6570032100${bytes#01}"
    printf %b "$octal" > "$scratch/$3"
    eval "id_$3=\$id"
}

# holds KEY FILE: whether the 64 bytes in the scratch file `signature` are this key's over FILE.
holds() {
    openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey "$scratch/$1" -in "$scratch/$2" \
        -sigfile "$scratch/signature" > /dev/null 2>&1
}

# signed NOTE NAME KEY: whether a note has a signature line of this name and key, and all such lines hold.
signed() {
    found=1
    eval "id=\$id_$3"
    while read -r dash signer encoded rest; do
        [ "$dash" = "$(printf '\342\200\224')" ] && [ -n "$encoded" ] && [ -z "$rest" ] || return 1
        [ "$signer" = "$2" ] && bytes "$encoded" 68 && [ "${bytes#"$id"}" != "$bytes" ] || continue
        octal "${bytes#????????}"
        printf %b "$octal" > "$scratch/signature"
        holds "$3" "$1.text" || return 1
        found=0
    done < "$scratch/$1.signatures"
    return $found
}

# note FILE NAME: reads a checkpoint: origin, size, root, an empty line, signature lines. Sets $size_<NAME> and
# $root_<NAME>. Whatever the shell does not read as it stands makes the copy differ.
note() {
    [ -r "$1" ] || wrong "there is no $2 $1"
    {
        IFS= read -r first && IFS= read -r size && IFS= read -r base64 && IFS= read -r empty
        [ "$first" = "$origin" ] || wrong "the $2 is of another trail"
        case $size in '' | 0* | *[!0-9]* | ????????????*) wrong "the $2 has no size" ;; esac
        [ -z "$empty" ] && bytes "$base64" 32 || wrong "the $2 has no root hash"
        eval "size_$2=\$size root_$2=\$bytes"
        printf '%s\n' "$first" "$size" "$base64" > "$scratch/$2.text"
        while IFS= read -r line; do printf '%s\n' "$line"; done > "$scratch/$2.signatures"
    } < "$1"
    same=$({ while IFS= read -r line; do printf '%s\n' "$line"; done < "$scratch/$2.text"
        echo
        while IFS= read -r line; do printf '%s\n' "$line"; done < "$scratch/$2.signatures"; } | sha256sum)
    [ "$same" = "$(sha256sum < "$1")" ] || wrong "the $2 holds bytes that belong into no note"
    signed "$2" "$origin" log || wrong "the $2 is not signed by the log key"
}

# ------------------------------------------------------------------------------- 1. trust file, checkpoint
origin= log= epoch0= entry0=
{
    read -r line || :
    [ "$line" = 'crmwarden-trust v1' ] || cannot "$1 is no trust file"
    while IFS=' ' read -r name value && [ -n "$name" ]; do
        case $name in origin | log | epoch0 | entry0) eval "$name=\$value" ;; esac
    done
} < "$1"
case $origin in ?*/crmwarden/g[1-9] | ?*/crmwarden/g[1-9][0-9]) ;; *) cannot 'the trust file names no origin' ;; esac
case $entry0 in *[!0-9a-f]*) entry0= ;; esac
[ ${#entry0} -eq 64 ] || cannot 'the trust file names no entry 0'
key "$origin" "$log" log || wrong 'log key in the trust file: its id is not that of its name and bytes'
key "$origin/epoch0" "$epoch0" epoch0 || wrong 'key of epoch 0 in the trust file: its id is not that of its name and bytes'
folder=$2/trail/${origin##*/}
[ -d "$folder/segments" ] || cannot "there is no trail in $2"
note "$folder/checkpoint" checkpoint
[ $# -eq 2 ] || note "$3" known
say "trust file: $origin, key ids are right"

# -------------------------------------------------------------------------------------- 2. lines and leaves
HEAD='^{"i":\([0-9]\{1,15\}\),"prev":"\([0-9a-f]\{64\}\)","t":"\([0-9]\{4\}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\.[0-9]\{6\}Z\)","kind":"'
SIGNATURE='[A-Za-z0-9+\/]\{85\}[AQgw]=='
COMMIT="commit\\)\",\"root\":\"\\([0-9a-f]\\{64\\}\\)\".*,\"sig\":\"\\($SIGNATURE\\)\"}\$"
EPOCH="key\\.epoch\\)\",\"epoch\":\\([0-9]\\{1,9\\}\\),\"key\":\"\\([a-zA-Z0-9.\\/+=]*\\)\",\"sig\":\"\\($SIGNATURE\\)\"}\$"

# fields FILE: a line of words an entry: index prev time kind, and root sig or epoch key sig; else `broken`.
fields() {
    sed -e '/[[:cntrl:]]/{s/.*/broken/;b' -e '}' \
        -e "s/$HEAD\\($COMMIT/\\1 \\2 \\3 \\4 \\5 \\6/;t" \
        -e "s/$HEAD\\($EPOCH/\\1 \\2 \\3 \\4 \\5 \\6 \\7/;t" \
        -e "s/$HEAD\\([a-z_.]*\\)\"[,}].*/\\1 \\2 \\3 \\4/;t" -e 's/.*/broken/' "$1"
}

# lines FILE: takes the lines of a segment up to the first that is no entry, which is left in $broken.
lines() {
    fields "$1" > "$scratch/fields"
    : > "$scratch/copy"
    exec 3< "$1" 4< "$scratch/fields" 5> "$scratch/copy"
    while IFS= read -r line <&3 || [ -n "$line" ]; do
        [ $count -lt $LIMIT ] || cannot "more than $LIMIT entries: use verify.py"
        read -r index prev time kind one two three <&4 && printf '%s\n' "$line" >&5
        case $kind in
            commit) [ -n "$two" ] || index=broken ;;
            key.epoch) [ -n "$three" ] || index=broken ;;
        esac
        [ "$index" = $count ] && [ ${#line} -le 61440 ] || { broken="entry $count: its line is no entry of that index" && return; }
        printf '\000%s' "$line" > "$scratch/node.$count"
        case $kind in
            commit)
                commits="$commits $count"
                printf 'crmwarden/commit/v1\n%s\n%s' "$origin" "${line%',"sig":"'*}" > "$scratch/message.$count"
                ;;
            key.epoch) printf 'crmwarden/key.epoch/v1\n%s\n%s\n%s\n' "$origin" $count "$two" > "$scratch/message.$count" ;;
        esac
        eval "prev_$count=\$prev time_$count=\$time kind_$count=\$kind one_$count=\$one two_$count=\$two three_$count=\$three"
        count=$((count + 1))
    done
    [ "$(sha256sum < "$1")" = "$(sha256sum < "$scratch/copy")" ] || broken="entry $((count - 1)): its line does not end, or holds bytes of no text"
}

count=0 broken= files=0 commits=
for path in "$folder"/segments/*; do
    name=${path##*/}
    [ "$name" = "${name%.tmp}" ] || continue # a compression that was interrupted
    stem=${name%.zst}
    first=${stem%.jsonl}
    case $stem in
        *[!0-9]*.jsonl) wrong "$name is no segment" ;;
        ????????????????????.jsonl) ;;
        *) wrong "$name is no segment" ;;
    esac
    [ -z "$broken" ] || break
    [ "$name" = "$stem" ] || [ ! -e "${path%.zst}" ] || continue
    first=${first#"${first%%[!0]*}"}
    if [ "${first:-0}" != $count ]; then
        [ $count -gt 0 ] || [ ! -e "$folder/pruned.jsonl" ] || cannot "entries before $first were pruned: use verify.py"
        broken="entry $count: it is missing, the next segment is $name"
        break
    fi
    eval "begins_$count=1"
    files=$((files + 1))
    if [ "$name" != "$stem" ]; then
        zstd -qdc "$path" > "$scratch/segment" 2> /dev/null || wrong "$name cannot be decompressed"
        path=$scratch/segment
    fi
    lines "$path"
done
[ $count -gt 0 ] || wrong "${broken:-there is no entry}"
tree $count
roots $commits
[ "$hash_0_0" = "$entry0" ] || wrong 'entry 0: it is not the one that the trust file names'
say 'entry 0: the one that the trust file names'

# ----------------------------------------------------------------------- 3, 4, 5. chain, commits and epochs
n=0 signed=0 epoch=0 next= closed=0 before=0000000000000000000000000000000000000000000000000000000000000000 newest=
while [ $n -lt $count ]; do
    eval "prev=\$prev_$n time=\$time_$n kind=\$kind_$n one=\$one_$n two=\$two_$n three=\$three_$n begins=\${begins_$n:-}"
    [ "$prev" = $before ] || wrong "entry $n: it does not follow entry $((n - 1)); one of the two was changed"
    [ ! "$newest" \> "$time" ] || wrong "entry $n: its time is before that of entry $((n - 1))"
    [ -z "$begins" ] || [ $closed -eq $n ] || wrong "entry $n: a segment begins within a group"
    case $kind in
        commit)
            eval "root=\$root_$n"
            [ "$root" = "$one" ] || wrong "entry $n: its root is not that of the entries before it"
            printf %s "$two" | openssl base64 -d -A > "$scratch/signature"
            holds epoch$epoch message.$n || wrong "entry $n: its signature is not one of epoch $epoch"
            signed=$((signed + 1)) closed=$((n + 1))
            eval "by_$closed=$epoch"
            epoch=$((epoch + ${next:-0})) next=
            ;;
        key.epoch)
            [ -z "$next" ] && [ "$one" = $((epoch + 1)) ] || wrong "entry $n: epoch $one does not follow epoch $epoch"
            key "$origin/epoch$one" "$two" "epoch$one" || wrong "entry $n: the new key's id is not that of its name and bytes"
            printf %s "$three" | openssl base64 -d -A > "$scratch/signature"
            holds epoch$epoch message.$n || wrong "entry $n: the new key is not signed by epoch $epoch"
            next=1
            ;;
    esac
    eval "before=\$hash_0_$n"
    newest=$time n=$((n + 1))
done
[ -z "$broken" ] || wrong "$broken"
say "entries: $count in $files segment files, each follows the one before"
say "commits: $signed, all roots and signatures hold, epochs 0 to $epoch"

# ----------------------------------------------------------------------------------------------- 6. heads
[ $# -eq 2 ] || [ "$size_checkpoint" -ge "$size_known" ] ||
    wrong "the trail is rolled back: its checkpoint is of $size_checkpoint entries, the known head of $size_known"
for name in known checkpoint; do
    eval "size=\${size_$name:-} expected=\${root_$name:-}"
    [ -n "$size" ] || continue
    [ "$size" -le $count ] || wrong "the trail is rolled back: $count entries, and the $name is of $size"
    eval "epoch=\${by_$size:-}"
    [ -n "$epoch" ] || wrong "the $name ends within a group, at entry $size"
    roots "$size"
    eval "root=\$root_$size"
    [ "$root" = "$expected" ] || wrong "the $name's root is not that of the first $size entries"
    signed $name "$origin/epoch$epoch" epoch$epoch || wrong "the $name is not signed by epoch $epoch"
    say "$name: $size entries, the root and both signatures hold"
done
[ $closed -eq $count ] || wrong "entry $closed: it begins a group that no commit closes, an unfinished write"
say ok
