# SPDX-License-Identifier: MIT
"""What `make install` puts where, as packages and hosts without packages use it."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from postern import BUILD, POSTERN, ROOT

INSTALL_S = 120
# Below DESTDIR, with PREFIX=/usr; man pages besides.
FILES = {
    "usr/bin/postern": 0o755,
    "usr/sbin/posternd": 0o755,
    "usr/sbin/postern-relay": 0o711,  # nobody who runs it can read it, so nobody can trace it either
    "usr/lib/sysusers.d/postern.conf": 0o644,
    "usr/lib/tmpfiles.d/postern.conf": 0o644,
    "usr/share/bash-completion/completions/postern": 0o644,
    "lib/systemd/system/posternd.service": 0o644,
    "etc/postern/posternd.json": 0o600,
}
# What user/daemon/privileges.c keeps: a unit that takes one of them away leaves a daemon that cannot do its work.
KEPT = {"CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH",
        "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETUID", "CAP_SETGID"}


def make(target, *variables, umask=0o022):
    """As another user of make, not as a part of the `make e2e` that runs this."""
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "B")}
    done = subprocess.run(["make", "--no-print-directory", "-C", str(ROOT), target, f"B={BUILD}", *variables],
                          capture_output=True, text=True, check=False, timeout=INSTALL_S, env=env, umask=umask)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def below(directory):
    """Its files with their modes."""
    return {str(path.relative_to(directory)): stat.S_IMODE(path.lstat().st_mode)
            for path in directory.rglob("*") if not path.is_dir()}


def man_pages():
    return {f"usr/share/man/man{page.suffix[1:]}/{page.name}": 0o644 for page in (ROOT / "docs" / "man").iterdir()}


@pytest.fixture(name="installed", scope="module")
def _installed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("install")
    make("install", f"DESTDIR={directory}", "PREFIX=/usr", umask=0o077)
    return directory


def unit_of(directory):
    """The [Service] section: a list of values for each name."""
    values = {}
    for line in (directory / "lib/systemd/system/posternd.service").read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            name, value = line.split("=", 1)
            values.setdefault(name, []).append(value)
    return values


def test_installs_these_files_with_these_modes_whatever_the_umask(installed):
    assert below(installed) == {**FILES, **man_pages()}


def test_keeps_the_directory_of_policies_from_others(installed):
    assert stat.S_IMODE((installed / "etc/postern/sandboxes.d").stat().st_mode) == 0o700
    assert stat.S_IMODE((installed / "etc/postern").stat().st_mode) == 0o755


def test_leaves_no_name_of_a_place_unfilled(installed):
    for path in FILES:
        content = (installed / path).read_bytes()
        if b"\0" not in content:
            assert not re.search(rb"@[A-Z]+@", content), path
        assert path.startswith("usr/sbin") or path.startswith("usr/bin") or str(installed).encode() not in content, path


def test_the_configuration_that_is_installed_is_the_default(installed):
    config = installed / "etc/postern/posternd.json"
    assert json.loads(config.read_text(encoding="utf-8")) == {
        "socket": "/run/postern/postern.sock", "stateDir": "/var/lib/postern", "bpffsDir": "/sys/fs/bpf/postern",
        "sandboxDir": "/etc/postern/sandboxes.d", "cgroupParent": "postern", "log": "json"}
    checked = subprocess.run([str(installed / "usr/sbin/posternd"), "-n", "-c", str(config)], capture_output=True,
                             text=True, check=False, timeout=30)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    broken = config.with_name("broken.json")
    broken.write_text(config.read_text(encoding="utf-8").replace('"log"', '"lock"'), encoding="utf-8")
    refused = subprocess.run([str(installed / "usr/sbin/posternd"), "-n", "-c", str(broken)], capture_output=True,
                             text=True, check=False, timeout=30)
    broken.unlink()
    assert refused.returncode == 2 and "lock" in refused.stderr, refused


def test_a_configuration_that_is_there_stays(tmp_path):
    config = tmp_path / "etc/postern/posternd.json"
    config.parent.mkdir(parents=True)
    config.write_text('{"log": "text"}\n', encoding="utf-8")
    config.chmod(0o640)
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    assert config.read_text(encoding="utf-8") == '{"log": "text"}\n'
    assert stat.S_IMODE(config.stat().st_mode) == 0o640


def test_uninstall_leaves_what_the_operator_wrote_and_nothing_else(tmp_path):
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    (tmp_path / "etc/postern/sandboxes.d/mine.json").write_text("{}\n", encoding="utf-8")
    make("uninstall", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    assert set(below(tmp_path)) == {"etc/postern/posternd.json", "etc/postern/sandboxes.d/mine.json"}


def test_the_unit_starts_what_was_installed(installed):
    unit = unit_of(installed)
    program, *arguments = shlex.split(unit["ExecStart"][0])
    assert os.access(installed / program[1:], os.X_OK)
    assert arguments[0] == "-c" and (installed / arguments[1][1:]).exists()


def test_the_unit_lets_the_daemon_have_what_it_keeps(installed):
    allowed = set(" ".join(unit_of(installed)["CapabilityBoundingSet"]).split())
    assert KEPT <= allowed
    # To set itself up: the bounding set, the group of the socket, a port below 1024.
    assert allowed - KEPT == {"CAP_SETPCAP", "CAP_CHOWN", "CAP_NET_BIND_SERVICE"}


def test_the_unit_does_not_hide_bpffs_or_cgroups(installed):
    """Each of these was seen to break pinning or attaching."""
    unit = unit_of(installed)
    for name in ("ProtectKernelTunables", "ProtectControlGroups", "PrivateUsers", "PrivateNetwork", "DynamicUser"):
        assert name not in unit
    assert unit["ProtectSystem"] == ["strict"] and unit["NoNewPrivileges"] == ["yes"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_understands_every_line_of_the_unit(tmp_path):
    """Without DESTDIR, so that the paths in the unit are those that it can look at."""
    variables = (f"PREFIX={tmp_path}/usr", f"SYSCONFDIR={tmp_path}/etc", f"UNITDIR={tmp_path}/unit")
    make("install", *variables)
    unit = tmp_path / "unit/posternd.service"

    def verify():
        return subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)],
                              capture_output=True, text=True, check=False, timeout=60)

    done = verify()
    assert done.returncode == 0 and "posternd.service" not in done.stderr, done.stderr
    # It does say so when it does not.
    unit.write_text(unit.read_text(encoding="utf-8").replace("OOMScoreAdjust=", "OOMScoreAdjusted="), encoding="utf-8")
    assert "OOMScoreAdjusted" in verify().stderr


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="needs systemd-sysusers")
def test_sysusers_makes_the_group(installed, tmp_path):
    (tmp_path / "etc").mkdir()
    done = subprocess.run(["systemd-sysusers", f"--root={tmp_path}", str(installed / "usr/lib/sysusers.d/postern.conf")],
                          capture_output=True, text=True, check=False, timeout=30)
    groups = (tmp_path / "etc/group").read_text(encoding="utf-8")
    assert done.returncode == 0 and re.search(r"^postern:x:\d+:$", groups, re.M), done.stderr + groups


@pytest.mark.skipif(not shutil.which("systemd-tmpfiles"), reason="needs systemd-tmpfiles")
def test_tmpfiles_makes_the_directories(installed, tmp_path):
    done = subprocess.run(["systemd-tmpfiles", "--create", f"--root={tmp_path}",
                           str(installed / "usr/lib/tmpfiles.d/postern.conf")],
                          capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE((tmp_path / "run/postern").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "var/lib/postern").stat().st_mode) == 0o700


def complete(installed, *words, program=POSTERN):
    """What TAB offers for the last of the words."""
    script = ('. "$1"; program=$2; shift 2; COMP_WORDS=(postern "$@"); COMP_CWORD=$#; _postern "$program"; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", script, "bash",
                           str(installed / "usr/share/bash-completion/completions/postern"), program, *words],
                          capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == ""
    return done.stdout.split()


def commands():
    told = subprocess.run([POSTERN, "--help"], capture_output=True, text=True, check=True, timeout=30).stdout
    return re.findall(r"^  ([a-z]+) +[a-z]", told, re.M)


def test_completes_the_commands(installed):
    assert {"run", "check", "explain", "doctor"} <= set(commands())
    assert set(complete(installed, "")) == {*commands(), "--help", "--version"}
    assert complete(installed, "expl") == ["explain"]


def test_completes_the_options_of_each_command(installed):
    for command in commands():
        told = subprocess.run([POSTERN, command, "--help"], capture_output=True, text=True, check=True, timeout=30).stdout
        options = set(re.findall(r"^ .*?(--[a-z][a-z-]*)", told, re.M))
        assert options and options <= set(complete(installed, command, "--")), command
    assert complete(installed, "explain", "--pol") == ["--policy"]


def test_completes_values_and_files(installed, tmp_path):
    (tmp_path / "agent.json").write_text("{}", encoding="utf-8")
    assert complete(installed, "explain", "-o", "") == ["text", "json"]
    assert complete(installed, "explain", "--output", "=", "j") == ["json"]
    assert complete(installed, "check", f"{tmp_path}/a") == [f"{tmp_path}/agent.json"]
    assert complete(installed, "run", "--policy", f"{tmp_path}/a") == [f"{tmp_path}/agent.json"]
    assert complete(installed, "run", "--allow", "") == []


def test_completes_the_ids_that_a_daemon_tells(installed, tmp_path):
    program = tmp_path / "postern"
    program.write_text('#!/bin/sh\n[ "$*" = "list -o json" ] || exit 1\n'
                       'echo \'[{"id":"web-1","owner":""},{"id":"builds","owner":""}]\'\n', encoding="utf-8")
    program.chmod(0o755)
    assert complete(installed, "show", "", program=str(program)) == ["web-1", "builds"]
    assert complete(installed, "show", "b", program=str(program)) == ["builds"]
    assert complete(installed, "show", "builds", "", program=str(program)) == []


def test_manual_pages_have_no_mistakes(installed):
    if not shutil.which("groff"):
        pytest.skip("needs groff")
    for page in sorted((installed / "usr/share/man").rglob("*.[0-9]")):
        done = subprocess.run(["groff", "-man", "-mdoc", "-ww", "-z", "-Tutf8", "-K", "utf8", str(page)],
                              capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0 and done.stderr == "", f"{Path(page).name}: {done.stderr}"
