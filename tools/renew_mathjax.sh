#!/usr/bin/env bash
# Renews book/assets/mathjax, the part of MathJax that the site serves itself (the only step of the project that needs npm).
# Usage: tools/renew_mathjax.sh [VERSION]
set -euo pipefail
version="${1:-3.2.2}"
target="$(cd "$(dirname "$0")/.." && pwd)/book/assets/mathjax"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

cd "$work"
npm pack --silent "mathjax@$version" >/dev/null
tar xzf "mathjax-$version.tgz"
rm -rf "$target"
mkdir -p "$target"/{output/chtml/fonts,input/tex,sre/mathmaps}
cd package
cp LICENSE "$target/"
cp es5/tex-mml-chtml.js "$target/"
cp -r es5/output/chtml/fonts/woff-v2 "$target/output/chtml/fonts/"
cp -r es5/input/tex/extensions "$target/input/tex/"
cp -r es5/a11y "$target/"
cp es5/sre/mathmaps/{base,en,nemeth}.json "$target/sre/mathmaps/"
echo "MathJax $version is in $target ($(du -sh "$target" | cut -f1))."
