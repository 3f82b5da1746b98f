"""The nodes of a cluster as slurm.conf, `sinfo --json` or `scontrol show nodes --json` describe them, and lscpu."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from archive.exceptions import DocumentError
from archive.format.nodelist import NodeList
from ccbackend.setup import SetupError

_WORD = re.compile(r"""(\w+)=("[^"]*"|'[^']*'|\S+)""")
_GPU = re.compile(r"gpu(?::(?P<type>[^:,()\d][^:,()]*))?(?::(?P<count>\d+))?(?:\([^()]*\))?")
_CPU = re.compile(r"(\d+),(\d+),(\d*),(\d*)")
_NUMBERED = re.compile(r"(.*?)(\d+)")


@dataclass(frozen=True)
class Nodes:
    """Nodes of the same kind. `memory` is in MiB, 0 if unknown; `threads` are hwthreads per core."""

    names: str
    sockets: int = 1
    cores: int = 1  # per socket
    threads: int = 1
    memory: int = 0
    gpus: int = 0
    gpu_model: str = ""


@dataclass(frozen=True)
class Processor:
    """The processor of a node by lscpu: its name, and each hwthread with core, socket and memory domain."""

    name: str = ""
    hwthreads: list[tuple[int, int, int, int]] = field(default_factory=list)


def read_slurm_conf(path: Path) -> list[Nodes]:
    """Return the nodes of a slurm.conf, with the files that it includes; raise SetupError."""
    default: dict[str, str] = {}
    found = []
    for line in _lines(path, depth=0):
        words = {name.lower(): value.strip("\"'") for name, value in _WORD.findall(line)}
        names = words.pop("nodename", "")
        if names.upper() == "DEFAULT":
            default |= words
        elif names:
            found.append(_by_slurm_conf(names, default | words))
    if not found:
        raise SetupError(f"{path}: there is no line NodeName=...")
    return _together(found)


def _lines(path: Path, depth: int) -> Iterator[str]:
    """Yield the lines of a slurm.conf without comments, those with a backslash at the end joined."""
    text = _text(path)
    for line in re.sub(r"\\\n", " ", text).splitlines():
        line = line.partition("#")[0].strip()
        include = re.fullmatch(r"(?i:include)\s+(\S+)", line)
        if include and depth < 5:
            yield from _lines(path.parent / include[1], depth + 1)
        elif line:
            yield line


def _by_slurm_conf(names: str, words: Mapping[str, str]) -> Nodes:
    number = _reader(words, names)
    threads = number("threadspercore") or 1
    sockets = number("sockets") or number("boards") * number("socketsperboard") or number("socketsperboard") or 1
    cores = number("corespersocket") or max(1, number("cpus") // (sockets * threads))
    return _checked(names, sockets, cores, threads, number("realmemory"), words.get("gres", ""))


def _reader(words: Mapping[str, str], names: str) -> Callable[[str], int]:
    def number(word: str) -> int:
        text = words.get(word, "0")
        if not text.isdecimal():
            raise SetupError(f"NodeName={names[:60]}: {word}={text[:20]!r}, expected a whole number")
        return int(text)

    return number


def read_sinfo(raw: bytes) -> list[Nodes]:
    """Return the nodes of the JSON of sinfo, from Slurm 21.08 on, or of `scontrol show nodes`; raise SetupError."""
    try:
        document = json.loads(raw)
        entries = document.get("sinfo") or document["nodes"]
        found = [_by_sinfo(entry) for entry in entries]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise SetupError("expected the JSON of `sinfo --json` or of `scontrol show nodes --json`") from None
    if not found:
        raise SetupError("the JSON of sinfo has no nodes")
    return _together(found)


def _by_sinfo(entry: dict[str, Any]) -> Nodes:
    """Read a node of the older form, which has `name`, or an entry of the newer one, which has a list of them."""
    gres = entry.get("gres") or ""
    if "name" in entry:
        names, memory = entry["name"], entry.get("real_memory")
    else:
        names, memory = ",".join(entry["nodes"]["nodes"]), entry.get("memory")
        gres = gres.get("total") or "" if isinstance(gres, dict) else gres
    sockets, cores, threads = (_number(entry.get(key)) or 1 for key in ("sockets", "cores", "threads"))
    return _checked(names, sockets, cores, threads, _number(memory), gres)


def _number(value: Any) -> int:
    """Return a number as releases of Slurm write it: plain, {"number": 8}, or {"minimum": 8, "maximum": 8}."""
    if isinstance(value, dict):
        value = value.get("maximum", value.get("number"))
        return _number(value)
    return int(value or 0)


def _checked(names: str, sockets: int, cores: int, threads: int, memory: int, gres: str) -> Nodes:
    gpus = [match for match in map(_GPU.fullmatch, re.split(r",(?![^(]*\))", gres)) if match]
    models = {match["type"] or "" for match in gpus}
    count = sum(int(match["count"] or 1) for match in gpus)
    try:
        NodeList.parse(names)
    except DocumentError as error:
        raise SetupError(str(error)) from None
    return Nodes(names, sockets, cores, threads, memory, count, " ".join(sorted(models - {""})))


def _together(nodes: Iterable[Nodes]) -> list[Nodes]:
    """Join the nodes of each kind."""
    kinds: dict[Nodes, list[str]] = defaultdict(list)
    for each in nodes:
        kinds[replace(each, names="")] += NodeList.parse(each.names).hosts()
    return [replace(kind, names=_folded(dict.fromkeys(names))) for kind, names in kinds.items()]


def _folded(names: Iterable[str]) -> str:
    """Return host names as a node list with ranges, such as `n[01-16,20],login1`."""
    single: list[str] = []
    families: dict[tuple[str, int], list[int]] = defaultdict(list)
    for name in names:
        if match := _NUMBERED.fullmatch(name):
            families[match[1], len(match[2])].append(int(match[2]))
        else:
            single.append(name)
    for (prefix, width), numbers in families.items():
        ranges: list[list[int]] = []
        for number in sorted(numbers):
            if ranges and number == ranges[-1][1] + 1:
                ranges[-1][1] = number
            else:
                ranges.append([number, number])
        texts = ["-".join(f"{end:0{width}}" for end in dict.fromkeys(ends)) for ends in ranges]
        alone = len(texts) == 1 and "-" not in texts[0]
        single.append(f"{prefix}{texts[0]}" if alone else f"{prefix}[{','.join(texts)}]")
    return ",".join(single)


def read_lscpu(path: Path) -> Processor:
    """Return the processor of a file with the output of `lscpu` and `lscpu -p=CPU,CORE,SOCKET,NODE`."""
    name = ""
    hwthreads = []
    for line in _text(path).splitlines():
        if line.lower().startswith("model name:"):
            name = " ".join(line.partition(":")[2].split())
        elif match := _CPU.fullmatch(line.strip()):
            cpu, core, socket, node = (int(text or 0) for text in match.groups())
            hwthreads.append((cpu, core, socket, node))
    if not hwthreads:
        raise SetupError(f"{path}: expected the output of `lscpu; lscpu -p=CPU,CORE,SOCKET,NODE` on a node")
    return Processor(name, hwthreads)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}") from None
