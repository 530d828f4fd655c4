# What sslmd does on a server that it copies certificates to: functions for `/bin/sh -s`.
#
# They are sent over ssh, then called line by line from the other end. Nothing is left behind but
# certificates. POSIX sh, and of other programs those of coreutils or busybox; everything that a
# caller reads begins with $mark, so that what a login shell prints does no harm.
#
# Set before: mark, prod (the production tree).

umask 077
LC_ALL=C PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
me=$(id -u) my_group=$(id -g)
sticky=
incoming=
token=
known_safe=
known_way=

say() { printf '\n%s %s\n' "$mark" "$*"; }
oops() { say error "$*"; return 1; }

# Run something that is silent when it succeeds; else tell what it said.
quietly() { said=$("$@" 2>&1 </dev/null) || oops "${said:-$1 failed}"; }

clear_away() {
  [ -z "$incoming" ] || rm -rf -- "$incoming"
  [ -z "$token" ] || rmdir -- "$token"
  incoming= token=
}
trap clear_away EXIT
# A signal that comes right before the end is dealt with when the trap above is gone already.
trap 'clear_away; exit 1' HUP INT TERM PIPE

# A link would lead us elsewhere.
no_link() {
  [ ! -L "$1" ] || oops "$1 is a link to $(readlink -- "$1"); put a directory in its place"
}

# A folder of ours, made if need be.
folder() {
  no_link "$1" || return
  [ ! -d "$1" ] || return 0
  if [ -e "$1" ]; then oops "$1 is not a directory; move it away"; return; fi
  quietly mkdir -m 0750 -- "$1"
}

# Whoever can write to one of these folders could put links there.
safe() {
  facts=$(stat -c '%u:%g:%a:%n' -- "$@" 2>&1) || { oops "$facts"; return; }
  while IFS=: read -r uid gid bits dir; do
    if [ "$uid" != 0 ] && [ "$uid" != "$me" ]; then
      oops "$dir belongs to uid $uid, neither to root nor to who logs in; chown it"
      return
    elif [ $((0$bits & 512)) -ne 0 ] && [ "$uid" = 0 ] && [ "$sticky" = fine ]; then
      continue
    elif [ $((0$bits & 2)) -ne 0 ]; then
      oops "$dir can be written by everybody; run: chmod o-w $dir"
      return
    elif [ $((0$bits & 16)) -ne 0 ] && [ "$gid" != 0 ] && [ "$gid" != "$my_group" ]; then
      oops "$dir can be written by gid $gid; run: chmod g-w $dir"
      return
    fi
  done <<EOF
$facts
EOF
}

# The production tree is one that we may look through, or not there. Every folder on the way to it
# is safe as well: nobody else can put another one to its place. Where root keeps names from being
# exchanged (/tmp), that is fine too.
look() {
  no_link "$prod" || return
  [ -z "$known_way" ] || return 0
  left=$prod/ at= links=0
  while [ -n "$left" ]; do
    name=${left%%/*} left=${left#*/}
    sticky=fine
    safe "${at:-/}" || { sticky=; return 1; }
    sticky=
    case $name in
      '' | .) continue ;;
      ..) at=${at%/*} && continue ;;
    esac
    if [ -L "$at/$name" ]; then
      links=$((links + 1))
      if [ "$links" -gt 40 ]; then oops "$at/$name: too many links lead on from there"; return; fi
      case $(stat -c %u -- "$at/$name") in
        0 | "$me") ;;
        *) oops "$at/$name is a link of somebody else's; put a directory in its place"; return ;;
      esac
      target=$(readlink -- "$at/$name")
      case $target in /*) at= ;; esac
      left=$target/$left
    else
      at=$at/$name
      [ -d "$at" ] || break
    fi
  done
  known_way=yes
}

# --- the beginning ---

# Make a place for what is to come, and tell where it is.
begin() {
  command -v rsync >/dev/null 2>&1 || { oops "there is no rsync; install it there"; return; }
  command -v mktemp >/dev/null 2>&1 || { oops "there is no mktemp (coreutils)"; return; }
  stat -c %u -- / >/dev/null 2>&1 || {
    oops "its stat is neither that of coreutils nor that of busybox (a BSD?);" \
      "install coreutils there, and put it first in PATH of who logs in"
    return
  }
  look || return
  if [ ! -d "$prod" ]; then
    # Others than who logs in may have to get at keys: the folders above are not ours to close.
    (umask 022 && quietly mkdir -p -- "$(dirname -- "$prod")") || return
  fi
  folder "$prod" && safe "$prod" || return
  # What runs that were cut short have left behind. Their shell may be alive still, for a moment.
  for old in "$prod"/.sslmd-in.*; do
    [ -d "$old" ] || continue
    pid=${old##*/.sslmd-in.} pid=${pid%%.*}
    if kill -0 "$pid" 2>/dev/null || [ -d "/proc/$pid" ]; then continue; fi
    rm -rf -- "$old"
  done
  incoming=$(mktemp -d "$prod/.sslmd-in.$$.XXXXXXXXXX" 2>&1) || {
    said=$incoming incoming=
    oops "$said"
    return
  }
  machine
  say in "$incoming"
}

# Tell which machine, and which production tree of it, this says that it is: it may be called by
# several names, and `leave` shows whether it is.
machine() {
  id=$(cat /etc/machine-id 2>/dev/null) || id=$(uname -n)
  say machine "$id:$(stat -c %i -- "$prod" 2>/dev/null)"
}

# leave TOKEN: put what nobody else knows of into the tree, until `clear_away`; left: tell what is there.
leave() {
  look && safe "$prod" || return
  token=$prod/.sslmd-in.$$.$1
  quietly mkdir -m 0700 -- "$token"
}

left() {
  for dir in "$prod"/.sslmd-in.*; do
    [ ! -d "$dir" ] || say left "${dir##*.}"
  done
}

# elsewhere PATH: this is not the machine from which we were called, which has just made PATH.
elsewhere() {
  [ ! -e "$1" ] || oops "this name leads back to the same machine; write localhost in its place"
}

# --- putting a set in its place ---

# Put one name in the place of another, at one instant: a folder that is there changes places with
# it. `mv` can do that since coreutils 9.5, others know renameat2(2) by its number.
replace() {
  if [ ! -d "$2" ] || [ -L "$2" ]; then quietly mv -f -T -- "$1" "$2"; return; fi
  mv --exchange -T -- "$1" "$2" 2>/dev/null </dev/null && return
  case $(uname -m) in
    x86_64) number=316 ;;
    aarch64 | riscv64 | loongarch64) number=276 ;;
    i?86) number=353 ;;
    arm*) number=382 ;;
    ppc64*) number=357 ;;
    s390x) number=347 ;;
    *) number= ;;
  esac
  if [ -n "$number" ]; then
    perl -e 'exit(syscall($ARGV[0]+0, -100, $ARGV[1], -100, $ARGV[2], 2) != 0)' \
      "$number" "$1" "$2" 2>/dev/null </dev/null && return
  fi
  python3 -c 'import ctypes, os, sys
sys.exit(ctypes.CDLL(None).renameat2(-100, os.fsencode(sys.argv[1]), -100, os.fsencode(sys.argv[2]), 2))' \
    "$1" "$2" 2>/dev/null </dev/null && return
  oops "$2 cannot be replaced at one instant; install perl, python3 or coreutils 9.5 there"
}

# Give the keys of a set to whom they are for: closed while they change hands.
hand_over() {
  while IFS=: read -r bits uid gid user team file; do
    [ -n "$file" ] || continue
    # A key that whom it is for has already, and nobody else, stays as it is.
    case $bits:${owner:-$me}:${group:-$my_group} in
      "${mode#0}:$user:$team" | "${mode#0}:$user:$gid") continue ;;
      "${mode#0}:$uid:$team" | "${mode#0}:$uid:$gid") continue ;;
    esac
    if [ "$bits" != 600 ]; then quietly chmod 0600 "$file" || return; fi
    quietly chown -- "${owner:-$me}:${group:-$my_group}" "$file" || return
    quietly chmod -- "$mode" "$file" || return
  done <<EOF
$(stat -c '%a:%u:%g:%U:%G:%n' -- "$1"/privkey.pem "$1"/bundle.pem 2>/dev/null)
EOF
}

# Whether two sets have the same content.
alike() {
  for one in "$1"/* "$2"/*; do
    cmp -s -- "$1/${one##*/}" "$2/${one##*/}" || return 1
  done
}

# put GROUP SERVICE SET FILES OWNER GROUP MODE OPENS: make what came, so many files, the set in use.
# The set before stays beside it: whoever has just followed the link is still reading it.
put() {
  top=$prod/$1 home=$prod/$1/$2 from=$incoming/$1/$2 set=$3 files=$4
  owner=$5 group=$6 mode=$7 opens=$8
  set -- "$from"/*
  [ -f "$from/fullchain.pem" ] && [ $# -eq "$files" ] || { oops "it did not arrive whole"; return; }
  # Until here the keys are ours alone, in a folder that is ours alone.
  hand_over "$from" || return
  set --
  for file in "$from"/*; do
    case ${file##*/} in
      privkey.pem | bundle.pem) ;;
      *) set -- "$@" "$file" ;;
    esac
  done
  quietly chmod 0644 "$@" || return
  if [ "$opens" = 1 ]; then rights=0751; else rights=0750; fi
  quietly chmod "$rights" "$from" || return
  # The folder of a group is looked at once for all of it that come one after the other.
  if [ "$top" != "$known_safe" ]; then
    folder "$top" && safe "$top" || return
    known_safe=$top
  fi
  folder "$home" || return
  [ -e "$home/db" ] || safe "$home" || return
  folder "$home/db" && safe "$home" "$home/db" || return
  if [ "$opens" = 1 ]; then
    quietly chmod o+x "$prod" "$top" "$home" "$home/db" || return
  fi
  # The same, if the set that is in use has this key and these certificates.
  news=same
  for file in privkey.pem fullchain.pem; do
    [ ! -e "$from/$file" ] || cmp -s -- "$from/$file" "$home/curr/$file" || news=new
  done
  before=$(readlink -- "$home/curr") || before=
  if [ -d "$home/db/$set" ] && alike "$from" "$home/db/$set"; then
    hand_over "$home/db/$set" && quietly chmod "$rights" "$home/db/$set" || return
  else
    sync -- "$from"/* "$from" 2>/dev/null
    replace "$from" "$home/db/$set" || return
  fi
  sync -- "$home/db" 2>/dev/null
  if [ "$before" != "db/$set" ]; then
    quietly ln -s -- "db/$set" "$incoming/curr" || return
    replace "$incoming/curr" "$home/curr" || return
    [ ! -e "$incoming/curr" ] || rm -rf -- "$incoming/curr"
    sync -- "$home" 2>/dev/null
  fi
  # What is on deck stays at home.
  for name in "$home/next" "$home/prev"; do
    if [ -e "$name" ] || [ -L "$name" ]; then rm -rf -- "$name"; fi
  done
  if [ "$before" = "db/$set" ]; then  # then the newest of the others is the set before
    for dir in "$home"/db/*; do
      [ "${dir##*/}" = "$set" ] || before=db/${dir##*/}
    done
  fi
  for dir in "$home"/db/*; do
    case db/${dir##*/} in
      "db/$set") ;;
      "$before") hand_over "$dir" || return ;;
      *) rm -rf -- "$dir" ;;
    esac
  done
  say put "$news"
}

# above OWNER GROUP: tell the folders above the tree that do not let these through.
above() {
  dir=$prod
  while [ "$dir" != / ] && [ "$dir" != . ]; do
    dir=$(dirname -- "$dir")
    facts=$(stat -c '%a:%u:%g:%U:%G' -- "$dir" 2>/dev/null) || return 0
    while IFS=: read -r bits uid gid user team; do
      [ $((0$bits & 1)) -eq 0 ] || continue
      case $1 in "$user" | "$uid") [ $((0$bits & 64)) -eq 0 ] || continue ;; esac
      case $2 in "$team" | "$gid") [ $((0$bits & 8)) -eq 0 ] || continue ;; esac
      say closed "$dir"
    done <<EOF
$facts
EOF
  done
}

# --- looking round ---

# Tell every certificate that is there, and whether a private key is with it.
survey() {
  look || return
  [ ! -d "$prod" ] || machine
  for home in "$prod"/*/*; do
    [ -d "$home" ] && [ ! -L "$home" ] && [ ! -L "${home%/*}" ] || continue
    [ -L "$home/curr" ] || [ -e "$home/curr" ] || [ -e "$home/next" ] || [ -e "$home/prev" ] ||
      [ -d "$home/db" ] || continue
    key=without
    for file in "$home"/curr/privkey.pem "$home"/curr/bundle.pem "$home"/next/privkey.pem \
      "$home"/next/bundle.pem "$home"/prev/privkey.pem "$home"/prev/bundle.pem \
      "$home"/db/*/privkey.pem "$home"/db/*/bundle.pem; do
      [ ! -e "$file" ] || key=with
    done
    service=${home##*/} group=${home%/*}
    say have "$key" "${group##*/}/$service"
  done
  # What is being written, and what is sent here by another daemon, is nobody's yet. Other private
  # keys than those of sets are strays: 100 of them, and how many more there are.
  find "$prod" -xdev \( -name '.sslmd-in.*' -o -name '.*.new' \) -prune -o -type f -print \
    2>/dev/null | {
    number=0
    while IFS= read -r file; do
      name=${file#"$prod"/}
      in_cert=${name#*/} in_cert=${in_cert#*/}
      case $in_cert in
        curr/*/* | next/*/* | prev/*/* | db/*/*/*) ;;
        curr/* | next/* | prev/* | db/*/*) continue ;;
      esac
      secret "$file" || continue
      number=$((number + 1))
      [ "$number" -gt 100 ] || say stray "$name"
    done
    [ "$number" -le 100 ] || say more $((number - 100))
  }
}

# older DIR…: tell the keys of certificates in these, where production was before: which DIR (1, 2,
# …), and the path below it.
older() {
  now=$(cd -P -- "$prod" 2>/dev/null && pwd) number=0
  for dir in "$@"; do
    number=$((number + 1))
    [ "$(cd -P -- "$dir" 2>/dev/null && pwd)" != "$now" ] || continue
    for file in "$dir"/*/*/curr/privkey.pem "$dir"/*/*/curr/bundle.pem \
      "$dir"/*/*/db/*/privkey.pem "$dir"/*/*/db/*/bundle.pem; do
      [ ! -e "$file" ] || say older "$number ${file#"$dir"/}"
    done
  done
}

# Whether a file holds a private key: by its name, or in its first lines.
secret() {
  case ${1##*/} in *.key | *.p12 | *.pfx | *.jks) return 0 ;; esac
  head -n 500 -- "$1" 2>/dev/null | {
    while IFS= read -r line; do
      case $line in *-----BEGIN*PRIVATE\ KEY-----*) exit 0 ;; esac
    done
    exit 1
  }
}

# drop GROUP SERVICE: take a certificate away; what else lies in its folder stays.
drop() {
  home=$prod/$1/$2
  known_safe=
  for dir in "$prod" "$prod/$1" "$home"; do
    if [ -L "$dir" ]; then oops "$dir is a link to $(readlink -- "$dir")"; return; fi
    [ -d "$dir" ] || return 0
    safe "$dir" || return
  done
  for name in curr next prev db; do
    quietly rm -rf -- "$home/$name" || return
  done
  rmdir -- "$home" "$prod/$1" 2>/dev/null
  return 0
}

# --- commands ---

# run SECONDS COMMAND…: run it, and end it with all that it started if it takes longer.
#
# What it prints goes to a file: a server that it leaves behind may print on when we are gone.
run() {
  limit=$1
  shift
  # Ours is for keys; a command writes files for the servers that it serves.
  umask 022
  printed=$(umask 077 && mktemp) || printed=/dev/null
  if command -v timeout >/dev/null 2>&1; then
    timeout -k 5 "$limit" "$@" </dev/null >"$printed" 2>&1
  else
    "$@" </dev/null >"$printed" 2>&1
  fi
  status=$?
  if [ "$printed" != /dev/null ]; then
    tail -c 2000 -- "$printed"
    rm -f -- "$printed"
  fi
  umask 077
  say status "$status"
}
