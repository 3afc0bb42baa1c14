"""Becomes another program: one that ends with its parent and, where asked, isn't root.

Run as a file, with nothing but the standard library, so that it costs a few
milliseconds; `launcher` returns the words that go before a command. Doing the
same in a `preexec_fn` would run Python in a fork of a process with threads.
"""

import ctypes
import os
import pwd
import signal
import sys
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 4
CLONE_NEWUSER = 0x10000000
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def launcher(*, end_with: signal.Signals, owned: Path | None = None) -> list[str]:
    """Return the words to put before a command.

    Args:
        end_with: what the program is sent when this process dies; on Linux only.
        owned: a folder that the program works in. Root hands it over and becomes somebody else first.
    """
    words = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(end_with))]
    return [*words, str(owned.absolute()) if owned and os.geteuid() == 0 else "", "--"]


def nobody() -> pwd.struct_passwd:
    """Return somebody without rights; raises `LookupError` where this system knows root only."""
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        return next((entry for entry in pwd.getpwall() if entry.pw_uid), None) or _fail_lookup()


def _fail_lookup() -> NoReturn:
    message = "there is no user but root"
    raise LookupError(message)


def die_with_parent(parent: int, number: int) -> None:
    """Have the kernel send us a signal when the parent dies."""
    if sys.platform != "linux":
        return
    _prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        # It died before we asked.
        sys.exit(1)


def leave_root(folder: str) -> None:
    """Stop being root, yet reach the folder and our own programs whatever lies on the way to them.

    Raises:
        OSError: this system lets us do it in neither way.
    """
    someone = nobody()
    try:
        _become(someone, folder)
    except OSError:
        _rename_root(someone)


def _become(someone: pwd.struct_passwd, folder: str) -> None:
    """Take another identity, and keep the one capability that opens folders of root's."""
    # The kernel is not to take capabilities away because of the identity, in access(2) neither.
    _prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    _hand_over(folder, someone)
    os.setgroups([])
    os.setresgid(someone.pw_gid, someone.pw_gid, someone.pw_gid)
    os.setresuid(someone.pw_uid, someone.pw_uid, someone.pw_uid)
    _keep_only(CAP_DAC_OVERRIDE)


def _rename_root(someone: pwd.struct_passwd) -> None:
    """Stay who we are, under another number in a user namespace of our own."""
    uid, gid = os.geteuid(), os.getegid()
    _call("unshare", CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{someone.pw_uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{someone.pw_gid} {gid} 1")


def _hand_over(folder: str, someone: pwd.struct_passwd) -> None:
    if os.stat(folder).st_uid == someone.pw_uid:  # noqa: PTH116  # nothing that needs pathlib
        return
    for path, folders, files in os.walk(folder):
        for name in ("", *folders, *files):
            os.chown(os.path.join(path, name), someone.pw_uid, someone.pw_gid, follow_symlinks=False)  # noqa: PTH118


def _keep_only(capability: int) -> None:
    """Let go of every other capability, and hand this one to the program that we become."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    # Effective, permitted, inheritable: the low half of each, then the high one.
    sets = (ctypes.c_uint32 * 6)(*[1 << capability] * 3, 0, 0, 0)
    _call("capset", header, sets)
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def _prctl(option: int, *arguments: int) -> None:
    padded = (*arguments, 0, 0, 0, 0)[:4]
    _call("prctl", option, *map(ctypes.c_ulong, padded))


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc(), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> NoReturn:
    """Become what the words after `--` say."""
    parent, number, folder, _, *command = arguments
    try:
        if folder:
            leave_root(folder)
    except (OSError, LookupError, AttributeError) as error:
        program = Path(command[0]).name
        sys.exit(f"{program}: error: it refuses to run as root, and this system lets root become nobody else ({error})")
    # Last, since a new identity clears it.
    die_with_parent(int(parent), int(number))
    os.execv(command[0], command)  # noqa: S606  # no shell is what we want


if __name__ == "__main__":
    main(sys.argv[1:])
