#!/usr/bin/env bash
# Makes the .env that compose.yaml needs: .env.example with a new random password for each that is
# empty there, readable by its owner only. Never changes a .env that is there.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 077

if [ -e .env ] || [ -L .env ]; then
    echo 'env: .env is there already, and stays as it is. Its passwords are those of the volumes' \
        'made with it; move it away first if you want a new one.' >&2
    exit 1
fi

random_password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

passwords=0
text=
while IFS= read -r line || [ -n "$line" ]; do
    case $line in
    \#*) ;;
    *_PASSWORD=)
        line=$line$(random_password)
        passwords=$((passwords + 1))
        ;;
    esac
    text+=$line$'\n'
done <.env.example

# Fails if another process has made one in the meantime.
set -o noclobber
printf '%s' "$text" >.env
echo "env: wrote .env with $passwords random passwords; only you can read it"
