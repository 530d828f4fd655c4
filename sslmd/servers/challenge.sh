# What sslmd does on a web server: challenges of http-01 are put into a folder, or taken away.
#
#     sh -c 'eval "$1"' sh TEXT put|remove WAY BELOW TOKEN CONTENT TOKEN CONTENT...
#
# TEXT is this file. WAY leads to server_dir, from / if it begins so, BELOW from there to the
# challenges; each name in them ends with a slash. The folders may belong to somebody else, who may
# exchange names while we look. So no name is used twice: a folder is entered, and then seen to lie
# in the one that we came from; files are written where nobody else gets in, and moved; no mode is
# ever changed. From the first folder on that is not root's, root goes on as its owner, and so can do
# nothing that its owner could not. POSIX sh, with the programs of coreutils or busybox.

umask 022
LC_ALL=C PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
text=$1 action=$2 way=$3 below=$4
shift 4
me=$(id -u) my_group=$(id -g)
links=0

die() { printf '%s\n' "$*" >&2; exit 1; }

# See what the folder is that we are in, and go on as its owner.
look() {
  facts=$(stat -c '%d:%i:%u:%g:%a:%U' .) || die "$PWD: cannot look at it (there has to be a stat" \
    "of coreutils or busybox)"
  IFS=: read -r device inode uid gid bits user <<END
$facts
END
  place=$device:$inode
  # Whether others than root can rename what is in it.
  shared=
  if [ $((0$bits & 512)) -ne 0 ]; then
    : # sticky, as /tmp: what is root's stays where it is
  elif [ $((0$bits & 2)) -ne 0 ]; then
    shared="everybody; run: chmod o-w $PWD"
  elif [ $((0$bits & 16)) -ne 0 ] && [ "$gid" != 0 ] && [ "$gid" != "$my_group" ]; then
    shared="gid $gid; run: chmod g-w $PWD"
  fi
  [ "$me" != 0 ] || [ "$uid" = 0 ] || become "$@"
}

# Begin at the root, if the way does.
begin() {
  case $way in /*) cd -P / ;; esac
  while [ "$way" != "${way#/}" ]; do way=${way#/}; done
  look "$@"
}

# Go on as the owner of the folder that we are in, with none of our own rights.
become() {
  while [ "$way" != "${way#/}" ]; do way=${way#/}; done
  group=65534
  if [ "$(id -u "$user" 2>/dev/null)" = "$uid" ]; then group=$(id -g "$user"); else user=; fi
  set -- sh -c 'eval "$1"' sh "$text" "$action" "$way" "$below" "$@"
  if setpriv --reuid "$uid" --regid "$group" --clear-groups true 2>/dev/null; then
    exec setpriv --reuid "$uid" --regid "$group" --clear-groups "$@"
  elif chroot --userspec="+$uid:+$group" --groups= --skip-chdir / true 2>/dev/null; then
    exec chroot --userspec="+$uid:+$group" --groups= --skip-chdir / "$@"
  elif [ -n "$user" ] && su -s /bin/sh "$user" -c true 2>/dev/null; then
    shift
    exec su -s /bin/sh "$user" "$@"
  fi
  die "$PWD belongs to uid $uid, and nothing here can act as that user; install util-linux" \
    "(setpriv) or coreutils 8.23, or add the user"
}

# enter NAME: step down into a folder.
enter() {
  from=$place
  cd -P -- "./$1" 2>/dev/null || {
    [ -e "./$1" ] || [ "$action" = put ] || exit 0
    die "$PWD/$1: cannot enter it; see that it is a directory, and that $(id -un 2>/dev/null ||
      id -u) may enter it"
  }
  # A link leads elsewhere; so does what was exchanged for one a moment ago.
  [ "$(stat -c %d:%i ..)" = "$from" ] ||
    die "$PWD is not in the folder that it was looked for in: $1 is a link; put a directory in" \
      "its place"
}

# Step down one name; `$1` says whether root's links are followed, the rest is for `look`.
down() {
  follow=$1
  shift
  if [ -L "./$name" ]; then
    owner=$(stat -c %u -- "./$name") && target=$(readlink -- "./$name") || exit 1
    case $follow:$owner in
      follow:0 | follow:"$me") ;;
      *) die "$PWD/$name is a link; put a directory in its place" ;;
    esac
    [ -z "$shared" ] || [ "$me" != 0 ] || die "$PWD can be written by $shared"
    links=$((links + 1))
    [ "$links" -le 40 ] || die "$PWD/$name: too many links lead on from there"
    way=$target/$way
    begin "$@"
    return
  fi
  if [ "$action" = put ] && [ ! -e "./$name" ]; then
    said=$(mkdir -- "./$name" 2>&1) || [ -d "./$name" ] ||
      die "$PWD/$name: cannot make it as uid $me (${said##*: }); let that user write there"
  fi
  was=$shared in=$PWD
  enter "$name"
  look "$@"
  # In a folder of root's that others can write to, they may have put one of root's to this place.
  [ -z "$was" ] || [ "$me" != 0 ] ||
    die "$in can be written by $was, or give $PWD to the user of the web site"
}

begin "$@"
while [ -n "$way" ]; do
  name=${way%%/*} way=${way#*/}
  case $name in
    '' | .) ;;
    ..) cd -P .. && look "$@" ;;
    *) down follow "$@" ;;
  esac
done
while [ -n "$below" ]; do
  name=${below%%/*} below=${below#*/}
  down stay "$@"
done

if [ "$action" = remove ]; then
  for token; do set -- "$@" "./$token"; shift; done
  rm -f -- "$@"
  exit
fi

# Files are made in a folder of ours alone, from which they are moved.
home=$place at=$PWD
new=$(mktemp -d ./.sslmd.XXXXXXXXXX) || exit 1
cd -P -- "$new" || exit 1
case $(stat -c %d:%i ..):$(stat -c %u:%a .) in
  "$home:$me:700" | "$home:$me:2700") ;; # as setgid is handed down
  *) die "$at/$new was exchanged for something else" ;;
esac
trap 'rm -f ./new; rmdir -- "../${new#./}" 2>/dev/null' EXIT
trap 'exit 1' HUP INT TERM PIPE
while [ $# -gt 1 ]; do
  printf %s "$2" >./new || exit 1
  said=$(mv -f -T -- ./new "../$1" 2>&1) || die "cannot write $at/$1: $said"
  shift 2
done
