"""What opens doors: keys in well-known forms, tokens, private keys, and whatever follows the word "password".

A form that a vendor has published is sure. Behind a word such as "secret" a value counts when it looks drawn by
chance, behind "password" already when it is more than a word: people choose theirs.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Iterator

from heedful.guards.hits import Hit, Kind, places

FORM, BEHIND = 0.99, 0.85  # a published form; only the word before it

SHORTEST = 20  # no key in a known form is shorter
# How a key begins, and how it goes on.
_FORMS = tuple(
    (begins, re.compile(rf"(?<![A-Za-z0-9_\-]){re.escape(begins)}{rest}", re.ASCII))
    for names, rest in (
        ("sk-", r"[\w\-]{20,255}"),  # OpenAI, Anthropic, and those after them
        ("AKIA ASIA ABIA ACCA", r"[A-Z0-9]{16}(?![A-Za-z0-9])"),  # AWS
        ("ghp_ gho_ ghu_ ghs_ ghr_", r"[A-Za-z0-9]{36,255}"),
        ("github_pat_", r"\w{22,255}"),
        ("glpat- gldt- glrt- glptt-", r"[\w\-]{20,64}"),
        ("xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs-", r"[A-Za-z0-9\-]{10,255}"),  # Slack
        ("AIza", r"[\w\-]{35}"),  # Google
        ("ya29.", r"[\w\-]{20,255}"),
        ("sk_live_ sk_test_ rk_live_ rk_test_ pk_live_ pk_test_ whsec_", r"[A-Za-z0-9]{16,255}"),  # Stripe
        ("SG.", r"[\w\-]{16,32}\.[\w\-]{32,64}"),  # SendGrid
        ("npm_", r"[A-Za-z0-9]{36}"),
        ("pypi-", r"[\w\-]{40,255}"),
        ("hf_", r"[A-Za-z0-9]{30,64}"),
        ("dop_v1_", r"[a-f0-9]{64}"),
        ("shpat_ shpca_ shppa_ shpss_", r"[a-fA-F0-9]{32}"),
        ("lin_api_", r"[A-Za-z0-9]{32,64}"),
        ("hk_", r"[A-Za-z0-9]{4,64}\.[\w\-]{40,64}"),  # our own
        ("eyJ", r"[\w\-]{8,2000}\.eyJ[\w\-]{8,20000}\.[\w\-]{0,2000}"),  # JSON Web Tokens
    )
    for begins in names.split()
)
_TELEGRAM = re.compile(r"(?<!\w)\d{8,10}:AA[\w\-]{33}", re.ASCII)
_SLACK = re.compile(r"hooks\.slack\.com/(?:services|workflows)/([A-Za-z0-9/]{20,200})")
_IN_ADDRESS = re.compile(r"://[^\s:/@]{0,64}:([^\s/@]{1,128})@")
_BEARER = re.compile(r" {1,3}([A-Za-z0-9._~+/=\-]{16,4000})")
_BLOCK = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_BLOCK_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")

# Words before a secret. What people choose counts when it is more than a word, what machines draw by its disorder.
_CHOSEN = ("pass", "pwd", "kennwort", "senha", "wachtwoord")  # "pass" also begins word, phrase, wort, code
_CHOSEN_ELSEWHERE = (
    "contraseña",
    "hasło",
    "парол",
    "パスワード",
    "密码",
    "密碼",
    "비밀번호",
    "lösenord",
    "şifre",
)
_DRAWN = ("secret", "token", "key", "credential")
_KEY = re.compile(r"(?:(?:api|access|auth|secret|private|signing|encryption|client)[ _\-]?|[a-z0-9]_)$")
_TAIL = re.compile(
    r"(?:word|wort|wd|phrase|code|e|ь|s)?[\"'\]]{0,2}\s{0,3}"
    r"(?:(?:is|ist|lautet|est|es|è|é|to|jest|är|er)\b\s{0,2}[:=]?|は|[:=：]|=>|:=)\s{0,3}[\"'`「]?"
    r"(?P<value>[^\s\"'`,;<>{}()」。]{6,400})",
    re.IGNORECASE,
)
_ENOUGH = 3.0  # bits per character of something drawn


def find(text: str, small: str) -> Iterator[Hit]:
    """`small` is the text in small letters, place by place."""
    if max(map(len, text.split()), default=0) >= SHORTEST:
        yield from _in_form(text)
        for word in ("bearer", "basic"):
            for at in places(small, word):
                match = _BEARER.match(text, at + len(word))
                if match is not None and _drawn(match[1]):
                    yield Hit(Kind.SECRET, *match.span(1), BEHIND)
    if "PRIVATE KEY" in text:
        yield from _blocks(text)
    if "://" in text and "@" in text:
        yield from (Hit(Kind.SECRET, *one.span(1), FORM) for one in _IN_ADDRESS.finditer(text))
    yield from _behind_words(text, small)


def _in_form(text: str) -> Iterator[Hit]:
    for begins, form in _FORMS:
        for at in places(text, begins):
            match = form.match(text, at)
            if match is not None and (begins != "eyJ" or _is_jwt(match[0])):
                yield Hit(Kind.SECRET, at, match.end(), FORM)
    if ":AA" in text:
        yield from (Hit(Kind.SECRET, *one.span(), FORM) for one in _TELEGRAM.finditer(text))
    if "hooks.slack.com" in text:
        yield from (Hit(Kind.SECRET, *one.span(1), FORM) for one in _SLACK.finditer(text))


def _blocks(text: str) -> Iterator[Hit]:
    """From the line that begins a private key to the one that ends it; to the end of the text without one."""
    at = 0
    while (begin := _BLOCK.search(text, at)) is not None:
        end = _BLOCK_END.search(text, begin.end())
        at = len(text) if end is None else end.end()
        yield Hit(Kind.SECRET, begin.start(), at, FORM)


def _behind_words(text: str, small: str) -> Iterator[Hit]:
    chosen = (*_CHOSEN, *(() if text.isascii() else _CHOSEN_ELSEWHERE))
    for word, enough in (*((one, _more_than_a_word) for one in chosen), *((one, _drawn) for one in _DRAWN)):
        for at in places(small, word):
            if word == "key" and _KEY.search(small, max(0, at - 12), at) is None:
                continue
            match = _TAIL.match(text, at + len(word))
            if match is not None and enough(value := match["value"].rstrip(".:")):
                start = match.start("value")
                yield Hit(Kind.SECRET, start, start + len(value), BEHIND)


def _is_jwt(token: str) -> bool:
    head = token.partition(".")[0]
    try:
        return "alg" in json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return False


def _more_than_a_word(value: str) -> bool:
    """ "password: required" says nothing."""
    return any(map(str.isalpha, value)) and any(one.isdigit() or one in "!@#$%^&*?+=" for one in value)


def _drawn(value: str) -> bool:
    """Letters and digits in a disorder that words do not have."""
    if len(value) < 12 or not (any(map(str.isdigit, value)) and any(map(str.isalpha, value))):
        return False
    counts = Counter(value[:200])
    size = counts.total()
    return -sum(n / size * math.log2(n / size) for n in counts.values()) >= _ENOUGH
