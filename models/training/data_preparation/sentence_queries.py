"""Makes queries that a sentence answers, as people type them, out of the sentence itself.

"Paris is the capital of France." answers "what is the capital of France", "capital of France" and
"Paris"; "The telephone was invented by Bell." answers "who invented the telephone". No labels are
needed: the sentence is the answer by construction, and its neighbours ("Berlin is the capital of
Germany.") are the distractors.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence

import bm25s.stopwords

_NAME = r"(?:the |The )?[A-Z][\w'’-]*(?: (?:(?:of|the|de|von|van|del|la) )*[A-Z0-9][\w'’-]*)*"
_END = (
    r"(?= (?:and|but|which|who|that|with|in|from|at|by|on|when|where|until|after|before|as)\b"
    r"|[,.;:(]|$)"
)
_AGENTS = (
    "wrote painted invented discovered founded composed designed directed built created developed "
    "introduced won published recorded proposed conquered defeated signed"
)
_PASSIVES = {"written": "wrote"}
# A sentence that begins or goes on so does not say of whom or what it speaks.
_UNCLEAR = re.compile(
    r"(?:He|She|It|They|We|I|You|There|Here|Such|His|Her|Its|Their|Our|However|But|And|Or|So|Also|"
    r"Thus|Another|Other|Both|Some|Many|Most|All|Later|Then|Since|When|While|After|Before|As|If|"
    r"Although|Though|Because|What|How|In|At|On|By|For|From|With|During|To|Recently)\b"
    r"|.*\b[Tt](?:his|hese|hose)\b"
)
_WORD = re.compile(r"[A-Za-z][\w'’-]{2,}")
_STOP = frozenset(bm25s.stopwords.STOPWORDS_EN_PLUS)


def is_clear(sentence: str) -> bool:
    """Tell whether a sentence stands on its own: it does not begin with a pronoun or the like."""
    return sentence[:1].isalnum() and not _UNCLEAR.match(sentence)


def names_in(sentence: str) -> list[str]:
    """Find the names within a sentence, without its first word, which is capital anyway."""
    found = (m[0].removeprefix("the ") for m in re.finditer(_NAME, sentence) if m.start())
    return list(dict.fromkeys(found))


def swap_name(sentence: str, query: str, names: Sequence[str], rng: random.Random) -> str | None:
    """Put another name in place of the longest that sentence and query share; None without one.

    What comes out states the same relation of another entity: it does not answer the query.
    """
    asked = query.lower()
    shared = [name for name in names_in(sentence) if len(name) > 3 and name.lower() in asked]
    if not shared:
        return None
    name = max(shared, key=len)
    num_words = name.count(" ")
    for other in rng.sample(names, min(200, len(names))):
        if other.count(" ") == num_words and other.lower() not in asked:
            return sentence.replace(name, other)
    return None


def queries_of(
    title: str, sentence: str, frequency: Mapping[str, int], rng: random.Random
) -> dict[str, str]:
    """Make queries that the sentence answers.

    Args:
        title: of the text that the sentence is from; may be empty.
        sentence: stands on its own (is_clear).
        frequency: counts for each word, in lower case, the sentences that hold it.
        rng: chooses among wordings.

    Returns:
        At most one query of each kind: relation, definition, agent, time, place, keywords, name.
    """
    found = {}
    for kind, make in _KINDS.items():
        if query := make(title, sentence, rng):
            found[kind] = query
    if words := _rare_words(sentence, frequency, rng):
        found["keywords"] = words
    return found


def _relation(_: str, sentence: str, rng: random.Random) -> str | None:
    """Ask for the R of Y, where X is the R of Y."""
    match = re.match(
        rf"(?:{_NAME}|[A-Z][^,;:]{{2,60}}?)(?:,| (is|was|are|were|became|remains))(?: also)? "
        rf"(the (?:[a-z0-9'’-]+ ){{1,6}}?(?:of|in|on|for|to) {_NAME}){_END}",
        sentence,
    )
    if match is None:
        return None
    verb = {"became": "was", "remains": "is", None: "is"}.get(match[1], match[1])
    what = match[2]
    return rng.choice(
        [f"what {verb} {what}", f"which {verb} {what}", what.removeprefix("the "), what]
    )


def _definition(title: str, sentence: str, rng: random.Random) -> str | None:
    """Ask what T is, where T is a ..."""
    plain = re.sub(r" \(.*\)$", "", title)
    match = re.match(
        rf"(?:The |An? )?{re.escape(plain)}(?: \([^)]*\)|,[^,]{{3,40}},)? "
        r"(is|was|are|were|refers to) (?:an? |the |one )",
        sentence,
    )
    if not plain or match is None:
        return None
    verb = "was" if match[1] in ("was", "were") else "is"
    if re.search(r"\bborn\b|\(\d{4}|[–-] ?\w* ?\w*,? ?\d{4}\)", sentence[:120]):
        return rng.choice([f"who {verb} {plain}", plain])
    return rng.choice(
        [f"what {verb} {plain}", f"what {verb} {plain}", plain, f"{plain} definition"]
    )


def _agent(_: str, sentence: str, rng: random.Random) -> str | None:
    """Ask who wrote Y, where X wrote Y or Y was written by X."""
    verbs = _AGENTS.replace(" ", "|")
    if match := re.match(
        rf"{_NAME} ({verbs}) ((?:the |an? |(?=[A-Z\"]))(?!by )[\w'’\" -]{{4,60}}?){_END}", sentence
    ):
        return f"who {match[1]} {match[2]}"
    if match := re.match(
        rf"([A-Z][\w'’\" -]{{3,60}}?) (?:was|were|is) (?:first |originally )?(\w+) by {_NAME}",
        sentence,
    ):
        verb = _PASSIVES.get(match[2], match[2])
        if verb in _AGENTS.split():
            return rng.choice([f"who {verb} {match[1]}", f"by whom was {match[1]} {match[2]}"])
    return None


def _time(_: str, sentence: str, rng: random.Random) -> str | None:
    """Ask when, where X was founded in 1900."""
    match = re.match(
        r"([A-Z][\w'’\" -]{2,60}?) (was|were) ([a-z]+ed|born|built|begun|held|sold|won) "
        r"(?:[a-z ]{0,30})?(?:in|on) (?:[A-Z][a-z]+ )?(?:\d{1,2},? )?\d{4}",
        sentence,
    )
    if match is None:
        return None
    return rng.choice([f"when {match[2]} {match[1]} {match[3]}", f"{match[1]} {match[3]} year"])


def _place(_: str, sentence: str, rng: random.Random) -> str | None:
    """Ask where, where X is located in Y."""
    match = re.match(
        r"([A-Z][\w'’ -]{2,60}?),? (?:is|are|lies|was)(?: \w+)? (?:located|situated|headquartered|"
        rf"based) (?:in |on |at |between )+{_NAME}",
        sentence,
    )
    if match is None:
        return None
    return rng.choice([f"where is {match[1]}", f"{match[1]} location", f"where {match[1]} is"])


def _name(title: str, sentence: str, rng: random.Random) -> str | None:
    """Give the longest name within the sentence, alone or with the title."""
    names = [name for name in names_in(sentence) if len(name) > 7]
    if not names:
        return None
    longest = max(names, key=len)
    plain = re.sub(r" \(.*\)$", "", title)
    return rng.choice(
        [longest, f"{plain} {longest}" if plain and plain not in longest else longest]
    )


_KINDS: dict[str, Callable[[str, str, random.Random], str | None]] = {
    "relation": _relation,
    "definition": _definition,
    "agent": _agent,
    "time": _time,
    "place": _place,
    "name": _name,
}


def _rare_words(sentence: str, frequency: Mapping[str, int], rng: random.Random) -> str | None:
    """Take the rarest words, two to five, in the sentence's order."""
    words = list(dict.fromkeys(w for w in _WORD.findall(sentence) if w.lower() not in _STOP))
    if len(words) < 4:
        return None
    rarest = sorted(words, key=lambda w: frequency.get(w.lower(), 0))[: rng.randint(2, 5)]
    return " ".join(w for w in words if w in rarest)
