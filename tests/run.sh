#!/usr/bin/env bash
# Installs what the tests need and is missing, then runs all of them. Needs Rust, and a Debian that can install packages.
#
#   tests/run.sh                                                 everything
#   SIDELOCK_REAL_ONLY=1 SIDELOCK_BIN=/path/to/sidelock tests/run.sh     only the tests with real parts
#   SIDELOCK_SKIP_BENCH=1 tests/run.sh                           all but the gate of instructions, which takes minutes
#   SIDELOCK_SOAK_MINUTES=30 tests/run.sh                        a longer soak test (default: 0.5); 0 leaves it out
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

NODE_PACKAGES=(
    grammy@1.46.0
    telegraf@4.16.3
    standardwebhooks@1.1.1
    svix@1.99.1
    stripe@23.1.0
    @octokit/webhooks-methods@6.0.0
    discord-interactions@4.4.0
    @sendgrid/eventwebhook@8.0.0
)
REQUIREMENTS=tests/real/requirements.txt
SDK_REQUIREMENTS=tests/real/requirements-sdks.txt
VENV=target/venv
NPM=target/npm
LOGS=target/tests
mkdir -p "$LOGS"

step() { printf '\n== %s\n' "$*"; }
missing() {
    echo "tests/run.sh: missing real part: $1" >&2
    exit 1
}
has() { command -v "$1" >/dev/null; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        echo "tests/run.sh: this needs root or sudo: $*" >&2
        return 1
    fi
}

# Debian starts a daemon when it installs one. Here only the program is wanted: runlevel 1 starts none, and where systemd
# runs, what was just installed is stopped again.
install_packages() {
    step "Debian packages: $*"
    as_root apt-get update -q &&
        as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qy --no-install-recommends "$@" ||
        return 1
    local daemon
    for daemon in prometheus prometheus-alertmanager haproxy nginx; do
        if [ -d /run/systemd/system ] && [[ " $* " == *" $daemon "* ]]; then
            as_root systemctl disable --now "$daemon.service"
        fi
    done
}

debian_parts() {
    local packages=()
    has prometheus && has promtool || packages+=(prometheus)
    has prometheus-alertmanager && has amtool || packages+=(prometheus-alertmanager)
    has node || packages+=(nodejs)
    has npm || packages+=(npm)
    has curl || packages+=(curl)
    has valgrind || packages+=(valgrind)
    has openssl || packages+=(openssl)
    has chromium || packages+=(chromium)
    has haproxy || packages+=(haproxy)
    has nginx || packages+=(nginx-light)
    has systemd-analyze || packages+=(systemd)
    has h2load || packages+=(nghttp2-client)
    has slowhttptest || packages+=(slowhttptest)
    has python3 || packages+=(python3)
    python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
    [ ${#packages[@]} = 0 ] || install_packages "${packages[@]}" || missing "${packages[*]}"
    for program in prometheus promtool prometheus-alertmanager amtool node npm curl valgrind openssl chromium haproxy nginx systemd-analyze h2load slowhttptest nghttp python3; do
        has "$program" || missing "$program"
    done
}

# A copy of the requirements beside what was installed from them tells whether it is still the same.
python_parts() {
    if ! [ -x "$VENV/bin/python" ] || ! cmp -s "$REQUIREMENTS" "$VENV/installed.txt"; then
        step "Python packages under $VENV"
        python3 -m venv --clear "$VENV" &&
            "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r "$REQUIREMENTS" ||
            missing "the Python packages of $REQUIREMENTS"
        cp "$REQUIREMENTS" "$VENV/installed.txt"
    fi
    # Few modules of these big packages are ever imported, so none is compiled ahead.
    if ! cmp -s "$SDK_REQUIREMENTS" "$VENV/installed-sdks.txt"; then
        step "Senders' libraries under $VENV"
        "$VENV/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check -r "$SDK_REQUIREMENTS" ||
            missing "the Python packages of $SDK_REQUIREMENTS"
        cp "$SDK_REQUIREMENTS" "$VENV/installed-sdks.txt"
    fi
    for part in helpdesk:django-helpdesk telegram.ext:python-telegram-bot tornado:tornado websockets:websockets h2:h2 pytest:pytest yaml:PyYAML promql_parser:promql-parser \
        standardwebhooks:standardwebhooks stripe:stripe slack_sdk.signature:slack_sdk twilio.request_validator:twilio \
        discord_interactions:discord-interactions nacl.signing:PyNaCl; do
        "$VENV/bin/python" -c "import ${part%%:*}" || missing "${part#*:}"
    done
}

# The packages that are not there in the wanted version.
missing_node_packages() {
    local package version
    for package in "${NODE_PACKAGES[@]}"; do
        version=$(node -p "require('./$NPM/node_modules/${package%@*}/package.json').version" 2>/dev/null) || true
        [ "$version" = "${package##*@}" ] || echo "$package"
    done
}

node_parts() {
    local wanted=()
    mapfile -t wanted < <(missing_node_packages)
    if [ ${#wanted[@]} != 0 ]; then
        step "npm packages under $NPM"
        npm install --prefix "$NPM" --no-audit --no-fund --silent "${NODE_PACKAGES[@]}" || missing "${wanted[*]}"
    fi
    mapfile -t wanted < <(missing_node_packages)
    [ ${#wanted[@]} = 0 ] || missing "${wanted[*]}"
}

rust_tests() {
    has cargo || missing cargo
    step "cargo fmt --check"
    cargo fmt --check
    step "cargo clippy"
    cargo clippy --all-targets -- -D warnings
    step "cargo test"
    cargo test --no-fail-fast 2>&1 | tee "$LOGS/rust.txt" || broken=1
    step "cargo build"
    cargo build --bin sidelock
    export SIDELOCK_BIN="${CARGO_TARGET_DIR:-target}/debug/sidelock"
}

real_tests() {
    step "tests with real parts"
    [ -x "${SIDELOCK_BIN:-}" ] || missing "the sidelock binary (SIDELOCK_BIN='${SIDELOCK_BIN:-}')"
    "$VENV/bin/python" -m pytest tests/real -q -p no:cacheprovider --color=no 2>&1 | tee "$LOGS/real.txt" || broken=1
}

# Everything goes on while everything breaks. Three runs: its own test, the soak, and restarts and upgrades under load.
soak_test() {
    local minutes=${SIDELOCK_SOAK_MINUTES:-0.5}
    [ "$minutes" != 0 ] || return 0
    step "soak test"
    "$VENV/bin/python" tests/soak/run.py --self-test 2>&1 | tee "$LOGS/soak.txt" || broken=1
    "$VENV/bin/python" tests/soak/run.py --minutes "$minutes" 2>&1 | tee -a "$LOGS/soak.txt" || broken=1
    "$VENV/bin/python" tests/soak/run.py --restarts 5 --upgrades 5 2>&1 | tee -a "$LOGS/soak.txt" || broken=1
}

# Instructions of the release binary against tests/bench/ceilings.json. Cargo builds it only if something changed. It takes two
# minutes, on a busy machine more; beyond ten something is stuck.
instruction_gate() {
    step "instruction gate"
    cargo build --release --bin sidelock
    timeout 600 python3 tests/bench/instructions.py --binary "${CARGO_TARGET_DIR:-target}/release/sidelock" \
        --few 100 --many 300 --rounds 1 --gate tests/bench/ceilings.json 2>&1 | tee "$LOGS/instructions.txt" || broken=1
}

# The sum of the numbers before word $1 in the lines of result that both runners print.
count() {
    { cat "$LOGS"/*.txt | grep -E '^test result: |^([0-9]+ [a-z]+, )*[0-9]+ [a-z]+ in [0-9.]+s' |
        grep -oE "[0-9]+ $1" || true; } | awk '{ sum += $1 } END { print sum + 0 }'
}

broken=0
started=$SECONDS
rm -f "$LOGS"/*.txt
debian_parts
python_parts
node_parts
if [ -z "${SIDELOCK_REAL_ONLY:-}" ]; then
    rust_tests
fi
real_tests
soak_test
if [ -z "${SIDELOCK_REAL_ONLY:-}" ] && [ -z "${SIDELOCK_SKIP_BENCH:-}" ]; then
    instruction_gate
fi

passed=$(count passed)
failed=$(($(count failed) + $(count 'errors?')))
step "done in $((SECONDS - started)) s"
echo "$passed passed, $failed failed"
[ "$broken" = 0 ] && [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
