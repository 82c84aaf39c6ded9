#!/usr/bin/env bash
# Builds the fuzzers and runs one after the other, each for a bounded time. Needs rustup's nightly compiler; installs
# cargo-fuzz into target/tools if it is missing. Fails at the first crash, slow input (10 s) or use of over 1 GiB.
#
#   tests/fuzz/run.sh [SECONDS_PER_TARGET] [TARGET…]        10 seconds, and all targets, if nothing else is said
set -euo pipefail

if [[ "${1:-}" = -h || "${1:-}" = --help ]]; then
    sed -n '2,5s/^# \{0,1\}//p' "$0"
    exit
fi
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

CARGO_FUZZ=0.13.2
SECONDS_EACH=${1:-10}
shift $(($# ? 1 : 0))
[[ "$SECONDS_EACH" =~ ^[1-9][0-9]*$ ]] || {
    echo "tests/fuzz/run.sh: not a number of seconds: $SECONDS_EACH" >&2
    exit 2
}
ALL=$(sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"$/\1/p' tests/fuzz/Cargo.toml)
TARGETS=("$@")
[ $# != 0 ] || mapfile -t TARGETS <<<"$ALL"
for target in "${TARGETS[@]}"; do
    grep -qx -- "$target" <<<"$ALL" || {
        echo "tests/fuzz/run.sh: no target is called '$target'; there are:" $ALL >&2
        exit 2
    }
done

# What the fuzzers build and find stays out of the way of the ordinary build.
OUT="$PWD/target/fuzz"
TRIPLE=$(rustc -vV | sed -n 's/^host: //p')
PATH="$PWD/target/tools/bin:$PATH"
rustup which --toolchain nightly rustc >/dev/null || {
    echo "tests/fuzz/run.sh: this needs the nightly compiler: rustup toolchain install nightly --profile minimal" >&2
    exit 1
}
cargo-fuzz --version >/dev/null 2>&1 ||
    cargo install cargo-fuzz --version "$CARGO_FUZZ" --locked --quiet --root target/tools

# No sanitizer: Sidelock forbids unsafe code, and without one there are several times as many executions. The profile in
# tests/fuzz/Cargo.toml has debug assertions.
echo "building"
CARGO_TARGET_DIR=$OUT cargo +nightly fuzz build --fuzz-dir tests/fuzz --release --sanitizer none

for target in "${TARGETS[@]}"; do
    found="$OUT/found/$target"
    learnt="$OUT/corpus/$target"
    log="$OUT/$target.log"
    mkdir -p "$found" "$learnt"
    broken=0
    # New inputs go into the first folder, so that the committed ones stay few.
    "$OUT/$TRIPLE/release/$target" "$learnt" "tests/fuzz/corpus/$target" -max_total_time="$SECONDS_EACH" -timeout=10 \
        -rss_limit_mb=1024 -max_len=4096 -artifact_prefix="$found/" -print_final_stats=1 >"$log" 2>&1 || broken=$?
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '%-20s %12s executions in %s s\n' "$target" "${executions:-no}" "$SECONDS_EACH"
    if [ "$broken" != 0 ]; then
        grep -E 'panicked at|^==[0-9]+==|^SUMMARY' -A 3 "$log" | head -20 >&2 || true
        echo "tests/fuzz/run.sh: $target failed; the input:" >&2
        sed -n 's/.*Test unit written to /  /p' "$log" >&2
        echo "again: $OUT/$TRIPLE/release/$target FILE" >&2
        exit 1
    fi
done
