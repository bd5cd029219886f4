# Cleans up after a test process that could not do so itself: killed, aborted, or simply at its end
# while a server was still running.
#
# $1: the directory to clean up; a server's data is in its subdirectory `data`.
#
# This shell leads the process group that initdb and the server are started in.

set -u
trap '' HUP INT QUIT TERM

dir=$1
case $dir in
    /*/pgherald-testkit-*) ;;
    *) exit 64 ;;
esac
lock=$dir/data/postmaster.pid

# The test process holds the other end and never writes: this ends when that process does.
while read -r _; do :; done

line() { sed -n "$1p" "$lock" 2>/dev/null | tr -d ' '; }

arguments() {
    if [ -r "/proc/$1/cmdline" ]; then
        tr '\0' ' ' <"/proc/$1/cmdline"
    else
        ps -o args= -p "$1"
    fi 2>/dev/null
}

# Pids are reused and the dead may linger as zombies: a process counts while it names the directory.
is_ours() {
    [ -n "$1" ] || return 1
    case $(arguments "$1") in
        *"$dir"*) return 0 ;;
        *) return 1 ;;
    esac
}

children() {
    if [ -r /proc/self/status ]; then
        grep -l "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status | cut -d / -f 3
    else
        pgrep -P "$1"
    fi 2>/dev/null
}

# Whatever was being started when the test process died may show up a moment later: three quiet
# rounds in a row make sure. A server that ignores ten seconds of asking is killed.
round=0
quiet=0
while [ "$quiet" -lt 3 ]; do
    server=$(line 1)
    if is_ours "$server"; then
        quiet=0
        backends=$(children "$server")
        # A frozen process hears nothing but this and KILL. One pid a call: the others must get
        # the signal even if one has gone.
        for pid in $server $backends; do kill -s CONT "$pid"; done
        if [ "$round" -lt 100 ]; then
            kill -s QUIT "$server"
        else
            for pid in $server $backends; do kill -s KILL "$pid"; done
        fi
    else
        quiet=$((quiet + 1))
    fi
    # initdb, cp, and a server that has not written its pid yet. This shell ignores TERM.
    kill -s CONT -- "-$$"
    kill -s TERM -- "-$$"
    round=$((round + 1))
    sleep 0.1
done 2>/dev/null

# Still there only if the server was killed; then its shared memory is, too.
if [ -f "$lock" ]; then
    segment=$(sed -n 7p "$lock" | awk '{ print $2 }')
    [ -z "$segment" ] || ipcrm -m "$segment" 2>/dev/null
fi

for _ in 1 2 3 4 5; do
    rm -rf -- "$dir" && break
    sleep 0.1
done
