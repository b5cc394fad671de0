#!/usr/bin/env bash
# Renews book/assets/codemirror, the editor of the live cells as one file that the site serves itself (needs npm).
# Usage: tools/renew_codemirror.sh
set -euo pipefail
target="$(cd "$(dirname "$0")/.." && pwd)/book/assets/codemirror"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund esbuild@0.28.2 @codemirror/state@6.7.6 @codemirror/view@6.43.15 \
  @codemirror/commands@6.11.1 @codemirror/language@6.13.1 @codemirror/lang-python@6.2.1 @lezer/highlight@1.2.5
cat >entry.mjs <<'END'
export { EditorState } from "@codemirror/state";
export { EditorView, keymap } from "@codemirror/view";
export { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
export { bracketMatching, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
export { pythonLanguage } from "@codemirror/lang-python";
export { classHighlighter } from "@lezer/highlight";
END
npx esbuild entry.mjs --bundle --minify --format=esm --outfile=codemirror.mjs --log-level=warning
rm -rf "$target"
mkdir -p "$target"
cp codemirror.mjs "$target/"
cp node_modules/@codemirror/state/LICENSE "$target/"
echo "CodeMirror is in $target ($(gzip -9c codemirror.mjs | wc -c) bytes compressed)."
