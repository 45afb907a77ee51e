"""C and C++ in a first Builderfile: objects, and the programs or the library made of them."""

import os
import re
from dataclasses import dataclass

from builder.client.place import Place, tools

OBJECTS = """
target {name}:
  description: One action for each source file.
  foreach: {sources}
{inputs}  outputs: ["build/obj/{{{{dir}}}}/{{{{stem}}}}.o"]
  command: {compiler} {{{{flags}}}} -c {{{{file}}}} -o build/obj/{{{{dir}}}}/{{{{stem}}}}.o
{tools}"""
PROGRAM = """
target {name}:
  description: The program.
  inputs: [{objects}]
  outputs: [build/{name}]
  command: {compiler} {linked} -o build/{name}{libraries}
{tools}"""
PROGRAMS = """
target {name}:
  description: One program for each source file that has a main.
  foreach: {sources}
{inputs}  outputs: ["build/{output}"]
  command: {compiler} {{{{flags}}}} {{{{file}}}}{linked} -o build/{output}{libraries}
{tools}"""
LIBRARY = """
target {name}:
  description: The library.
  inputs: [{objects}]
  outputs: [build/lib{name}.a]
  command: ar crD build/lib{name}.a {linked}
{tools}"""
LINKED = "$(find build/obj -name '*.o' | sort)"
CPP, C, HEADERS = (".cpp", ".cc", ".cxx"), (".c",), (".h", ".hpp", ".hh")
MAIN = re.compile(r'^[ \t]*(?:extern[ \t]+"C"[ \t]+)?(?:int|void|auto)\s+main\s*\(', re.MULTILINE)
MODULE = re.compile(r"^[ \t]*(?:export[ \t]+)?module\b[^=()]*;", re.MULTILINE)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*["<]([^">\n]+)[">]', re.MULTILINE)
LIBRARIES = {
    "-lm": {"math.h", "complex.h", "tgmath.h"},
    "-pthread": {"pthread.h", "threads.h", "thread", "future"},
}
JOINED = 3  # a file that includes as many sources is all of them in one, for those who want that


@dataclass(frozen=True, slots=True)
class _Source:
    path: str
    main: bool
    module: bool
    includes: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Language:
    suffix: str  # of the names of targets
    compiler: str
    endings: tuple[str, ...]
    sources: list[_Source]
    apart: list[str]  # what is all the others in one file, and modules, which need flags of theirs

    def some(self, main: bool) -> list[str]:
        return [source.path for source in self.sources if source.main is main]


def compiled(place: Place, kinds: list[str]) -> str:
    """The text for C, C++, or both. Raises BuilderError for a directory that cannot be listed."""
    languages = [_language(place, kind, "" if kind == kinds[0] else "_c") for kind in kinds]
    headers = _globs(place, HEADERS)
    includes = ", -Iinclude" if any(glob.startswith("include/") for glob in headers) else ""
    texts = [f"\nvars:\n  flags: [-O2, -Wall{includes}]\n"]
    mains = [path for one in languages for path in one.some(main=True)]
    several = len(mains) > 1
    objects = []
    for one in languages:
        aside = one.some(main=True) if several else []
        if len(aside) < len(one.sources):
            objects.append(f":objects{one.suffix}")
            texts.append(_objects(place, one, headers, [*aside, *one.apart]))
    if several:
        texts += [_programs(one, headers, objects, mains) for one in languages if one.some(True)]
    else:
        texts.append(_whole(place.name, languages, objects, LIBRARY if not mains else PROGRAM))
    return "".join(texts)


def _objects(place: Place, one: _Language, headers: list[str], aside: list[str]) -> str:
    return OBJECTS.format(
        name=f"objects{one.suffix}",
        sources=_listed([*_globs(place, one.endings), *(f"!{path}" for path in aside)]),
        inputs=f"  inputs: {_listed(headers)}\n" if headers else "",
        tools=tools(one.compiler),
        compiler=one.compiler,
    )


def _whole(name: str, languages: list[_Language], objects: list[str], template: str) -> str:
    compiler = languages[0].compiler  # C++'s, if there is any
    return template.format(
        name=name,
        objects=_items(objects),
        compiler=compiler,
        tools=tools("ar" if template is LIBRARY else compiler),
        linked=LINKED,
        libraries=_libraries(languages),
    )


def _programs(one: _Language, headers: list[str], objects: list[str], mains: list[str]) -> str:
    stems = [path.rpartition("/")[2].rpartition(".")[0] for path in mains]
    mixed = " -lstdc++" if one.suffix and ":objects" in objects else ""
    inputs = [*headers, *objects]
    return PROGRAMS.format(
        name=f"programs{one.suffix}",
        sources=_listed(one.some(main=True)),
        inputs=f"  inputs: {_listed(inputs)}\n" if inputs else "",
        tools=tools(one.compiler),
        compiler=one.compiler,
        linked=f" {LINKED}" if objects else "",
        output="{{stem}}" if len(set(stems)) == len(stems) else "{{dir}}/{{stem}}",
        libraries=_libraries([one]) + mixed,
    )


def _language(place: Place, kind: str, suffix: str) -> _Language:
    endings, compiler = (CPP, "g++") if kind == "C++" else (C, "gcc")
    paths = place.sources(endings)
    names = {os.path.basename(path) for path in paths}
    sources = [_source(place, path) for path in paths]
    apart = [one.path for one in sources if one.module or len(one.includes & names) >= JOINED]
    kept = [one for one in sources if one.path not in apart]
    return _Language(suffix, compiler, endings, kept, apart)


def _source(place: Place, path: str) -> _Source:
    text = place.text(path)
    module = MODULE.search(text) is not None and path.endswith(CPP)
    return _Source(path, MAIN.search(text) is not None, module, frozenset(INCLUDE.findall(text)))


def _globs(place: Place, endings: tuple[str, ...]) -> list[str]:
    """For each ending one for each directory at the top that holds such files."""
    found = []
    for ending in endings:
        paths = place.sources((ending,))
        tops = sorted({path.partition("/")[0] if "/" in path else "" for path in paths})
        found += [f"{top}/**/*{ending}" if top else f"*{ending}" for top in tops]
    return found


def _libraries(languages: list[_Language]) -> str:
    included = {name for one in languages for source in one.sources for name in source.includes}
    return "".join(f" {flag}" for flag, of in LIBRARIES.items() if included & of)


def _items(texts: list[str]) -> str:
    return ", ".join(f'"{text}"' for text in texts)


def _listed(texts: list[str]) -> str:
    return f"[{_items(texts)}]"
