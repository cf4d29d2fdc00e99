#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs the E2B SDK, the very package that E2B's users have, for the tests of E2B's API: into $B/sdk, only when it is
# not there, and only in the versions (with the hashes) of tests/sdk/package-lock.json.
# To lock others: cd tests/sdk && npm install --package-lock-only --omit-lockfile-registry-resolved e2b@VERSION
#   tools/e2b-sdk.sh
set -eu
cd "$(dirname "$0")/.."
B=${B:-build}
sdk=$B/sdk
# A file of the SDK to `import`: it works with node 18 too (Debian 12's), which has no undici of its own and no require() of
# the modules the SDK needs. There the SDK sends its bodies with a length; with node 20 and later it sends them chunked.
entry=$sdk/node_modules/e2b/dist/index.mjs

if [ -e "$entry" ] && cmp -s tests/sdk/package-lock.json "$sdk/package-lock.json"; then
	exit 0
fi
for command in node npm; do
	command -v $command >/dev/null && continue
	echo "e2b-sdk: no $command; tools/deps.sh installs it" >&2
	exit 1
done
# Made aside: what another run installs at the same time, or one that was stopped, is never half there.
mkdir -p "$B"
scratch=$(mktemp -d "$B/sdk.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cp tests/sdk/package.json tests/sdk/package-lock.json "$scratch/"
if ! (cd "$scratch" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error); then
	echo "e2b-sdk: the E2B SDK could not be installed" >&2
	exit 1
fi
chmod 755 "$scratch"
rm -rf "$sdk"
mv -T "$scratch" "$sdk" || [ -e "$entry" ]
[ -e "$entry" ]
echo "e2b-sdk: $(sed -n 's/.*"e2b": "\(.*\)"/\1/p' "$sdk/package.json") in $sdk"
