# Functions of prolog.sh and epilog.sh: a call is first written to the spool, then sent with what waits there, and removed
# once it was answered. So nothing is lost if the server is down, slow or refuses, and nothing waits for it.
#
# Settings, in /etc/ccbackend/hook.conf (or the file that CCBACKEND_HOOK names), for the account of Slurm alone (0600):
#   URL=https://jobs.example.org
#   TOKEN=ccb_...
#   CLUSTER=fritz                   # by default Slurm's own name of the cluster
#   SPOOL=/var/spool/ccbackend      # by default this; a folder that the account may write

MOST_WAIT=1.3    # seconds for all of a call
MOST_ASKING=0.25 # seconds for a question to Slurm, of which there are two at most
AT_ONCE=200      # calls of the spool that go along with one

# quoted TEXT: print a JSON string, without control characters.
quoted() {
    printf '"%s"' "$(printf '%s' "$1" | tr '\000-\037' ' ' | sed 's/[\\"]/\\&/g')"
}

# number TEXT DEFAULT: print a whole number.
number() {
    case $1 in
    '' | *[!0-9]*) printf '%s' "$2" ;;
    *) printf '%s' "$1" ;;
    esac
}

# read_settings: fail if they are not there.
read_settings() {
    settings=${CCBACKEND_HOOK:-/etc/ccbackend/hook.conf}
    [ -r "$settings" ] || return 1
    . "$settings"
    SPOOL=${SPOOL:-/var/spool/ccbackend}
    CLUSTER=${CLUSTER:-${SLURM_CLUSTER_NAME:-}}
    [ -n "$URL" ] && [ -n "$TOKEN" ] && mkdir -p "$SPOOL/refused"
}

# report OPERATION BODY: keep a call of start_job or stop_job, and send it.
report() {
    umask 077
    kept=$(mktemp "$SPOOL/.new.XXXXXX") || return 0
    printf '{"operation":"%s","body":%s}\n' "$1" "$2" >"$kept"
    own=$SPOOL/$(date +%s%N).$$.json
    mv "$kept" "$own" || return 0
    exec 9>"$SPOOL/.lock"
    if flock -n 9; then # else another sends what waits
        set -- "$SPOOL"/*.json
        [ $# -le $AT_ONCE ] || set -- $(printf '%s\n' "$@" | head -n $AT_ONCE)
    else
        set -- "$own"
    fi
    send "$@"
}

# send FILE...: send calls in this order; keep those that were not answered, or that the server could not carry out.
send() {
    calls=$(mktemp "$SPOOL/.calls.XXXXXX") && answers=$(mktemp "$SPOOL/.answers.XXXXXX") || return 0
    cat "$@" >"$calls" 2>/dev/null
    printf 'header = "X-Auth-Token: %s"\n' "$TOKEN" |
        curl --silent --fail --max-time $MOST_WAIT --config - --data-binary "@$calls" --output "$answers" \
            --header 'Content-Type: application/x-ndjson' "$URL/api/jobs/events/" 2>/dev/null
    sed -n 's/^{"line":[0-9]*,\("operation":[^,]*,\)\{0,1\}"status":\([0-9]*\).*/\2/p' "$answers" |
        while [ $# -gt 0 ] && read -r status; do
            case $status in
            2?? | 422) rm -f "$1" ;; # carried out, or known from before
            4??) mv "$1" "$SPOOL/refused/" 2>/dev/null ;;
            esac
            shift
        done
    rm -f "$calls" "$answers"
}
