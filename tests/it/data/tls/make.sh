#!/usr/bin/env bash
# Makes the certificates of these tests anew. They protect nothing: their keys are here for everyone to read.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 "$@" 2>/dev/null; }
authority() { new -x509 -subj "/CN=$1" -addext basicConstraints=critical,CA:TRUE -keyout "$1.key" -out "$1.pem"; }
signed() { # name, authority, usage, names
    new -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -days 36500 -out "$1.pem" 2>/dev/null \
        -extfile <(printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=%s\nsubjectAltName=%s\n' "$3" "$4")
    rm "$1.csr"
}
authority ca
authority stranger
signed crm ca serverAuth DNS:crm.example,DNS:localhost,IP:127.0.0.1
signed shop ca serverAuth 'DNS:shop.example,DNS:*.shops.example'
signed partner ca clientAuth DNS:partner.example,URI:spiffe://example/partner
signed other ca clientAuth DNS:other.example
signed forger stranger clientAuth DNS:partner.example
rm -f ./*.srl ca.key stranger.key stranger.pem
