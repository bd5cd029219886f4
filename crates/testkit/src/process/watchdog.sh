# Ends the server and removes the files of a test process that has ended without doing so: it was killed, it aborted, or
# the server was in a static.
#
# $1: the directory to remove. PostgreSQL's data is in its subdirectory `data`. Another server has its pid in `server.pid`.
#
# This shell is the leader of the process group of initdb and the server.

set -u
trap '' HUP INT QUIT TERM

dir=$1
case $dir in
    /*/pgherald-testkit-*) ;;
    *) exit 64 ;;
esac
lock=$dir/data/postmaster.pid

# The test process holds the other end of the pipe and never writes, so this ends with that process.
while read -r _; do :; done

line() { sed -n "$1p" "$lock" 2>/dev/null | tr -d ' '; }

arguments() {
    if [ -r "/proc/$1/cmdline" ]; then
        tr '\0' ' ' <"/proc/$1/cmdline"
    else
        ps -o args= -p "$1"
    fi 2>/dev/null
}

# Pids are reused, and ended processes may remain as zombies. So the process's arguments must contain the directory.
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

# A process that was being started when the test process ended may appear a moment later, so this loop ends after three
# rounds in a row without a server. A server that has not ended after ten seconds is killed.
round=0
quiet=0
while [ "$quiet" -lt 3 ]; do
    # Both files begin with the pid.
    [ -f "$lock" ] || [ ! -f "$dir/server.pid" ] || lock=$dir/server.pid
    server=$(line 1)
    if is_ours "$server"; then
        quiet=0
        backends=$(children "$server")
        # A frozen process reacts only to CONT and KILL. One pid for each call, because a call may stop at a pid that is
        # gone.
        for pid in $server $backends; do kill -s CONT "$pid"; done
        if [ "$round" -lt 100 ]; then
            kill -s QUIT "$server"
        else
            for pid in $server $backends; do kill -s KILL "$pid"; done
        fi
    else
        quiet=$((quiet + 1))
    fi
    # For initdb, cp, and a server that has not written its pid yet. This shell ignores TERM.
    kill -s CONT -- "-$$"
    kill -s TERM -- "-$$"
    round=$((round + 1))
    sleep 0.1
done 2>/dev/null

# The lock file remains only if the server was killed. Its shared memory remains then too.
if [ -f "$lock" ]; then
    segment=$(sed -n 7p "$lock" | awk '{ print $2 }')
    [ -z "$segment" ] || ipcrm -m "$segment" 2>/dev/null
fi

for _ in 1 2 3 4 5; do
    rm -rf -- "$dir" && break
    sleep 0.1
done
