#!/bin/sh
# From a bare Debian to a site with TLS and a hook that reports jobs, by the lines of README's section "Production", as an
# account with sudo for the system's parts. Each step is printed; the first that fails ends the run with status 1.
#
#   sh deploy/try.sh
#
# Run it as root in a fresh container, chroot or machine of Debian 12 or newer: it installs packages (nginx, PostgreSQL)
# and takes the ports 80, 443 and 8080. At the end it takes away what it has made, but not the packages.

set -eu
project=$(cd "$(dirname "$0")/.." && pwd)
home=/opt/ccbackend archive=/srv/job-archive name=jobs.example.org job=4711
password=Tannenzapfen-17
certificate=/etc/ssl/certs/$name.pem key=/etc/ssl/private/$name.key
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

step() { printf '\n== %s\n' "$*"; }
fail() {
    printf '\nFAILED: %s\n' "$*" >&2
    exit 1
}

# production N: print a line of README's section.
production() { sed '1,/^## Production/d' "$home/README.md" | sed '1,/^```/d' | sed -n "/^\`\`\`/q; $1p"; }

# operator LINE: run a line of the shell in the clone, as the account of the server.
operator() {
    printf '$ %s\n' "$1"
    runuser -u ccbackend -- sh -ec "cd $home && $1"
}

# until_done SECONDS WHAT COMMAND...: repeat a command until it succeeds.
until_done() {
    seconds=$1 what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$seconds" -gt 0 ] || fail "$what: not within the time; see the lines above"
        seconds=$((seconds - 1))
        sleep 1
    done
    printf '%s\n' "$what"
}

has_systemd() { [ -d /run/systemd/system ]; }

# start UNIT: without systemd start what the unit starts.
start() {
    unit=/etc/systemd/system/$1.service
    check=$(sed -n 's/^ExecStartPre=//p' "$unit") command=$(sed -n 's/^ExecStart=//p' "$unit")
    [ -z "$check" ] || operator "$check"
    printf '$ %s\n' "$command"
    (cd $home && exec runuser -u ccbackend -- sh -c "exec $command") >"/var/log/$1.log" 2>&1 &
    started="$started $!"
}

started=
clean_up() {
    status=$?
    trap - EXIT
    set +e
    if [ $status -ne 0 ]; then
        tail -n 20 /var/log/ccbackend*.log /var/log/nginx/error.log 2>/dev/null
        has_systemd && journalctl --no-pager -n 40 -u ccbackend -u ccbackend-worker
    fi
    step "Take everything away"
    if has_systemd; then systemctl disable --now ccbackend ccbackend-worker; fi
    [ -z "$started" ] || kill $started 2>/dev/null
    wait
    rm -f /etc/systemd/system/ccbackend* /etc/nginx/sites-enabled/ccbackend.conf "$certificate" "$key" \
        /usr/local/bin/scontrol /etc/sudoers.d/ccbackend /var/log/ccbackend*.log /tmp/statements
    rm -rf /etc/slurm/ccbackend
    has_systemd && systemctl daemon-reload
    service nginx stop
    (cd / && runuser -u postgres -- dropdb --if-exists --force ccbackend && runuser -u postgres -- dropuser --if-exists ccbackend)
    service postgresql stop
    for account in ccbackend slurm; do userdel $account 2>/dev/null; done
    rm -rf $home $archive /etc/ccbackend /var/spool/ccbackend
    sed "/ $name\$/d" /etc/hosts >/tmp/hosts && cat /tmp/hosts >/etc/hosts && rm /tmp/hosts
    [ $status -ne 0 ] || printf '\nAll steps succeeded, in %s s.\n' $(($(date +%s) - begin))
    exit $status
}

begin=$(date +%s)
[ "$(id -u)" = 0 ] || fail "run it as root"
[ ! -e $home ] && [ ! -e $archive ] && ! id ccbackend >/dev/null 2>&1 ||
    fail "$home, $archive or an account ccbackend is there: this is no fresh system"

step "Install Debian's packages"
apt-get update -qq
apt-get install -y -qq --no-install-recommends \
    ca-certificates curl nginx openssl postgresql python3-venv sudo >/var/log/try-packages.log 2>&1 ||
    fail "apt-get: $(tail -n 5 /var/log/try-packages.log)"
service nginx stop
for port in 80 443 8080; do
    ! curl --silent --max-time 5 --output /dev/null "http://127.0.0.1:$port/" || fail "port $port is in use"
done
trap clean_up EXIT
trap 'exit 1' INT TERM

step "The machine: an account with sudo, its clone, a folder for the archive, PostgreSQL, a certificate"
useradd --system --create-home --home-dir $home --shell /bin/sh ccbackend
echo 'ccbackend ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ccbackend
tar -C "$project" --exclude=.git --exclude=.venv --exclude=./var --exclude=.env --exclude='.*_cache' -cf - . | runuser -u ccbackend -- tar -C $home -xf -
install -d -o ccbackend -m 700 $archive
service postgresql start
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$name" -addext "subjectAltName=DNS:$name" \
    -keyout "$key" -out "$certificate" 2>/dev/null
echo "127.0.0.1 $name" >>/etc/hosts

step "README, first line: the packages of Python"
operator "$(production 1) --quiet"

step "README, second line: setup, until it names what PostgreSQL's administrator has to run"
setup="echo $password | $(production 2) --database 'postgres:///ccbackend?host=/run/postgresql' --archive $archive
    --name $name --cluster fritz --nodes 'n[01-04]' --sockets 2 --cores 36 --admin ada --password-stdin"
setup=$(echo "$setup" | tr -s '\n ' ' ')
if said=$(operator "$setup" 2>&1); then fail "setup has made a database without being allowed to: $said"; fi
printf '%s\n' "$said"
printf '%s\n' "$said" | grep '^ *CREATE ' >/tmp/statements || fail "setup names no statements"
step "... which the administrator runs, and setup goes on"
(cd / && runuser -u postgres -- psql --quiet --set ON_ERROR_STOP=1) </tmp/statements
said=$(operator "$setup" 2>&1) || fail "setup: $said"
printf '%s\n' "$said" | sed 's/^\(ccb_....\).*/\1.../'
token=$(printf '%s\n' "$said" | grep '^ccb_') || fail "setup prints no token"

step "README, third and fourth line: the units"
if has_systemd; then
    operator "$(production 3)"
    operator "$(production 4)"
else
    echo "(no systemd runs here: the commands of the units, without what the units forbid them)"
    operator "$(production 3 | sed 's/ && sudo systemctl.*//')"
    start ccbackend
    start ccbackend-worker
fi
until_done 30 "The server answers." curl --silent --fail http://127.0.0.1:8080/healthz

step "TLS: the file for nginx that setup has filled in"
operator "sudo cp var/deploy/nginx.conf /etc/nginx/sites-enabled/ccbackend.conf"
nginx -t 2>&1 || fail "nginx refuses its file"
service nginx restart
export CURL_CA_BUNDLE="$certificate"
until_done 10 "The page for logging in is there, by https." curl --silent --fail "https://$name/admin/login/"
curl --silent --output /dev/null --write-out 'http:// leads to %{redirect_url}\n' "http://$name/admin/"

step "The scheduler's hooks"
id -u slurm >/dev/null 2>&1 || useradd --system slurm
printf '#!/bin/sh\nprintf "n01\\nn02\\n"\n' >/usr/local/bin/scontrol # for `scontrol show hostnames`
chmod 755 /usr/local/bin/scontrol
install -d -o slurm -m 700 /etc/ccbackend /var/spool/ccbackend
printf 'URL=https://%s\nTOKEN=%s\nCLUSTER=fritz\n' "$name" "$token" >/etc/ccbackend/hook.conf
chown slurm /etc/ccbackend/hook.conf
chmod 600 /etc/ccbackend/hook.conf
install -d /etc/slurm/ccbackend && cp $home/deploy/slurm/*.sh /etc/slurm/ccbackend/
begun=$(date +%s)
export SLURM_JOB_ID=$job SLURM_JOB_USER=ada SLURM_JOB_ACCOUNT=fluids SLURM_JOB_NODELIST='n[01-02]' \
    SLURM_JOB_PARTITION=work SLURM_JOB_NAME=turbulence SLURM_JOB_START_TIME="$begun" SLURM_JOB_END_TIME=$((begun + 3600))
listed() { curl --silent --fail "https://$name/api/jobs/?job-id=$job" -H "X-Auth-Token: $token" | grep "\"jobState\":\"$1\""; }
runuser -u slurm -- /etc/slurm/ccbackend/prolog.sh
until_done 5 "The prolog's job runs." listed running
runuser -u slurm -- /etc/slurm/ccbackend/epilog.sh
until_done 5 "The epilog's job is completed." listed completed
until_done 10 "The job is in the archive." test -s "$archive/fritz/4/711/$begun/meta.json"

step "Is it well?"
operator ".venv/bin/python manage.py check --deploy --database default"
operator ".venv/bin/python manage.py doctor" || fail "doctor"
