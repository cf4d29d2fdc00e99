#!/bin/sh
# SPDX-License-Identifier: MIT
# A sample of the mutants of what judges, always the same; `make mutants` makes them all.
exec "$(dirname "$0")/mutate.py" --sample "${MUTANTS:-24}" --seed 1 --seconds "${MUTANT_SECONDS:-20}"
